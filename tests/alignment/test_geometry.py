"""The geometry warm start: similarity maps, assignments and their candidates."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from skerdiff.alignment._geometry import (
    Candidate,
    find_candidates,
    fit_readin,
    margin,
    matched_activations,
    refine,
    runner_up,
)
from skerdiff.datasets import make_reaching_sessions
from skerdiff.utils._similarity import (
    SimilarityMap,
    relative_residual,
)


def rotation(d, reflect, seed=0):
    Q = ortho_group.rvs(d, random_state=seed)
    if (np.linalg.det(Q) < 0) != reflect:
        Q[:, 0] *= -1
    return Q


@pytest.fixture(scope="module")
def reaches():
    """Latents of reaches, whose trials fit together in one way only."""
    return make_reaching_sessions(1, 48, 10, random_state=0).latents


def rotated_copy(A, noise, seed=0):
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(A))
    Q = rotation(A.shape[2], True, seed)
    B = 3.0 * A[order] @ Q + rng.standard_normal(A.shape[2])
    return B + noise * 3.0 * A.std() * rng.standard_normal(A.shape), order


@pytest.mark.parametrize("seed", range(2))
def test_search_finds_the_true_matching(reaches, seed):
    B, order = rotated_copy(reaches, 0.1, seed)
    candidates = find_candidates(reaches, B, n_starts=6, seed=seed)
    best = candidates[0]
    assert np.mean(best.coupling.argmax(0) == order) == 1.0
    assert margin(candidates, B) > 1.0
    error = np.mean((best.map(B) - reaches[order]) ** 2) / reaches.var()
    assert error < 0.02
    assert 1 / best.map.scale == pytest.approx(3.0, rel=0.1)


def test_margin_is_thin_without_structure():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((2, 40, 6, 4))
    candidates = find_candidates(A, B, n_starts=6)
    assert margin(candidates, B) < 0.05


def test_candidates_are_sorted_and_whole(reaches):
    B, _ = rotated_copy(reaches[:40], 0.3)
    candidates = find_candidates(reaches, B, n_starts=3)
    residuals = [c.residual for c in candidates]
    assert residuals == sorted(residuals)
    for c in candidates:
        assert c.coupling.shape == (48, 40)
        np.testing.assert_allclose(c.coupling.sum(0), 1 / 40)
        assert (c.coupling.sum(1) <= c.share / 48 + 1e-9).all()
        assert c.residual == pytest.approx(relative_residual(reaches, c.map(B)))


def test_search_is_determined_by_its_seed(reaches):
    B, _ = rotated_copy(reaches, 0.3)
    state = np.random.get_state()[1].copy()
    first, second = (find_candidates(reaches, B, n_starts=3, seed=5) for _ in range(2))
    assert [c.residual for c in first] == [c.residual for c in second]
    assert np.array_equal(first[0].coupling, second[0].coupling)
    assert np.array_equal(np.random.get_state()[1], state)


def test_search_on_a_subset_ends_on_all_trials(reaches):
    B, order = rotated_copy(reaches, 0.05)
    candidates = find_candidates(reaches, B, n_starts=6, max_trials=40)
    assert candidates[0].coupling.shape == (48, 48)
    assert np.mean(candidates[0].coupling.argmax(0) == order) == 1.0
    assert margin(candidates, B) > 0.5


def test_search_reports_its_progress(reaches):
    seen = []
    find_candidates(reaches, reaches, n_starts=3, progress=seen.append)
    assert seen
    assert seen == sorted(seen)
    assert seen[-1] <= 4


def test_unequal_directions_need_unequal_masses():
    # the target holds only half of the source's trials, twice each: with equal masses
    # half of its trials are forced onto strangers
    rng = np.random.default_rng(0)
    A = rng.standard_normal((12, 5, 3))
    order = np.r_[np.arange(6), np.arange(6)]
    B = A[order] + 0.01 * rng.standard_normal((12, 5, 3))
    start = np.zeros((12, 12))
    start[order, np.arange(12)] = 1 / 12
    equal, free = (refine(A, B, start, share) for share in (1.0, 2.0))
    assert np.array_equal(free.coupling.argmax(0), order)
    assert free.residual < 0.1 * equal.residual


def candidate(Q, residual, B):
    return Candidate(SimilarityMap(1.0, Q, np.zeros(2)), None, residual, 1.0, "")


def turn(degrees):
    a = np.deg2rad(degrees)
    return np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])


def test_runner_up_is_not_a_variant_of_the_best():
    B = np.random.default_rng(0).standard_normal((20, 5, 2))
    best = candidate(turn(0), 0.10, B)
    variant = candidate(turn(15), 0.11, B)
    other = candidate(turn(180), 0.14, B)
    last = candidate(turn(90), 0.20, B)
    pool = [best, variant, other, last]
    assert runner_up(pool, B) is other
    assert margin(pool, B) == pytest.approx(0.4)
    assert runner_up([best, variant], B) is None
    assert margin([best, variant], B) == np.inf


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


def test_matched_activations_are_means_over_the_coupling():
    activations = np.random.default_rng(0).standard_normal((3, 4, 2))
    coupling = np.array([[0.2, 0.0], [0.0, 0.1], [0.0, 0.3]])
    matched = matched_activations(coupling, activations)
    np.testing.assert_allclose(matched[0], activations[0])
    np.testing.assert_allclose(
        matched[1], 0.25 * activations[1] + 0.75 * activations[2]
    )
