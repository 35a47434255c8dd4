"""Mixtures of Gaussians over trajectories."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf

from skerdiff.diffusion._mixture import (
    CLUSTERS,
    SHRINKAGES,
    Clustering,
    Mixture,
    autoregressive_covariance,
    fit_mixtures,
    from_blocks,
    to_blocks,
)

N_BINS, D = 5, 3
SIZE = N_BINS * D
FLAGS = [(True, True), (True, False), (False, True), (False, False)]
flags = pytest.mark.parametrize(
    "spatial, temporal", FLAGS, ids=["both", "no time", "no space", "neither"]
)
# (n_blocks, m)
SHAPES = dict(zip(FLAGS, [(1, SIZE), (N_BINS, D), (D, N_BINS), (SIZE, 1)]))
STEP = np.array([[0.9, 0.2, 0.0], [-0.2, 0.9, 0.1], [0.0, 0.0, 0.7]])
NOISE = np.diag([0.1, 0.2, 0.3])


def walks(n, n_bins=N_BINS, seed=0):
    """Trajectories of z_{k+1} = STEP z_k + N(0, NOISE) that start at N(0, I)."""
    rng = np.random.default_rng(seed)
    Z = np.empty((n, n_bins, D))
    Z[:, 0] = rng.standard_normal((n, D))
    for k in range(1, n_bins):
        noise = rng.standard_normal((n, D)) @ np.sqrt(NOISE)
        Z[:, k] = Z[:, k - 1] @ STEP.T + noise
    return Z


def clusters(n, n_clusters, distance=6.0, seed=0):
    """Walks around far apart mean trajectories."""
    rng = np.random.default_rng(seed)
    means = distance * rng.standard_normal((n_clusters, 1, D))
    return walks(n, seed=seed + 1) + means[np.arange(n) % n_clusters]


def folds(n, n_folds=5):
    return np.arange(n) % n_folds


def coordinates(spatial, temporal):
    """Flat coordinates (bin * D + dim) of each block, in the block's order."""
    flat = np.arange(SIZE, dtype=float).reshape(1, N_BINS, D)
    return to_blocks(flat, spatial, temporal)[:, 0].astype(int)


def log_density(mixture, Z, spatial, temporal):
    """From the definition: sum over blocks of a mixture's log-density."""
    total = 0.0
    for block, log_weights, centres, covariance in zip(
        to_blocks(Z, spatial, temporal),
        mixture.log_weights,
        mixture.centres,
        mixture.covariance,
    ):
        parts = [
            log_weight + multivariate_normal(centre, covariance).logpdf(block)
            for log_weight, centre in zip(log_weights, centres)
        ]
        total = total + logsumexp(parts, axis=0)
    return total


@flags
def test_blocks_round_trip(spatial, temporal):
    Z = walks(7)
    blocks = to_blocks(Z, spatial, temporal)
    n_blocks, m = SHAPES[spatial, temporal]
    assert blocks.shape == (n_blocks, 7, m)
    np.testing.assert_array_equal(from_blocks(blocks, N_BINS, spatial, temporal), Z)


@flags
def test_blocks_part_what_must_not_covary(spatial, temporal):
    blocks = coordinates(spatial, temporal)
    assert sorted(blocks.ravel()) == list(range(SIZE))
    for block in blocks:
        if not temporal:
            assert len(set(block // D)) == 1
        if not spatial:
            assert len(set(block % D)) == 1


def test_autoregressive_covariance_is_that_of_the_autoregression():
    covariance = np.zeros((N_BINS, D, N_BINS, D))
    now = np.eye(D)
    for j in range(N_BINS):
        later = now
        for k in range(j, N_BINS):
            covariance[k, :, j], covariance[j, :, k] = later, later.T
            later = STEP @ later
        now = STEP @ now @ STEP.T + NOISE
    out = autoregressive_covariance(walks(20_000), True, True)
    assert out.shape == (1, SIZE, SIZE)
    np.testing.assert_allclose(out[0], covariance.reshape(SIZE, SIZE), atol=0.05)


def test_autoregressive_covariance_is_block_by_block():
    R = walks(50)
    out = autoregressive_covariance(R, False, True)
    for i in range(D):
        alone = autoregressive_covariance(R[:, :, [i]], True, True)
        np.testing.assert_array_equal(out[[i]], alone)
    out = autoregressive_covariance(R, True, False)
    pooled = ledoit_wolf(R.reshape(-1, D), assume_centered=True)[0]
    np.testing.assert_array_equal(out, np.broadcast_to(pooled, (N_BINS, D, D)))
    out = autoregressive_covariance(R, False, False)
    variances = np.repeat((R**2).mean((0, 1)), N_BINS)
    np.testing.assert_allclose(out.ravel(), variances)


@flags
def test_autoregressive_covariance_of_one_bin(spatial, temporal):
    R = walks(200, n_bins=1)
    out = autoregressive_covariance(R, spatial, temporal)
    m = D if spatial else 1
    assert out.shape == (D // m, m, m)
    assert np.linalg.eigvalsh(out).min() > 0.5


@flags
@pytest.mark.parametrize("n_clusters", [1, 3])
def test_log_likelihoods_are_those_of_the_mixtures(spatial, temporal, n_clusters):
    clustering = Clustering(clusters(40, 3, 2.0), n_clusters, spatial, temporal, 0)
    Z = clusters(15, 3, 2.0, seed=5)
    expected = [
        log_density(clustering.mixture(a), Z, spatial, temporal).mean()
        for a in SHRINKAGES
    ]
    np.testing.assert_allclose(clustering.log_likelihoods(Z), expected, rtol=1e-8)


@flags
def test_mixture_of_one_cluster_has_the_moments_of_the_trials(spatial, temporal):
    Z = clusters(40, 3)
    mixture = Clustering(Z, 1, spatial, temporal, 0).mixture(0.0)
    full = np.cov(Z.reshape(len(Z), -1), rowvar=False)
    blocks = zip(coordinates(spatial, temporal), mixture.centres, mixture.covariance)
    for rows, centre, covariance in blocks:
        np.testing.assert_allclose(centre[0], Z.reshape(len(Z), -1).mean(0)[rows])
        np.testing.assert_allclose(covariance, full[np.ix_(rows, rows)])
    np.testing.assert_array_equal(mixture.log_weights, 0)
    assert mixture.by_bin == spatial


def test_clusters_are_found_with_their_weights_and_covariance():
    Z = clusters(2500, 3, distance=30.0)
    mixture = Clustering(Z, 3, True, True, 0).mixture(0.02)
    truth = np.array([Z[i::3].mean(0).ravel() for i in range(3)])
    order = np.argsort(mixture.centres[0, :, 0])
    np.testing.assert_allclose(
        mixture.centres[0][order], truth[np.argsort(truth[:, 0])], atol=1e-8
    )
    np.testing.assert_allclose(np.exp(mixture.log_weights), 1 / 3, atol=1e-3)
    within = walks(2500, seed=1).reshape(2500, -1)
    np.testing.assert_allclose(
        mixture.covariance[0], np.cov(within, rowvar=False), atol=0.03
    )


@pytest.mark.parametrize("n_clusters", [1, 4])
def test_auto_finds_the_number_of_clusters(n_clusters):
    Z = clusters(100, n_clusters)
    mixture, parts = fit_mixtures(Z, folds(100), "auto", True, True, 0)
    assert all(one.centres.shape == (1, n_clusters, SIZE) for one in (mixture, *parts))
    assert len(parts) == 5


def test_auto_keeps_eight_trials_per_cluster():
    # 16 tight clusters, which more centres would always fit better
    rng = np.random.default_rng(0)
    means = 20 * rng.standard_normal((16, N_BINS, D))
    Z = np.tile(means, (3, 1, 1)) + 0.01 * rng.standard_normal((48, N_BINS, D))
    mixture, _ = fit_mixtures(Z, np.arange(48) // 16, "auto", True, True, 0)
    assert mixture.centres.shape[1] == 4
    assert 16 in CLUSTERS


def test_shrinkage_is_of_the_highest_held_out_likelihood():
    Z, fold = walks(30), folds(30)
    mixture, parts = fit_mixtures(Z, fold, 1, True, True, 0)
    clusterings = [Clustering(Z[fold != i], 1, True, True, 0) for i in range(5)]
    scores = [
        np.mean(
            [
                log_density(c.mixture(a), Z[fold == i], True, True).mean()
                for i, c in enumerate(clusterings)
            ]
        )
        for a in SHRINKAGES
    ]
    best = SHRINKAGES[np.argmax(scores)]
    assert SHRINKAGES[0] < best
    np.testing.assert_array_equal(
        mixture.covariance, Clustering(Z, 1, True, True, 0).mixture(best).covariance
    )
    for part, clustering in zip(parts, clusterings):
        np.testing.assert_array_equal(
            part.covariance, clustering.mixture(best).covariance
        )


@flags
def test_mixture_of_a_fold_does_not_see_its_trials(spatial, temporal):
    Z, fold = clusters(40, 2), folds(40)
    changed = Z.copy()
    changed[fold == 2] = 50 + 9 * walks(8, seed=9)
    for trials in (Z, changed):
        _, parts = fit_mixtures(trials, fold, 2, spatial, temporal, 0)
        alone = Clustering(Z[fold != 2], 2, spatial, temporal, 0)
        np.testing.assert_array_equal(parts[2].centres, alone.centres)
        np.testing.assert_array_equal(parts[2].log_weights, alone.log_weights)
        # only the choice of the shrinkage, one number for all folds, may have changed
        assert any(
            np.array_equal(parts[2].covariance, alone.mixture(a).covariance)
            for a in SHRINKAGES
        )


def test_a_single_fold_leaves_nothing_to_choose_by():
    Z = clusters(30, 4)
    for given, k in (("auto", 1), (3, 3)):
        mixture, parts = fit_mixtures(Z, np.zeros(30, int), given, True, True, 0)
        expected = Clustering(Z, k, True, True, 0).mixture(0.5)
        assert parts == [mixture]
        np.testing.assert_array_equal(mixture.covariance, expected.covariance)
        np.testing.assert_array_equal(mixture.centres, expected.centres)


def few():
    return walks(4)


def two():
    return walks(2)


def constant_dim():
    Z = walks(20)
    Z[:, :, 1] = 0.0
    return Z


def constant_bin():
    Z = walks(20)
    Z[:, 0] = 1.0
    return Z


def duplicated():
    return np.repeat(walks(3), 8, axis=0)


def all_alike():
    return np.repeat(walks(1), 12, axis=0)


@flags
@pytest.mark.parametrize("n_clusters", ["auto", 3])
@pytest.mark.parametrize(
    "make", [few, two, constant_dim, constant_bin, duplicated, all_alike]
)
def test_degenerate_trials_leave_a_proper_mixture(make, n_clusters, spatial, temporal):
    Z = make()
    fold = folds(len(Z), max(1, min(5, len(Z) - 2)))
    if n_clusters != "auto" and len(Z) < 6:
        with pytest.raises(ValueError, match="n_clusters=3 is more than the 2 trials"):
            fit_mixtures(Z, fold, n_clusters, spatial, temporal, 0)
        n_clusters = 2
    mixture, parts = fit_mixtures(Z, fold, n_clusters, spatial, temporal, 0)
    for one in (mixture, *parts):
        assert isinstance(one, Mixture)
        assert np.isfinite(one.centres).all()
        assert np.isfinite(one.log_weights).all()
        np.testing.assert_allclose(np.exp(one.log_weights).sum(1), 1, atol=1e-5)
        assert np.linalg.eigvalsh(one.covariance).min() > 1e-7
        assert np.isfinite(log_density(one, Z, spatial, temporal)).all()


def smooth(n, n_bins, seed):
    """Two dims that turn slowly, from random starts."""
    rng = np.random.default_rng(seed)
    turn = 0.98 * np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]])
    Z = np.empty((n, n_bins, 2))
    Z[:, 0] = rng.standard_normal((n, 2))
    for k in range(1, n_bins):
        Z[:, k] = Z[:, k - 1] @ turn.T + 0.1 * rng.standard_normal((n, 2))
    return Z


@pytest.mark.parametrize("seed", range(3))
def test_shrinking_to_the_autoregression_beats_shrinking_to_the_identity(seed):
    Z, held_out = smooth(20, 12, seed), smooth(200, 12, 100 + seed)
    mixture, _ = fit_mixtures(Z, folds(20), 1, True, True, 0)
    flat = Z.reshape(20, -1)
    shrunk = multivariate_normal(flat.mean(0), ledoit_wolf(flat)[0])
    score = log_density(mixture, held_out, True, True).mean()
    assert score > shrunk.logpdf(held_out.reshape(200, -1)).mean() + 5


def test_a_steep_autoregression_leaves_a_covariance():
    """One step of a trial that all others lack: its covariance was not definite."""
    Z = np.zeros((24, 6, 3))
    Z[0] = np.geomspace(1, 1e5, 6)[:, None] * [1.0, -2.0, 0.5]
    fold = np.arange(24) % 4
    mixture, folds = fit_mixtures(Z, fold, "auto", True, True, 0)
    for found in (mixture, *folds):
        assert np.isfinite(found.covariance).all()
        assert np.linalg.eigvalsh(found.covariance).min() > 0
