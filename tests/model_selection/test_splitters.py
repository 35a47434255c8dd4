"""What holds for every splitter, and for each of the smaller ones."""

import inspect

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.model_selection import BaseCrossValidator

from skerdiff import Trials, model_selection
from skerdiff.model_selection import (
    CalibrationSplit,
    LeaveOneSessionOut,
    TargetKFold,
    TransductiveSplit,
)

SPLITTERS = [
    TargetKFold(3),
    CalibrationSplit(2),
    CalibrationSplit(3, n_splits=4, shuffle=True),
    LeaveOneSessionOut(),
    LeaveOneSessionOut(0.2, shuffle=False),
    TransductiveSplit(),
]
every = pytest.mark.parametrize("cv", SPLITTERS, ids=repr)


@pytest.fixture
def sessions():
    trials = Trials(
        {"a": np.zeros((6, 2, 3)), "b": np.ones((9, 2, 4)), "c": np.ones((7, 2, 2))}
    )
    return trials[np.random.RandomState(0).permutation(len(trials))]


def test_every_splitter_is_tested_here():
    public = {
        cls
        for _, cls in inspect.getmembers(model_selection, inspect.isclass)
        if issubclass(cls, BaseCrossValidator)
    }
    assert public == {type(cv) for cv in SPLITTERS}


@every
def test_training_has_the_whole_source_and_the_test_targets_only(sessions, cv):
    source = np.flatnonzero(sessions.is_source)
    splits = list(cv.split(sessions))
    assert len(splits) == cv.get_n_splits(sessions) > 0
    for train, test in splits:
        assert_array_equal(train[: len(source)], source)  # first: see learning_curve
        assert not sessions.is_source[train[len(source) :]].any()
        assert len(test) and not sessions.is_source[test].any()
        assert not set(train) & set(test)
        assert len(set(train)) == len(train) and len(set(test)) == len(test)
        # what is tested has been adapted to, but for the transductive split
        known = set(sessions.session[train]) >= set(sessions.session[test])
        assert known != isinstance(cv, TransductiveSplit)


@every
def test_splits_repeat_and_leave_the_global_generator_alone(sessions, cv):
    before = np.random.get_state()[1].copy()
    first, second = list(cv.split(sessions)), list(cv.split(sessions))
    for (train, test), (train_again, test_again) in zip(first, second, strict=True):
        assert_array_equal(train, train_again)
        assert_array_equal(test, test_again)
    assert_array_equal(np.random.get_state()[1], before)


@every
def test_labels_are_never_read(sessions, cv):
    class Unreadable:
        def __getattribute__(self, name):
            raise AssertionError("labels were read")

    assert list(cv.split(sessions, Unreadable()))


@every
def test_wrong_input_raises(sessions, cv):
    name = type(cv).__name__
    with pytest.raises(TypeError, match=f"{name} splits skerdiff.Trials.*got ndarray"):
        next(cv.split(np.zeros((4, 2, 3))))
    with pytest.raises(ValueError, match=f"{name} needs a session other than .*'a'"):
        next(cv.split(sessions[sessions.is_source]))
    with pytest.raises(ValueError, match=f"{name} needs trials of the source 'a'"):
        next(cv.split(sessions[~sessions.is_source]))
    with pytest.raises(ValueError, match="direction of each of the 22 trials.*(3,)"):
        next(cv.split(sessions, groups=[1, 2, 3]))


# -- CalibrationSplit ------------------------------------------------------------------
def test_calibration_takes_the_first_trials_of_each_session(sessions):
    ((train, test),) = CalibrationSplit(2).split(sessions)
    for name, size in {"b": 9, "c": 7}.items():
        index = np.flatnonzero(sessions.session == name)
        assert_array_equal(train[sessions.session[train] == name], index[:2])
        assert_array_equal(test[sessions.session[test] == name], index[2:])
        assert len(index) == size


def test_calibration_draws_differ(sessions):
    cv = CalibrationSplit(3, n_splits=5, shuffle=True)
    drawn = {tuple(train) for train, _ in cv.split(sessions)}
    assert len(drawn) == 5
    assert {len(train) for train in drawn} == {6 + 3 + 3}


def test_wrong_settings_of_calibration_raise(sessions):
    with pytest.raises(ValueError, match="n_calibration must be an integer.*got 0"):
        CalibrationSplit(0)
    with pytest.raises(ValueError, match="n_splits=2 would repeat the same split"):
        CalibrationSplit(4, n_splits=2)
    with pytest.raises(ValueError, match="leaves none of the 7 trials of session 'c'"):
        next(CalibrationSplit(7).split(sessions))


# -- LeaveOneSessionOut ----------------------------------------------------------------
def test_each_session_is_tested_by_itself(sessions):
    splits = list(LeaveOneSessionOut(0.3).split(sessions))
    for name, (train, test) in zip(["c", "b"], splits, strict=True):
        index = set(np.flatnonzero(sessions.session == name))
        assert set(sessions.session[test]) == {name}
        assert set(sessions.session[train]) == {"a", name}
        assert set(test) | set(train) == index | set(np.flatnonzero(sessions.is_source))
        assert len(test) == round(0.3 * len(index))


@pytest.mark.parametrize("test_size", [0, 1, 1.5, "half", 3])
def test_a_wrong_share_raises(test_size):
    with pytest.raises(ValueError, match="test_size must be a share between 0 and 1"):
        LeaveOneSessionOut(test_size)


def test_a_session_of_one_trial_raises():
    trials = Trials({"a": np.zeros((6, 2, 3)), "b": np.ones((1, 2, 4))})
    with pytest.raises(ValueError, match="session 'b' has 1 trial"):
        next(LeaveOneSessionOut().split(trials))
    trials = Trials({"a": np.zeros((6, 2, 3)), "b": np.ones((2, 2, 4))})
    for size in (0.01, 0.99):
        ((train, test),) = LeaveOneSessionOut(size).split(trials)
        assert (len(train), len(test)) == (7, 1)
