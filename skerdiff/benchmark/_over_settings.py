"""Tables over all settings: shares of the oracle, what a method adds, warnings."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from ._tables import Table, by_seed, difference, group, reference_of, seeds_note

FAILED = 0.5  # times the oracle's R2; below it an alignment has failed
FLOOR = -1.0  # R2 below counts as this in means over settings
BEST = 10.0  # confidence above counts as this


def share_table(name, title, results):
    """R2 of the reference as a share of the oracle's, by setting and data."""
    reference = reference_of(results)
    used = results[~results["structureless"]]
    rows = []
    for setting, mine in group(used, "setting"):
        row = {"setting": setting}
        for data, part in group(mine, "data"):
            r2 = by_seed(part)
            if {reference, "oracle"} <= set(r2):
                row[data] = _share_of_oracle(r2[reference], r2["oracle"])
        if any(list(row.values())[1:]):
            rows.append(row)
    notes = [
        f"Mean R2 of {reference} over the mean R2 of the oracle, which learned from as "
        "many target trials with labels; in brackets the smallest share of a seed. R2 "
        f"below {FLOOR:g} counts as {FLOOR:g}; seeds whose oracle's is not above 0 are "
        f"left out. Failed are seeds with less than {FAILED:g} of the oracle's.",
    ]
    frame = pd.DataFrame(rows, columns=["setting", *results["data"].unique()])
    title = f"{title}: share of the oracle"
    return Table(f"{name}-shares", title, frame, notes, used)


def _share_of_oracle(own, best):
    # an oracle that decodes nothing is no measure
    shared = own.notna() & (best > 0)
    own, best = own[shared].clip(lower=FLOOR), best[shared]
    if not shared.any():
        return ""
    text = f"{own.mean() / best.mean():.2f} [{(own / best).min():.2f}]"
    failed = (own < FAILED * best).sum()
    return f"{text}, {failed} failed" if failed else text


def parts_table(name, title, results):
    """What each method adds to the reference, by setting, paired by seed."""
    reference = reference_of(results)
    left_out = (reference, "no adaptation", "oracle")
    methods = [m for m in results["method"].unique() if m not in left_out]
    mine = results["method"].isin([reference, *methods]) & ~results["structureless"]
    used = results[mine]
    rows = []
    parts = [*group(used, "setting"), ("all settings", used)] if methods else []
    for setting, part in parts:
        means = floored_means(part)
        if reference not in means:
            continue
        row = {"setting": setting, reference: f"{means[reference].mean():.3f}"}
        for method in methods:
            found = method in means
            row[method] = difference(means[method], means[reference]) if found else ""
        rows.append(row)
    notes = [
        seeds_note(results),
        f"R2 of {reference}, a mean over all data, structureless ones apart, and what "
        f"other methods have more. R2 below {FLOOR:g} counts as {FLOOR:g}: how wrong "
        "a wrong alignment is says nothing.",
    ]
    title = f"{title}: what is added to {reference}"
    return Table(f"{name}-parts", title, pd.DataFrame(rows), notes, used)


def floored_means(results, what="r2", across="method"):
    """Mean over data and settings, by seed and method; R2 below the floor counts so."""
    floored = results[what].clip(lower=FLOOR)
    return floored.groupby([results["seed"], results[across]]).mean().unstack()


def warnings_table(name, title, results):
    """How well warnings detect failed alignments, where there is an oracle."""
    run = ["data", "setting", "seed"]
    oracle = results[results["method"] == "oracle"]
    rows, used = [], results
    if len(oracle) and "confidence" in results:
        used = results[(results["method"] != "oracle") & results["confidence"].notna()]
        used = used.merge(oracle[[*run, "r2"]], on=run, suffixes=("", "_oracle"))
        rows = [_warnings(method, mine) for method, mine in group(used, "method")]
    notes = [
        f"An alignment has failed if its R2 is below {FAILED:g} of the oracle's, and "
        "of structureless data in any case. AUC: area under the ROC curve of telling "
        "failed from right ones, in brackets without structureless data. The last "
        "columns say in how many failed runs, structureless ones and right ones the "
        "aligner warned.",
    ]
    title = f"{title}: warnings"
    return Table(f"{name}-warnings", title, pd.DataFrame(rows), notes, used)


def _warnings(method, mine):
    empty = mine["structureless"].to_numpy(bool)
    failed = has_failed(mine, mine["r2_oracle"])
    warned = mine["ambiguous"].to_numpy(bool)
    row = {"method": method, "runs": str(len(mine))}
    row["failed"] = _share(failed & ~empty, ~empty)
    for what, column in (
        ("confidence", "AUC of confidence"),
        ("margin", "of margin"),
        ("variance_explained", "of variance explained"),
    ):
        score = np.minimum(mine[what].to_numpy(float), BEST)
        row[column] = f"{_auc(failed, score)} ({_auc(failed[~empty], score[~empty])})"
    row["warned: failed"] = _share(warned & failed & ~empty, failed & ~empty)
    row["structureless"] = _share(warned & empty, empty)
    row["right"] = _share(warned & ~failed, ~failed)
    return row


def has_failed(results, oracle):
    """Whether alignments have failed, those of structureless data among them."""
    failed = results["r2"].to_numpy(float) < FAILED * oracle.to_numpy(float)
    return results["structureless"].to_numpy(bool) | failed


def _auc(failed, score):
    if failed.all() or not failed.any():
        return "-"
    return f"{roc_auc_score(~failed, score):.2f}"


def _share(some, of):
    return f"{int(some.sum())}/{int(of.sum())}"
