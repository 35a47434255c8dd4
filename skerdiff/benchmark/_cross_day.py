"""Several methods on one pair of sessions, and a table of text: what the demo shows."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import tempfile

import numpy as np

from ._decode import decode_across
from ._methods import METHODS
from ._sessions import make_split


def cross_day(data, seed=0, methods=METHODS, train_share=0.8, report=None):
    """Run methods on one pair of sessions with one seed.

    Parameters
    ----------
    data : Bunch
        Two sessions, see `load_pair`.
    seed : int, default=0
        Seed of all models.
    methods : dict of str to aligner or None
        Aligners by name; None stands for the within-target oracle.
    train_share : float, default=0.8
        Share of the target trials to adapt on; the others are scored.
    report : callable or None
        Called with a line of text before each step.

    Returns
    -------
    rows : list of dict
        Per method ``method``, and what it did: ``r2``, ``rmse`` (in units of y),
        ``fit_s``, ``adapt_s``, ``ambiguous`` and others.
    latents : dict of str to ndarray
        Latents of the scored target trials per method, and of the source.
    """
    split = make_split(data, seed, train_share=train_share)
    rows, latents = [], {}
    with tempfile.TemporaryDirectory() as memory:
        for name, aligner in methods.items():
            if report is not None:
                report(name)
            row, found = decode_across(split, aligner, seed, memory)
            rows.append({"method": name} | row)
            latents[name] = found["target"]
            if aligner is not None:
                latents.setdefault("source", found["source"])
    return rows, latents


def table(rows):
    """Lay out the R2 (mean, standard deviation and worst seed) and RMSE per method.

    Parameters
    ----------
    rows : list of dict
        Rows of `cross_day`, of one or more seeds.

    Returns
    -------
    text : str
        One line per method.
    """
    names = list(dict.fromkeys(row["method"] for row in rows))
    width = max(map(len, names))
    several = len(rows) > len(names)
    lines = [f"{'':{width}}       R2{'     sd  worst' if several else ''}    RMSE"]
    for name in names:
        mine = [row for row in rows if row["method"] == name]
        r2 = np.array([row["r2"] for row in mine])
        spread = f" {r2.std(ddof=1):6.3f} {r2.min():6.3f}" if several else ""
        rmse = np.mean([row["rmse"] for row in mine])
        lines.append(f"{name:{width}}  {r2.mean():7.3f}{spread} {rmse:7.3f}")
    return "\n".join(lines)
