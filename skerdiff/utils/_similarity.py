"""Geometry of trials: similarity maps, assignments and how well they fit."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass

import numpy as np
import ot
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise_distances


@dataclass(frozen=True)
class SimilarityMap:
    """The map ``x -> scale * x @ rotation + shift`` of target to source coordinates."""

    scale: float
    rotation: np.ndarray  # (d, d), orthogonal
    shift: np.ndarray  # (d,)

    def __call__(self, B):
        """Map coordinates (., d)."""
        return self.scale * B @ self.rotation + self.shift


def principal_coordinates(features, n_components):
    """Principal coordinates of bins, (n_trials, n_bins, n_neurons or n_components).

    With fewer neurons or bins than components the rest of the coordinates is zero.
    """
    n_trials, n_bins, n_neurons = features.shape
    rows = features.reshape(-1, n_neurons)
    d = min(n_components, *rows.shape)
    solver = "covariance_eigh" if len(rows) > n_neurons else "full"
    Z = PCA(d, svd_solver=solver).fit_transform(rows)
    Z = np.pad(Z, ((0, 0), (0, n_components - d)))
    return Z.reshape(n_trials, n_bins, n_components)


def squared_distances(A, B):
    """Squared distances between whole trials, (n_A, n_B)."""
    return pairwise_distances(
        A.reshape(len(A), -1), B.reshape(len(B), -1), metric="sqeuclidean"
    )


def fit_similarity(A, B, coupling):
    """Similarity map of B onto A that minimises the coupled squared distance.

    Weighted orthogonal Procrustes with scale and shift (Umeyama, 1991; reflections
    are allowed, for the signs of principal axes are arbitrary).

    Parameters
    ----------
    A, B : ndarray of shape (n_A, n_bins, d) and (n_B, n_bins, d)
        Source and target coordinates.
    coupling : ndarray of shape (n_A, n_B)
        Mass of each pair of trials.

    Returns
    -------
    map : SimilarityMap
        The minimiser.
    """
    mass_A, mass_B = coupling.sum(1), coupling.sum(0)
    total = coupling.sum() * A.shape[1]
    mean_A = np.einsum("i,ild->d", mass_A, A) / total
    mean_B = np.einsum("j,jld->d", mass_B, B) / total
    A, B = A - mean_A, B - mean_B
    cross = np.tensordot(B, np.tensordot(coupling.T, A, 1), axes=([0, 1], [0, 1]))
    U, S, Vt = np.linalg.svd(cross)
    rotation = U @ Vt
    variance = np.einsum("j,jld->", mass_B, B**2)
    scale = S.sum() / variance if variance > 0 else 1.0
    return SimilarityMap(scale, rotation, mean_A - scale * mean_B @ rotation)


def relative_residual(A, Z):
    """Distance of aligned trials Z to the nearest source trial, over their own spread.

    Both are mean squared distances. The division keeps contraction from winning: maps
    that shrink all trials to one point are near to something, but spread over nothing.
    """
    spread = np.mean(np.sum((Z - Z.mean(0)) ** 2, axis=(1, 2)))
    if spread <= 1e-12 * np.mean(np.sum(Z**2, axis=(1, 2))):
        return np.inf
    return float(squared_distances(A, Z).min(0).mean() / spread)


def assign_trials(A, Z, share):
    """Optimal-transport plan of target trials Z to source trials A.

    With ``share > 1`` a source trial may carry up to that multiple of its equal share,
    and a dummy target takes what is left over.
    """
    cost = squared_distances(A, Z)
    n_A, n_B = cost.shape
    a, b = np.full(n_A, share / n_A), np.full(n_B, 1 / n_B)
    if share == 1:
        return ot.emd(a, b, cost)
    cost = np.c_[cost, np.zeros(n_A)]
    return ot.emd(a, np.r_[b, share - 1], cost)[:, :-1]
