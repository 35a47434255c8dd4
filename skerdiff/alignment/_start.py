"""Sessions as an aligner knows them, and the read-ins that methods start from."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass, field

import numpy as np
import torch

from ..utils._random import derive_seed, numpy_generator
from ..utils._similarity import principal_axes, project
from ..utils._torch import as_tensor, limit_threads
from ._geometry import distinct_alignments, find_candidates, margin
from ._readin import RigidMap, geometric_readin
from ._report import confidence


def by_column(features, axes):
    """Principal coordinates if the neurons were the source's; None if they cannot be.

    Parameters
    ----------
    features : ndarray of shape (n_trials, n_bins, n_neurons)
        Features of a target session.
    axes : tuple of ndarray or None
        Mean and principal axes of the source's features.

    Returns
    -------
    coordinates : ndarray of shape (n_trials, n_bins, d) or None
        The coordinates.
    """
    if axes is None or features.shape[2] != len(axes[0]):
        return None
    return project(features, *axes)


@dataclass
class LatentMap:
    """Network over latents that are standardised by the source."""

    network: torch.nn.Module
    mean: np.ndarray  # (d,)
    scale: np.ndarray  # (d,)

    def __call__(self, Z):
        """Map latents (n_trials, n_bins, d)."""
        with torch.no_grad(), limit_threads(1):
            z = self.network(as_tensor((Z - self.mean) / self.scale, torch.float64))
        return z.numpy() * self.scale + self.mean


@dataclass
class AffineMap:
    """Affine map of the latents of a bin."""

    matrix: np.ndarray  # (d, d)
    offset: np.ndarray  # (d,)

    def __call__(self, Z):
        """Map latents (n_trials, n_bins, d)."""
        return Z @ self.matrix.T + self.offset


@dataclass
class Session:
    """How an aligner reads one session."""

    readin: tuple  # weights (n_readin, n_neurons) and bias (n_readin,)
    report: dict = field(default_factory=dict)
    map: LatentMap | AffineMap | None = None  # of the latents behind the encoder
    rigid: RigidMap | None = None  # the geometry's, if it was searched
    losses: list = field(default_factory=list)  # named losses of every gradient step
    steps_per_second: float = 0.0

    @property
    def n_neurons(self):
        """Number of neurons of the session."""
        return self.readin[0].shape[1]


def start_session(
    source_readin,
    coordinates,
    activations,
    features,
    init,
    *,
    n_starts=200,
    seed=0,
    known=None,
    source_axes=None,
    progress=None,
):
    """Find the read-in from which a method starts.

    Parameters
    ----------
    source_readin : tuple of ndarray
        Weights (n_readin, n_neurons) and bias (n_readin,) of the source.
    coordinates : ndarray of shape (n_source_trials, n_bins, d)
        Principal coordinates of the source.
    activations : ndarray of shape (n_source_trials, n_bins, n_readin)
        Read-in activations of the source.
    features : ndarray of shape (n_trials, n_bins, n_neurons)
        Features of the target session.
    init : {"geometry", "source", "random"}
        Geometry warm start; the source's read-in column by column, missing neurons
        silent; or random weights of the source's size.
    n_starts : int, default=200
        Random starts of the geometry search, each way.
    seed : int, default=0
        Seed of the search or the random weights.
    known : tuple of RigidMap and tuple of ndarray, or None
        Geometry and read-in of a known session of the same neurons. The geometry joins
        the search; where it is followed, the read-in may be the one that is shrunk
        towards.
    source_axes : tuple of ndarray, default=None
        Mean (n_neurons,) and principal axes (n_neurons, d) of the source's features.
        Where the target has as many neurons, what they make of its features is one
        more start of the search: the electrodes may be the same.
    progress : callable or None
        Called with the number of starts of the search that are done.

    Returns
    -------
    session : Session
        The start and a report.
    """
    weights, bias = source_readin
    n_neurons = features.shape[2]
    if init == "source":
        padded = np.zeros((len(weights), n_neurons))
        shared = min(n_neurons, weights.shape[1])
        padded[:, :shared] = weights[:, :shared]
        return Session((padded, bias), {"init": init})
    if init == "random":
        rng = numpy_generator(derive_seed(seed, "readin"))
        size = np.sqrt(np.mean(weights**2) * weights.shape[1] / n_neurons)
        drawn = size * rng.standard_normal((len(weights), n_neurons))
        return Session((drawn, -drawn @ features.mean((0, 1))), {"init": init})
    mean, axes = principal_axes(features, coordinates.shape[2])
    target = project(features, mean, axes)
    candidates = find_candidates(
        coordinates,
        target,
        n_starts=n_starts,
        seed=seed,
        known=None if known is None else known[0](features),
        guess=by_column(features, source_axes),
        progress=progress,
    )
    best = candidates[0]
    rigid = RigidMap(mean, axes, best.map)
    readin, quality = geometric_readin(
        features,
        rigid,
        coordinates,
        activations,
        known[1] if best.followed else None,
    )
    different = distinct_alignments(candidates, target)
    report = {
        "init": init,
        "n_candidates": len(candidates),
        "residual": best.residual,
        "residuals": [c.residual for c in different],
        "scale": float(best.map.scale),
        "margin": margin(different),
    }
    if known is not None:
        report["followed_start"] = best.followed
    report |= quality
    report["confidence"] = confidence(report)
    return Session(readin, report, rigid=rigid)
