"""How one session is read: from its counts to latents in the source's space."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch

from .geometry import RigidMap
from .latent._base import check_latents
from .metrics import bits_per_spike
from .utils._arrays import check_numbers
from .utils._settings import own_settings
from .utils._threads import limit_threads
from .utils._torch import as_tensor
from .utils._version import VERSION
from .utils._warnings import warn_of_version

__all__ = ["AffineMap", "NetworkMap", "SessionReader", "SessionReport"]

_N_FOLDS = 5
_FLOOR = 0.1  # of its mean rate, the least that is predicted of a neuron


@dataclass(frozen=True, eq=False)
class AffineMap:
    """Affine map of the latents of a bin, ``z -> matrix @ z + offset``."""

    matrix: np.ndarray  # (d, d)
    offset: np.ndarray  # (d,)

    def __call__(self, Z):
        """Map latents (n_trials, n_bins, d)."""
        return Z @ self.matrix.T + self.offset


@dataclass(frozen=True, eq=False)
class NetworkMap:
    """Network over latents that are standardised by the source's mean and scale."""

    network: torch.nn.Module
    mean: np.ndarray  # (d,)
    scale: np.ndarray  # (d,)

    def __call__(self, Z):
        """Map latents (n_trials, n_bins, d)."""
        with torch.no_grad(), limit_threads(1):
            z = self.network(as_tensor((Z - self.mean) / self.scale, torch.float64))
        return z.numpy() * self.scale + self.mean


@dataclass(frozen=True, eq=False)
class SessionReport(Mapping):
    """How well a session is aligned, as far as that can be told without labels.

    Entries are attributes and, where they have a value, items too: without a search
    ``report.margin`` is None and ``"margin" in report`` is false.

    Parameters
    ----------
    n_trials, n_neurons, n_active_neurons : int
        Trials that were adapted to, neurons, and neurons whose activity changes.
    bits_per_spike : float
        Of counts: bits per spike of held-out trials, from rates that are linear in the
        aligned latents. It says how much of the activity they keep.
    init : {"geometry", "source", "random"}
        Where the read-in started.
    n_candidates : int
        Alignments that the search found, variants included.
    residual : float
        Mean squared distance of the aligned trials to their nearest source trials over
        their own spread, in the leading modes, lower is better; or the same of source
        trials that were sought in the target.
    residuals : list of float
        Residuals of all alignments found that are not variants of each other, in the
        order of preference.
    margin : float
        By how much, relatively, the residual of the second alignment exceeds that of
        the first. Below zero a given start was followed though another fits better.
    variance_explained : float
        Share of the source's variance over trials that the partners of target trials
        have.
    coverage : float
        Share of the source's trials that target trials take up as partners.
    confidence : float
        The lesser of margin and variance explained over their thresholds; below 1 the
        alignment is ambiguous.
    scale : float
        Scale of the similarity map.
    followed_start : bool
        If a start was given: whether it was followed.
    criterion_curve : list of tuple
        Of methods that make gradient steps: step and relative residual of the held-out
        trials at every look.
    n_steps : int
        The step that was accepted; 0 for the start.
    loss_curve : list of dict
        Named losses of every gradient step.
    """

    n_trials: int | None = None
    n_neurons: int | None = None
    n_active_neurons: int | None = None
    bits_per_spike: float | None = None
    init: str | None = None
    n_candidates: int | None = None
    residual: float | None = None
    residuals: list | None = None
    margin: float | None = None
    variance_explained: float | None = None
    coverage: float | None = None
    confidence: float | None = None
    scale: float | None = None
    followed_start: bool | None = None
    criterion_curve: list | None = field(default=None, repr=False)
    n_steps: int | None = None
    loss_curve: list | None = field(default=None, repr=False)

    def __getitem__(self, name):
        if name not in _ENTRIES:
            raise KeyError(f"{name!r} is no entry of a report; there are {_ENTRIES}.")
        value = getattr(self, name)
        if value is None:
            raise KeyError(f"{name!r} has no value for this session.")
        return value

    def __iter__(self):
        return (name for name in _ENTRIES if getattr(self, name) is not None)

    def __len__(self):
        return sum(1 for _ in self)


_ENTRIES = tuple(entry.name for entry in fields(SessionReport))


@dataclass(frozen=True, eq=False)
class SessionReader:
    """All that is needed to read one session, and no more.

    The read-in maps the session's features to activations, the latent model's encoder
    maps these to latents and, for some methods, a map behind it brings them to the
    source's. A reader is immutable, can be pickled by itself, holds none of the trials
    that it was learned from, and does not change with the aligner that made it.

    Parameters
    ----------
    latent_model : LatentModel
        The fitted latent model of the source.
    readin : tuple of ndarray
        Weights (n_readin, n_neurons) and bias (n_readin,).
    report : SessionReport
        How well the session is aligned; empty for the source.
    latent_map : callable or None
        Map of the latents behind the encoder, `AffineMap` or `NetworkMap`.
    geometry : RigidMap or None
        Map of the session's features to the source's principal coordinates, where the
        geometry was searched.
    bin_size : float or None
        Width of a bin in seconds, where it was given.
    steps_per_second : float
        Gradient steps per second that were made for it.
    feature_names : ndarray of shape (n_neurons,) or None
        Names of the session's neurons, if it was given as a data frame.
    """

    latent_model: object
    readin: tuple
    report: SessionReport = field(default_factory=SessionReport)
    latent_map: object = None
    geometry: RigidMap | None = None
    bin_size: float | None = None
    steps_per_second: float = field(default=0.0, repr=False)
    feature_names: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "readin", tuple(map(_read_only, self.readin)))

    def __getstate__(self):
        return {**vars(self), "_skerdiff_version": VERSION}

    def __setstate__(self, state):
        state = dict(state)
        warn_of_version(state.pop("_skerdiff_version", None), type(self).__name__)
        vars(self).update(state)
        self.__post_init__()  # pickles do not keep that arrays are read-only

    @property
    def n_neurons(self):
        """Number of neurons of the session."""
        return self.readin[0].shape[1]

    @property
    def n_bins(self):
        """Number of bins per trial."""
        return self.latent_model.n_bins_

    @own_settings()
    def transform(self, X):
        """Read trials of the session.

        Parameters
        ----------
        X : ndarray of shape (n_trials, n_bins, n_neurons)
            Activity of the session's neurons.

        Returns
        -------
        Z : ndarray of shape (n_trials, n_bins, n_components)
            Latents in the source's space, of the dtype of X.

        Raises
        ------
        ValueError
            If X is not three-dimensional, not finite, or of another number of bins or
            neurons.
        """
        X = check_numbers(X, dtype=[np.float64, np.float32], ensure_2d=False)
        expected = ("n_trials", self.n_bins, self.n_neurons)
        if X.ndim != 3 or X.shape[1:] != expected[1:]:
            raise ValueError(
                f"X must be of shape ({expected[0]}, {expected[1]}, {expected[2]}), as "
                f"the trials that this reader was made for, got {X.shape}."
            )
        Z = self.encode(self.latent_model.features(X))
        return Z.astype(X.dtype, copy=False)

    @own_settings()
    def encode(self, features):
        """Latents from the session's features, see `LatentModel.features`.

        Parameters
        ----------
        features : ndarray of shape (n_trials, n_bins, n_neurons)
            Features.

        Returns
        -------
        Z : ndarray of shape (n_trials, n_bins, n_components)
            Latents in the source's space.
        """
        Z = self.latent_model.encode(features, self.readin)
        check_latents(self.latent_model, Z, features)
        return Z if self.latent_map is None else self.latent_map(Z)

    def with_report(self, **entries):
        """Give the same reader with more entries in its report.

        Parameters
        ----------
        **entries : dict
            Entries of `SessionReport`.

        Returns
        -------
        reader : SessionReader
            A new reader.
        """
        return replace(self, report=replace(self.report, **entries))


def _read_only(A):
    """Give an array that cannot be changed: A itself, or a copy."""
    if A.flags.writeable:
        A = A.copy("K")
        A.flags.writeable = False
    return A


def activity_report(X, Z):
    """Count trials and neurons of a session, and score what its latents keep.

    Parameters
    ----------
    X : ndarray of shape (n_trials, n_bins, n_neurons)
        Activity.
    Z : ndarray of shape (n_trials, n_bins, n_components)
        Aligned latents.

    Returns
    -------
    entries : dict
        ``n_trials``, ``n_neurons``, ``n_active_neurons`` (not constant) and, of counts,
        ``bits_per_spike``.
    """
    entries = {
        "n_trials": len(X),
        "n_neurons": X.shape[2],
        "n_active_neurons": int(np.ptp(X, axis=(0, 1)).astype(bool).sum()),
    }
    if X.min() >= 0:
        entries["bits_per_spike"] = held_out_bits_per_spike(X, Z)
    return entries


def held_out_bits_per_spike(X, Z):
    """Compute bits per spike of held-out trials, from rates linear in the latents.

    The readout to each neuron is fitted to four fifths of the trials and scored on the
    rest. It says how much of the activity the aligned latents keep; latents that are
    turned the wrong way keep as much.

    Parameters
    ----------
    X : ndarray of shape (n_trials, n_bins, n_neurons)
        Counts.
    Z : ndarray of shape (n_trials, n_bins, n_components)
        Latents.

    Returns
    -------
    bits : float
        Bits per spike in excess of constant rates, or NaN for a single trial or if no
        held-out trial has a spike.
    """
    step = min(_N_FOLDS, len(X))
    scored = slice(step - 1, None, step)  # views: sessions may be large
    if step < 2 or not X[scored].any():
        return np.nan
    first, offset = Z[0, 0], np.ones((*Z.shape[:2], 1))
    z = np.concatenate([Z - first, offset], axis=2)
    # normal equations of the trials that are not held out
    gram, cross = (
        np.tensordot(z, A, ([0, 1], [0, 1]))
        - np.tensordot(z[scored], A[scored], ([0, 1], [0, 1]))
        for A in (z, X)
    )
    readout = np.linalg.lstsq(gram, cross, rcond=None)[0]
    mean = cross[-1] / gram[-1, -1]
    floor = np.maximum(_FLOOR * mean, np.finfo(float).tiny)
    rates = np.maximum(z[scored] @ readout, floor)
    return bits_per_spike(X[scored], rates)
