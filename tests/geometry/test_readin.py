"""Read-ins from a similarity map and from matched trials."""

import numpy as np
import pytest
from scipy.stats import ortho_group
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit

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
    principal_axes,
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
