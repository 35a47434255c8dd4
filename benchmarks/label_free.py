"""How well label-free scores tell good alignments from bad ones.

``python -m benchmarks label-free --output runs.csv`` aligns recordings by many
methods, latent dims, inits and seeds, and prints the rank correlation of each score
with the true R2 of held-out target trials, and the R2 given up by choosing with it.
Finished cells in the file are not run again.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import argparse
import csv
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from skerdiff import metrics
from skerdiff.alignment import (
    CORALAligner,
    DANNAligner,
    ERDiffAligner,
    GeometryAligner,
    IdentityAligner,
    JSDAligner,
    MMDAligner,
    adapt,
)
from skerdiff.benchmark import PAIRS, Table, load_pair
from skerdiff.decoding import PerBinRegressor
from skerdiff.exceptions import AmbiguousAlignmentWarning

from .methods import from_source

SCORERS = {
    "agreement": metrics.agreement_scorer,
    "rigid": metrics.rigid_scorer,
    "residual": metrics.residual_scorer,
    "margin": metrics.margin_scorer,
    "two_sample_auc": metrics.two_sample_auc_scorer,
    "sliced_wasserstein": metrics.sliced_wasserstein_scorer,
    "bits_per_spike": metrics.bits_per_spike_scorer,
    "circular": metrics.circular_scorer,
}
SCORES = [*SCORERS, "seed_consistency"]


def _methods():
    methods = {"identity": IdentityAligner(), "geometry": GeometryAligner()}
    # a search that is likely to miss
    methods["geometry, one start"] = GeometryAligner(n_starts=1)
    for aligner in (CORALAligner(), JSDAligner(), MMDAligner(), DANNAligner()):
        name = type(aligner).__name__.removesuffix("Aligner")
        methods[f"{name}, source"] = from_source(aligner)
        methods[f"{name}, random"] = from_source(aligner).set_params(init="random")
    for aligner in (MMDAligner(), ERDiffAligner()):
        name = type(aligner).__name__.removesuffix("Aligner")
        methods[f"{name}, geometry"] = aligner
    methods["ERDiff, source"] = from_source(ERDiffAligner())
    return methods


METHODS = _methods()


def label_free_runs(pair, n_components, seeds=range(3), memory=None, report=None):
    """Align one pair of sessions by all methods and score without and with labels.

    Parameters
    ----------
    pair : str
        Name of the pair, see `load_pair`. The target's last fifth is scored.
    n_components : int
        Latent dims.
    seeds : sequence of int, default=range(3)
        Seeds of all models.
    memory : str, default=None
        Cache of source models.
    report : callable or None
        Called with each row.

    Returns
    -------
    rows : list of dict
        Per method and seed ``pair``, ``method``, ``n_components``, ``seed``, ``r2`` and
        the scores.
    """
    # other trials are held out than in the tables of `cross_day`
    data = load_pair(pair, 100)
    trials, y = data.trials, data.y
    (target,) = [name for name in trials.names if name != trials.source]
    X, v = trials[trials.source], y[trials.is_source]
    X_new, v_new = trials[target], y[~trials.is_source]
    n_train = round(0.8 * len(X_new))
    X_test, v_test = X_new[n_train:], v_new[n_train:]
    # aligners do not store the source's activity, which circular consistency needs
    scorers = SCORERS | {"circular": SCORERS["circular"].with_source(X)}
    rows = []
    for method, aligner in METHODS.items():
        guesses, runs = [], []
        for seed in seeds:
            mine = clone(aligner).set_params(
                n_components=n_components, random_state=seed, memory=memory
            )
            pipe = make_pipeline(mine, PerBinRegressor(Ridge())).fit(X, v)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AmbiguousAlignmentWarning)
                adapt(pipe, X_new[:n_train], session=target)
            guesses.append(pipe.predict(X_test))
            run = {"pair": pair, "method": method, "n_components": n_components}
            run |= {"seed": seed, "r2": metrics.r2_scorer(pipe, X_test, v_test)}
            run |= {name: scorer(pipe, X_test) for name, scorer in scorers.items()}
            runs.append(run)
        for run, value in zip(runs, metrics.seed_consistency(guesses), strict=True):
            run["seed_consistency"] = float(value)
            rows.append(run)
            if report is not None:
                report(run)
    return rows


def correlations(rows):
    """Rank correlation of each score with R2, and the R2 given up by choosing with it.

    Parameters
    ----------
    rows : list of dict
        Rows of `label_free_runs`.

    Returns
    -------
    table : dict of str to dict
        Per score ``all`` and per pair the Spearman correlation over runs, and ``given
        up``: for each pair and seed, R2 of the best run less that of the run with the
        highest score (mean, and ``most``).
    """
    pairs = sorted({row["pair"] for row in rows})
    choices = {}
    for row in rows:
        choices.setdefault((row["pair"], row["seed"]), []).append(row)
    table = {}
    for score in SCORES:
        groups = {"all": rows}
        groups |= {pair: [r for r in rows if r["pair"] == pair] for pair in pairs}
        table[score] = {
            name: float(spearmanr([(r[score], r["r2"]) for r in group]).statistic)
            for name, group in groups.items()
        }
        lost = [
            max(r["r2"] for r in runs) - max(runs, key=lambda r: r[score])["r2"]
            for runs in choices.values()
        ]
        table[score] |= {"given up": float(np.mean(lost)), "most": max(lost)}
    return table


def table(rows):
    """Lay out the correlations of all scores, the best first.

    Parameters
    ----------
    rows : list of dict
        Rows of `label_free_runs`.

    Returns
    -------
    table : Table
        With the method ``rst``.
    """
    found = correlations(rows)
    pairs = sorted({row["pair"] for row in rows})
    header = ["all runs", *pairs, "R2 given up", "at most"]
    lines = [
        {"score": f"``{score}``"}
        | dict(
            zip(
                header,
                [f"{found[score][name]:.2f}" for name in ("all", *pairs)]
                + [f"{found[score][name]:.3f}" for name in ("given up", "most")],
            )
        )
        for score in sorted(SCORES, key=lambda score: -found[score]["all"])
    ]
    return Table("label-free", "Scores without labels", lines)


def read_runs(path):
    """Rows of an earlier run, from a CSV file.

    Parameters
    ----------
    path : path-like
        The file; it need not be there.

    Returns
    -------
    rows : list of dict
        Its rows.
    """
    if not Path(path).exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for name in row.keys() - {"pair", "method"}:
            row[name] = float(row[name])
    return rows


def write_runs(rows, path):
    """Write rows to a CSV file, whole or not at all.

    Parameters
    ----------
    rows : list of dict
        Rows of `label_free_runs`.
    path : path-like
        The file; one of that name is replaced.
    """
    part = f"{path}.part"
    with open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, path)


def main(argv=None):
    """Run all cells that are not in the file yet, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks label-free")
    parser.add_argument("--data", nargs="+", choices=PAIRS, default=["mihi", "jango"])
    parser.add_argument("--dims", nargs="+", type=int, default=[8, 4])
    parser.add_argument("--seeds", type=int, default=3, help="at least 2")
    parser.add_argument("--output", required=True, help="CSV file, one line per run")
    parser.add_argument("--memory", help="folder to keep source models in")
    args = parser.parse_args(argv)
    if args.seeds < 2:
        parser.error("--seeds must be 2 or more: consistency needs several")
    rows = read_runs(args.output)
    with tempfile.TemporaryDirectory() as scratch:
        for d in args.dims:
            for pair in args.data:
                cell = [r for r in rows if (r["pair"], r["n_components"]) == (pair, d)]
                if {r["seed"] for r in cell} == set(range(args.seeds)):
                    continue
                rows = [row for row in rows if row not in cell]
                rows += label_free_runs(
                    pair,
                    d,
                    range(args.seeds),
                    args.memory or scratch,
                    lambda row: print(*row.values(), flush=True),
                )
                write_runs(rows, args.output)
    print(f"\n{len(rows)} runs\n{table(rows).rst()}")
