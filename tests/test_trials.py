"""Trials: sessions of different width as one list of samples."""

import copy
import pickle

import joblib
import numpy as np
import pytest
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing, indexable, shuffle
from sklearn.utils.validation import _num_samples

from skerdiff import Trials

SIZES = {"day0": (5, 7), "day1": (4, 3), "day9": (2, 7)}
N_BINS = 2
N = 11


@pytest.fixture
def sessions():
    # every trial knows its own number
    first, out = 0, {}
    for name, (n, width) in SIZES.items():
        number = np.arange(first, first + n, dtype=float)[:, None, None]
        out[name] = np.broadcast_to(number, (n, N_BINS, width)).copy()
        first += n
    return out


@pytest.fixture
def trials(sessions):
    return Trials(sessions)


def numbers(trials):
    """Numbers of the trials, in their order."""
    return [int(trial[0, 0]) for trial in trials]


def test_describes_itself(trials):
    assert len(trials) == N and trials.shape == (N,) and trials.ndim == 1
    assert trials.names == ["day0", "day1", "day9"]
    assert trials.source == "day0" and trials.n_bins == N_BINS
    assert list(trials.session) == ["day0"] * 5 + ["day1"] * 4 + ["day9"] * 2
    assert list(trials.is_source) == [True] * 5 + [False] * 6
    assert repr(trials) == (
        "Trials(day0: 5 x 2 x 7 [source], day1: 4 x 2 x 3, day9: 2 x 2 x 7)"
    )
    assert repr(trials[[]]) == "Trials(no trials)"


def test_gives_the_array_of_a_session(trials, sessions):
    for name, X in sessions.items():
        np.testing.assert_array_equal(trials[name], X)
    assert [name for name, _ in trials.items()] == list(sessions)
    for name, X in trials.items():
        np.testing.assert_array_equal(X, sessions[name])


@pytest.mark.parametrize("index", [0, 4, 5, 10, -1, -11, np.int64(3), np.array(7)])
def test_an_integer_gives_one_trial(trials, index):
    trial = trials[index]
    expected = int(index) % N
    assert trial.shape == (N_BINS, SIZES[trials.session[expected]][1])
    assert (trial == expected).all()


@pytest.mark.parametrize(
    "key",
    [
        [0, 5, 10],
        [10, 5, 0],
        [-1, -11, 3],
        [2, 2, 9, 2],
        np.array([6, 1, 8]),
        np.array([6, 1, 8], dtype=np.uint8),
        (8, 3),
        range(2, 9),
        [],
        np.array([], dtype=int),
        np.arange(N) % 3 == 0,
        [True, False] * 5 + [True],
        np.zeros(N, dtype=bool),
        slice(None),
        slice(3, 7),
        slice(None, None, -1),
        slice(20, 30),
        slice(-3, None),
    ],
    ids=repr,
)
def test_indexing_is_that_of_an_array(trials, key):
    if isinstance(key, tuple | range):
        key = list(key)
    plain = np.arange(N)
    expected = plain[key] if len(np.atleast_1d(key)) else plain[:0]
    for some in (trials[key], trials[key, ...], trials[key, :]):
        assert isinstance(some, Trials)
        assert numbers(some) == list(expected)
        assert some.shape == expected.shape
        assert list(some.session) == list(trials.session[expected])
        assert some.source == "day0"
        for name, X in some.items():
            mine = expected[trials.session[expected] == name]
            assert list(X[:, 0, 0]) == list(mine)


def test_slices_of_slices_compose(trials):
    some = trials[[9, 0, 5, 3, 10, 7]][[5, 0, 0, 2]][::-1]
    assert numbers(some) == [5, 9, 9, 7]
    assert some.names == ["day1", "day9"]


def test_names_are_in_order_of_first_appearance(trials):
    assert trials[[9, 0, 5]].names == ["day9", "day0", "day1"]
    assert trials[[]].names == []


def test_a_slice_without_source_keeps_its_name(trials):
    some = trials[[5, 6]]
    assert some.source == "day0" and not some.is_source.any()
    assert some["day0"].shape == (0, N_BINS, 7)


@pytest.mark.parametrize(
    "key, error",
    [
        (N, "out of range"),
        (-N - 1, "out of range"),
        ([0, N], "out of bounds"),
        (np.ones(3, dtype=bool), "mask of shape"),
        (True, "mask of shape"),
        (([0, 1], 0), "along trials only"),
        (([0, 1], slice(None), 2), "along trials only"),
        (np.zeros((2, 2), dtype=int), "one-dimensional sequence"),
        ([0.5, 1.0], "sequence of integers"),
        (0.5, "an integer, a slice"),
        (["day0", "day1"], "sequence of integers"),
        (None, "an integer, a slice"),
    ],
    ids=repr,
)
def test_a_wrong_index_raises(trials, key, error):
    with pytest.raises(IndexError, match=error):
        trials[key]


def test_an_unknown_session_raises_and_names_those_known(trials):
    with pytest.raises(KeyError, match="no session 'day2'.*day0.*day1"):
        trials["day2"]
    with pytest.raises(ValueError, match="'day2' is not among"):
        trials.with_source("day2")


def test_scikit_learn_can_slice(trials):
    y = np.arange(N)
    X, y_out, _ = indexable(trials, y, None)
    assert X is trials and y_out is y
    assert _num_samples(trials) == N
    for key in ([3, 8], np.array([8, 3]), slice(2, 6), y % 2 == 0, list(y % 2 == 1)):
        assert numbers(_safe_indexing(trials, key)) == list(_safe_indexing(y, key))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        indexable(trials, y[:-1])


def test_scikit_learn_can_split_and_shuffle(trials):
    y = np.arange(N)
    X_a, X_b, y_a, y_b = train_test_split(
        trials, y, test_size=4, random_state=0, stratify=trials.session
    )
    assert numbers(X_a) == list(y_a) and numbers(X_b) == list(y_b)
    assert sorted(numbers(X_a) + numbers(X_b)) == list(y)
    assert X_b.names and set(X_a.names) == set(trials.names)
    X_s, y_s = shuffle(trials, y, random_state=0)
    assert numbers(X_s) == list(y_s) != list(y)


def test_map_keeps_order_session_and_source(trials):
    order = [10, 0, 7, 7, 3, 9, 5]
    some = trials[order].with_source("day1")
    out = some.map(lambda X: X[:, :, :2] * 10)
    assert numbers(out) == [10 * i for i in order]
    assert list(out.session) == list(some.session) and out.source == "day1"
    assert out.to_array().shape == (7, N_BINS, 2)
    assert list(out.to_array()[:, 0, 0]) == [10 * i for i in order]
    assert numbers(some) == order, "map changed what it was called on"


def test_map_items_knows_the_name(trials):
    shift = {"day0": 100, "day1": 200, "day9": 300}
    seen = []

    def add(name, X):
        seen.append(name)
        return X + shift[name]

    some = trials[[9, 0, 5, 1]]
    out = some.map_items(add)
    assert seen == ["day9", "day0", "day1"], "once per session"
    assert numbers(out) == [309, 100, 205, 101]


def test_map_refuses_another_number_of_trials(trials):
    with pytest.raises(ValueError, match="returned 1 trials for the 5 trials.*'day0'"):
        trials.map(lambda X: X[:1])


def test_to_array_stacks_in_order_and_refuses_other_widths(trials):
    some = trials[[10, 0, 9, 4]]
    stacked = some.to_array()
    assert stacked.shape == (4, N_BINS, 7)
    assert list(stacked[:, 1, 6]) == [10, 0, 9, 4]
    with pytest.raises(ValueError, match="different width.*day0.*day1"):
        trials.to_array()


def test_to_array_of_mixed_dtypes_loses_nothing():
    trials = Trials(
        {"a": np.full((1, 1, 1), 7, dtype=np.int8), "b": np.full((1, 1, 1), 0.5)}
    )
    assert trials.to_array().ravel().tolist() == [7.0, 0.5]


@pytest.mark.parametrize("way", ["pickle", "joblib", "deepcopy"])
def test_round_trips(trials, way, tmp_path):
    some = trials[[9, 0, 5, 9]]
    if way == "pickle":
        again = pickle.loads(pickle.dumps(some))
    elif way == "joblib":
        joblib.dump(some, tmp_path / "trials")
        again = joblib.load(tmp_path / "trials")
    else:
        again = copy.deepcopy(some)
    assert numbers(again) == [9, 0, 5, 9]
    assert list(again.session) == list(some.session)
    assert again.source == "day0" and again.n_bins == N_BINS
    assert repr(again) == repr(some)


def test_an_empty_slice_round_trips(trials):
    again = pickle.loads(pickle.dumps(trials[[]]))
    assert len(again) == 0 and again.n_bins == N_BINS


def test_a_pickled_slice_takes_along_its_own_trials_only():
    X = np.zeros((1000, 5, 20))
    trials = Trials({"day0": X, "day1": X})
    whole = len(pickle.dumps(trials))
    assert whole > 2 * X.nbytes
    assert len(pickle.dumps(trials[[0, 1001]])) < whole / 200


def test_the_arrays_given_are_not_copied_and_not_changed(sessions):
    before = {name: X.copy() for name, X in sessions.items()}
    trials = Trials(sessions)
    trials[::-1].map(lambda X: X + 1)
    for name, X in sessions.items():
        np.testing.assert_array_equal(X, before[name])


@pytest.mark.parametrize(
    "sessions, kwargs, error, message",
    [
        (np.zeros((2, 2, 2)), {}, TypeError, "takes a mapping.*got ndarray"),
        ([np.zeros((2, 2, 2))], {}, TypeError, "Write Trials"),
        ({}, {}, ValueError, "at least one session"),
        ({"a": np.zeros((2, 2))}, {}, ValueError, "'a' must be a non-empty array"),
        ({"a": np.zeros((0, 2, 2))}, {}, ValueError, r"got shape \(0, 2, 2\)"),
        (
            {"a": [np.zeros((2, 3)), np.zeros((4, 3))]},
            {},
            ValueError,
            "ragged.*warp_trials",
        ),
        ({"a": np.array([[["x"]]], dtype=object)}, {}, ValueError, "'a' holds str"),
        ({"a": np.array([[["1"]]])}, {}, ValueError, "'a' holds text"),
        ({"a": np.array([[[{}]]])}, {}, TypeError, "'a' holds objects"),
        ({1: np.zeros((2, 3, 1))}, {}, TypeError, "must be a name .str., got 1 of"),
        ({"": np.zeros((2, 3, 1))}, {}, ValueError, "'' is no name"),
        ({"previous": np.zeros((2, 3, 1))}, {}, ValueError, "'previous' cannot be"),
        ({"a": np.zeros((2, 3, 1))}, {"source": 1}, TypeError, "source must be a name"),
        (
            {"a": np.zeros((2, 3, 1)), "b": np.zeros((2, 4, 1))},
            {},
            ValueError,
            "same number of bins.*'a': 3, 'b': 4.*warp_trials",
        ),
        (
            {"a": np.zeros((2, 3, 1))},
            {"source": "b"},
            ValueError,
            r"source='b' is not among the sessions \['a'\]",
        ),
    ],
)
def test_a_wrong_mapping_raises(sessions, kwargs, error, message):
    with pytest.raises(error, match=message):
        Trials(sessions, **kwargs)


def test_source_can_be_given(sessions):
    trials = Trials(sessions, source="day1")
    assert trials.source == "day1" and trials.is_source.sum() == 4
    assert trials[[0]].source == "day1"


@pytest.mark.parametrize(
    "kind", [list, tuple, np.array], ids=["list", "tuple", "array"]
)
def test_several_sources_are_all_source_and_the_first_is_the_reference(trials, kind):
    for some in (
        Trials(dict(trials.items()), source=kind(["day9", "day1"])),
        trials.with_source(kind(["day9", "day1"])),
    ):
        assert some.source == "day9" and some.sources == ["day9", "day1"]
        assert list(some.is_source) == [False] * 5 + [True] * 6
        assert repr(some).count("[source]") == 2


@pytest.mark.parametrize(
    "source, message",
    [
        ([], "source names no session, at least one is needed"),
        (["day1", "day2"], r"source names \['day2'\], which are not among.*'day0'"),
        (["day1", "day1"], r"source=\['day1', 'day1'\] names a session twice"),
    ],
    ids=repr,
)
def test_a_wrong_list_of_sources_raises(trials, source, message):
    with pytest.raises(ValueError, match=message):
        trials.with_source(source)


def test_trials_of_one_session_stack_to_its_array(trials):
    np.testing.assert_array_equal(trials[5:9].to_array(), trials["day1"])


def test_an_empty_slice_stacks_to_no_trials(trials):
    assert trials[[]].to_array().shape == (0, N_BINS, 0)


def test_to_array_has_the_smallest_type_that_holds_all_sessions():
    small = {name: np.full((1, 1, 1), 7, np.float32) for name in "ab"}
    assert Trials(small).to_array().dtype == np.float32
    whole = small | {"b": np.full((1, 1, 1), 7, np.int8)}
    assert Trials(whole).to_array().dtype == np.float32


def test_the_bin_size_stays_with_the_trials(sessions):
    trials = Trials(sessions, bin_size=1)
    assert trials.bin_size == 1 and isinstance(trials.bin_size, float)
    for some in (
        trials[[9, 0]],
        trials.map(lambda X: X),
        trials.with_source("day1"),
        pickle.loads(pickle.dumps(trials)),
    ):
        assert some.bin_size == 1
    assert Trials(sessions).bin_size is None
    assert Trials(sessions, bin_size=0.02)[::2].bin_size == 0.02


@pytest.mark.parametrize("bin_size", [0, -0.05, np.inf, np.nan, "50 ms"])
def test_a_bin_size_is_a_positive_number_of_seconds(sessions, bin_size):
    message = f"bin_size must be a positive number of seconds, got {bin_size!r}"
    with pytest.raises(ValueError, match=message):
        Trials(sessions, bin_size=bin_size)
