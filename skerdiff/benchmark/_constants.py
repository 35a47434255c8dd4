"""What the geometry's constants do: one at a time, on one pool of candidates.

The entropy and the mass penalty of partners, the handicap of source trials that are
sought in the target, and how far the regression is trusted. None is a parameter of an
aligner, so each must do everywhere.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np

from ..alignment._geometry import HANDICAP, distinct_alignments, margin
from ..alignment._readin import (
    blend,
    coverage,
    find_partners,
    fit_readin,
    matched,
    rigid_readin,
    variance_carried,
)
from ..utils._similarity import squared_distances
from ._cross_day import decode_across
from ._pool import search_pool

CHOSEN = "as chosen"
# constant and value, by name of the variant
VARIANTS = {
    "entropy 0.05": {"entropy": 0.05},
    "entropy 0.1": {"entropy": 0.1},
    "entropy 0.5": {"entropy": 0.5},
    "mass penalty 0.5": {"mass_penalty": 0.5},
    "mass penalty 2": {"mass_penalty": 2.0},
    "masses equal": {"mass_penalty": np.inf},
    "no handicap": {"handicap": 1.0},
    "handicap 1.1": {"handicap": 1.1},
    "target in source only": {"handicap": np.inf},
    "trust by coverage": {"trust": np.sqrt},  # in place of its square
    "regression alone": {"trust": np.ones_like},
    "map alone": {"trust": np.zeros_like},
}


def compare_constants(split, seed=0, memory=None):
    """Align and decode with each variant of the constants.

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
        R2 by variant, that of the constants in use as ``r2``; that of the
        within-target ``oracle``; and ``margin`` and ``variance_carried`` with the
        constants in use. R2 is that of held-out target trials in directions that both
        sessions hold.
    """
    pool = search_pool(split, seed, memory)
    source, features = pool.coordinates, pool.features

    def decode(entropy=None, mass_penalty=None, handicap=HANDICAP, trust=None):
        best = min(
            pool.candidates,
            key=lambda c: c.residual * (handicap if c.nested == "source" else 1.0),
        )
        rigid = pool.rigid(best)
        given = {"entropy": entropy, "mass_penalty": mass_penalty}
        partners = find_partners(
            squared_distances(source, rigid(features)),
            **{name: value for name, value in given.items() if value is not None},
        )
        anchor = rigid_readin(rigid, source, pool.activations)
        regressed = fit_readin(features, matched(partners, pool.activations), anchor)
        covered = coverage(partners)
        return pool.score(
            blend(anchor, regressed, covered if trust is None else trust(covered))
        )

    oracle, _ = decode_across(split, None, seed, memory)
    best = pool.candidates[0]
    return {
        "r2": decode(),
        **{name: decode(**change) for name, change in VARIANTS.items()},
        "oracle": oracle["r2"],
        "margin": margin(distinct_alignments(pool.candidates, pool.target)),
        "variance_carried": variance_carried(
            squared_distances(source, best.map(pool.target)), source
        ),
    }
