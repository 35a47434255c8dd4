"""Geometry of trials: similarity maps, assignments and how well they fit."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers
from dataclasses import dataclass

import numpy as np
import ot
from scipy.linalg import eigh
from sklearn.decomposition import PCA
from sklearn.utils import Bunch

from ..utils._arrays import in_double, in_parts, mean_and_variance
from ..utils._sklearn import COUNT, Interval
from ._checks import (
    MASSES,
    MATRIX,
    TRIALS,
    VECTOR,
    WEIGHTS,
    check_shape,
    checked,
    parts,
)

N_MODES = 8  # in which trials of a session are taken to differ
MANY = 1000  # neurons and bins, from which on not all their axes are computed
_ROUNDING = 1e-12  # of squared sizes


@dataclass(frozen=True, eq=False)
class SimilarityMap:
    """The map ``x -> scale * x @ rotation + shift`` of target to source coordinates.

    Parameters
    ----------
    scale : float
        Scale.
    rotation : ndarray of shape (d, d)
        Orthogonal matrix; it may reflect.
    shift : ndarray of shape (d,)
        Shift.
    """

    scale: float
    rotation: np.ndarray  # (d, d), orthogonal
    shift: np.ndarray  # (d,)

    def __call__(self, B):
        """Map coordinates (., d)."""
        return self.scale * B @ self.rotation + self.shift

    def inverse(self):
        """Give the map of source to target coordinates.

        Returns
        -------
        map : SimilarityMap
            The inverse; the scale must not be 0.
        """
        rotation = self.rotation.T
        scale = 1.0 / self.scale
        return SimilarityMap(scale, rotation, -scale * self.shift @ rotation)


@checked(features=TRIALS, n_components=COUNT)
def principal_axes(features, n_components):
    """Mean and principal axes of bins.

    Parameters
    ----------
    features : ndarray of shape (n_trials, n_bins, n_neurons)
        Activity.
    n_components : int
        Number of axes.

    Returns
    -------
    mean : ndarray of shape (n_neurons,)
        Mean over bins.
    axes : ndarray of shape (n_neurons, n_components)
        Orthonormal axes. With fewer neurons or bins than components the rest is zero.

    Raises
    ------
    ValueError
        If features are no trials of finite numbers, or `n_components` is no count.
    """
    rows = features.reshape(-1, features.shape[2])
    d = min(n_components, *rows.shape)
    pca = fit_pca(rows, d)
    return pca.mean_, np.pad(pca.components_.T, ((0, 0), (0, n_components - d)))


def fit_pca(rows, n_components):
    """Fit principal components; of many neurons and bins the leading ones alone.

    Up to a thousand neurons or bins it is by their covariance, with sums of double
    precision and no copy of the rows. Where both are more, it is by ARPACK, whose time
    grows with their product only.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_neurons)
        Activity.
    n_components : int
        Number of components, at most the fewer of rows and neurons.

    Returns
    -------
    pca : PCA or Bunch
        With ``mean_``, ``components_`` and ``explained_variance_``.
    """
    n, size = rows.shape
    if size > MANY:
        few = n <= MANY or n_components == min(n, size)
        solver = "full" if few else "arpack"
        rows = rows.astype(np.float64, copy=False)
        return PCA(n_components, svd_solver=solver, random_state=0).fit(rows)
    mean = mean_and_variance(rows)[0]
    covariance = sum((part - mean).T @ (part - mean) for part in in_parts(rows))
    values, axes = eigh(covariance, subset_by_index=[size - n_components, size - 1])
    axes = axes[:, ::-1].T
    # as scikit-learn does: the largest entry of each is positive
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])
    return Bunch(
        mean_=mean,
        components_=signs[:, None] * axes,
        explained_variance_=np.maximum(values[::-1], 0) / max(1, n - 1),
    )


@checked(features=TRIALS, mean=VECTOR, axes=MATRIX)
def project(features, mean, axes):
    """Project features onto principal axes.

    Parameters
    ----------
    features : ndarray of shape (n_trials, n_bins, n_neurons)
        Activity.
    mean, axes : ndarray of shape (n_neurons,) and (n_neurons, d)
        Mean and axes, see `principal_axes`.

    Returns
    -------
    coordinates : ndarray of shape (n_trials, n_bins, d)
        Principal coordinates.

    Raises
    ------
    ValueError
        If arrays are not finite, or their shapes do not fit.
    """
    check_shape(mean, features.shape[2:], "mean")
    check_shape(axes, (len(mean), axes.shape[1]), "axes")
    return in_double(lambda part: part @ axes - mean @ axes, features)


@checked(features=TRIALS, n_components=COUNT)
def principal_coordinates(features, n_components):
    """Principal coordinates of bins.

    Parameters
    ----------
    features : ndarray of shape (n_trials, n_bins, n_neurons)
        Activity.
    n_components : int
        Number of coordinates.

    Returns
    -------
    coordinates : ndarray of shape (n_trials, n_bins, n_components)
        What `principal_axes` and `project` give.

    Raises
    ------
    ValueError
        If features are no trials of finite numbers, or `n_components` is no count.
    """
    return project(features, *principal_axes(features, n_components))


@checked(Z=TRIALS, n_modes=COUNT)
def denoise_trials(Z, n_modes=N_MODES):
    """Keep the leading modes of how trials differ.

    Trials are projected onto the leading principal components of whole trials (bins
    times coordinates), at most half as many as there are trials. Movements share few
    such modes; the noise of each trial spreads over all. Modes of trials do not depend
    on how coordinates are turned, so that sessions which differ by a similarity map
    keep differing by that map.

    Parameters
    ----------
    Z : ndarray of shape (n_trials, n_bins, d)
        Coordinates.
    n_modes : int, default=8
        Number of modes to keep.

    Returns
    -------
    Z : ndarray of shape (n_trials, n_bins, d)
        The trials' mean plus what the modes have of each. A single trial is as it was.

    Raises
    ------
    ValueError
        If Z are no trials of finite numbers, or `n_modes` is no count.
    """
    mean = Z.mean(0)
    rows = (Z - mean).reshape(len(Z), -1)
    n, size = rows.shape
    k = min(n_modes, n // 2, size)
    if k == 0:
        return Z
    # the smaller of both products has all of the leading modes
    wide = n <= size
    product = rows @ rows.T if wide else rows.T @ rows
    modes = eigh(product, subset_by_index=[len(product) - k, len(product) - 1])[1]
    rows = modes @ (modes.T @ rows) if wide else rows @ modes @ modes.T
    return mean + rows.reshape(Z.shape)


def check_pair(A, B, masses=None):
    """Check that trials of two sessions can be compared.

    Parameters
    ----------
    A, B : ndarray of shape (n_A, n_bins, d) and (n_B, n_bins, d)
        Coordinates.
    masses : ndarray of shape (n_B,), default=None
        Weights of the trials of B.

    Raises
    ------
    ValueError
        If they are not three-dimensional, are empty, or differ in bins or dims, or if
        no trial has a mass.
    """
    if A.ndim != 3 or B.ndim != 3 or A.shape[1:] != B.shape[1:] or not A.size * B.size:
        raise ValueError(
            "Coordinates of two sessions must be of shapes (n_trials, n_bins, d) with "
            f"the same n_bins and d, got {A.shape} and {B.shape}."
        )
    if masses is not None:
        check_shape(masses, (len(B),), "masses")
        if not masses.sum() > 0:
            raise ValueError("At least one of the masses must be positive.")


def squared_distances(A, B):
    """Squared distances between whole trials, (n_A, n_B)."""
    a, b = A.reshape(len(A), -1), B.reshape(len(B), -1)
    # einsum's sums would depend on where the arrays lie in memory, to the last bit
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1)
    return np.maximum(squares - 2.0 * (a @ b.T), 0.0)


@checked(A=TRIALS, B=TRIALS, coupling=WEIGHTS)
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

    Raises
    ------
    ValueError
        If A and B cannot be compared or are not finite, or if the coupling is of
        another shape, has negative entries, or none that are positive.
    """
    check_pair(A, B)
    if coupling.shape != (len(A), len(B)) or not coupling.sum() > 0:
        raise ValueError(
            f"The coupling of {len(A)} and {len(B)} trials must be of that shape, with "
            f"some mass in it; got shape {coupling.shape}, mass {coupling.sum():g}."
        )
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


_COMPARED = {"A": TRIALS, "Z": TRIALS, "masses": MASSES}


@checked(**_COMPARED)
def relative_residual(A, Z, masses=None):
    """Distance of aligned trials to the nearest source trial, over their own spread.

    Both are mean squared distances. The division keeps contraction from winning: maps
    that shrink all trials to one point are near to something, but spread over nothing.

    Parameters
    ----------
    A : ndarray of shape (n_A, n_bins, d)
        Coordinates of source trials.
    Z : ndarray of shape (n_Z, n_bins, d)
        Coordinates of aligned target trials.
    masses : ndarray of shape (n_Z,), default=None
        Weights of target trials; equal by default.

    Returns
    -------
    residual : float
        0 for copies of source trials; infinite if target trials do not differ.

    Raises
    ------
    ValueError
        If A and Z cannot be compared or are not finite, or if masses are not one for
        each trial of Z, negative, or all zero.
    """
    distances = relative_distances.unchecked(A, Z, masses)
    return float(np.average(distances, weights=masses))


@checked(**_COMPARED)
def relative_distances(A, Z, masses=None):
    """Squared distance of each trial of Z to the nearest of A, over the spread of Z.

    Parameters
    ----------
    A, Z, masses : ndarray
        See `relative_residual`.

    Returns
    -------
    distances : ndarray of shape (n_Z,)
        All are infinite if the trials of Z do not differ.

    Raises
    ------
    ValueError
        See `relative_residual`.
    """
    check_pair(A, Z, masses)
    spread = mean_spread(Z, masses)
    if spread == 0:
        return np.full(len(Z), np.inf)
    return squared_distances(A, Z).min(0) / spread


def mean_spread(Z, masses=None):
    """Mean squared distance of trials (n_trials, n_bins, d) to their mean.

    It is 0 if trials differ by what rounding may have made of equal ones.
    """
    centred = Z - np.average(Z, axis=0, weights=masses)
    spread, size = (
        np.average(np.sum(A**2, axis=(1, 2)), weights=masses) for A in (centred, Z)
    )
    return spread if spread > _ROUNDING * size else 0.0


@checked(
    A=TRIALS,
    Z=TRIALS,
    share=[Interval(numbers.Real, 1, 1e6, closed="both")],
    masses=parts(VECTOR, VECTOR, optional=True),
)
def assign_trials(A, Z, share, masses=(None, None)):
    """Optimal-transport plan of target trials to source trials.

    Parameters
    ----------
    A : ndarray of shape (n_A, n_bins, d)
        Coordinates of source trials.
    Z : ndarray of shape (n_Z, n_bins, d)
        Coordinates of aligned target trials.
    share : float
        Largest multiple of its mass that a source trial may take; above 1 a dummy
        target takes what is left over.
    masses : tuple of ndarray, default=(None, None)
        Masses of the trials of A and of Z, which sum to 1; None for equal ones.

    Returns
    -------
    coupling : ndarray of shape (n_A, n_Z)
        Mass of each pair of trials.

    Raises
    ------
    ValueError
        If A and Z cannot be compared or are not finite, if share is below 1, or if
        masses are negative, do not sum to 1, or are not one for each trial.
    """
    check_pair(A, Z)
    return transport_plan(squared_distances(A, Z), share, masses)


def transport_plan(cost, share, masses=(None, None)):
    """Optimal-transport plan for a cost (n_A, n_Z), see `assign_trials`."""
    a, b = (
        np.full(n, 1 / n) if m is None else m
        for n, m in zip(cost.shape, masses, strict=True)
    )
    for m, n, name in zip((a, b), cost.shape, ("masses[0]", "masses[1]"), strict=True):
        check_shape(m, (n,), name)
    if not share >= 1:
        raise ValueError(f"share must be at least 1, got {share!r}.")
    for mass in (a, b):
        if mass.min() < 0 or abs(mass.sum() - 1) > 1e-6:
            raise ValueError(
                "Masses of trials must be positive and sum to 1, got a sum of "
                f"{mass.sum():g} and a minimum of {mass.min():g}."
            )
    if share == 1:
        return ot.emd(a, b, cost)
    cost = np.c_[cost, np.zeros(len(a))]
    return ot.emd(share * a, np.r_[b, share - 1], cost)[:, :-1]
