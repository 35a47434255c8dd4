"""Mixtures of Gaussians fitted to whole trajectories, in closed form.

All Gaussians of a mixture share one covariance ``(1 - a) C + a T``: C is the pooled
covariance within the clusters, T that of a first-order autoregression fitted to the
same residuals. There are few trials and many coordinates, so C alone cannot be
inverted. Shrinking it towards a multiple of the identity would add too much variance in
the directions in which smooth trajectories hardly vary; T has small variances there
too.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cholesky, eigh, solve_triangular
from scipy.special import logsumexp
from sklearn.cluster import KMeans
from sklearn.covariance import ledoit_wolf

CLUSTERS = (1, 2, 4, 8, 16)  # numbers of clusters to choose from
SHRINKAGES = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0])
_PER_CLUSTER = 8  # smallest number of trials per cluster, on average
_FLOOR = 1e-4  # variance added to T, about that of the noise at the smallest t


@dataclass
class Mixture:
    """One mixture per block of coordinates; blocks are independent of each other.

    Attributes
    ----------
    log_weights : ndarray of shape (n_blocks, n_clusters)
        Logarithm of the share of each cluster.
    centres : ndarray of shape (n_blocks, n_clusters, m)
        Cluster means.
    covariance : ndarray of shape (n_blocks, m, m)
        Covariance within the clusters.
    by_bin : bool
        Whether the coordinates of a block are ordered by bin and then by dim.
        Otherwise they are ordered by dim and then by bin.
    """

    log_weights: np.ndarray
    centres: np.ndarray
    covariance: np.ndarray
    by_bin: bool


def to_blocks(Z: np.ndarray, spatial: bool, temporal: bool) -> np.ndarray:
    """Arrange trajectories as (n_blocks, n_trials, m).

    All coordinates are one block. Without `spatial` each latent dim is a block, without
    `temporal` each bin, without both each coordinate.
    """
    n_trials, n_bins, d = Z.shape
    if spatial and temporal:
        return Z.reshape(1, n_trials, n_bins * d)
    if spatial:
        return Z.transpose(1, 0, 2)
    if temporal:
        return Z.transpose(2, 0, 1)
    return Z.transpose(2, 1, 0).reshape(d * n_bins, n_trials, 1)


def autoregressive_covariance(R: np.ndarray, spatial: bool, temporal: bool):
    """Covariance of a first-order autoregression, block by block.

    Parameters
    ----------
    R : ndarray of shape (n_trials, n_bins, d)
        Trajectories of zero mean.
    spatial : bool
        Whether latent dims covary. Otherwise each has its own autoregression.
    temporal : bool
        Whether bins covary. Otherwise all bins share one covariance.

    Returns
    -------
    covariance : ndarray of shape (n_blocks, m, m)
        Covariance of each block of `to_blocks`.
    """
    if not spatial:
        parts = [
            autoregressive_covariance(R[:, :, [i]], True, temporal)
            for i in range(R.shape[2])
        ]
        return np.concatenate(parts)
    n_trials, n_bins, d = R.shape
    if not temporal:
        return np.repeat(
            ledoit_wolf(_rows(R), assume_centered=True)[0][None], n_bins, 0
        )
    step = np.zeros((d, d))
    noise = np.zeros((d, d))
    if n_bins > 1:
        before, after = _rows(R[:, :-1]), _rows(R[:, 1:])
        step = np.linalg.lstsq(before, after, rcond=None)[0].T
        noise = ledoit_wolf(after - before @ step.T, assume_centered=True)[0]
    covariance = np.empty((n_bins, d, n_bins, d))
    now = ledoit_wolf(R[:, 0], assume_centered=True)[0]
    for k in range(n_bins):
        covariance[k, :, k] = now
        for j in range(k):
            later = step @ covariance[k - 1, :, j]
            covariance[k, :, j], covariance[j, :, k] = later, later.T
        now = step @ now @ step.T + noise
    return covariance.reshape(1, n_bins * d, n_bins * d)


def _positive_definite(covariance):
    """Add to the diagonal what rounding may have taken: of a steep autoregression."""
    jitter, size = 0.0, np.diag(covariance).max()
    while True:
        try:
            shifted = covariance + jitter * size * np.eye(len(covariance))
            cholesky(shifted, lower=True)
        except LinAlgError:
            jitter = max(1e-14, 10 * jitter)
        else:
            return shifted


def _rows(R):
    return R.reshape(-1, R.shape[-1])


class Clustering:
    """Clusters of trajectories, and the covariances from which a mixture is made.

    Parameters
    ----------
    Z : ndarray of shape (n_trials, n_bins, d)
        Trajectories.
    n_clusters : int
        Number of clusters per block.
    spatial, temporal : bool
        Whether latent dims, and bins, may covary.
    seed : int
        Seed of k-means.
    """

    def __init__(self, Z, n_clusters, spatial, temporal, seed):
        self.spatial, self.temporal = spatial, temporal
        blocks = to_blocks(Z, spatial, temporal)
        n_blocks, n, m = blocks.shape
        self.centres = np.empty((n_blocks, n_clusters, m))
        counts = np.empty((n_blocks, n_clusters))
        residuals, n_free = np.empty_like(blocks), np.empty(n_blocks)
        n_init = 4 if n_blocks == 1 else 1
        for i, block in enumerate(blocks):
            label, found = np.zeros(n, int), 1
            # a block with fewer distinct values than clusters stays one cluster
            if n_clusters > 1 and len(np.unique(block, axis=0)) >= n_clusters:
                means = KMeans(n_clusters, n_init=n_init, random_state=seed)
                label, found = means.fit_predict(block), n_clusters
            counts[i] = np.bincount(label, minlength=n_clusters)
            for k in range(n_clusters):
                members = block[label == k]
                self.centres[i, k] = (members if len(members) else block).mean(0)
            residuals[i] = block - self.centres[i, label]
            n_free[i] = max(1, n - found)
        # the logarithm must be finite for empty clusters too
        self.log_weights = np.log(np.maximum(counts, 1e-6) / n)
        self.within = residuals.transpose(0, 2, 1) @ residuals / n_free[:, None, None]
        R = from_blocks(residuals, Z.shape[1], spatial, temporal)
        floor = _FLOOR * np.eye(m)
        target = autoregressive_covariance(R, spatial, temporal) + floor
        self.target = np.array([_positive_definite(block) for block in target])

    def mixture(self, shrinkage: float) -> Mixture:
        """Mixture whose covariance is shrunk towards that of the autoregression."""
        covariance = (1 - shrinkage) * self.within + shrinkage * self.target
        return Mixture(self.log_weights, self.centres, covariance, self.spatial)

    def log_likelihoods(self, Z) -> np.ndarray:
        """Mean log-likelihood of other trajectories at each of `SHRINKAGES`."""
        total = np.zeros(len(SHRINKAGES))
        blocks = to_blocks(Z, self.spatial, self.temporal)
        parts = zip(blocks, self.within, self.target, self.centres, self.log_weights)
        for block, within, target, centres, log_weights in parts:
            # L^-1 C L^-T = U diag(w) U^T with T = L L^T serves every shrinkage
            factor = cholesky(target, lower=True)
            half = solve_triangular(factor, within, lower=True)
            w, U = eigh(solve_triangular(factor, half.T, lower=True))
            spread = (1 - SHRINKAGES)[:, None] * np.maximum(w, 0) + SHRINKAGES[:, None]
            log_det = 2 * np.log(np.diag(factor)).sum() + np.log(spread).sum(1)
            Y = (block[:, None] - centres).reshape(-1, block.shape[1])
            Y = U.T @ solve_triangular(factor, Y.T, lower=True)
            distance = ((Y**2).T @ (1 / spread).T).reshape(len(block), len(centres), -1)
            log_p = log_weights[:, None] - 0.5 * (distance + log_det)
            total += logsumexp(log_p, axis=1).mean(0)
        return total - 0.5 * Z[0].size * np.log(2 * np.pi)


def from_blocks(blocks, n_bins, spatial, temporal):
    """Undo `to_blocks`."""
    n_trials = blocks.shape[1]
    if spatial and temporal:
        return blocks.reshape(n_trials, n_bins, -1)
    if spatial:
        return blocks.transpose(1, 0, 2)
    if temporal:
        return blocks.transpose(1, 2, 0)
    return blocks.reshape(-1, n_bins, n_trials).transpose(2, 1, 0)


def fit_mixtures(Z, fold, n_clusters, spatial, temporal, seed):
    """Fit a mixture to all trials, and one to the trials outside each fold.

    The shrinkage, and the number of clusters if it is "auto", are chosen by the
    likelihood of the trials of each fold under the mixture fitted without them.

    Parameters
    ----------
    Z : ndarray of shape (n_trials, n_bins, d)
        Trajectories, standardised or nearly so.
    fold : ndarray of shape (n_trials,)
        Number of the fold of each trial. A single fold cannot be held out: the
        shrinkage is then one half, and "auto" means one cluster.
    n_clusters : int or "auto"
        Number of clusters.
    spatial, temporal : bool
        Whether latent dims, and bins, may covary.
    seed : int
        Seed of k-means.

    Returns
    -------
    mixture : Mixture
        Fitted to all trials.
    folds : list of Mixture
        Fitted without the trials of each fold; for a single fold `mixture` itself.
    """
    settings = (spatial, temporal, seed)
    n_folds = int(fold.max()) + 1
    smallest = len(Z) - (np.bincount(fold).max() if n_folds > 1 else 0)
    if n_clusters != "auto" and n_clusters > smallest:
        raise ValueError(
            f"n_clusters={n_clusters} is more than the {smallest} trials that "
            f"cross-validation leaves of {len(Z)}. Use fewer, or 'auto'."
        )
    if n_folds < 2:
        k = 1 if n_clusters == "auto" else n_clusters
        mixture = Clustering(Z, k, *settings).mixture(0.5)
        return mixture, [mixture]
    candidates = [n_clusters]
    if n_clusters == "auto":
        candidates = [k for k in CLUSTERS if k == 1 or k * _PER_CLUSTER <= smallest]
    best = -np.inf
    for k in candidates:
        clusterings = [Clustering(Z[fold != i], k, *settings) for i in range(n_folds)]
        curve = np.mean(
            [c.log_likelihoods(Z[fold == i]) for i, c in enumerate(clusterings)], axis=0
        )
        if curve.max() > best:
            best, chosen = curve.max(), (k, SHRINKAGES[curve.argmax()], clusterings)
    k, shrinkage, clusterings = chosen
    mixture = Clustering(Z, k, *settings).mixture(shrinkage)
    return mixture, [c.mixture(shrinkage) for c in clusterings]
