"""Read-in of a target session from a similarity map of its principal coordinates.

The map alone gives a read-in: target neurons to principal coordinates, to source
coordinates, to what the source's read-in makes of these. It carries over to movements
that the adapted trials lack, but uses only a few axes. A ridge regression of the
activations of source partners on all neurons uses more, where there are partners. The
read-in used here is the regression, shrunk towards the map instead of towards zero, and
trusted as far as target trials cover the source's.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers
from dataclasses import dataclass

import numpy as np
import ot
from scipy.linalg import eigh
from scipy.special import softmax

from ..utils._arrays import in_double, mean_and_variance
from ..utils._sklearn import COUNT, POSITIVE, Interval
from ._checks import (
    DISTANCES,
    MATRIX,
    TRIALS,
    VECTOR,
    WEIGHTS,
    check_shape,
    checked,
    instance,
    parts,
)
from ._similarity import (
    MANY,
    N_MODES,
    SimilarityMap,
    denoise_trials,
    mean_spread,
    project,
    relative_residual,
    squared_distances,
)

_ROUNDING = 1e-12  # of squared sizes
_PENALTIES = np.logspace(-2, 7, 19)  # tried by fit_readin
_N_FOLDS = 5
# of partners, in multiples of the mean distance to the nearest
_ENTROPY = 0.25
_MASS_PENALTY = 1.0
_MAX_ITER = 1000
_MOST = 500.0  # cost over entropy; its exponential must not vanish
_WIDTH = 0.5  # of the exponential that variance_explained weights by, likewise
# relative residual, in multiples of the map's, up to which another day's read-in holds
_STILL_HOLDS = 2.0


@dataclass(frozen=True, eq=False)
class RigidMap:
    """Map of a session's features to principal coordinates of the source.

    Parameters
    ----------
    mean : ndarray of shape (n_neurons,)
        Mean of the session's features.
    axes : ndarray of shape (n_neurons, d)
        Their principal axes.
    map : SimilarityMap
        The session's principal coordinates to those of the source.
    """

    mean: np.ndarray  # (n_neurons,)
    axes: np.ndarray  # (n_neurons, d), principal axes of the session
    map: SimilarityMap  # of its principal coordinates to those of the source

    def __call__(self, features):
        """Map features (n_trials, n_bins, n_neurons)."""
        return self.map(project(features, self.mean, self.axes))


_READIN = parts(MATRIX, VECTOR)
_PENALTY = [Interval(numbers.Real, 1e-12, None, closed="both")]  # infinity as well


@checked(
    features=TRIALS,
    rigid=instance(RigidMap),
    coordinates=TRIALS,
    activations=TRIALS,
    start=_READIN,
    entropy=POSITIVE,
    mass_penalty=_PENALTY,
    trust=[callable],
    n_modes=COUNT,
)
def geometric_readin(
    features,
    rigid,
    coordinates,
    activations,
    start=None,
    *,
    entropy=_ENTROPY,
    mass_penalty=_MASS_PENALTY,
    trust=np.square,
    n_modes=N_MODES,
):
    """Read-in of a session from its alignment to the source.

    Parameters
    ----------
    features : ndarray of shape (n_trials, n_bins, n_neurons)
        Target features.
    rigid : RigidMap
        Of target features to source coordinates.
    coordinates : ndarray of shape (n_source_trials, n_bins, d)
        Principal coordinates of the source.
    activations : ndarray of shape (n_source_trials, n_bins, n_readin)
        Read-in activations of the source.
    start : tuple of ndarray, default=None
        Read-in of another day with the same neurons. As long as it reads these trials
        nearly as well as the map does, the regression is shrunk towards it instead.
    entropy, mass_penalty : float
        See `find_partners`.
    trust : callable
        Coverage to the regression's share of the read-in; by default its square.
    n_modes : int, default=8
        Modes by which trials are compared, see `denoise_trials`.

    Returns
    -------
    readin : tuple of ndarray
        Weights (n_readin, n_neurons) and bias (n_readin,).
    quality : dict
        ``coverage`` and ``variance_explained``, see the functions of these names.

    Raises
    ------
    ValueError
        If arrays are not finite, or their shapes do not fit.
    """
    if start is not None:
        _check_readin(start, activations.shape[2], features.shape[2], "start")
    # by how trials differ in the main, as in the search
    main = denoise_trials(coordinates, n_modes)
    distances = squared_distances(main, denoise_trials(rigid(features), n_modes))
    anchor = rigid_readin(rigid, coordinates, activations)
    if start is not None:
        of_start, of_map = (
            relative_residual(activations, features @ weights.T + bias)
            for weights, bias in (start, anchor)
        )
        if of_start <= _STILL_HOLDS * of_map:
            anchor = start
    partners = find_partners(distances, entropy, mass_penalty)
    regressed = fit_readin(features, matched(partners, activations), anchor)
    covered = coverage(partners)
    share = trust(covered)
    readin = tuple(a + share * (b - a) for a, b in zip(anchor, regressed, strict=True))
    explained = variance_explained(distances, main)
    return readin, {"coverage": covered, "variance_explained": explained}


@checked(rigid=instance(RigidMap), coordinates=TRIALS, activations=TRIALS)
def rigid_readin(rigid, coordinates, activations):
    """Read-in by the map alone.

    Parameters
    ----------
    rigid : RigidMap
        Of target features to source coordinates.
    coordinates, activations : ndarray
        Of the source, see `geometric_readin`.

    Returns
    -------
    readin : tuple of ndarray
        Weights (n_readin, n_neurons) and bias (n_readin,).

    Raises
    ------
    ValueError
        If arrays are not finite, or their shapes do not fit.
    """
    check_shape(
        activations, (*coordinates.shape[:2], activations.shape[2]), "activations"
    )
    check_shape(rigid.map.shift, coordinates.shape[2:], "The map's shift")
    # source coordinates to activations, by least squares
    x = coordinates.reshape(-1, coordinates.shape[2])
    y = activations.reshape(len(x), -1)
    x = np.c_[x, np.ones(len(x))]
    solved = np.linalg.lstsq(x, y, rcond=None)[0]
    slope, offset = solved[:-1].T, solved[-1]
    map_ = rigid.map
    weights = slope @ (map_.scale * rigid.axes @ map_.rotation).T
    return weights, offset + slope @ map_.shift - weights @ rigid.mean


@checked(distances=DISTANCES, entropy=POSITIVE, mass_penalty=_PENALTY)
def find_partners(distances, entropy=_ENTROPY, mass_penalty=_MASS_PENALTY):
    """Weights of source partners of each target trial.

    Unbalanced optimal transport with an entropy of a quarter of the mean squared
    distance of target trials to the nearest source trial, and a source whose masses may
    differ from equal ones at the price of their divergence, times that distance: the
    days need not hold the same movements equally often, but no source trial draws all
    to itself without need.

    Parameters
    ----------
    distances : ndarray of shape (n_source_trials, n_trials)
        Squared distances of aligned trials.
    entropy, mass_penalty : float
        Weights of the entropy and of the divergence, in multiples of the mean distance
        to the nearest. With an infinite penalty all source trials carry the same.

    Returns
    -------
    weights : ndarray of shape (n_source_trials, n_trials)
        Weights, of sum one for each target trial.

    Raises
    ------
    ValueError
        If distances are negative or not finite, or a weight is not positive.
    """
    a, b = (np.full(n, 1 / n) for n in distances.shape)
    # target masses are exact, so that a constant per target trial changes nothing
    cost = (distances - distances.min(0)) / _scale(distances)
    plan = ot.unbalanced.sinkhorn_unbalanced(
        a,
        b,
        np.minimum(cost, _MOST * entropy),
        reg=entropy,
        reg_m=(mass_penalty, np.inf),
        method="sinkhorn_translation_invariant",
        numItermax=_MAX_ITER,
    )
    return plan / plan.sum(0)


@checked(partners=WEIGHTS)
def coverage(partners):
    """Share of the source's trials that target trials take up.

    Parameters
    ----------
    partners : ndarray of shape (n_source_trials, n_trials)
        Weights of source partners, see `find_partners`.

    Returns
    -------
    share : float
        The overlap of the masses that source trials carry with equal ones: 1 if all
        carry the same, 0.5 if half of them carry nothing.

    Raises
    ------
    ValueError
        If the weights are negative or do not sum to one for each target trial.
    """
    sums = partners.sum(0)
    if np.abs(sums - 1).max() > 1e-6:
        raise ValueError(
            "partners must be weights of sum one for each target trial, got sums from "
            f"{sums.min():g} to {sums.max():g}."
        )
    mass = partners.mean(1)
    return float(np.minimum(mass, 1 / len(mass)).sum())


@checked(distances=DISTANCES, coordinates=TRIALS)
def variance_explained(distances, coordinates):
    """Share of the source's variance over trials that the nearest partners have.

    Source trials count for a target trial by an exponential of their squared distance,
    over half the mean squared distance to the nearest. Where an alignment is right,
    target trials are near to source trials that differ from each other as source trials
    do. Where the target has no structure, and in some wrong alignments, each is as far
    from many, whose mean is the same for all. Few movements explain little too.

    Parameters
    ----------
    distances : ndarray of shape (n_source_trials, n_trials)
        Squared distances of aligned trials.
    coordinates : ndarray of shape (n_source_trials, n_bins, d)
        Principal coordinates of the source.

    Returns
    -------
    share : float
        0 if all target trials have the same partners; about 1 for noiseless copies.

    Raises
    ------
    ValueError
        If distances are negative, if arrays are not finite, or if their numbers of
        source trials differ.
    """
    check_shape(distances, (len(coordinates), distances.shape[1]), "distances")
    whole = mean_spread(coordinates)
    if whole == 0:
        return 0.0
    near = softmax(-distances / (_WIDTH * _scale(distances)), axis=0)
    return float(mean_spread(matched(near, coordinates)) / whole)


def _scale(distances):
    """Mean distance to the nearest source trial; not quite zero for copies."""
    tiny = np.finfo(float).eps * max(distances.max(), 1.0)
    return max(distances.min(0).mean(), tiny)


def matched(partners, Z):
    """Average Z of source trials over partners, (n_trials, n_bins, d)."""
    return np.tensordot(partners.T, Z, 1)


@checked(features=TRIALS, activations=TRIALS, anchor=_READIN)
def fit_readin(features, activations, anchor=None):
    """Ridge regression of read-in activations on the features of the target's neurons.

    The penalty, on the difference from the anchor, is chosen by cross-validation over
    trials. All of it is done on second moments, so that the cost of another penalty
    does not grow with the number of trials. Where neurons are more than bins it is done
    in the space that the bins span, where the solution lies; where both are more than
    1000, in the 1000 leading axes of that space.

    Parameters
    ----------
    features : ndarray of shape (n_trials, n_bins, n_neurons)
        Target features.
    activations : ndarray of shape (n_trials, n_bins, n_readin)
        Matched source activations.
    anchor : tuple of ndarray, default=None
        Weights and bias towards which to shrink; zero by default.

    Returns
    -------
    weights : ndarray of shape (n_readin, n_neurons)
        Read-in weights.
    bias : ndarray of shape (n_readin,)
        Read-in bias.

    Raises
    ------
    ValueError
        If arrays are not finite, if their shapes do not fit, or if there is one trial.
    """
    check_shape(activations, (*features.shape[:2], activations.shape[2]), "activations")
    if anchor is not None:
        _check_readin(anchor, activations.shape[2], features.shape[2], "anchor")
    n_trials, n_bins, n_neurons = features.shape
    if n_trials < 2:
        raise ValueError(
            "A penalty is chosen by cross-validation over trials: at least 2 are "
            f"needed, got {n_trials}."
        )
    rows = features.reshape(-1, n_neurons)
    left = activations.reshape(len(rows), -1)
    # moments about the mean, or an offset would take their digits
    mean, axes = mean_and_variance(rows)[0], None
    weights = np.zeros((left.shape[1], n_neurons)) if anchor is None else anchor[0]
    if anchor is not None:
        left = left - in_double(lambda part: part @ weights.T, rows)
    if n_neurons > min(len(rows), MANY):
        rows, axes = _leading_axes(rows - mean)
    centre = mean if axes is None else np.zeros(rows.shape[1])
    fold = np.repeat(np.arange(n_trials) % min(_N_FOLDS, n_trials), n_bins)
    parts = [
        _Moments.of(rows[fold == k] - centre, left[fold == k])
        for k in range(fold.max() + 1)
    ]
    whole = sum(parts[1:], parts[0])
    errors = np.zeros(len(_PENALTIES))
    for part in parts:
        rest = whole - part
        for i, (change, bias) in enumerate(rest.ridge(_PENALTIES)):
            errors[i] += part.squared_error(change, bias)
    penalty = _PENALTIES[np.argmin(errors)]
    change, bias = next(whole.ridge([penalty]))
    change = change if axes is None else change @ axes.T
    return weights + change, bias - change @ mean


def _check_readin(readin, n_readin, n_neurons, name):
    check_shape(readin[0], (n_readin, n_neurons), f"{name}[0]")
    check_shape(readin[1], (n_readin,), f"{name}[1]")


def _leading_axes(rows):
    """Coordinates (n_rows, d) of rows in their d leading axes (n_neurons, d).

    These are all axes with any of the rows, up to 1000. Only the products of the fewer,
    rows or neurons, are decomposed.
    """
    rows = rows.astype(np.float64, copy=False)
    wide = len(rows) < rows.shape[1]
    product = rows @ rows.T if wide else rows.T @ rows
    n = len(product)
    values, vectors = eigh(product, subset_by_index=[max(0, n - MANY), n - 1])
    some = values > _ROUNDING * values[-1]
    values, vectors = values[some], vectors[:, some]
    if wide:
        scale = np.sqrt(values)
        return vectors * scale, rows.T @ (vectors / scale)
    return rows @ vectors, vectors


class _Moments:
    """Sums over bins from which a ridge regression and its error follow."""

    def __init__(self, n, x, y, xx, xy, yy):
        self.n, self.x, self.y, self.xx, self.xy, self.yy = n, x, y, xx, xy, yy

    @classmethod
    def of(cls, x, y):
        """Sums of rows (n, n_neurons) and what is to be regressed on them (n, k)."""
        x = x.astype(np.float64, copy=False)
        return cls(len(x), x.sum(0), y.sum(0), x.T @ x, x.T @ y, np.sum(y**2))

    def __add__(self, other):
        return _Moments(*(a + b for a, b in zip(self._all(), other._all())))

    def __sub__(self, other):
        return _Moments(*(a - b for a, b in zip(self._all(), other._all())))

    def _all(self):
        return self.n, self.x, self.y, self.xx, self.xy, self.yy

    def ridge(self, penalties):
        """Weights (n_readin, n_neurons) and bias (n_readin,) per penalty."""
        x, y = self.x / self.n, self.y / self.n
        values, axes = np.linalg.eigh(self.xx - self.n * np.outer(x, x))
        cross = axes.T @ (self.xy - self.n * np.outer(x, y))
        for penalty in penalties:
            weights = (axes @ (cross / (np.maximum(values, 0) + penalty)[:, None])).T
            yield weights, y - weights @ x

    def squared_error(self, weights, bias):
        """Sum of squared errors of a regression on these bins."""
        return (
            self.yy
            - 2 * np.sum(weights.T * self.xy)
            - 2 * bias @ self.y
            + np.sum((weights @ self.xx) * weights)
            + 2 * bias @ (weights @ self.x)
            + self.n * bias @ bias
        )
