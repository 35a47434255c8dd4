"""Folds of target trials."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skerdiff import Trials
from skerdiff.model_selection import TargetKFold


@pytest.fixture
def sessions():
    return Trials(
        {"a": np.zeros((6, 2, 3)), "b": np.ones((9, 2, 4)), "c": np.ones((7, 2, 2))}
    )


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("n_splits", [2, 3, 7])
def test_folds_partition_the_target_and_train_on_all_of_the_source(
    sessions, n_splits, shuffle
):
    mixed = sessions[np.random.RandomState(0).permutation(len(sessions))]
    cv = TargetKFold(n_splits, shuffle=shuffle)
    source = set(np.flatnonzero(mixed.is_source))
    folds = list(cv.split(mixed))
    assert len(folds) == n_splits == cv.get_n_splits(mixed)
    tested = np.concatenate([test for _, test in folds])
    assert_array_equal(np.sort(tested), np.flatnonzero(~mixed.is_source))
    for train, test in folds:
        assert source <= set(train)
        assert not set(train) & set(test)
        assert set(train) | set(test) == set(range(len(mixed)))
        assert not mixed[test].is_source.any()
        # each session is split by itself
        for name, size in {"b": 9, "c": 7}.items():
            share = (mixed.session[test] == name).sum()
            assert share in (size // n_splits, size // n_splits + 1)


def test_an_integer_seed_repeats_the_folds(sessions):
    cv = TargetKFold(3, random_state=4)
    first, second = ([test for _, test in cv.split(sessions)] for _ in range(2))
    for a, b in zip(first, second):
        assert_array_equal(a, b)
    other = [test for _, test in TargetKFold(3, random_state=5).split(sessions)]
    assert any(list(a) != list(b) for a, b in zip(first, other))
    default = [[test for _, test in TargetKFold(3).split(sessions)] for _ in range(2)]
    assert_array_equal(default[0][0], default[1][0])


def test_directions_are_spread_over_the_folds(sessions):
    # sorted, and with labels of the source that must not count
    direction = np.r_[np.full(6, np.nan), np.arange(9) // 3, 0, 0, 0, 1, 1, 1, 1]
    for shuffle in (True, False):
        for _, test in TargetKFold(3, shuffle=shuffle).split(sessions, None, direction):
            in_b, in_c = (test[sessions.session[test] == name] for name in "bc")
            assert_array_equal(np.sort(direction[in_b]), [0, 1, 2])
            assert sorted(np.bincount(direction[in_c].astype(int))) in ([1, 1], [1, 2])
    named = np.char.add("direction ", direction.astype(str))
    by_name = [test for _, test in TargetKFold(3).split(sessions, groups=named)]
    by_number = [test for _, test in TargetKFold(3).split(sessions, groups=direction)]
    for a, b in zip(by_name, by_number, strict=True):
        assert_array_equal(a, b)


def test_directions_can_be_angles(sessions):
    direction = np.r_[np.zeros(6), np.arange(9) % 3, np.arange(7) % 2]
    by_angle = TargetKFold(3).split(sessions, groups=direction * np.pi / 4)
    by_number = TargetKFold(3).split(sessions, groups=direction)
    for (_, a), (_, b) in zip(by_angle, by_number, strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("n_splits", [1, 0, 2.5, "3"])
def test_a_wrong_number_of_folds_raises(n_splits):
    with pytest.raises(ValueError, match="n_splits must be an integer of at least 2"):
        TargetKFold(n_splits)


def test_more_folds_than_trials_raise(sessions):
    with pytest.raises(ValueError, match="n_splits=8 is more than the 7.*'c'"):
        next(TargetKFold(8).split(sessions))


def test_repr_shows_the_settings():
    assert repr(TargetKFold(3)) == (
        "TargetKFold(n_splits=3, random_state=0, shuffle=True)"
    )
