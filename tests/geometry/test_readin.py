"""Read-ins from a similarity map and from matched trials."""

import numpy as np
import pytest
from scipy.stats import ortho_group
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit

from skerdiff.geometry import _readin
from skerdiff.geometry._readin import (
    RigidMap,
    coverage,
    find_partners,
    fit_readin,
    geometric_readin,
    matched,
    rigid_readin,
    variance_explained,
)
from skerdiff.geometry._similarity import (
    SimilarityMap,
    denoise_trials,
    principal_axes,
    relative_residual,
    squared_distances,
)


def test_fit_readin_recovers_a_linear_map():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((40, 10, 6)) + 2.0
    weights, bias = rng.standard_normal((4, 6)), rng.standard_normal(4)
    found = fit_readin(features, features @ weights.T + bias)
    np.testing.assert_allclose(found[0], weights, atol=2e-3)
    np.testing.assert_allclose(found[1], bias, atol=5e-3)


def test_fit_readin_shrinks_what_it_cannot_predict():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((20, 5, 30))
    noise = rng.standard_normal((20, 5, 3))
    weights, bias = fit_readin(features, noise)
    assert weights.shape == (3, 30)
    assert bias.shape == (3,)
    least_squares = np.linalg.lstsq(features.reshape(100, 30), noise.reshape(100, 3))[0]
    assert np.linalg.norm(weights) < 0.5 * np.linalg.norm(least_squares)


def test_fit_readin_to_one_activation():
    rng = np.random.default_rng(0)
    weights, bias = fit_readin(rng.random((6, 3, 4)), rng.random((6, 3, 1)))
    assert weights.shape == (1, 4)
    assert bias.shape == (1,)


def test_matched_is_the_mean_over_partners():
    activations = np.random.default_rng(0).standard_normal((3, 4, 2))
    partners = np.array([[1.0, 0.0], [0.0, 0.25], [0.0, 0.75]])
    found = matched(partners, activations)
    np.testing.assert_allclose(found[0], activations[0])
    np.testing.assert_allclose(found[1], 0.25 * activations[1] + 0.75 * activations[2])


def test_variance_is_carried_by_distinct_partners_only():
    A = np.random.default_rng(0).standard_normal((50, 4, 2))
    assert variance_explained(squared_distances(A, A), A) == pytest.approx(1.0)
    assert variance_explained(np.ones((50, 9)), A) == pytest.approx(0.0)
    assert variance_explained(np.eye(50), np.ones((50, 4, 2))) == 0.0
    # trials of one kind resemble those of one kind
    A[:25] += 5.0
    few = squared_distances(A, A[:25] + 0.5)
    both = squared_distances(A, A + 0.5)
    assert variance_explained(few, A) < 0.3 < 0.8 < variance_explained(both, A)


def test_fit_readin_is_cross_validated_ridge():
    # the same as scikit-learn's ridge with the best of these penalties over folds
    rng = np.random.default_rng(0)
    features = rng.standard_normal((12, 5, 7)) + rng.standard_normal(7)
    activations = features[..., :3] + 3.0 * rng.standard_normal((12, 5, 3)) + 1.0
    x, y = features.reshape(60, 7), activations.reshape(60, 3)
    folds = PredefinedSplit(np.repeat(np.arange(12) % 5, 5))
    errors = {}
    for alpha in np.logspace(-2, 7, 19):
        ridge = Ridge(alpha)
        errors[alpha] = sum(
            np.sum((ridge.fit(x[a], y[a]).predict(x[b]) - y[b]) ** 2)
            for a, b in folds.split()
        )
    best = min(errors, key=errors.get)
    assert 1e-2 < best < 1e7
    expected = Ridge(best).fit(x, y)
    weights, bias = fit_readin(features, activations)
    np.testing.assert_allclose(weights, expected.coef_, atol=1e-8)
    np.testing.assert_allclose(bias, expected.intercept_, atol=1e-8)


def test_fit_readin_shrinks_towards_its_anchor():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((10, 5, 30))
    anchor = rng.standard_normal((2, 30))
    right = features @ anchor.T + 0.5
    weights, bias = fit_readin(features, right, (anchor, np.zeros(2)))
    np.testing.assert_allclose(weights, anchor, atol=1e-6)
    np.testing.assert_allclose(bias, 0.5, atol=1e-6)
    noise = 3.0 * rng.standard_normal(right.shape)
    near, near_bias = fit_readin(features, right + noise, (anchor, np.zeros(2)))
    change, bias = fit_readin(features, noise + 0.5)
    np.testing.assert_allclose(near, anchor + change)
    np.testing.assert_allclose(near_bias, bias)


@pytest.fixture
def turned():
    """Two recordings of one state by other neurons, without noise."""
    rng = np.random.default_rng(0)
    # trials differ in five modes, as movements do in few
    modes = rng.standard_normal((5, 8, 3)) * [3.0, 2.0, 1.0]
    latents = np.tensordot(rng.standard_normal((30, 5)), modes, 1)
    loadings = [ortho_group.rvs(9, random_state=k)[:3] for k in (1, 2)]
    source, target = latents @ loadings[0], 2.0 * latents @ loadings[1] + 0.3
    readin = rng.standard_normal((4, 9)), rng.standard_normal(4)
    (m_A, U), (m_B, V) = (principal_axes(X, 3) for X in (source, target))
    A, B = (source - m_A) @ U, (target - m_B) @ V
    left = np.linalg.lstsq(B.reshape(-1, 3), A.reshape(-1, 3), rcond=None)[0]
    map_ = SimilarityMap(0.5, left / 0.5, np.zeros(3))
    return source, target, readin, A, map_


def test_rigid_readin_reads_the_target_as_the_source(turned):
    source, target, (W, b), A, map_ = turned
    activations = source @ W.T + b
    mean, axes = principal_axes(target, 3)
    rigid = RigidMap(mean, axes, map_)
    weights, bias = rigid_readin(rigid, A, activations)
    np.testing.assert_allclose(rigid(target), A, atol=1e-8)
    np.testing.assert_allclose(target @ weights.T + bias, activations, atol=1e-8)


def test_geometric_readin_holds_for_movements_that_were_not_adapted_to(turned):
    source, target, (W, b), A, map_ = turned
    activations = source @ W.T + b
    few = target[source[:, :, 0].mean(1) > 0]
    rest = source[:, :, 0].mean(1) <= 0
    # the map is that of the axes of the few
    mean, axes = principal_axes(few, 3)
    whole_mean, whole_axes = principal_axes(target, 3)
    turn = axes.T @ whole_axes
    shift = (mean - whole_mean) @ whole_axes
    refitted = SimilarityMap(
        0.5, turn @ map_.rotation, map_.shift + 0.5 * shift @ map_.rotation
    )
    (weights, bias), quality = geometric_readin(
        few, RigidMap(mean, axes, refitted), A, activations
    )
    assert 0.3 < quality["coverage"] < 1.0
    found = target[rest] @ weights.T + bias
    np.testing.assert_allclose(found, activations[rest], atol=1e-4)


def test_partners_are_found_by_what_trials_differ_in_in_the_main():
    # trials differ in three modes, and in noise of a quarter of their variance
    rng = np.random.default_rng(0)
    modes = rng.standard_normal((3, 12, 3))
    A = np.tensordot(rng.standard_normal((100, 3)), modes, 1)
    activations = A @ rng.standard_normal((3, 4))
    noise = 0.5 * A.std() * rng.standard_normal((2, *A.shape))
    rigid = RigidMap(np.zeros(3), np.eye(3), SimilarityMap(1.0, np.eye(3), np.zeros(3)))
    errors = []
    for n_modes in (8, 50):
        (weights, bias), _ = geometric_readin(
            A + noise[0],
            rigid,
            A + noise[1],
            activations,
            trust=np.ones_like,
            n_modes=n_modes,
        )
        errors.append(np.mean((A @ weights.T + bias - activations) ** 2))
    assert errors[0] < 0.8 * errors[1]


def test_the_readin_of_another_day_counts_while_it_reads_the_trials(turned):
    source, target, (W, b), A, map_ = turned
    activations = source @ W.T + b
    mean, axes = principal_axes(target, 3)
    few = target[:4]  # with little coverage, so that the anchor is most of the read-in
    noisy = few + np.random.default_rng(0).normal(0.0, 0.5, few.shape)
    arguments = noisy, RigidMap(mean, axes, map_), A, activations
    right = rigid_readin(arguments[1], A, activations)
    # right in another way: what it adds reads nothing of noiseless trials
    null = np.linalg.svd(target.reshape(-1, 9) - mean)[2][-1]
    known = right[0] + 0.1 * null, right[1] - 0.1 * null @ mean
    (alone, _), _ = geometric_readin(*arguments)
    (held, _), _ = geometric_readin(*arguments, known)
    assert np.abs(held - known[0]).sum() < np.abs(alone - known[0]).sum()
    lost = np.random.default_rng(1).permutation(known[0].T).T, known[1]
    (dropped, _), _ = geometric_readin(*arguments, lost)
    np.testing.assert_array_equal(dropped, alone)


@pytest.fixture
def partial(turned):
    """A target that covers some of the source's trials, and what its read-in takes.

    Activations depend on something that the map does not know, and the regression does.
    """
    source, target, (W, b), A, map_ = turned
    mean, axes = principal_axes(target, 3)
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((30, 1, 1))
    beside = np.linalg.svd(axes)[0][:, -1]
    few = (target + 3.0 * hidden * beside)[source[:, :, 0].mean(1) > 0]
    noisy = few + rng.normal(0.0, 0.3, few.shape)
    activations = source @ W.T + b + 2.0 * hidden * rng.standard_normal(4)
    return noisy, RigidMap(mean, axes, map_), A, activations


def parts(features, rigid, coordinates, activations, n_modes=8, **options):
    """What geometric_readin is made of: map, partners and distances of trials."""
    main = denoise_trials(coordinates, n_modes)
    distances = squared_distances(main, denoise_trials(rigid(features), n_modes))
    partners = find_partners(distances, **options)
    return rigid_readin(rigid, coordinates, activations), partners, distances, main


def assert_between(found, anchor, regressed, share):
    for x, a, b in zip(found, anchor, regressed, strict=True):
        np.testing.assert_allclose(x, a + share * (b - a), atol=1e-10)


@pytest.mark.parametrize(
    "options",
    [{}, {"entropy": 1.0}, {"mass_penalty": 5.0}, {"n_modes": 2}],
    ids=["default", "entropy", "mass_penalty", "n_modes"],
)
def test_readin_is_the_map_moved_to_the_regression_by_coverage_squared(
    partial, options
):
    features, *_, activations = partial
    anchor, partners, distances, main = parts(*partial, **options)
    regressed = fit_readin(features, matched(partners, activations), anchor)
    covered = coverage(partners)
    # none of the three would do in place of another
    assert 0.2 < covered < 0.95
    assert min(np.abs(a - b).max() for a, b in zip(anchor, regressed)) > 1e-2
    found, quality = geometric_readin(*partial, **options)
    assert_between(found, anchor, regressed, covered**2)
    assert quality == {
        "coverage": covered,
        "variance_explained": variance_explained(distances, main),
    }


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_trust_is_the_share_of_the_regression(partial, share):
    features, *_, activations = partial
    anchor, partners, *_ = parts(*partial)
    regressed = fit_readin(features, matched(partners, activations), anchor)
    seen = []

    def trust(covered):
        seen.append(covered)
        return share

    found, _ = geometric_readin(*partial, trust=trust)
    assert seen == [coverage(partners)]
    assert_between(found, anchor, regressed, share)


def residual_of(readin, features, activations):
    return relative_residual(activations, features @ readin[0].T + readin[1])


@pytest.mark.parametrize(("multiple", "holds"), [(1.9, True), (2.1, False)])
def test_a_start_is_the_anchor_up_to_twice_the_residual_of_the_map(
    partial, multiple, holds
):
    features, *_, activations = partial
    anchor, partners, *_ = parts(*partial)
    least = residual_of(anchor, features, activations)
    direction = np.random.default_rng(3).standard_normal(anchor[0].shape)

    def moved(size):
        return anchor[0] + size * direction, anchor[1] + 0.01

    sizes = np.geomspace(1e-3, 10.0, 800)
    found = (residual_of(moved(size), features, activations) for size in sizes)
    start = moved(next(s for s, r in zip(sizes, found) if r > multiple * least))
    assert residual_of(start, features, activations) < (multiple + 0.1) * least
    expected = start if holds else anchor
    # alone, and as what the regression is shrunk towards
    alone, _ = geometric_readin(*partial, start, trust=np.zeros_like)
    assert_between(alone, expected, expected, 0.0)
    regressed = fit_readin(features, matched(partners, activations), expected)
    whole, _ = geometric_readin(*partial, start)
    assert_between(whole, expected, regressed, coverage(partners) ** 2)


def test_rigid_readin_is_the_map_then_the_source_read_in():
    # any map, with shift, scale and reflection, of data that is not centred
    rng = np.random.default_rng(0)
    X, A = rng.standard_normal((6, 4, 7)) + 2.0, rng.standard_normal((9, 4, 3)) + 1.0
    slope, offset = rng.standard_normal((5, 3)), rng.standard_normal(5)
    map_ = SimilarityMap(0.7, ortho_group.rvs(3, random_state=0), np.array([1, -2, 3]))
    axes = ortho_group.rvs(7, random_state=1)[:, :3]
    rigid = RigidMap(rng.standard_normal(7), axes, map_)
    np.testing.assert_allclose(rigid(X), map_((X - rigid.mean) @ axes))
    weights, bias = rigid_readin(rigid, A, A @ slope.T + offset)
    assert weights.shape == (5, 7) and bias.shape == (5,)
    np.testing.assert_allclose(
        X @ weights.T + bias, rigid(X) @ slope.T + offset, atol=1e-10
    )


@pytest.mark.parametrize("n_trials", [2, 3, 5, 6])
def test_few_trials_are_folds_of_their_own(n_trials):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((n_trials, 9, 3)), rng.standard_normal((n_trials, 9, 2))
    y += x[..., :2]
    rows, right = x.reshape(-1, 3), y.reshape(-1, 2)
    fold = np.repeat(np.arange(n_trials) % min(5, n_trials), 9)
    errors = {}
    for alpha in np.logspace(-2, 7, 19):
        guess = np.zeros_like(right)
        for k in range(fold.max() + 1):
            ridge = Ridge(alpha).fit(rows[fold != k], right[fold != k])
            guess[fold == k] = ridge.predict(rows[fold == k])
        errors[alpha] = np.sum((guess - right) ** 2)
    expected = Ridge(min(errors, key=errors.get)).fit(rows, right)
    weights, bias = fit_readin(x, y)
    np.testing.assert_allclose(weights, expected.coef_, atol=1e-8)
    np.testing.assert_allclose(bias, expected.intercept_, atol=1e-8)


@pytest.mark.parametrize(
    ("signs", "penalty"),
    [([1, 1, 1, 1, 1], 1e-2), ([1, -1, 1, -1, 0], 1e7)],
    ids=["least", "most"],
)
def test_penalties_reach_from_a_hundredth_to_ten_million(signs, penalty):
    # a fold of trials whose sign the others have too, or the opposite of it
    x = np.random.default_rng(0).standard_normal((10, 4, 3))
    y = x[..., :1] * np.tile(signs, 2)[:, None, None]
    expected = Ridge(penalty).fit(x.reshape(-1, 3), y.ravel()).coef_
    weights, _ = fit_readin(x, y)
    np.testing.assert_allclose(weights[0], expected, atol=1e-4 * abs(expected).max())


def line(n, first=0.0, last=1.0):
    return np.linspace(first, last, n)


def test_partners_are_the_near_ones():
    rng = np.random.default_rng(0)
    distances = rng.uniform(1.0, 9.0, (6, 4))
    weights = find_partners(distances)
    np.testing.assert_allclose(weights.sum(0), 1.0)
    assert np.array_equal(weights.argmax(0), distances.argmin(0))
    np.testing.assert_allclose(find_partners(5.0 * distances), weights, atol=1e-6)


def test_partners_of_copies_are_the_originals():
    points = np.random.default_rng(0).standard_normal((7, 3))
    distances = np.sum((points[:, None] - points[:5]) ** 2, axis=2)
    np.testing.assert_allclose(find_partners(distances), np.eye(7)[:, :5], atol=1e-12)
    assert np.isfinite(find_partners(np.zeros((3, 2)))).all()


def test_no_source_trial_draws_all_to_itself():
    # one source trial in the middle is a little nearer to all targets than their own
    rng = np.random.default_rng(0)
    own = rng.uniform(3.0, 6.0, (20, 20))
    own[np.arange(20), np.arange(20)] = 1.0
    distances = np.vstack([np.full(20, 0.9), own])
    assert (distances.argmin(0) == 0).all()
    mass = find_partners(distances).mean(1)
    assert mass[0] < 0.2
    assert mass[1:].sum() > 0.8


@pytest.mark.parametrize("entropy", [0.1, 0.5])
@pytest.mark.parametrize("n_groups", [1, 3])
def test_partners_are_optimal_for_the_unbalanced_problem(n_groups, entropy):
    # optimality: log plan / (a b) = -(cost + f + g) / entropy with f = penalty log(m/a)
    rng = np.random.default_rng(0)
    distances = rng.uniform(1.0, 4.0, (40, 30))
    # of the first group the source has few trials, and the target many
    group = np.minimum(np.arange(40) // 2, n_groups - 1)
    distances += 15.0 * (group[:, None] != np.arange(30) % n_groups)
    weights = find_partners(distances, entropy)
    cost = distances / distances.min(0).mean()
    mass = weights.mean(1) * 40
    inner = np.log(weights * 40) + (cost + np.log(mass)[:, None]) / entropy
    # what is left depends on the target trial alone
    np.testing.assert_allclose(inner - inner[:1], 0.0, atol=1e-3)


def test_coverage_is_the_share_of_the_source_that_is_taken_up():
    assert coverage(np.full((8, 5), 1 / 8)) == pytest.approx(1.0)
    everywhere = (line(101)[:, None] - line(101) - 1e-3) ** 2
    assert coverage(find_partners(everywhere)) > 0.99
    half = (line(101)[:, None] - line(50, 0.0, 0.495) - 1e-3) ** 2
    assert 0.48 < coverage(find_partners(half)) < 0.65


@pytest.mark.parametrize(
    ("partners", "share"),
    [
        (np.eye(4), 1.0),
        (np.eye(4)[:, :2], 0.5),
        (np.eye(4)[:, [0, 0]], 0.25),
        (np.array([[0.4, 0.3, 0.2, 0.1]]).T, 0.8),
    ],
)
def test_coverage_against_values_by_hand(partners, share):
    assert coverage(partners) == pytest.approx(share)


def test_variance_explained_against_a_value_by_hand():
    # weights exp(-d / (s / 2)), s the mean distance to the nearest
    coordinates = np.array([[[0.0]], [[4.0]]])
    distances = np.array([[1.0, 9.0], [9.0, 3.0]])
    near = np.exp(-distances / (0.5 * 2.0))
    images = 4.0 * near[1] / near.sum(0)
    assert variance_explained(distances, coordinates) == pytest.approx(
        images.var() / 4.0
    )


def test_partners_by_default_have_a_quarter_of_entropy_and_a_penalty_of_one():
    distances = np.random.default_rng(0).uniform(1.0, 4.0, (12, 9))
    default = find_partners(distances)
    np.testing.assert_array_equal(default, find_partners(distances, 0.25, 1.0))
    for other in ((0.3, 1.0), (0.25, 1.2)):
        assert np.abs(default - find_partners(distances, *other)).max() > 1e-4


@pytest.mark.parametrize("penalty", [0.5, 4.0])
def test_masses_of_the_source_differ_at_the_price_given(penalty):
    # optimality, as above: log plan + (cost + penalty log(mass)) / entropy is the same
    # for all source trials of a target trial
    rng = np.random.default_rng(0)
    distances = rng.uniform(1.0, 4.0, (9, 7)) + rng.uniform(0.0, 4.0, (9, 1))
    weights = find_partners(distances, 0.5, penalty)
    cost = distances / distances.min(0).mean()
    mass = weights.mean(1) * 9
    inner = np.log(weights) + (cost + penalty * np.log(mass)[:, None]) / 0.5
    np.testing.assert_allclose(inner - inner[:1], 0.0, atol=1e-3)
    assert np.ptp(mass) > 0.1


def test_far_source_trials_are_no_partners_and_break_nothing():
    # one source trial is a million times as far as the others
    distances = np.random.default_rng(0).uniform(1.0, 2.0, (6, 5))
    distances[0] += 1e6
    weights = find_partners(distances)
    np.testing.assert_allclose(weights.sum(0), 1.0)
    assert weights[0].max() < 1e-3


def test_many_neurons_have_the_ridge_that_few_bins_leave_open():
    """In the space of the bins: the same weights as by the neurons' own moments."""
    rng = np.random.RandomState(0)
    features, activations = rng.randn(12, 5, 90), rng.randn(12, 5, 3)
    anchor = rng.randn(3, 90), np.zeros(3)
    weights, bias = fit_readin(features, activations, anchor)
    rows, left = features.reshape(-1, 90), activations.reshape(-1, 3)
    x, y = rows - rows.mean(0), left - rows @ anchor[0].T
    y = y - y.mean(0)
    change = weights - anchor[0]
    # of a ridge the residual is in proportion to the weights: x' (y - x w) = p w
    slope = x.T @ (y - x @ change.T)
    penalty = np.sum(slope * change.T) / np.sum(change**2)
    np.testing.assert_allclose(slope, penalty * change.T, atol=1e-6 * abs(slope).max())
    np.testing.assert_allclose(
        bias, (left - rows @ weights.T).mean(0), atol=1e-9 * abs(left).max()
    )
    steps = 2 * np.log10(penalty)  # in half powers of ten
    assert steps == pytest.approx(round(steps), abs=2e-3)


def test_more_than_a_thousand_axes_are_cut_to_the_leading_ones(monkeypatch):
    rng = np.random.RandomState(0)
    latents = rng.randn(30, 10, 3)
    features = latents @ rng.randn(3, 60) + 0.1 * rng.randn(30, 10, 60)
    whole = fit_readin(features, latents)
    monkeypatch.setattr(_readin, "MANY", 20)
    cut = fit_readin(features, latents)
    for weights, bias in (whole, cut):
        guess = features @ weights.T + bias
        assert np.mean((guess - latents) ** 2) < 0.01


def test_features_of_single_precision_give_nearly_the_same():
    rng = np.random.RandomState(0)
    features, activations = rng.randn(30, 10, 8), rng.randn(30, 10, 3)
    for a, b in zip(
        fit_readin(features, activations),
        fit_readin(features.astype(np.float32), activations),
    ):
        assert b.dtype == np.float64
        np.testing.assert_allclose(a, b, atol=1e-6)
