"""Tables over all settings: what a method or a constant adds, and when to warn."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.metrics import roc_auc_score

from ..geometry._report import LITTLE_VARIANCE, THIN_MARGIN
from ._constants import CHOSEN, VARIANTS
from ._tables import Table, by_seed, difference, group, reference_of, seeds_note

FAILED = 0.5  # times the oracle's R2; below it an alignment has failed
FLOOR = -1.0  # R2 below counts as this in means over settings
BEST = 10.0  # confidence above counts as this
THRESHOLDS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)  # tried, in multiples of those in use


def share_table(name, title, lines):
    """Lay out the reference's R2 as a share of the oracle's, by setting and data.

    Parameters
    ----------
    name, title : str
        Of the experiment.
    lines : list of dict
        Its results.

    Returns
    -------
    table : Table
        One row per setting, structureless data apart, and one column per pair of
        sessions; without rows if there is no oracle.
    """
    reference = reference_of(lines)
    data = list(group(lines, "data"))
    found = group(lines, "setting", "data", "method")
    rows = []
    for setting, mine in group(lines, "setting").items():
        if mine[0]["setting"].get("permuted"):
            continue
        row = [setting]
        for d in data:
            own, best = (
                by_seed(found.get((setting, d, m), []), "r2")
                for m in (reference, "oracle")
            )
            # an oracle that decodes nothing is no measure
            seeds = {k for k in own.keys() & best.keys() if best[k] > 0}
            own = {k: max(own[k], FLOOR) for k in seeds}
            if not seeds:
                row.append("")
                continue
            mean = np.mean([own[k] for k in seeds]) / np.mean([best[k] for k in seeds])
            worst = min(own[k] / best[k] for k in seeds)
            failed = sum(own[k] < FAILED * best[k] for k in seeds)
            row.append(
                f"{mean:.2f} [{worst:.2f}]" + (f", {failed} failed" * (failed > 0))
            )
        if any(row[1:]):
            rows.append(row)
    notes = [
        f"Mean R2 of {reference} over the mean R2 of the oracle, which learned from as "
        "many target trials with labels; in brackets the smallest share of a seed. R2 "
        f"below {FLOOR:g} counts as {FLOOR:g}; seeds whose oracle's is not above 0 are "
        f"left out. Failed are seeds with less than {FAILED:g} of the oracle's.",
    ]
    header = ["setting", *data]
    return Table(f"{name}-shares", f"{title}: share of the oracle", header, rows, notes)


def parts_table(name, title, lines):
    """Lay out what each method adds to the reference, by setting, paired by seed.

    Parameters
    ----------
    name, title : str
        Of the experiment.
    lines : list of dict
        Its results.

    Returns
    -------
    table : Table
        One row per setting, means over data, and one over all; without rows if there is
        but one method besides those with no adaptation and the oracle.
    """
    reference = reference_of(lines)
    methods = [
        method
        for method in group(lines, "method")
        if method not in (reference, "no adaptation", "oracle")
    ]
    used = [
        line
        for line in lines
        if line["method"] in (reference, *methods)
        and not line["setting"].get("permuted")
    ]
    rows = []
    settings = group(used, "setting")
    for setting, mine in (*settings.items(), ("all settings", used)):
        means = {m: _mean_by_seed(part) for m, part in group(mine, "method").items()}
        if reference not in means:
            continue
        level = np.mean(list(means[reference].values()))
        rows.append(
            [setting, f"{level:.3f}"]
            + [difference(means.get(m, {}), means[reference]) for m in methods]
        )
    notes = [
        seeds_note(lines),
        f"R2 of {reference}, a mean over all data, structureless ones apart, and what "
        f"other methods have more. R2 below {FLOOR:g} counts as {FLOOR:g}: how wrong "
        "a wrong alignment is says nothing.",
    ]
    header = ["setting", reference, *methods]
    return Table(
        f"{name}-parts",
        f"{title}: what is added to {reference}",
        header,
        rows if methods else [],
        notes,
    )


def _mean_by_seed(lines, what="r2"):
    """Mean R2 over data and settings, by seed."""
    return {
        seed: float(np.mean([max(line["result"][what], FLOOR) for line in mine]))
        for seed, mine in group(lines, "seed").items()
    }


def warnings_table(name, title, lines):
    """Lay out how well an aligner knows when it has failed.

    Parameters
    ----------
    name, title : str
        Of the experiment.
    lines : list of dict
        Its results.

    Returns
    -------
    table : Table
        One row per method that reports its confidence; without rows if none does or if
        there is no oracle to compare with.
    """
    oracle = {_run(line): line["result"]["r2"] for line in lines if _is_oracle(line)}
    rows = []
    for method, mine in group(lines, "method").items():
        mine = [
            line
            for line in mine
            if line["result"].get("confidence") is not None and _run(line) in oracle
        ]
        if not mine or method == "oracle":
            continue
        empty = np.array([bool(line["setting"].get("permuted")) for line in mine])
        r2, best = (
            np.array(v)
            for v in zip(*((i["result"]["r2"], oracle[_run(i)]) for i in mine))
        )
        failed = empty | (r2 < FAILED * best)
        warned = np.array([line["result"]["ambiguous"] for line in mine])
        row = [method, str(len(mine)), _share(failed & ~empty, ~empty)]
        for what in ("confidence", "margin", "variance_explained"):
            score = np.minimum([line["result"][what] for line in mine], BEST)
            row.append(f"{_auc(failed, score)} ({_auc(failed[~empty], score[~empty])})")
        row += [
            _share(warned & failed & ~empty, failed & ~empty),
            _share(warned & empty, empty),
            _share(warned & ~failed, ~failed),
        ]
        rows.append(row)
    header = ["method", "runs", "failed", "AUC of confidence", "of margin"]
    header += ["of variance carried", "warned: failed", "structureless", "right"]
    notes = [
        f"An alignment has failed if its R2 is below {FAILED:g} of the oracle's, and "
        "of structureless data in any case. AUC: area under the ROC curve of telling "
        "failed from right ones, in brackets without structureless data. The last "
        "columns say in how many failed runs, structureless ones and right ones the "
        "aligner warned.",
    ]
    return Table(f"{name}-warnings", f"{title}: warnings", header, rows, notes)


def constants_table(name, title, lines):
    """Lay out what other values of the geometry's constants add, paired by seed.

    Parameters
    ----------
    name, title : str
        Of the experiment.
    lines : list of dict
        Its results, see `compare_constants`.

    Returns
    -------
    table : Table
        One row per variant; columns for each pair of sessions and for all.
    """
    lines = [line for line in lines if not line["setting"].get("permuted")]
    parts = {**group(lines, "data"), "all": lines}
    if not lines:
        return Table(name, title, [], [])
    chosen = {part: _mean_by_seed(mine) for part, mine in parts.items()}
    rows = [[CHOSEN, *(f"{np.mean(list(v.values())):.3f}" for v in chosen.values())]]
    for variant in VARIANTS:
        found = (_mean_by_seed(mine, variant) for mine in parts.values())
        row = [difference(v, of) for v, of in zip(found, chosen.values(), strict=True)]
        rows.append([variant, *row])
    notes = [
        seeds_note(lines),
        "R2 with the constants in use, a mean over settings, structureless data apart, "
        f"and what other values have more. R2 below {FLOOR:g} counts as {FLOOR:g}.",
    ]
    return Table(name, title, ["constants", *parts], rows, notes)


def thresholds_table(name, title, lines):
    """Lay out what an aligner would warn of with other thresholds.

    Parameters
    ----------
    name, title : str
        Of the experiment.
    lines : list of dict
        Its results, see `compare_constants`.

    Returns
    -------
    table : Table
        One row per threshold of the variance carried, one column per threshold of the
        margin: the share of failed runs and that of right ones that would be warned of.
    """
    found = [line["result"] for line in lines]
    empty = np.array([bool(line["setting"].get("permuted")) for line in lines])
    failed = empty | [r["r2"] < FAILED * r["oracle"] for r in found]
    margin, carried = (
        np.array([r[what] for r in found]) for what in ("margin", "variance_explained")
    )
    if failed.all() or not failed.any():
        return Table(f"{name}-thresholds", f"{title}: thresholds", [], [])
    rows = []
    for little in LITTLE_VARIANCE * np.array(THRESHOLDS):
        row = [f"carried {little:.2f}"]
        for thin in THIN_MARGIN * np.array(THRESHOLDS):
            warned = (margin < thin) | (carried < little)
            row.append(f"{warned[failed].mean():.2f} / {warned[~failed].mean():.2f}")
        rows.append(row)
    header = ["", *(f"margin {THIN_MARGIN * t:.3f}" for t in THRESHOLDS)]
    notes = [
        f"Share of {failed.sum()} failed and structureless runs, and of "
        f"{(~failed).sum()} right ones, that are warned of. In use are {THIN_MARGIN} "
        f"and {LITTLE_VARIANCE}.",
    ]
    return Table(f"{name}-thresholds", f"{title}: thresholds", header, rows, notes)


def _is_oracle(line):
    return line["method"] == "oracle"


def _run(line):
    return line["data"], line["setting"]["name"], line["seed"]


def _auc(failed, score):
    if failed.all() or not failed.any():
        return "-"
    return f"{roc_auc_score(~failed, score):.2f}"


def _share(some, of):
    return f"{int(some.sum())}/{int(of.sum())}"
