"""Simulated reaching sessions: each knob does what it says, and only that."""

from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.distance import pdist, squareform
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from skerdiff.datasets import make_reaching_sessions

SMALL = {"n_trials": 24, "n_neurons": 20, "random_state": 0}


@pytest.fixture(scope="module")
def default():
    return make_reaching_sessions(random_state=0)


def of(data, session, key):
    return data[key][data.trials.session == session]


def smoothed(X):
    return gaussian_filter1d(np.sqrt(X), 1.0, axis=1)


def held_out_r2(X, y):
    test = np.arange(len(X)) % 4 == 0
    X = smoothed(X)
    ridge = Ridge(alpha=10.0)
    ridge.fit(X[~test].reshape(-1, X.shape[2]), y[~test].reshape(-1, 2))
    predicted = ridge.predict(X[test].reshape(-1, X.shape[2]))
    return r2_score(y[test].reshape(-1, 2), predicted)


def direction_distances(Z, direction):
    """Distances between the mean trials of the eight directions, mean 1."""
    means = [Z[direction == k].mean(axis=0).ravel() for k in range(8)]
    distance = pdist(means)
    return squareform(distance / distance.mean())


def mismatch(a, b, order):
    """Root mean squared difference of distances when b's directions are reordered."""
    b = b[np.ix_(order, order)]
    upper = np.triu_indices(8, 1)
    return np.sqrt(np.mean((a[upper] - b[upper]) ** 2))


def dihedral():
    """The cyclic shifts and reflections of the directions but the identity."""
    k = np.arange(8)
    orders = [(k + s) % 8 for s in range(8)] + [(s - k) % 8 for s in range(8)]
    return orders[1:]


# -- what is returned ------------------------------------------------------------------
def test_shapes_and_types():
    data = make_reaching_sessions(
        3,
        [10, 12, 8],
        [5, 9, 40],
        n_bins=7,
        bin_size=0.1,
        n_components=4,
        random_state=0,
    )
    assert data.trials.names == ["day0", "day1", "day2"]
    assert data.trials.source == "day0"
    shapes = {name: X.shape for name, X in data.trials.items()}
    assert shapes == {"day0": (10, 7, 5), "day1": (12, 7, 9), "day2": (8, 7, 40)}
    assert data.y.shape == data.position.shape == (30, 7, 2)
    assert data.latents.shape == (30, 7, 4)
    assert data.direction.shape == (30,)
    assert data.bin_size == 0.1
    assert {name: w.shape for name, w in data.loadings.items()} == {
        "day0": (5, 4),
        "day1": (9, 4),
        "day2": (40, 4),
    }
    for X in (data.trials[name] for name in data.trials.names):
        assert X.dtype == np.float64
        assert_array_equal(X, np.rint(X))
        assert X.min() >= 0
    assert "[10, 12, 8]" in data.DESCR


def test_return_X_y(default):
    trials, y = make_reaching_sessions(random_state=0, return_X_y=True)
    assert_array_equal(y, default.y)
    for name, X in trials.items():
        assert_array_equal(X, default.trials[name])


def test_one_session():
    data = make_reaching_sessions(1, **SMALL)
    assert data.trials.names == ["day0"]
    assert data.kept["day0"].all()


@pytest.mark.parametrize("n_components", [2, 3, 12])
def test_number_of_components(n_components):
    data = make_reaching_sessions(
        n_components=n_components, tuning_rotation=1.0, turnover=0.0, **SMALL
    )
    assert data.latents.shape[2] == n_components
    assert data.latents.std(axis=(0, 1)).min() > 0.1


# -- the reaches -----------------------------------------------------------------------
def test_reaches_go_where_their_direction_says(default):
    end = default.position[:, -1]
    angle = np.exp(1j * np.arctan2(end[:, 1], end[:, 0]))
    error = np.angle(angle * np.exp(-1j * np.pi / 4 * default.direction))
    assert np.abs(error).max() < np.pi / 8
    extent = np.linalg.norm(end, axis=1)
    assert 0.05 < extent.min() < extent.max() < 0.2


def test_velocity_is_the_derivative_of_position():
    data = make_reaching_sessions(n_bins=200, bin_size=0.005, **SMALL)
    derivative = np.gradient(data.position, data.bin_size, axis=1)
    assert_allclose(derivative[:, 1:-1], data.y[:, 1:-1], atol=0.02)
    assert 0.2 < np.abs(data.y).max() < 1.0


def test_a_reach_fills_the_trial_whatever_its_length():
    short = make_reaching_sessions(bin_size=0.025, **SMALL)
    long = make_reaching_sessions(bin_size=0.1, **SMALL)
    assert_allclose(short.position, long.position)
    assert_allclose(short.y, 4 * long.y)


def test_trials_are_shuffled_in_each_session_by_itself(default):
    day0 = of(default, "day0", "direction")
    day1 = of(default, "day1", "direction")
    assert_array_equal(np.bincount(day0), np.full(8, 20))
    assert (np.diff(day0) != 0).mean() > 0.7
    assert (day0 == day1).mean() < 0.3


# -- the neurons -----------------------------------------------------------------------
def test_firing_rates_are_those_of_motor_cortex(default):
    for X in (default.trials["day0"], default.trials["day1"]):
        rate = X.mean(axis=(0, 1)) / default.bin_size
        assert 10 < rate.mean() < 20
        assert (rate == 0).sum() == 3
        active = np.log(rate[rate > 0])
        assert 0.4 < active.std() < 1.0
        assert np.exp(active.max()) < 120


def test_velocity_can_be_decoded_within_each_session(default):
    for name, X in default.trials.items():
        assert held_out_r2(X, of(default, name, "y")) > 0.65


def test_a_decoder_does_not_carry_over_to_new_neurons(default):
    X, y = smoothed(default.trials["day0"]), of(default, "day0", "y")
    ridge = Ridge(alpha=10.0).fit(X.reshape(-1, 60), y.reshape(-1, 2))
    predicted = ridge.predict(smoothed(default.trials["day1"]).reshape(-1, 60))
    assert r2_score(of(default, "day1", "y").reshape(-1, 2), predicted) < 0.1


# -- what makes unsupervised alignment possible, and unique ----------------------------
def test_the_latents_have_no_symmetry_of_the_directions(default):
    shape = direction_distances(default.latents, default.direction)
    other = direction_distances(
        of(default, "day1", "latents"), of(default, "day1", "direction")
    )
    same = mismatch(shape, other, np.arange(8))
    assert min(mismatch(shape, shape, order) for order in dihedral()) > 0.08
    assert min(mismatch(shape, other, order) for order in dihedral()) > 4 * same


def test_two_populations_have_the_same_shape_under_one_matching_only(default):
    shapes = []
    for name, X in default.trials.items():
        X = smoothed(X)
        Z = PCA(8, random_state=0).fit_transform(X.reshape(-1, X.shape[2]))
        Z = Z.reshape(len(X), -1)
        shapes.append(direction_distances(Z, of(default, name, "direction")))
    orders = np.array(list(permutations(range(8))))
    a, b = shapes
    upper = np.triu_indices(8, 1)
    permuted = b[orders[:, upper[0]], orders[:, upper[1]]]
    errors = np.sqrt(np.mean((permuted - a[upper]) ** 2, axis=1))
    assert_array_equal(orders[errors.argmin()], np.arange(8))
    assert np.sort(errors)[1] > 1.1 * errors.min()


def test_the_population_is_low_dimensional(default):
    X = smoothed(default.trials["day0"])
    signal = np.stack(
        [X[of(default, "day0", "direction") == k].mean(axis=0) for k in range(8)]
    )
    variance = PCA().fit(signal.reshape(-1, 60)).explained_variance_ratio_
    assert variance[:8].sum() > 0.9
    assert variance[0] < 0.6


# -- one knob per shift between sessions -----------------------------------------------
KNOBS = {
    "turnover": 0.4,
    "tuning_rotation": 0.7,
    "gain": 1.5,
    "direction_skew": 0.8,
    "noise": 0.5,
}


@pytest.mark.parametrize("knob", KNOBS)
def test_no_knob_changes_day_0(knob):
    plain = make_reaching_sessions(turnover=0.9, **SMALL)
    turned = make_reaching_sessions(**{"turnover": 0.9, knob: KNOBS[knob]}, **SMALL)
    assert_array_equal(plain.trials["day0"], turned.trials["day0"])
    for key in ("y", "position", "direction", "latents"):
        assert_array_equal(of(plain, "day0", key), of(turned, "day0", key))
    assert not np.array_equal(plain.trials["day1"], turned.trials["day1"])


def test_more_sessions_leave_the_earlier_ones_as_they_are():
    two = make_reaching_sessions(2, **SMALL)
    three = make_reaching_sessions(3, **SMALL)
    for name in ("day0", "day1"):
        assert_array_equal(two.trials[name], three.trials[name])
    assert not np.array_equal(three.loadings["day1"], three.loadings["day2"])


@pytest.mark.parametrize("knob", ["turnover", "tuning_rotation", "gain"])
def test_neural_knobs_leave_the_behaviour(knob):
    plain = make_reaching_sessions(turnover=0.9, **SMALL)
    turned = make_reaching_sessions(**{"turnover": 0.9, knob: KNOBS[knob]}, **SMALL)
    for key in ("y", "position", "direction", "latents"):
        assert_array_equal(plain[key], turned[key])


def test_without_turnover_the_neurons_are_the_same():
    data = make_reaching_sessions(turnover=0.0, random_state=0)
    assert data.kept["day1"].all()
    assert_array_equal(data.loadings["day0"], data.loadings["day1"])
    X, y = smoothed(data.trials["day0"]), of(data, "day0", "y")
    ridge = Ridge(alpha=10.0).fit(X.reshape(-1, 60), y.reshape(-1, 2))
    predicted = ridge.predict(smoothed(data.trials["day1"]).reshape(-1, 60))
    assert r2_score(of(data, "day1", "y").reshape(-1, 2), predicted) > 0.65


@pytest.mark.parametrize("turnover, n_kept", [(0.0, 20), (0.25, 15), (1.0, 0)])
def test_turnover_is_the_fraction_of_new_neurons(turnover, n_kept):
    data = make_reaching_sessions(turnover=turnover, **SMALL)
    kept = data.kept["day1"]
    assert kept.sum() == n_kept
    same = (data.loadings["day0"] == data.loadings["day1"]).all(axis=1)
    assert_array_equal(same, kept)


def test_turnover_between_sessions_of_different_width():
    data = make_reaching_sessions(n_neurons=[20, 12], turnover=0.5, random_state=0)
    kept = data.kept["day1"]
    assert kept.sum() == 6
    assert_array_equal(data.loadings["day0"][:12][kept], data.loadings["day1"][kept])


def test_tuning_rotation_turns_preferred_directions_of_kept_neurons():
    angle = 0.7
    plain = make_reaching_sessions(turnover=0.5, **SMALL)
    turned = make_reaching_sessions(turnover=0.5, tuning_rotation=angle, **SMALL)
    kept = plain.kept["day1"]
    before, after = plain.loadings["day1"], turned.loadings["day1"]
    for x, y in ((0, 1), (2, 3)):
        assert_allclose(
            after[kept, x] + 1j * after[kept, y],
            np.exp(1j * angle) * (before[kept, x] + 1j * before[kept, y]),
        )
    assert_array_equal(after[:, 4:], before[:, 4:])
    assert_array_equal(after[~kept], before[~kept])


def test_gain_multiplies_the_firing():
    data = make_reaching_sessions(turnover=0.0, gain=1.5, random_state=0)
    ratio = data.trials["day1"].mean() / data.trials["day0"].mean()
    assert_allclose(ratio, 1.5, rtol=0.05)


@pytest.mark.parametrize("skew, low, high", [(0, 0.37, 0.38), (0.5, 0.6, 0.7)])
def test_direction_skew_favours_neighbouring_directions(skew, low, high):
    data = make_reaching_sessions(direction_skew=skew, random_state=0)
    counts = np.bincount(of(data, "day1", "direction"), minlength=8)
    neighbours = counts + np.roll(counts, 1) + np.roll(counts, -1)
    assert low <= neighbours.max() / counts.sum() <= high


def test_full_skew_leaves_few_reaches_elsewhere():
    data = make_reaching_sessions(direction_skew=1.0, random_state=0)
    counts = np.bincount(of(data, "day1", "direction"), minlength=8)
    neighbours = counts + np.roll(counts, 1) + np.roll(counts, -1)
    assert 0.9 < neighbours.max() / counts.sum() < 1
    assert len(data.trials["day1"]) == 160


def test_noise_is_smooth_and_of_the_size_asked_for():
    plain = make_reaching_sessions(random_state=0)
    noisy = make_reaching_sessions(noise=0.5, random_state=0)
    assert_array_equal(plain.y, noisy.y)
    added = of(noisy, "day1", "latents") - of(plain, "day1", "latents")
    assert_allclose(added.std(), 0.5, rtol=0.05)
    neighbours = np.corrcoef(added[:, 1:].ravel(), added[:, :-1].ravel())[0, 1]
    assert neighbours > 0.8
    y = of(plain, "day1", "y")
    clean, disturbed = (held_out_r2(d.trials["day1"], y) for d in (plain, noisy))
    assert disturbed < clean - 0.05


# -- seeds and errors ------------------------------------------------------------------
def test_same_seed_same_data_and_the_global_generator_is_untouched():
    before = np.random.get_state()[1].copy()
    a = make_reaching_sessions(**SMALL)
    b = make_reaching_sessions(**SMALL)
    c = make_reaching_sessions(**{**SMALL, "random_state": 1})
    assert_array_equal(np.random.get_state()[1], before)
    assert_array_equal(a.trials["day1"], b.trials["day1"])
    assert not np.array_equal(a.trials["day1"], c.trials["day1"])


def test_a_random_state_instance_is_used():
    a = make_reaching_sessions(**{**SMALL, "random_state": np.random.RandomState(0)})
    assert_array_equal(a.y, make_reaching_sessions(**SMALL).y)


@pytest.mark.parametrize(
    "bad",
    [
        {"n_sessions": 0},
        {"n_bins": 0},
        {"bin_size": 0.0},
        {"n_components": 13},
        {"turnover": 1.1},
        {"gain": 0.0},
        {"direction_skew": -0.1},
        {"noise": -1.0},
        {"tuning_rotation": np.inf},
        {"n_trials": 0},
    ],
)
def test_a_parameter_out_of_range_is_named(bad):
    with pytest.raises(ValueError, match=f"'{next(iter(bad))}' parameter"):
        make_reaching_sessions(**bad)


@pytest.mark.parametrize("name", ["n_trials", "n_neurons"])
def test_sequences_must_fit_the_sessions(name):
    with pytest.raises(ValueError, match=f"{name}=.* 3 entries for n_sessions=2"):
        make_reaching_sessions(2, **{name: [10, 10, 10]})
    with pytest.raises(ValueError, match=f"{name}=.* whole numbers of at least 1"):
        make_reaching_sessions(2, **{name: [10, 0]})
    with pytest.raises(ValueError, match=f"{name}=.* whole numbers of at least 1"):
        make_reaching_sessions(2, **{name: [10, 2.5]})
