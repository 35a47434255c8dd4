"""Pairs of sessions and stress settings."""

import numpy as np
import pytest
from sklearn.utils import Bunch

from skerdiff.benchmark import load_pair
from skerdiff.benchmark._sessions import make_split
from skerdiff.exceptions import ConfigurationError


@pytest.fixture(scope="module")
def data():
    return load_pair("synthetic", 0)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "source": rng.poisson(1.0, (24, 6, 5)),
        "target": rng.poisson(1.0, (20, 6, 7)),
        "source_behaviour": rng.standard_normal((24, 6, 2)),
        "target_behaviour": rng.standard_normal((20, 6, 2)),
        "source_direction": np.arange(24) % 4,
        "target_direction": np.arange(20) % 4,
        "onset": 2,
    }


def save(folder, arrays):
    np.savez(folder / "mine.npz", **arrays)
    return folder / "mine.npz"


def directions(split, n_train):
    return np.unique(split.target_direction[:n_train]).tolist()


def test_a_balanced_split_holds_every_trial_once(data):
    split = make_split(data, 0)
    assert len(split.source[0]) == 160
    assert len(split.train[0]) == 128 and len(split.test[0]) == 32
    both = np.concatenate([split.train[0], split.test[0]])
    np.testing.assert_array_equal(both, data.trials["day1"])
    assert split.present.all()


def test_scored_trials_are_the_same_in_all_settings(data):
    balanced = make_split(data, 1)
    for setting in (
        {"target_trials": 8},
        {"target_directions": 2},
        {"target_skew": True},
        {"source_directions": 4},
    ):
        split = make_split(data, 1, setting)
        np.testing.assert_array_equal(split.test[0], balanced.test[0])
        assert len(split.train[0]) + len(split.source[0]) < 288


def test_directions_that_are_left(data):
    split = make_split(data, 3, {"target_directions": 4})
    n = len(split.train[0])
    assert directions(split, n) == [3, 4, 5, 6]
    absent = ~np.isin(split.target_direction[n:], [3, 4, 5, 6])
    np.testing.assert_array_equal(~split.present, absent)
    spread = make_split(data, 3, {"target_directions": 4, "spread": True})
    assert directions(spread, len(spread.train[0])) == [1, 3, 5, 7]
    assert len(spread.source[0]) == 160
    source = make_split(data, 3, {"source_directions": 6})
    assert len(source.train[0]) == 128
    left = set(source.source_direction)
    assert len(left) == 6
    test = source.target_direction[128:]
    np.testing.assert_array_equal(source.present, np.isin(test, list(left)))
    assert len(source.source[0]) == 120


def test_a_skew_keeps_three_directions_and_a_quarter_of_the_rest(data):
    split = make_split(data, 0, {"source_skew": True})
    direction = data.direction[data.trials.is_source]
    expected = sum(
        n if k < 3 else -(-n // 4) for k, n in enumerate(np.bincount(direction))
    )
    assert len(split.source[0]) == expected == len(split.source[1])


def test_short_trials_start_at_the_onset(data):
    split = make_split(data, 0, {"bins_after_onset": 6})
    whole = make_split(data, 0)
    for short, full in ((split.source, whole.source), (split.test, whole.test)):
        for part, all_bins in zip(short, full):
            np.testing.assert_array_equal(part, all_bins[:, 5:11])


def test_permuted_trials_keep_their_counts_but_not_their_order(data):
    whole, split = (make_split(data, 0, {"permuted": p}) for p in (False, True))
    X, permuted = whole.train[0], split.train[0]
    np.testing.assert_array_equal(np.sort(X, axis=0), np.sort(permuted, axis=0))
    # neurons no longer go together from trial to trial
    first, second = X.sum(1).var(0).sum(), permuted.sum(1).var(0).sum()
    assert second < 0.7 * first
    assert not np.array_equal(X, permuted)
    np.testing.assert_array_equal(whole.test[0], split.test[0])


def test_spikes_are_kept_at_random(data):
    whole, split = make_split(data), make_split(data, 0, {"spikes_kept": 0.25})
    for part in ("source", "train", "test"):
        X, thinned = getattr(whole, part)[0], getattr(split, part)[0]
        assert (thinned <= X).all() and (thinned == np.round(thinned)).all()
        assert thinned.sum() / X.sum() == pytest.approx(0.25, rel=0.02)
        np.testing.assert_array_equal(getattr(whole, part)[1], getattr(split, part)[1])
    again = make_split(data, 0, {"spikes_kept": 0.25})
    np.testing.assert_array_equal(again.train[0], split.train[0])
    rates = Bunch(**(data | {"trials": data.trials.map(lambda A: A / 3)}))
    with pytest.raises(ConfigurationError, match="whole counts.* they hold 0.333"):
        make_split(rates, 0, {"spikes_kept": 0.25})


def test_halves_share_neither_trials_nor_neurons(data):
    X = data.trials["day0"]
    marked = data.trials.map(
        lambda A: (
            0 * A + 1000 * np.arange(len(A))[:, None, None] + np.arange(A.shape[2])
        )
    )
    halved = Bunch(**(data | {"trials": marked}))
    split = make_split(halved, 0, {"halves": True})
    parts = [split.source[0], np.concatenate([split.train[0], split.test[0]])]
    seen = [(set(A[:, 0, 0] // 1000), set(A[0, 0] % 1000)) for A in parts]
    for one, other, n in zip(*seen, X.shape[::2]):
        assert not one & other
        assert len(one | other) == n


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"bins_after_onset": 16}, "reaches beyond the trials: they have 20 bins"),
        ({"target_trials": 129}, "there are 128 to adapt to"),
        ({"target_directions": 9}, "the data have 8"),
    ],
)
def test_settings_that_the_data_cannot_meet(data, setting, message):
    with pytest.raises(ConfigurationError, match=message):
        make_split(data, 0, setting)


def test_ones_own_sessions(tmp_path, arrays):
    data = load_pair(save(tmp_path, arrays), 1)
    assert data.trials["source"].shape == (24, 6, 5)
    assert data.trials["target"].shape == (20, 6, 7)
    assert data.onset == 2
    # shuffled, each session by itself, rows of all arrays alike
    X, mine = data.trials["source"], data.trials.is_source
    rows = [np.flatnonzero((arrays["source"] == x).all((1, 2)))[0] for x in X]
    assert rows != sorted(rows) and sorted(rows) == list(range(24))
    np.testing.assert_array_equal(data.y[mine], arrays["source_behaviour"][rows])
    np.testing.assert_array_equal(
        data.direction[mine], arrays["source_direction"][rows]
    )


def test_directions_are_optional_but_settings_may_need_them(tmp_path, arrays):
    for key in ("source_direction", "target_direction", "onset"):
        del arrays[key]
    data = load_pair(save(tmp_path, arrays))
    assert data.direction is None and data.onset == 0
    make_split(data, 0, {"target_trials": 8})
    with pytest.raises(ConfigurationError, match="need the direction of every trial"):
        make_split(data, 0, {"target_skew": True})


@pytest.mark.parametrize(
    "change, message",
    [
        ({"target": None}, r"lacks \['target'\]"),
        ({"source": np.zeros((24, 6))}, r"source must be \(n_trials, n_bins, n_neur"),
        ({"target_behaviour": np.zeros((20, 5, 2))}, "target must be"),
        ({"target_direction": None}, "give both of"),
        ({"source_direction": np.full(24, 0.5)}, "one whole number for each"),
        ({"source_direction": np.full(24, "up")}, "must hold finite numbers, got <U2"),
        ({"source": np.full((24, 6, 5), np.nan)}, "source must hold finite numbers"),
        ({"target": np.ones((20, 6, 7), complex)}, "got complex128"),
        ({"target": np.array([{}])}, "is no .npz file of plain arrays"),
        ({"target_behaviour": np.zeros((20, 6, 3))}, "as many bins and outputs"),
        ({"onset": -4}, "onset must be the number of a bin, 0 to 5, got -4"),
        ({"onset": np.zeros(2)}, "onset must be the number of a bin"),
        ({"onset": 6}, "onset must be the number of a bin"),
        ({"target_direction": np.zeros(19)}, "one whole number for each of the 20"),
    ],
)
def test_files_that_do_not_hold_two_sessions(tmp_path, arrays, change, message):
    arrays = {k: v for k, v in (arrays | change).items() if v is not None}
    with pytest.raises(ConfigurationError, match=message):
        load_pair(save(tmp_path, arrays))


def test_what_is_no_npz(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_pair(tmp_path / "gone.npz")
    for content in (b"hello", b"", b"PK\x03\x04 cut off"):
        (tmp_path / "text.npz").write_bytes(content)
        with pytest.raises(ConfigurationError, match="is no .npz file"):
            load_pair(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(ConfigurationError, match="is no .npz file"):
        load_pair(tmp_path / "one.npz")
    few = {"source": 9, "target": 7}
    arrays = {k: np.ones((n, 3, 2)) for k, n in few.items()}
    arrays |= {f"{k}_behaviour": np.ones((n, 3, 2)) for k, n in few.items()}
    np.savez(tmp_path / "few.npz", **arrays)
    with pytest.raises(ConfigurationError, match="target must have 8 trials or more"):
        load_pair(tmp_path / "few.npz")
    with pytest.raises(ConfigurationError, match="no data 'mihy'"):
        load_pair("mihy")
    with pytest.raises(ConfigurationError, match="for data 'synthetic' only"):
        load_pair("mihi", gain=2.0)
