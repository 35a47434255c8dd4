"""Similarity maps, assignments and how well they fit."""

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group

from skerdiff.geometry._similarity import (
    SimilarityMap,
    assign_trials,
    denoise_trials,
    fit_similarity,
    mean_spread,
    principal_axes,
    principal_coordinates,
    project,
    relative_distances,
    relative_residual,
    squared_distances,
    transport_plan,
)


def uniform(n):
    return np.eye(n) / n


def rotation(d, reflect, seed=0):
    Q = ortho_group.rvs(d, random_state=seed)
    if (np.linalg.det(Q) < 0) != reflect:
        Q[:, 0] *= -1
    return Q


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("scale", [0.05, 1.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_procrustes_undoes_any_similarity(reflect, scale, seed):
    rng = np.random.default_rng(seed)
    B = rng.standard_normal((7, 5, 4))
    Q, shift = rotation(4, reflect, seed), 10 * rng.standard_normal(4)
    A = scale * B @ Q + shift
    found = fit_similarity(A, B, uniform(7))
    np.testing.assert_allclose(found(B), A, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.rotation, Q, atol=1e-9)
    assert found.scale == pytest.approx(scale)
    np.testing.assert_allclose(found.shift, shift, atol=1e-7)


def test_procrustes_follows_the_coupling():
    # matched in another order, with unequal masses, and with trials of no mass that
    # fit nothing
    rng = np.random.default_rng(0)
    B = rng.standard_normal((6, 5, 3))
    A = rng.standard_normal((8, 5, 3))
    Q = rotation(3, True)
    pairs = [(4, 0, 0.1), (1, 3, 0.4), (7, 2, 0.2), (0, 5, 0.3)]
    coupling = np.zeros((8, 6))
    for i, j, mass in pairs:
        A[i] = 2.0 * B[j] @ Q + 1.0
        coupling[i, j] = mass
    found = fit_similarity(A, B, coupling)
    for i, j, _ in pairs:
        np.testing.assert_allclose(found(B[j]), A[i], atol=1e-9)


def test_procrustes_is_the_minimiser_of_the_coupled_distance():
    rng = np.random.default_rng(1)
    A, B = rng.standard_normal((5, 4, 3)), rng.standard_normal((6, 4, 3))
    coupling = rng.random((5, 6))
    coupling /= coupling.sum()
    best = fit_similarity(A, B, coupling)

    def cost(scale, Q, shift):
        Z = SimilarityMap(scale, Q, shift)(B)
        return np.sum(coupling * squared_distances(A, Z))

    least = cost(best.scale, best.rotation, best.shift)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        small = rng.standard_normal((3, 3)) * 0.1
        turned, _ = np.linalg.qr(best.rotation + small)
        turned *= np.sign(np.diag(turned.T @ best.rotation))
        assert cost(best.scale, turned, best.shift) > least
        assert cost(best.scale * np.exp(small[0, 0]), best.rotation, best.shift) > least
        assert cost(best.scale, best.rotation, best.shift + small[1]) > least


def test_similarity_map_keeps_shapes_of_trials():
    B = np.random.default_rng(0).standard_normal((6, 5, 3))
    A = np.random.default_rng(1).standard_normal((6, 5, 3))
    found = fit_similarity(A, B, uniform(6))
    np.testing.assert_allclose(found.rotation @ found.rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(
        squared_distances(found(B), found(B)),
        found.scale**2 * squared_distances(B, B),
        atol=1e-9,
    )


def test_residual_is_zero_on_identical_sets():
    A = np.random.default_rng(0).standard_normal((9, 5, 3))
    order = np.random.default_rng(1).permutation(9)
    assert relative_residual(A, A[order]) == pytest.approx(0, abs=1e-12)
    assert relative_residual(A, A[:4]) == pytest.approx(0, abs=1e-12)


def test_residual_against_a_value_by_hand():
    # one bin, one dim: nearest source trials at distance 1 and 2, spread 9
    A = np.array([0.0, 10.0]).reshape(2, 1, 1)
    Z = np.array([1.0, 8.0, 7.0]).reshape(3, 1, 1)
    spread = np.var([1.0, 8.0, 7.0])
    assert relative_residual(A, Z) == pytest.approx((1 + 4 + 9) / 3 / spread)


def test_residual_does_not_change_when_both_sets_turn():
    rng = np.random.default_rng(0)
    A, Z = rng.standard_normal((9, 5, 3)), rng.standard_normal((7, 5, 3))
    Q = rotation(3, True)
    turned = relative_residual(5 * A @ Q + 2, 5 * Z @ Q + 2)
    assert turned == pytest.approx(relative_residual(A, Z))


def test_residual_is_not_reduced_by_contraction():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((30, 5, 3))
    Z = A + 0.3 * rng.standard_normal(A.shape)
    centre = Z.mean(0)
    residuals = [
        relative_residual(A, centre + c * (Z - centre)) for c in (1, 0.7, 0.4, 0.1)
    ]
    assert (np.diff(residuals) > 0).all()
    nearest = A[squared_distances(A, centre[None]).argmin()]
    assert relative_residual(A, nearest + 0.01 * (Z - centre)) >= residuals[0]


@pytest.mark.parametrize("n", [4, 6])
def test_residual_of_trials_that_are_all_the_same_is_infinite(n):
    # also where rounding leaves a spread of 1e-34: the mean of six equal numbers
    A = np.random.default_rng(0).standard_normal((30, 5, 3))
    assert relative_residual(A, np.repeat(A[:1], n, axis=0)) == np.inf


@pytest.mark.parametrize("n_trials", [7, 60])  # both solvers
def test_denoising_keeps_what_differs_by_a_similarity_map_so(n_trials):
    Z = np.random.default_rng(0).standard_normal((n_trials, 5, 3))
    before = Z.copy()
    map_ = SimilarityMap(3.0, rotation(3, True), np.array([1.0, -2.0, 0.5]))
    np.testing.assert_allclose(denoise_trials(map_(Z)), map_(denoise_trials(Z)))
    np.testing.assert_array_equal(Z, before)


def test_denoising_leaves_trials_that_differ_in_few_modes_as_they_were():
    rng = np.random.default_rng(0)
    modes = rng.standard_normal((8, 5, 3))
    Z = 4.0 + np.tensordot(rng.standard_normal((30, 8)), modes, 1)
    np.testing.assert_allclose(denoise_trials(Z), Z)
    rank = np.linalg.matrix_rank(denoise_trials(Z, 3).reshape(30, -1) - Z[0].mean())
    assert rank <= 4
    noise = rng.standard_normal(Z.shape)
    error = denoise_trials(Z + noise) - Z
    # of the noise no more than the modes can hold is left
    assert np.sum(error**2) < 0.75 * np.sum(noise**2)


@pytest.mark.parametrize("n_trials", [4, 40])
def test_denoising_of_trials_that_are_all_the_same(n_trials):
    Z = np.repeat(np.random.default_rng(0).standard_normal((1, 5, 3)), n_trials, axis=0)
    np.testing.assert_allclose(denoise_trials(Z), Z)
    np.testing.assert_array_equal(denoise_trials(0 * Z), 0)


@pytest.mark.parametrize("n_trials, rank", [(1, 0), (2, 1), (3, 1), (6, 3), (20, 8)])
def test_denoising_keeps_at_most_half_as_many_modes_as_trials(n_trials, rank):
    Z = denoise_trials(np.random.default_rng(0).standard_normal((n_trials, 5, 3)))
    assert Z.shape == (n_trials, 5, 3)
    assert np.linalg.matrix_rank((Z - Z.mean(0)).reshape(n_trials, -1)) == rank


def test_principal_coordinates_keep_distances():
    features = np.random.default_rng(0).standard_normal((12, 6, 5))
    Z = principal_coordinates(features, 5)
    np.testing.assert_allclose(
        squared_distances(Z, Z), squared_distances(features, features), atol=1e-8
    )
    variances = Z.reshape(-1, 5).var(0)
    assert (np.diff(variances) < 0).all()
    np.testing.assert_allclose(Z.mean((0, 1)), 0, atol=1e-9)


def test_principal_coordinates_of_few_neurons_or_bins():
    features = np.random.default_rng(0).standard_normal((12, 6, 3))
    Z = principal_coordinates(features, 8)
    assert Z.shape == (12, 6, 8)
    assert not Z[..., 3:].any()
    assert principal_coordinates(features[:2, :1], 8).shape == (2, 1, 8)


def test_assignment_is_a_plan_with_the_masses_allowed():
    rng = np.random.default_rng(0)
    A, Z = rng.standard_normal((8, 3, 2)), rng.standard_normal((5, 3, 2))
    for share in (1.0, 2.0):
        plan = assign_trials(A, Z, share)
        np.testing.assert_allclose(plan.sum(0), 1 / 5)
        assert plan.sum(1).max() <= share / 8 + 1e-12
    order = rng.permutation(8)
    plan = assign_trials(A, A[order], 1.0)
    assert (plan.argmax(0) == order).all()


def test_inverse_undoes_a_map():
    B = np.random.default_rng(0).standard_normal((6, 5, 3))
    map_ = SimilarityMap(3.0, rotation(3, True), np.array([1.0, -2.0, 0.5]))
    np.testing.assert_allclose(map_.inverse()(map_(B)), B, atol=1e-12)
    np.testing.assert_allclose(map_(map_.inverse()(B)), B, atol=1e-12)
    assert map_.inverse().scale == pytest.approx(1 / 3)


def test_procrustes_of_trials_that_are_one_point_only_shifts():
    A = np.random.default_rng(0).standard_normal((3, 4, 2))
    found = fit_similarity(A, np.zeros((5, 4, 2)), np.full((3, 5), 1 / 15))
    assert found.scale == 1.0
    np.testing.assert_allclose(found.shift, A.mean((0, 1)))


def test_procrustes_knows_no_total_mass():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((5, 4, 3)), rng.standard_normal((6, 4, 3))
    coupling = rng.random((5, 6))
    one, many = (fit_similarity(A, B, c * coupling) for c in (1.0, 7.0))
    np.testing.assert_allclose(one(B), many(B), atol=1e-10)


def test_squared_distances_are_those_of_whole_trials():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((5, 4, 3)), rng.standard_normal((7, 4, 3))
    expected = cdist(A.reshape(5, -1), B.reshape(7, -1), "sqeuclidean")
    np.testing.assert_allclose(squared_distances(A, B), expected)
    far = 1e6 + A
    assert squared_distances(far, far).min() >= 0.0
    assert np.diag(squared_distances(far, far)).max() < 1.0


def test_spread_and_distances_against_values_by_hand():
    A = np.array([0.0, 10.0]).reshape(2, 1, 1)
    Z = np.array([1.0, 8.0, 6.0]).reshape(3, 1, 1)
    assert mean_spread(Z) == pytest.approx(np.var([1.0, 8.0, 6.0]))
    assert mean_spread(np.concatenate([Z, Z], axis=1)) == pytest.approx(
        2 * np.var([1.0, 8.0, 6.0])
    )
    distances = relative_distances(A, Z)
    np.testing.assert_allclose(distances, np.array([1, 4, 16]) / np.var([1, 8, 6]))
    # a mass of a half counts as two trials of a quarter
    masses = np.array([0.5, 0.25, 0.25])
    spread = np.var([1.0, 1.0, 8.0, 6.0])
    assert mean_spread(Z, masses) == pytest.approx(spread)
    weighted = relative_distances(A, Z, masses)
    np.testing.assert_allclose(weighted, np.array([1, 4, 16]) / spread)
    assert relative_residual(A, Z, masses) == pytest.approx(5.5 / spread)
    # without spread there is nothing to be near to
    assert (relative_distances(A, np.ones((4, 1, 1))) == np.inf).all()
    assert (relative_distances(A, np.zeros((4, 1, 1))) == np.inf).all()


@pytest.mark.parametrize(("share_of_size", "finite"), [(1e-11, True), (1e-13, False)])
def test_spread_is_rounding_error_below_1e_12_of_the_size(share_of_size, finite):
    step = np.sqrt(share_of_size)
    Z = np.array([1.0 - step, 1.0 + step]).reshape(2, 1, 1)
    assert np.isfinite(relative_residual(Z, Z)) == finite


@pytest.mark.parametrize("share", [1.0, 2.0, 4.0])
def test_plans_are_the_cheapest_within_the_masses(share):
    rng = np.random.default_rng(0)
    cost = rng.random((6, 5))
    a, b = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(5))
    plan = transport_plan(cost, share, (a, b))
    np.testing.assert_allclose(plan.sum(0), b)
    assert (plan.sum(1) <= share * a + 1e-12).all()
    # as linear programming finds it
    rows, columns = np.kron(np.eye(6), np.ones(5)), np.kron(np.ones(6), np.eye(5))
    found = linprog(cost.ravel(), rows, share * a, columns, b)
    assert np.sum(plan * cost) == pytest.approx(found.fun)
    np.testing.assert_allclose(transport_plan(cost, share).sum(0), 1 / 5)


@pytest.mark.parametrize("shape", [(7, 5, 3), (40, 4, 3)])  # wide and tall
@pytest.mark.parametrize("n_modes", [1, 3, 8])
def test_denoising_is_the_best_approximation_of_its_rank(shape, n_modes):
    Z = np.random.default_rng(0).standard_normal(shape) + 2.0
    k = min(n_modes, shape[0] // 2)
    U, S, Vt = np.linalg.svd((Z - Z.mean(0)).reshape(len(Z), -1), full_matrices=False)
    expected = Z.mean(0) + ((U[:, :k] * S[:k]) @ Vt[:k]).reshape(shape)
    np.testing.assert_allclose(denoise_trials(Z, n_modes), expected, atol=1e-10)


def test_denoising_keeps_all_of_fewer_coordinates_than_modes():
    Z = np.random.default_rng(0).standard_normal((30, 2, 2))
    np.testing.assert_allclose(denoise_trials(Z), Z)


@pytest.mark.parametrize("shape", [(12, 6, 5), (2, 2, 9)])  # both solvers
def test_principal_axes_are_the_leading_ones_and_leave_the_data(shape):
    X = np.random.default_rng(0).standard_normal(shape) + 3.0
    before = X.copy()
    mean, axes = principal_axes(X, 3)
    np.testing.assert_array_equal(X, before)
    rows = X.reshape(-1, shape[2])
    np.testing.assert_allclose(mean, rows.mean(0))
    leading = np.linalg.svd(rows - rows.mean(0))[2][:3].T
    np.testing.assert_allclose(np.abs(axes.T @ leading), np.eye(3), atol=1e-6)
    np.testing.assert_allclose(
        project(X, mean, axes), principal_coordinates(X, 3), atol=1e-10
    )
    np.testing.assert_allclose(project(X, mean, axes), (X - mean) @ axes, atol=1e-10)


@pytest.mark.parametrize("share", [0.5, 0.0, np.nan])
def test_a_share_below_one_is_refused(share):
    with pytest.raises(ValueError, match="share must be at least 1"):
        transport_plan(np.ones((3, 3)), share)


@pytest.mark.parametrize("masses", [[0.5, 0.4, 0.2], [1.5, -0.5, 0.0]])
def test_masses_are_shares_of_one(masses):
    with pytest.raises(ValueError, match="positive and sum to 1"):
        transport_plan(np.ones((3, 3)), 1.0, (np.array(masses), None))


def test_a_map_needs_a_coupling_with_mass():
    A = np.random.default_rng(0).standard_normal((3, 4, 2))
    for coupling in (np.zeros((3, 3)), np.ones((3, 2))):
        with pytest.raises(ValueError, match="coupling of 3 and 3 trials"):
            fit_similarity(A, A, coupling)
    with pytest.raises(ValueError, match="coupling contains NaN, in 3 of 3 rows"):
        fit_similarity(A, A, np.full((3, 3), np.nan))
    with pytest.raises(ValueError, match="coupling must be at least 0, got -1"):
        fit_similarity(A, A, -np.eye(3))
    with pytest.raises(ValueError, match="same n_bins and d"):
        assign_trials(A, A[:, :3], 1.0)
