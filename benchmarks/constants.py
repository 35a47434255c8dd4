"""What the geometry's constants do, one at a time.

The entropy and the mass penalty of partners, the handicap of source trials that are
sought in the target, and how far the regression is trusted, on one pool of candidates;
and by how many modes trials are compared, each with a search of its own. None is a
parameter of an aligner, so each must do everywhere.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np

from skerdiff.benchmark import decode_across
from skerdiff.geometry import (
    HANDICAP,
    distinct_alignments,
    geometric_readin,
    margin,
)

from .pool import search_pool

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
    "trust by coverage": {"trust": np.positive},  # in place of its square
    "regression alone": {"trust": np.ones_like},
    "map alone": {"trust": np.zeros_like},
    "5 modes": {"n_modes": 5},  # these with a search of their own
    "12 modes": {"n_modes": 12},
    "half as many modes as trials": {"n_modes": 10**6},
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
        within-target ``oracle``; and ``margin`` and ``variance_explained`` with the
        constants in use. R2 is that of held-out target trials in directions that both
        sessions hold.
    """
    pool = search_pool(split, seed, memory)

    def decode(handicap=HANDICAP, **constants):
        found = pool.candidates
        if "n_modes" in constants:
            found = pool.search(seed, n_modes=constants["n_modes"])
        best = min(
            found,
            key=lambda c: c.residual * (handicap if c.nested == "source" else 1.0),
        )
        readin, quality = geometric_readin(
            pool.features,
            pool.rigid(best),
            pool.coordinates,
            pool.activations,
            **constants,
        )
        return pool.score(readin), quality["variance_explained"]

    r2, explained = decode()
    oracle, _ = decode_across(split, None, seed, memory)
    return {
        "r2": r2,
        **{name: decode(**change)[0] for name, change in VARIANTS.items()},
        "oracle": oracle["r2"],
        "margin": margin(distinct_alignments(pool.candidates, pool.target)),
        "variance_explained": explained,
    }
