"""Reports: tables, figures and one page, from results alone."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import base64
import csv
import html
import io
import os
from pathlib import Path

import numpy as np

from ._results import read_results
from ._statistics import paired_difference
from ._tables import Table, by_seed, group, summary, tables_of

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
    """Read the results of several folders or files, in the order of their cells."""
    lines = [line for path in paths for line in read_results(path)]
    for line in lines:
        line["data"] = _short(line["data"])
    return sorted(lines, key=lambda line: line["index"])


def _short(data):
    return Path(data).name if data.endswith(".npz") else data


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
    """
    lines = load(paths)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    plt = _pyplot()
    parts = []
    for experiment, mine in group(lines, "experiment").items():
        parts.append(f"<h2>{html.escape(experiment)}</h2>")
        for table in tables_of(experiment, mine):
            _write(folder / f"{table.name}.rst", table.rst())
            _write(folder / f"{table.name}.csv", table.csv())
            parts.append(table.html())
        if plt is not None:
            parts += _draw(experiment, mine, folder, plt)
    _write(folder / "cells.csv", cells_csv(lines))
    title = title or "skerdiff benchmark"
    if plt is None:
        parts.append("<p>Figures need matplotlib: pip install 'skerdiff[plot]'.</p>")
    page = (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>\n"
        f"<h1>{html.escape(title)}</h1>\n<p>{PROTOCOL}</p>\n"
        + "\n".join(parts)
        + f"\n<h2>Made by</h2>\n{provenance(lines).html()}</body></html>\n"
    )
    _write(folder / "index.html", page)
    return folder / "index.html"


def _draw(experiment, lines, folder, plt):
    from ._figures import figures_of

    parts = []
    with plt.rc_context({"font.size": 9}):
        for name, caption, figure in figures_of(experiment, lines, plt):
            buffer = io.BytesIO()
            figure.savefig(buffer, dpi=130, metadata={"Software": None})
            plt.close(figure)
            _write(folder / f"{name}.png", buffer.getvalue())
            picture = base64.b64encode(buffer.getvalue()).decode()
            parts.append(
                f"<p><img alt='{html.escape(caption, quote=True)}' "
                f"src='data:image/png;base64,{picture}'><br>{html.escape(caption)}</p>"
            )
    return parts


def _pyplot():
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        return None
    return plt


def _write(path, content):
    """Write a file whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    if isinstance(content, str):
        content = content.encode()
    part.write_bytes(content)
    os.replace(part, path)


def cells_csv(lines):
    """Write all numbers of all cells as comma-separated values."""
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
        names = [line | {"setting": line["setting"]["name"]}][0]
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
        and the ratio of the time taken.

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
        times = [
            sum(line["seconds"] for line in side[name] if line["seed"] in shared)
            for side in (one, two)
        ]
        interval = "" if np.isnan(low) else f"[{low:+.4f}, {high:+.4f}]"
        rows.append(
            [*name, str(len(shared))]
            + [summary([side[seed] for seed in shared], 3) for side in (a, b)]
            + [f"{mean:+.4f}", interval, f"{times[1] / times[0]:.2f}"]
        )
    if not rows:
        raise ValueError(
            f"{first} and {second} share no result: no experiment, data, setting, "
            "method and seed occurs in both."
        )
    header = [*keys, "seeds", "R2 of A", "R2 of B", "B less A", "95 %", "time B / A"]
    place = {name: i for i, name in enumerate(one)}
    rows.sort(key=lambda row: place[tuple(row[:4])])
    notes = [f"A is {first}, B is {second}."]
    return Table("compare", "Paired by seed", header, rows, notes)
