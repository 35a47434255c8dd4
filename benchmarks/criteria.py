"""Judges of candidate alignments, side by side, on one pool of candidates.

What chooses between candidates must not read labels. Compared are the relative
residual, and what a diffusion model of the source's principal coordinates says of the
target's aligned ones: its denoising error, which ERDiff minimises; the bound on the
likelihood and the likelihood itself, both with the change-of-variables term. A map that
scales the d coordinates of each of L bins by s changes the log-density of a trial by
L d log s.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from joblib import Memory

from skerdiff.diffusion import DiffusionPrior
from skerdiff.geometry import distinct_alignments, geometric_readin

from .pool import search_pool

CRITERIA = ("relative residual", "denoising error", "bound", "likelihood")
_MAX_TRIALS = 24  # that the prior judges
_N_STEPS = 12  # of the integration of the likelihood


def compare_criteria(split, seed=0, memory=None):
    """Let each criterion choose an alignment, and decode by it.

    Parameters
    ----------
    split : Split
        The trials, see `make_split`.
    seed : int, default=0
        Seed of all models and of the search.
    memory : str, default=None
        Cache of source models.

    Returns
    -------
    row : dict
        ``n_alignments``, how many different ones the search found; ``r2``, of the best
        of them by target labels; and the R2 of what each criterion chose, by the
        criterion's name. R2 is that of held-out target trials in directions that both
        sessions hold.
    """
    pool = search_pool(split, seed, memory)
    fit = Memory(memory, verbose=0).cache(_fit)
    prior = fit(DiffusionPrior(random_state=seed), pool.coordinates)
    prior.set_params(n_steps=_N_STEPS)
    found = []
    for candidate in distinct_alignments(pool.candidates, pool.target):
        rigid = pool.rigid(candidate)
        readin, _ = geometric_readin(
            pool.features, rigid, pool.coordinates, pool.activations
        )
        losses = _by_prior(prior, rigid(pool.features), candidate.map.scale)
        found.append([pool.score(readin), candidate.residual, *losses])
    r2, *losses = np.transpose(found)
    chosen = {
        name: float(r2[np.argmin(loss)])
        for name, loss in zip(CRITERIA, losses, strict=True)
    }
    return {"n_alignments": len(found), "r2": float(r2.max()), **chosen}


def _fit(model, Z):
    return model.fit(Z)


def _by_prior(prior, Z, scale):
    """Denoising error, and bound and likelihood as losses, per value."""
    Z = Z[:_MAX_TRIALS]
    size = Z[0].size
    volume = np.log(max(scale, np.finfo(float).tiny))
    return (
        float(np.mean(prior.denoising_error(Z))),
        -float(np.mean(prior.evidence_bound(Z))) / size - volume,
        -float(np.mean(prior.score_samples(Z))) / size - volume,
    )
