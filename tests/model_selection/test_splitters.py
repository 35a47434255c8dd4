"""What holds for every splitter, and for each of the smaller ones."""

import inspect
import re

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
    cross_val_predict,
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
        assert (np.diff(train[len(source) :]) > 0).all() and (np.diff(test) > 0).all()
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


@pytest.mark.parametrize(
    "public", [*dict.fromkeys(map(type, SPLITTERS)), cross_val_predict]
)
def test_defaults_are_those_that_the_docstring_names(public):
    named = re.findall(
        r'^(\w+) : .*default="?([\w.]+)"?$', inspect.getdoc(public), re.M
    )
    given = inspect.signature(public).parameters.items()
    assert dict(named) == {
        name: str(parameter.default)
        for name, parameter in given
        if parameter.default is not parameter.empty
    }


@pytest.mark.parametrize(
    "make, name, least",
    [
        (CalibrationSplit, "n_calibration", 1),
        (lambda n: CalibrationSplit(n_splits=n), "n_splits", 1),
        (TargetKFold, "n_splits", 2),
    ],
)
def test_the_least_number_is_taken_and_nothing_below(make, name, least):
    assert getattr(make(least), name) == least
    for wrong in (least - 1, True, least + 0.5, None):
        message = f"^{name} must be an integer of at least {least}, got {wrong}"
        with pytest.raises(ValueError, match=message):
            make(wrong)


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


def test_without_shuffling_the_last_trials_of_a_session_are_tested(sessions):
    for train, test in LeaveOneSessionOut(0.3, shuffle=False).split(sessions):
        (name,) = set(sessions.session[test])
        index = np.flatnonzero(sessions.session == name)
        n_test = round(0.3 * len(index))
        assert_array_equal(test, index[-n_test:])
        assert_array_equal(train[sessions.session[train] == name], index[:-n_test])


def test_shuffling_draws_other_trials_for_another_seed(sessions):
    drawn = {
        tuple(next(LeaveOneSessionOut(random_state=seed).split(sessions))[1])
        for seed in range(5)
    }
    assert len(drawn) > 1


def test_a_trial_is_left_to_score_and_one_to_adapt_to(sessions):
    for size, expected in {0.01: lambda n: 1, 0.99: lambda n: n - 1}.items():
        for train, test in LeaveOneSessionOut(size).split(sessions):
            name = sessions.session[test[0]]
            n = (sessions.session == name).sum()
            assert len(test) == expected(n)
            assert (sessions.session[train] == name).sum() == n - len(test)


@pytest.mark.parametrize("test_size", [0, 1, 1.5, "half", 3])
def test_a_wrong_share_raises(test_size):
    with pytest.raises(ValueError, match="test_size must be a share between 0 and 1"):
        LeaveOneSessionOut(test_size)


@pytest.mark.parametrize("shuffle", ["a", np.nan, None, [1]])
@pytest.mark.parametrize("splitter", [LeaveOneSessionOut, TargetKFold])
def test_shuffle_is_true_or_false(splitter, shuffle):
    with pytest.raises(ValueError, match="shuffle must be True or False, got"):
        splitter(shuffle=shuffle)


def test_a_session_of_one_trial_raises():
    trials = Trials({"a": np.zeros((6, 2, 3)), "b": np.ones((1, 2, 4))})
    with pytest.raises(ValueError, match="session 'b' has 1 trial"):
        next(LeaveOneSessionOut().split(trials))
    trials = Trials({"a": np.zeros((6, 2, 3)), "b": np.ones((2, 2, 4))})
    for size in (0.01, 0.99):
        ((train, test),) = LeaveOneSessionOut(size).split(trials)
        assert (len(train), len(test)) == (7, 1)
