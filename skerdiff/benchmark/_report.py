"""Reports: tables, figures and one page, from results alone."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import base64
import csv
import html
import io
import json
from pathlib import Path

import numpy as np

from ._kinds import tables_of
from ._results import FILE, PLAN, ResultsError, read_results, results_file, write_whole
from ._statistics import paired_difference
from ._tables import Table, by_seed, group, summary

PROTOCOL = (
    "The target's labels are used for the score alone. Methods adapt to some target "
    "trials and are scored on others; sessions are shuffled independently; the oracle "
    "is the same latent model and decoder trained on the target's adapted trials with "
    "their labels. Kinds of experiment that break these rules say so."
)
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68em; margin: 2em auto;
       padding: 0 1em; color: #222; }
table { border-collapse: collapse; font-size: 13px; display: block;
        overflow-x: auto; }
th, td { padding: .25em .7em; text-align: left; border-bottom: 1px solid #ddd;
         white-space: nowrap; }
th { border-bottom: 2px solid #888; }
p { max-width: 55em; } img { max-width: 100%; }
"""


def load(paths):
    """Read the results of several folders or files, in the order of their plans.

    Of a folder that holds a plan, only what is planned counts: results of an earlier
    form of its configuration are left out. Experiments of the same name in several
    folders get the name of theirs.

    Parameters
    ----------
    paths : list of path-like
        Folders or files of results.

    Returns
    -------
    lines : list of dict
        Finished cells.
    """
    found = {path: _planned(path) for path in dict.fromkeys(map(Path, paths))}
    names = [{line["experiment"] for line in lines} for lines in found.values()]
    for path, lines in found.items():
        for line in lines:
            if sum(line["experiment"] in mine for mine in names) > 1:
                line["experiment"] += f" ({path.name})"
    return [line for lines in found.values() for line in lines]


def _planned(path):
    lines, plan = read_results(path), _plan(path)
    if plan is not None:
        lines = [line | plan[line["key"]] for line in lines if _is_planned(line, plan)]
    if not lines:
        raise ResultsError(f"{path} holds no finished result yet.")
    return sorted(lines, key=lambda line: line["index"])


def _plan(path):
    """What the last run of a folder was to give; None for other files."""
    file = results_file(path)
    plan = file.with_name(PLAN)
    if file.name != FILE or not plan.exists():
        return None
    return json.loads(plan.read_text(encoding="utf-8"))


def _is_planned(line, plan):
    return plan.get(line["key"], {}).get("content") == line["content"]


def n_missing(path):
    """Count the results that a folder's plan asks for and that are not there."""
    plan = _plan(path) or {}
    return len(plan) - sum(_is_planned(line, plan) for line in read_results(path))


def write_report(paths, folder, title=None):
    """Write tables, figures and one page.

    Parameters
    ----------
    paths : list of path-like
        Folders or files of results.
    folder : path-like
        Where to write; files of the same name are replaced.
    title : str, default=None
        Of the page.

    Returns
    -------
    page : Path
        The page ``index.html``; beside it lie per table ``.rst`` and ``.csv``, the
        figures as ``.png``, and ``cells.csv`` with all results.

    Raises
    ------
    OSError
        If there are no results, or nothing can be written.
    ResultsError
        If results are damaged, or none is finished.
    """
    lines = load(paths)
    missing = sum(n_missing(path) for path in paths)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        from ._figures import figures_of
    except ImportError:
        figures_of = None
    title = title or "skerdiff benchmark"
    parts = [f"<h1>{html.escape(title)}</h1>", f"<p>{PROTOCOL}</p>"]
    if missing:
        parts.append(f"<p><b>Not finished: {missing} results are missing.</b></p>")
    for experiment, mine in group(lines, "experiment").items():
        parts.append(f"<h2>{html.escape(experiment)}</h2>")
        for table in tables_of(experiment, mine):
            write_whole(folder / f"{table.name}.rst", table.rst())
            write_whole(folder / f"{table.name}.csv", table.csv())
            parts.append(table.html())
        for figure in figures_of(experiment, mine) if figures_of else ():
            parts.append(_save(folder, *figure))
    write_whole(folder / "cells.csv", cells_csv(lines))
    if figures_of is None:
        parts.append("<p>Figures need matplotlib: pip install 'skerdiff[plot]'.</p>")
    parts += ["<h2>Made by</h2>", provenance(lines).html()]
    page = (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
    write_whole(folder / "index.html", page)
    return folder / "index.html"


def _save(folder, name, caption, figure):
    """Save a figure, and give it as HTML that holds it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, metadata={"Software": None})
    write_whole(folder / f"{name}.png", buffer.getvalue())
    picture = base64.b64encode(buffer.getvalue()).decode()
    return (
        f"<p><img alt='{html.escape(caption, quote=True)}' "
        f"src='data:image/png;base64,{picture}'><br>{html.escape(caption)}</p>"
    )


def cells_csv(lines):
    """Write all numbers of all cells, but for times, as comma-separated values."""
    named = ["experiment", "kind", "data", "behaviour", "setting", "method", "seed"]
    measures = dict.fromkeys(
        key
        for line in lines
        for key, value in line["result"].items()
        if not isinstance(value, (list, dict))
    )
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    timed = [key for key in measures if key.endswith("_s") or key == "ratio"]
    measures = [key for key in measures if key not in timed]
    writer.writerow([*named, *measures])
    for line in lines:
        names = line | {"setting": line["setting"]["name"]}
        values = [line["result"].get(key, "") for key in measures]
        writer.writerow([names[key] for key in named] + values)
    return file.getvalue()


def provenance(lines):
    """Say which code and machines made how many results."""
    found = {}
    for line in lines:
        facts = line["made_by"]
        versions = " ".join(f"{k} {v}" for k, v in facts["versions"].items())
        machine = f"{facts['processor']}, {facts['n_cores']} cores, {facts['system']}"
        key = (str(facts["revision"]), facts["code"], versions, machine)
        found[key] = found.get(key, 0) + 1
    rows = [[str(n), *key] for key, n in sorted(found.items())]
    header = ["results", "revision", "code", "versions", "machine"]
    return Table("provenance", "Versions and hardware", header, rows)


def compare(first, second):
    """Compare two sets of results, cell by cell.

    Parameters
    ----------
    first, second : path-like
        Folders or files of results.

    Returns
    -------
    table : Table
        Per experiment, data, setting and method the mean R2 of both over the seeds
        that both have, the mean of the paired differences with a bootstrap interval,
        and the ratio of the times of adapting.

    Raises
    ------
    ValueError
        If they share no cell.
    """
    keys = ("experiment", "data", "setting", "method")
    one, two = (group(load([path]), *keys) for path in (first, second))
    rows = []
    for name in one.keys() & two.keys():
        a, b = (by_seed(side[name], "r2") for side in (one, two))
        shared = sorted(a.keys() & b.keys())
        if not shared:
            continue
        mean, low, high = paired_difference(b, a)
        times = [by_seed(side[name], "adapt_s") for side in (one, two)]
        times = [sum(t.get(seed, 0) for seed in shared) for t in times]
        interval = "" if np.isnan(low) else f"[{low:+.4f}, {high:+.4f}]"
        rows.append(
            [*name, str(len(shared))]
            + [summary([side[seed] for seed in shared], 3) for side in (a, b)]
            + [f"{mean:+.4f}", interval]
            + [f"{times[1] / times[0]:.2f}" if times[0] > 0.01 else ""]
        )
    if not rows:
        raise ValueError(
            f"{first} and {second} share no result: no experiment, data, setting, "
            "method and seed occurs in both."
        )
    header = [
        *keys,
        "seeds",
        "R2 of A",
        "R2 of B",
        "B less A",
        "95 %",
        "adapting B / A",
    ]
    place = {name: i for i, name in enumerate(one)}
    rows.sort(key=lambda row: place[tuple(row[:4])])
    notes = [f"A is {first}, B is {second}."]
    return Table("compare", "Paired by seed", header, rows, notes)
