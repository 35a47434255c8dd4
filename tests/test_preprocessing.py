"""Square root, smoothing and time warping."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skerdiff import OneBinTrialsWarning, Trials
from skerdiff.preprocessing import GaussianSmoother, SquareRoot, smooth, warp_trials


@pytest.fixture
def X():
    return np.random.RandomState(0).poisson(4.0, (6, 15, 3)).astype(float)


def kernel_by_hand(sigma):
    reach = int(4 * sigma + 0.5)
    lag = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (lag / sigma) ** 2)
    return lag, weights / weights.sum()


@pytest.mark.parametrize("sigma", [0.5, 1.0, 1.7])
def test_smoothing_is_the_gaussian_kernel(sigma):
    impulse = np.zeros((1, 41, 2))
    impulse[0, 20, 1] = 3.0
    out = GaussianSmoother(sigma).fit_transform(impulse)
    lag, weights = kernel_by_hand(sigma)
    assert_allclose(out[0, 20 + lag, 1], 3.0 * weights, atol=1e-12)
    assert_allclose(out[0, :, 1].sum(), 3.0)
    assert not out[0, :, 0].any(), "a neuron leaked into another"


def test_smoothing_mirrors_trials_at_their_ends(X):
    sigma, n_bins = 1.3, X.shape[1]
    lag, weights = kernel_by_hand(sigma)
    mirrored = np.concatenate([X[:, ::-1], X, X[:, ::-1]], axis=1)
    expected = sum(
        w * mirrored[:, n_bins + k : 2 * n_bins + k] for k, w in zip(lag, weights)
    )
    assert_allclose(smooth(X, sigma), expected, atol=1e-12)


@pytest.mark.parametrize("n_bins", [1, 2, 5, 30])
def test_smoothing_preserves_constants_and_sums(n_bins):
    X = np.full((3, n_bins, 4), 2.5)
    assert_allclose(GaussianSmoother(2.0).fit_transform(X), X, rtol=1e-12)
    Y = np.random.RandomState(0).rand(3, n_bins, 4)
    assert_allclose(smooth(Y, 2.0).sum(axis=1), Y.sum(axis=1), rtol=1e-10)


@pytest.mark.parametrize("form", ["array", "trials", "rows"])
def test_smoothing_never_mixes_trials(X, form):
    spoiled = X.copy()
    spoiled[2] = 1e6
    smoother = GaussianSmoother(2.0, trial_length=X.shape[1])

    def run(A):
        if form == "trials":
            return smoother.fit_transform(Trials({"a": A})).to_array()
        if form == "rows":
            return smoother.fit_transform(A.reshape(-1, 3)).reshape(A.shape)
        return smoother.fit_transform(A)

    others = [0, 1, 3, 4, 5]
    assert_array_equal(run(spoiled)[others], run(X)[others])
    assert not np.allclose(run(X), X)


def test_smoothing_of_rows_that_are_trials_does_nothing(X):
    rows = X.reshape(-1, 3)
    with pytest.warns(OneBinTrialsWarning, match="each of the 90 rows.*trial_length"):
        smoother = GaussianSmoother(2.0).fit(rows)
    assert_array_equal(smoother.transform(rows), rows)  # says so once


@pytest.mark.parametrize("smoothing", [1e-300, 1e-3])
def test_a_gaussian_narrower_than_a_bin_does_nothing(X, smoothing):
    assert_array_equal(smooth(X, smoothing), X)


def test_a_very_wide_gaussian_averages(X):
    mean = np.broadcast_to(X.mean(1, keepdims=True), X.shape)
    assert_allclose(smooth(X, 1e6), mean)
    assert_allclose(
        smooth(X, 10.1 * X.shape[1]), smooth(X, 9.9 * X.shape[1]), rtol=1e-5
    )


@pytest.mark.parametrize("smoothing", [-1.0, np.nan, np.inf, "wide", None])
def test_smooth_refuses_what_is_no_width(X, smoothing):
    with pytest.raises(ValueError, match="smoothing must be a finite number of bins"):
        smooth(X, smoothing)


@pytest.mark.parametrize("axes", [2, 4])
def test_smooth_takes_trials_only(X, axes):
    with pytest.raises(ValueError, match="X must be of shape"):
        smooth(np.ones((3,) * axes), 1.0)


def test_smooth_of_integers_has_decimals():
    assert smooth(np.array([[[0], [3], [0]]]), 1.0)[0, 1, 0] < 2.9


def test_smoothing_of_zero_width_does_nothing(X):
    assert_array_equal(GaussianSmoother(0).fit_transform(X), X)


def test_square_root_is_elementwise(X):
    assert_array_equal(SquareRoot().fit_transform(X), np.sqrt(X))
    trials = Trials({"a": X[:4], "b": X[4:, :, :2]})
    out = SquareRoot().fit_transform(trials)
    assert_array_equal(out["b"], np.sqrt(X[4:, :, :2]))
    assert_array_equal(out["a"], np.sqrt(X[:4]))


def test_square_root_steadies_the_variance_of_counts():
    rng = np.random.RandomState(0)
    means = np.array([20.0, 80.0, 300.0])
    counts = rng.poisson(means, (4000, 1, 3))
    assert_allclose(SquareRoot().fit_transform(counts).var((0, 1)), 0.25, rtol=0.15)


@pytest.mark.parametrize("where", ["fit", "transform", "trials"])
def test_square_root_of_negative_values_raises(X, where):
    bad = X.copy()
    bad[1, 2, 0] = -0.5
    with pytest.raises(ValueError, match="Negative values.*smallest value is -0.5"):
        if where == "fit":
            SquareRoot().fit(bad)
        elif where == "trials":
            SquareRoot().fit(Trials({"a": X, "b": bad}))
        else:
            SquareRoot().fit(X).transform(bad)


@pytest.mark.parametrize("step", [SquareRoot(), GaussianSmoother()], ids=repr)
def test_steps_take_another_width_in_three_dimensions_only(X, step):
    fitted = step.fit(X)
    narrow = X[:, :, :2]
    assert fitted.transform(narrow).shape == narrow.shape
    assert fitted.transform(Trials({"new": narrow})).to_array().shape == narrow.shape
    with pytest.raises(ValueError, match="X has 2 features, but .* is expecting 3"):
        fitted.transform(narrow.reshape(-1, 2))


@pytest.mark.parametrize("n_bins", [2, 3, 7, 20])
def test_warping_is_exact_on_linear_ramps(n_bins):
    lengths = [2, 5, 9, 14]
    slope = np.array([1.0, -2.0, 0.25])
    trials = [np.linspace(0, 1, n)[:, None] * slope + 3 for n in lengths]
    expected = np.linspace(0, 1, n_bins)[:, None] * slope + 3
    warped = warp_trials(trials, n_bins)
    assert warped.shape == (4, n_bins, 3)
    assert_allclose(warped, np.broadcast_to(expected, warped.shape), atol=1e-12)


@pytest.mark.parametrize("n_bins", [2, 4, 11])
def test_warping_keeps_the_ends_and_the_range(n_bins):
    rng = np.random.RandomState(0)
    trials = [rng.rand(n, 2) for n in (3, 8, 15)]
    warped = warp_trials(trials, n_bins)
    for before, after in zip(trials, warped):
        assert_allclose(after[[0, -1]], before[[0, -1]], atol=1e-12)
        assert (after.min(0) >= before.min(0) - 1e-12).all()
        assert (after.max(0) <= before.max(0) + 1e-12).all()


def test_warping_to_the_same_length_is_the_identity(X):
    assert_array_equal(warp_trials(X, X.shape[1]), X)
    assert_array_equal(warp_trials(list(X), X.shape[1]), X)


def test_warping_agrees_with_interpolation():
    rng = np.random.RandomState(1)
    trials = [rng.randn(n, 2) for n in (1, 4, 9)]
    warped = warp_trials(trials, 6)
    for before, after in zip(trials, warped):
        at = np.linspace(0, len(before) - 1, 6)
        for k in range(2):
            expected = np.interp(at, np.arange(len(before)), before[:, k])
            assert_allclose(after[:, k], expected, atol=1e-12)


def test_warping_to_one_bin_takes_the_first():
    assert warp_trials([np.array([[4.0], [8.0]])], 1).ravel().tolist() == [4.0]


def test_warping_takes_lists_and_leaves_its_input_alone():
    trials = [[[0.0], [2.0]], [[1.0], [2.0], [3.0]]]
    assert_allclose(warp_trials(trials, 3)[:, :, 0], [[0, 1, 2], [1, 2, 3]])
    array = np.arange(6.0).reshape(3, 2)
    warp_trials([array], 2)[:] = -1
    assert_array_equal(array, np.arange(6.0).reshape(3, 2))


@pytest.mark.parametrize(
    "trials, n_bins, message",
    [
        ([np.ones((3, 2))], 0, "n_bins must be a positive integer, got 0"),
        ([np.ones((3, 2))], 2.5, "n_bins must be a positive integer, got 2.5"),
        ([], 4, "at least one trial, got none"),
        (
            [np.ones((3, 2)), np.ones((3, 4))],
            4,
            "trial 1 has 4 features, trial 0 has 2",
        ),
        ([np.ones((3, 2)), np.full((3, 2), np.nan)], 4, "trial 1 contains NaN"),
        ([np.ones((3, 2)), np.ones((0, 2))], 4, "0 sample"),
        ([np.ones(3)], 4, "Expected 2D array"),
    ],
)
def test_warping_of_wrong_input_raises(trials, n_bins, message):
    with pytest.raises(ValueError, match=message):
        warp_trials(trials, n_bins)
