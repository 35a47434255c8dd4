"""Geometry warm start: which trial resembles which, up to a similarity map.

Each day the electrodes sample other neurons of the same population. What two days
share is the geometry of their trials in a low-dimensional space, once the noise of
single trials is out of the way. The search below alternates a similarity map (rotation,
scale and shift; nothing more flexible) with an optimal-transport assignment of trials,
from many random starts, first between a few landmarks of each session, then between
trials. It does so both ways, for either session may hold movements that the other
lacks, and keeps the candidate whose aligned trials lie nearest to the other session's.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from sklearn.cluster import KMeans

from ..utils._random import derive_seed, numpy_generator
from ..utils._sklearn import COUNT, NON_NEGATIVE, at_least
from ..utils._threads import limit_threads
from ._checks import TRIALS, check_shape, checked, instances
from ._similarity import (
    N_MODES,
    SimilarityMap,
    assign_trials,
    check_pair,
    denoise_trials,
    fit_similarity,
    mean_spread,
    relative_residual,
    transport_plan,
)

SHARES = (1.0, 2.0, 4.0)  # multiples of its equal share that a trial may carry
_MAX_TRIALS = 256  # of a session in the search; one chunk for k-means' threads
_N_LANDMARKS = 32, 16  # of the session that is searched in, and of the other
_LANDMARK_ROUNDS = 12
_TRIAL_ROUNDS = 4  # for every landmark alignment, before the better half goes on
_N_REFINED = 12  # landmark alignments that are refined on trials
_FOLLOW = 1.75  # over the number of trials: excess residual of what is followed
HANDICAP = 1.05  # of source trials sought in the target
_SAME = 0.1  # of the spread: landmark alignments nearer than that are one


@dataclass(frozen=True, eq=False)
class Candidate:
    """One candidate alignment of two sessions.

    Parameters
    ----------
    map : SimilarityMap
        Target to source coordinates.
    residual : float
        Relative residual, lower is better.
    nested : {"target", "source"}
        Whose trials were sought in the other session.
    followed : bool, default=False
        Whether it was reached from the start that was given.
    """

    map: SimilarityMap  # of target to source coordinates
    residual: float  # relative residual, lower is better
    nested: str  # "target" or "source": whose trials are sought in the other session
    followed: bool = False  # whether it was reached from the start that was given


def refine(A, B, coupling, share=1.0, n_rounds=20, masses=(None, None)):
    """Alternate similarity map and assignment until the assignment stays.

    Parameters
    ----------
    A, B : ndarray of shape (n_A, n_bins, d) and (n_B, n_bins, d)
        Coordinates; trials of B are sought in A.
    coupling : ndarray of shape (n_A, n_B)
        Where to begin.
    share : float, default=1.0
        Largest multiple of its equal share that a trial of A may carry.
    n_rounds : int, default=20
        Most rounds.
    masses : tuple of ndarray or None, default=(None, None)
        Masses of trials, (n_A,) and (n_B,), that sum to 1; None for equal ones.

    Returns
    -------
    map : SimilarityMap
        The map of B to A that is reached.
    residual : float
        Its relative residual.
    """
    for _ in range(max(1, n_rounds)):
        previous = coupling
        map_ = fit_similarity.unchecked(A, B, coupling)
        coupling = assign_trials.unchecked(A, map_(B), share, masses)
        if np.abs(coupling - previous).sum() < 1e-6:
            break
    return map_, relative_residual.unchecked(A, map_(B), masses[1])


_INTEGER = [at_least(0)]


@checked(
    A=TRIALS,
    B=TRIALS,
    n_starts=COUNT,
    n_rounds=_INTEGER,
    max_trials=COUNT,
    n_modes=COUNT,
    seed=_INTEGER,
    start=TRIALS,
    guess=TRIALS,
    progress=[callable, None],
)
def find_candidates(
    A,
    B,
    *,
    n_starts=200,
    n_rounds=20,
    max_trials=_MAX_TRIALS,
    n_modes=N_MODES,
    seed=0,
    start=None,
    guess=None,
    progress=None,
):
    """Search for alignments of two sessions from many starts, both ways.

    Trials are compared by the leading modes in which they differ.

    Parameters
    ----------
    A, B : ndarray of shape (n_A, n_bins, d) and (n_B, n_bins, d)
        Source and target coordinates.
    n_starts : int, default=200
        Number of random starts each way.
    n_rounds : int, default=20
        Most rounds of map and assignment on trials.
    max_trials : int, default=256
        Trials of a session in the search; of longer sessions a random subset.
    n_modes : int, default=8
        Modes by which trials are compared, see `denoise_trials`.
    seed : int, default=0
        Seed of starts and subsets.
    start : ndarray of shape (n_B, n_bins, d) or None
        Where another alignment, yesterday's say, puts the target's trials among the
        source's. The search starts from there too, and prefers what it leads to.
    guess : ndarray of shape (n_B, n_bins, d) or None
        Where they may lie; one more start, with no preference for what it leads to.
    progress : callable or None
        Called with the number of starts done, of both ways.

    Returns
    -------
    candidates : list of Candidate
        Sorted by relative residual, best first. Source trials sought in the target
        count only if they fit better by a twentieth. A candidate that was reached from
        `start` comes first unless its residual exceeds the best by more than the
        scatter expected from so few trials, a share of 1.75 over their number.

    Raises
    ------
    ValueError
        If A and B cannot be compared or are not finite, if `start` or `guess` is not of
        the shape of B, or if a number is no such number.
    """
    check_pair(A, B)
    for name, Z in {"start": start, "guess": guess}.items():
        if Z is not None:
            check_shape(Z, B.shape, name)
    A, B = denoise_trials(A, n_modes), denoise_trials(B, n_modes)
    rng = numpy_generator(derive_seed(seed, "geometry"))
    a, b = (np.sort(rng.permutation(len(Z))[:max_trials]) for Z in (A, B))
    A, B = A[a], B[b]
    done = count(1)

    def tick():
        if progress is not None:
            progress(next(done))

    found = [
        Candidate(map_, residual, "target")
        for map_, residual, _ in _search(A, B, n_starts, n_rounds, rng, tick)
    ]
    for map_, residual, _ in _search(B, A, n_starts, n_rounds, rng, tick):
        if map_.scale > 0:
            found.append(Candidate(map_.inverse(), residual, "source"))
    if guess is not None:
        found += _refine_all(A, B, denoise_trials(guess, n_modes)[b])
    found.sort(key=_order)
    if start is None:
        return found
    near = _refine_all(A, B, denoise_trials(start, n_modes)[b])
    near = replace(min(near, key=_order), followed=True)
    if near.residual <= (1 + _FOLLOW / len(B)) * _order(found[0]) < np.inf:
        return [near, *found]
    return sorted([near, *found], key=_order)


def _refine_all(A, B, places):
    """Candidates from where trials of B may lie in A, one for each share."""
    return [
        Candidate(
            *refine(A, B, assign_trials.unchecked(A, places, share), share), "target"
        )
        for share in SHARES
    ]


def _order(candidate):
    """Residual, with a handicap if source trials were sought in the target."""
    return candidate.residual * (HANDICAP if candidate.nested == "source" else 1.0)


def _search(A, B, n_starts, n_rounds, rng, tick):
    """Maps of B to A with their residuals and shares."""
    found = []
    for map_ in _search_landmarks(A, B, n_starts, rng, tick):
        for share in SHARES:
            coupling = assign_trials.unchecked(A, map_(B), share)
            rounds = min(_TRIAL_ROUNDS, n_rounds)
            found.append((*refine(A, B, coupling, share, rounds), share))
    # most of the rounds go to the better half
    found.sort(key=lambda f: f[1])
    half = (len(found) + 1) // 2
    for i, (map_, _, share) in enumerate(found[:half]):
        coupling = assign_trials.unchecked(A, map_(B), share)
        found[i] = (*refine(A, B, coupling, share, n_rounds), share)
    return found


def _search_landmarks(A, B, n_starts, rng, tick):
    """Best maps of B to A between landmarks that are not variants of each other."""
    (A, a), (B, b) = (
        _landmarks(Z, k, rng) for Z, k in zip((A, B), _N_LANDMARKS, strict=True)
    )
    found = []
    for i in range(n_starts):
        share = SHARES[i % len(SHARES)]
        # a random vertex of the transport polytope
        start = transport_plan(rng.rand(len(a), len(b)), share, (a, b))
        found.append(refine(A, B, start, share, _LANDMARK_ROUNDS, (a, b)))
        tick()
    found.sort(key=lambda f: f[1])
    kept, images = [], []
    for map_, _ in found:
        Z = map_(B)
        same = _SAME * mean_spread(Z, b)
        if all(b @ np.sum((Z - image) ** 2, axis=(1, 2)) > same for image in images):
            kept.append(map_)
            images.append(Z)
        if len(kept) == _N_REFINED:
            break
    return kept


def _landmarks(Z, k, rng):
    """Means of clusters of trials, (k, n_bins, d), and their masses (k,)."""
    rows = Z.reshape(len(Z), -1)
    # of trials that are equal, but for rounding, KMeans would warn; and warnings cannot
    # be silenced in one thread alone
    distinct = np.unique(np.round(rows / (np.abs(rows).max() or 1.0), 9), axis=0)
    k = min(k, len(distinct))
    seed = rng.randint(2**31 - 1)
    with limit_threads(1):  # KMeans sets one too, but not so that threads may overlap
        found = KMeans(k, n_init=3, random_state=seed).fit(rows)
    masses = np.bincount(found.labels_, minlength=k) / len(Z)
    used = masses > 0
    return found.cluster_centers_.reshape(k, *Z.shape[1:])[used], masses[used]


@checked(candidates=instances(Candidate), B=TRIALS, distinct=NON_NEGATIVE)
def distinct_alignments(candidates, B, distinct=0.75):
    """Best candidate of each alignment, without its variants.

    Variants of one alignment mostly differ, in the mean squared distance of their
    aligned trials, by up to half the spread of those trials; other alignments mostly by
    more than all of it (seen on both recordings, where one in ten candidates lies
    between). It chooses nothing.

    Parameters
    ----------
    candidates : list of Candidate
        Best first.
    B : ndarray of shape (n_B, n_bins, d)
        Target coordinates.
    distinct : float, default=0.75
        Share of the spread of the best alignment's trials from which on another
        candidate is another alignment.

    Returns
    -------
    candidates : list of Candidate
        Best first; the first is that of the list given.

    Raises
    ------
    ValueError
        If B are no trials of finite numbers, or have other dims than the candidates.
    TypeError
        If candidates are no list of such.
    """
    dims = {len(candidate.map.shift) for candidate in candidates}
    if dims != {B.shape[2]}:
        raise ValueError(
            f"The candidates are of sessions with {sorted(dims)} dims, but B has "
            f"{B.shape[2]}."
        )
    B = denoise_trials(B)
    kept, images = [], []
    least = distinct * mean_spread(candidates[0].map(B))
    for candidate in candidates:
        Z = candidate.map(B)
        gaps = [np.mean(np.sum((Z - image) ** 2, axis=(1, 2))) for image in images]
        if all(gap > least for gap in gaps):
            kept.append(candidate)
            images.append(Z)
    return kept


@checked(alignments=instances(Candidate))
def margin(alignments):
    """Compute the relative excess residual of the runner-up.

    It is ``residual_2 / residual_1 - 1``, with the handicap of `find_candidates`.

    Near zero the choice between two different alignments is open. Below zero a given
    start was followed although another fits better. Infinite if there is no
    runner-up, zero if nothing fits at all.

    Parameters
    ----------
    alignments : list of Candidate
        Different alignments, best first, see `distinct_alignments`.

    Returns
    -------
    margin : float
        The margin.

    Raises
    ------
    TypeError
        If alignments are no list of candidates.
    """
    if np.isinf(alignments[0].residual):
        return 0.0
    if len(alignments) == 1 or alignments[0].residual == 0:
        return np.inf
    return _order(alignments[1]) / _order(alignments[0]) - 1.0


@checked(A=TRIALS, B=TRIALS, n_starts=COUNT, seed=_INTEGER)
def rigid_partners(A, B, *, n_starts=200, seed=0):
    """Source partners of target trials in the best rigid alignment of two sessions.

    Parameters
    ----------
    A, B : ndarray of shape (n_A, n_bins, d) and (n_B, n_bins, d)
        Source and target coordinates.
    n_starts : int, default=200
        Random starts of the search, each way.
    seed : int, default=0
        Seed of the search.

    Returns
    -------
    coupling : ndarray of shape (n_A, n_B)
        Masses of trial pairs. A source trial carries twice its equal share at most, so
        that the days need not hold the same movements equally often.

    Raises
    ------
    ValueError
        If A and B cannot be compared or are not finite, or if a number is no such
        number.
    """
    best = find_candidates(A, B, n_starts=n_starts, seed=seed)[0]
    return assign_trials(denoise_trials(A), best.map(denoise_trials(B)), 2.0)
