"""Reports: tables, figures and one page, from results alone."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import base64
import html
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from ..exceptions import BenchmarkError, ConfigurationError
from ._decoding import CATALOGUE
from ._results import FILE, PLAN, read_results, results_file, write_whole
from ._tables import Table, group, paired_difference, summary

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
NAMES = ["experiment", "kind", "data", "behaviour", "setting", "method", "seed"]


def load_results(paths, catalogue=CATALOGUE):
    """Read the results of several folders or files, in the order of their plans.

    Of a folder that holds a plan, only what is planned counts: results of an earlier
    form of its configuration are left out. Experiments of the same name in several
    folders get the name of theirs, or its path if two folders have that name.

    Parameters
    ----------
    paths : list of path-like
        Folders or files of results.
    catalogue : Catalogue
        What the configurations could name; by default that of the tool.

    Returns
    -------
    results : DataFrame
        One row per finished cell: its names, what was measured, ``structureless``,
        whether the setting left nothing to align, and ``earlier``, whether other code
        made it than the present one.
    """
    found = {path: _planned(path) for path in dict.fromkeys(map(Path, paths))}
    names = [{line["experiment"] for line in lines} for lines, *_ in found.values()]
    alike = Counter(path.name for path in found)
    rows, n_missing = [], 0
    for path, (lines, missing, own) in found.items():
        n_missing += missing
        place = path.name if alike[path.name] == 1 else path.as_posix()
        for line in lines:
            if sum(line["experiment"] in mine for mine in names) > 1:
                line["experiment"] += f" ({place})"
            rows.append(_row(line, is_of_earlier_code(line, catalogue, own)))
    results = pd.DataFrame(rows)
    results.attrs["n_missing"] = n_missing
    return results


def _row(line, earlier):
    setting, facts = line["setting"], line["made_by"]
    return {
        **{name: line[name] for name in NAMES},
        "setting": setting["name"],
        "structureless": bool(setting.get("permuted")),
        "reference": line["reference"],
        "earlier": earlier,
        "revision": str(facts["revision"]),
        "made_by": facts,
        **line["result"],
    }


def is_of_earlier_code(line, catalogue, own):
    """Whether other code made a result; False where the present one is not at hand."""
    if "code" not in line:
        return True
    try:
        aligner = catalogue.aligner_of(line, own)
        return line["code"] != catalogue.experiments[line["kind"]].digest(aligner)
    except (ConfigurationError, KeyError):  # a module of the user's that is gone
        return False


def _planned(path):
    """Finished cells, how many are missing, and the user's own methods.

    A folder has the plan of its last run; other files are taken as they are.
    """
    lines, file, plan = read_results(path), results_file(path), {}
    if file.name == FILE and file.with_name(PLAN).exists():
        plan = json.loads(file.with_name(PLAN).read_text(encoding="utf-8"))
        cells = plan["cells"]
        lines = [e for e in lines if e["content"] == _content(cells, e["key"])]
        lines = [line | cells[line["key"]] for line in lines]
    if not lines:
        raise BenchmarkError(f"{path} holds no finished result yet.")
    missing = len(plan["cells"]) - len(lines) if plan else 0
    return sorted(lines, key=lambda e: e["index"]), missing, plan.get("methods", {})


def _content(cells, key):
    return cells[key]["content"] if key in cells else None


def write_report(paths, folder, title=None, catalogue=CATALOGUE):
    """Write tables, figures and one page.

    Results that earlier code made are marked below their tables.

    Parameters
    ----------
    paths : list of path-like
        Folders or files of results.
    folder : path-like
        Where to write; files of the same name are replaced.
    title : str, default=None
        Of the page.
    catalogue : Catalogue
        What the configurations could name; by default that of the tool.

    Returns
    -------
    page : Path
        The page ``index.html``; beside it lie per table ``.rst`` and ``.csv``, the
        figures as ``.png``, and ``cells.csv`` with all results.

    Raises
    ------
    OSError
        If there are no results, or nothing can be written.
    BenchmarkError
        If results are damaged, or none is finished.
    """
    results = load_results(paths, catalogue)
    missing = results.attrs["n_missing"]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    title = title or "skerdiff benchmark"
    parts = [f"<h1>{html.escape(title)}</h1>", f"<p>{PROTOCOL}</p>"]
    if missing:
        parts.append(f"<p><b>Not finished: {missing} results are missing.</b></p>")
    try:
        import matplotlib
    except ImportError:
        matplotlib = None
        parts.append("<p>Figures need matplotlib: pip install 'skerdiff[plot]'.</p>")
    for name, mine in group(results, "experiment"):
        experiment = catalogue.experiments.get(mine["kind"].iloc[0])
        if experiment is None:
            raise BenchmarkError(
                f"{name!r} is of kind {mine['kind'].iloc[0]!r}, not one of "
                f"{list(catalogue.experiments)}."
            )
        mine = mine.dropna(axis=1, how="all").assign(reference=mine["reference"])
        parts.append(f"<h2>{html.escape(name)}</h2>")
        for table in experiment.tables(name, mine):
            mark = table.earlier_code()
            text = table.rst() + (f"\n*{mark}*\n" if mark else "")
            write_whole(folder / f"{table.name}.rst", text)
            write_whole(folder / f"{table.name}.csv", table.csv())
            parts.append(table.html())
        for figure in experiment.figures(name, mine) if matplotlib else ():
            parts.append(_save(folder, *figure))
    write_whole(folder / "cells.csv", cells_csv(results))
    parts += ["<h2>Made by</h2>", provenance(results).html()]
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


def cells_csv(results):
    """Write all numbers of all cells, but for times, as comma-separated values."""
    numbers = [
        name
        for name in results.columns.drop([*NAMES, "made_by", "reference", "revision"])
        if not results[name].map(lambda value: isinstance(value, list | dict)).any()
        and not name.endswith("_s")
        and name not in ("ratio", "structureless", "earlier")
    ]
    return results[NAMES + numbers].to_csv(index=False, lineterminator="\n")


def provenance(results):
    """Say which code and machines made how many results."""
    rows = [
        {
            "revision": row["revision"],
            "code": "earlier" if row["earlier"] else "present",
            "versions": " ".join(f"{k} {v}" for k, v in facts["versions"].items()),
            "machine": f"{facts['processor']}, {facts['n_cores']} cores, "
            f"{facts['system']}",
        }
        for facts, (_, row) in zip(results["made_by"], results.iterrows())
    ]
    frame = pd.DataFrame(rows)
    frame = frame.groupby(list(frame)).size().rename("results").reset_index()
    frame.insert(0, "results", frame.pop("results"))
    return Table("provenance", "Versions and hardware", frame)


def compare(first, second, catalogue=CATALOGUE):
    """Compare two sets of results, cell by cell.

    Parameters
    ----------
    first, second : path-like
        Folders or files of results.
    catalogue : Catalogue
        What the configurations could name; by default that of the tool.

    Returns
    -------
    table : Table
        Per experiment, data, setting and method the mean R2 of both over the seeds
        that both have, the mean of the paired differences with a bootstrap interval,
        and the ratio of the times of adapting.

    Raises
    ------
    ValueError
        If they share no cell, or none that has an R2.
    """
    keys = ["experiment", "data", "setting", "method"]
    one, two = (load_results([path], catalogue) for path in (first, second))
    both = one.merge(two, on=[*keys, "seed"], suffixes=(" of A", " of B"))
    rows = []
    for name, mine in group(both, *keys) if "r2 of A" in both else ():
        a, b = (mine.set_index("seed")[f"r2 of {side}"] for side in "AB")
        mean, low, high = paired_difference(b, a)
        row = dict(zip(keys, name)) | {"seeds": str(mine["seed"].nunique())}
        row |= {"R2 of A": summary(a, 3), "R2 of B": summary(b, 3)}
        row["B less A"] = f"{mean:+.4f}"
        row["95 %"] = "" if np.isnan(low) else f"[{low:+.4f}, {high:+.4f}]"
        times = [
            mine.get(f"adapt_s of {side}", pd.Series([0.0])).sum() for side in "AB"
        ]
        row["adapting B / A"] = f"{times[1] / times[0]:.2f}" if times[0] > 0.01 else ""
        rows.append(row)
    if not rows:
        shared = "no result" if both.empty else "no result that has an R2"
        raise ValueError(
            f"{first} and {second} share {shared}: the same experiment, data, setting, "
            "method and seed."
        )
    notes = [f"A is {first}, B is {second}."]
    return Table("compare", "Paired by seed", pd.DataFrame(rows), notes)
