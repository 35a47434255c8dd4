"""Read-ins that methods start from."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np

from ..geometry import (
    RigidMap,
    confidence,
    distinct_alignments,
    geometric_readin,
    margin,
    project,
)
from ..utils._arrays import mean_and_variance
from ..utils._random import derive_seed, numpy_generator


def source_readin(readin, n_neurons):
    """Copy the source's read-in column by column; missing neurons count as silent.

    Parameters
    ----------
    readin : tuple of ndarray
        Weights (n_readin, n_source_neurons) and bias (n_readin,) of the source.
    n_neurons : int
        Neurons of the target session.

    Returns
    -------
    readin : tuple of ndarray
        Weights (n_readin, n_neurons) and bias (n_readin,).
    """
    weights, bias = readin
    padded = np.zeros((len(weights), n_neurons))
    shared = min(n_neurons, weights.shape[1])
    padded[:, :shared] = weights[:, :shared]
    return padded, bias


def random_readin(readin, features, seed):
    """Draw a read-in of the source's size, whose mean activations are zero.

    Parameters
    ----------
    readin : tuple of ndarray
        Weights (n_readin, n_source_neurons) and bias (n_readin,) of the source.
    features : ndarray of shape (n_trials, n_bins, n_neurons)
        Features of the target session.
    seed : int
        Seed.

    Returns
    -------
    readin : tuple of ndarray
        Weights (n_readin, n_neurons) and bias (n_readin,).
    """
    weights, n_neurons = readin[0], features.shape[2]
    rng = numpy_generator(derive_seed(seed, "readin"))
    size = np.sqrt(np.mean(weights**2) * weights.shape[1] / n_neurons)
    drawn = size * rng.standard_normal((len(weights), n_neurons))
    return drawn, -drawn @ mean_and_variance(features)[0]


def by_column(features, axes):
    """Principal coordinates if the neurons were the source's; None if they cannot be.

    Parameters
    ----------
    features : ndarray of shape (n_trials, n_bins, n_neurons)
        Features of a target session.
    axes : tuple of ndarray
        Mean and principal axes of the source's features.

    Returns
    -------
    coordinates : ndarray of shape (n_trials, n_bins, d) or None
        The coordinates.
    """
    if features.shape[2] != len(axes[0]):
        return None
    return project(features, *axes)


def readin_by_geometry(candidates, features, axes, coordinates, activations, start):
    """Read-in by the best of the candidates that a search has found, and its report.

    Parameters
    ----------
    candidates : list of Candidate
        Best first, see `skerdiff.geometry.find_candidates`.
    features : ndarray of shape (n_trials, n_bins, n_neurons)
        Features of the target session.
    axes : tuple of ndarray
        Their mean and principal axes.
    coordinates, activations : ndarray of shape (n_source_trials, n_bins, .)
        Principal coordinates and read-in activations of the source.
    start : SessionReader or None
        Session of the same neurons from which the search started too.

    Returns
    -------
    readin : tuple of ndarray
        Weights (n_readin, n_neurons) and bias (n_readin,).
    geometry : RigidMap
        Features to principal coordinates of the source.
    report : dict
        What the search and the read-in say of the alignment.
    """
    best = candidates[0]
    geometry = RigidMap(*axes, best.map)
    readin, quality = geometric_readin(
        features,
        geometry,
        coordinates,
        activations,
        start.readin if best.followed else None,
    )
    different = distinct_alignments(candidates, project(features, *axes))
    report = {
        "n_candidates": len(candidates),
        "residual": best.residual,
        "residuals": [c.residual for c in different],
        "scale": float(best.map.scale),
        "margin": margin(different),
    }
    if start is not None:
        report["followed_start"] = best.followed
    report |= quality
    report["confidence"] = confidence(report)
    return readin, geometry, report
