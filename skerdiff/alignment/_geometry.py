"""Geometry warm start: which trial resembles which, up to a similarity map.

The neural state of a session is known up to the unknown sampling of neurons. What two
days share is the geometry of their trials in a low-dimensional space: the distances
between whole trials. The search below couples the trials of two sessions by these
distances (Gromov-Wasserstein), then alternates a similarity map (rotation, scale and
shift; nothing more flexible) with an optimal-transport assignment, from many starts,
and keeps the candidate whose aligned trials lie nearest to source trials.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from dataclasses import dataclass, replace

import numpy as np
import ot
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold

from ..utils._random import derive_seed, numpy_generator
from ..utils._similarity import (
    SimilarityMap,
    assign_trials,
    fit_similarity,
    relative_residual,
    squared_distances,
)

_ALPHAS = np.logspace(-1, 4, 11)  # penalties tried by fit_readin
_TRIAL_ROUNDS = 4  # rounds for every start, before the better half goes on


@dataclass(frozen=True)
class Candidate:
    """One candidate alignment of two sessions."""

    map: SimilarityMap
    coupling: np.ndarray  # (n_source_trials, n_target_trials), masses of trial pairs
    residual: float  # relative residual, lower is better
    share: float  # largest multiple of its equal share that a source trial may carry
    start: str  # where the search began


def refine(A, B, coupling, share=1.0, n_rounds=20, start=""):
    """Alternate similarity map and assignment until the assignment stays.

    Parameters
    ----------
    A, B : ndarray of shape (n_A, n_bins, d) and (n_B, n_bins, d)
        Source and target coordinates.
    coupling : ndarray of shape (n_A, n_B)
        Where to begin.
    share : float, default=1.0
        Largest multiple of its equal share that a source trial may carry.
    n_rounds : int, default=20
        Most rounds.
    start : str
        Name of the start.

    Returns
    -------
    candidate : Candidate
        The alignment reached.
    """
    for _ in range(n_rounds):
        previous = coupling
        map_ = fit_similarity(A, B, coupling)
        coupling = assign_trials(A, map_(B), share)
        if np.abs(coupling - previous).sum() < 1e-6:
            break
    return Candidate(map_, coupling, relative_residual(A, map_(B)), share, start)


def find_candidates(
    A, B, *, n_starts=16, n_rounds=20, max_trials=200, seed=0, progress=None
):
    """Search for alignments of two sessions from many starts.

    Parameters
    ----------
    A, B : ndarray of shape (n_A, n_bins, d) and (n_B, n_bins, d)
        Source and target coordinates.
    n_starts : int, default=16
        Number of random starts beside the uniform one.
    n_rounds : int, default=20
        Most rounds of map and assignment from each start.
    max_trials : int, default=200
        Trials of a session in the search; of longer sessions a random subset is
        searched, all trials then judge what was found, and the best candidate alone
        goes on with all of them (the other couplings stay those of the subset).
    seed : int, default=0
        Seed of starts and subsets.
    progress : callable or None
        Called with the number of starts done.

    Returns
    -------
    candidates : list of Candidate
        Sorted by relative residual, best first.
    """
    rng = numpy_generator(derive_seed(seed, "geometry"))
    few_A, few_B = (Z[np.sort(rng.permutation(len(Z))[:max_trials])] for Z in (A, B))
    n_A, n_B = len(few_A), len(few_B)
    cost_A, cost_B = (np.sqrt(squared_distances(Z, Z)) for Z in (few_A, few_B))
    cost_A /= cost_A.mean() or 1.0
    cost_B /= cost_B.mean() or 1.0
    a, b = np.full(n_A, 1 / n_A), np.full(n_B, 1 / n_B)
    candidates, seen = [], []
    for i in range(n_starts + 1):
        start = f"random {i}" if i else "uniform"
        # a random vertex of the transport polytope
        G0 = ot.emd(a, b, rng.rand(n_A, n_B)) if i else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # not converged: refined below
            coupling = ot.gromov.gromov_wasserstein(
                cost_A, cost_B, a, b, "square_loss", G0=G0, max_iter=100
            )
        if any(np.abs(coupling - other).sum() < 1e-2 for other in seen):
            continue
        seen.append(coupling)
        for share in (1.0, 2.0):
            candidates.append(
                refine(
                    few_A, few_B, coupling, share, min(_TRIAL_ROUNDS, n_rounds), start
                )
            )
        if progress is not None:
            progress(i + 1)
    # most of the rounds go to the better half
    candidates.sort(key=_residual)
    half = (len(candidates) + 1) // 2
    better = [_continue(few_A, few_B, c, n_rounds) for c in candidates[:half]]
    candidates = sorted(better + candidates[half:], key=_residual)
    if len(few_A) < len(A) or len(few_B) < len(B):
        # all trials judge the maps found on a subset; the best goes on with all
        residuals = [relative_residual(A, c.map(B)) for c in candidates]
        candidates = [
            replace(c, residual=r) for c, r in zip(candidates, residuals, strict=True)
        ]
        candidates.sort(key=_residual)
        candidates[0] = _continue(A, B, candidates[0], _TRIAL_ROUNDS)
    return candidates


def _residual(candidate):
    return candidate.residual


def _continue(A, B, candidate, n_rounds):
    coupling = assign_trials(A, candidate.map(B), candidate.share)
    return refine(A, B, coupling, candidate.share, n_rounds, candidate.start)


def rigid_partners(A, B, *, n_starts=16, seed=0, progress=None):
    """Source partners of target trials in the best rigid alignment of two sessions.

    Returns
    -------
    coupling : ndarray of shape (n_A, n_B)
        Masses of trial pairs. A source trial carries twice its equal share at most, so
        that the days need not hold the same movements equally often.
    """
    candidates = find_candidates(A, B, n_starts=n_starts, seed=seed, progress=progress)
    return assign_trials(A, candidates[0].map(B), 2.0)


def runner_up(candidates, B, distinct=0.75):
    """Best candidate that is another alignment than the first, not a variant of it.

    Variants of one alignment differ, in the mean squared distance of their aligned
    trials, by up to half the spread of those trials; other alignments by more than all
    of it (seen on both recordings). `distinct` lies between; only the report uses it.

    Returns
    -------
    candidate : Candidate or None
        None if all candidates are variants of the first.
    """
    Z = candidates[0].map(B)
    spread = np.mean(np.sum((Z - Z.mean(0)) ** 2, axis=(1, 2)))
    for other in candidates[1:]:
        gap = np.mean(np.sum((other.map(B) - Z) ** 2, axis=(1, 2)))
        if gap > distinct * spread:
            return other
    return None


def margin(candidates, B):
    """Relative excess residual of the runner-up, ``residual_2 / residual_1 - 1``.

    Near zero the choice between two different alignments is open. Infinite if there is
    no runner-up.
    """
    second = runner_up(candidates, B)
    if second is None or candidates[0].residual == 0:
        return np.inf
    return second.residual / candidates[0].residual - 1.0


def matched_activations(coupling, activations):
    """Source activations carried over to target trials, (n_B, n_bins, n_readin)."""
    weights = coupling / coupling.sum(0)
    return np.tensordot(weights.T, activations, 1)


def fit_readin(features, activations):
    """Ridge regression of read-in activations on the features of the target's neurons.

    The penalty is chosen by cross-validation over trials.

    Parameters
    ----------
    features : ndarray of shape (n_trials, n_bins, n_neurons)
        Target features.
    activations : ndarray of shape (n_trials, n_bins, n_readin)
        Matched source activations.

    Returns
    -------
    weights : ndarray of shape (n_readin, n_neurons)
        Read-in weights.
    bias : ndarray of shape (n_readin,)
        Read-in bias.
    """
    n_trials, n_bins, n_neurons = features.shape
    x = features.reshape(-1, n_neurons)
    y = activations.reshape(-1, activations.shape[2])
    groups = np.repeat(np.arange(n_trials), n_bins)
    errors = np.zeros(len(_ALPHAS))
    for train, test in GroupKFold(min(5, n_trials)).split(x, groups=groups):
        for i, alpha in enumerate(_ALPHAS):
            ridge = Ridge(alpha).fit(x[train], y[train])
            errors[i] += np.sum((ridge.predict(x[test]) - y[test]) ** 2)
    ridge = Ridge(_ALPHAS[np.argmin(errors)]).fit(x, y)
    return ridge.coef_.reshape(y.shape[1], n_neurons), np.atleast_1d(ridge.intercept_)
