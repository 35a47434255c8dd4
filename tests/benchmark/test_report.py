"""Reports show what the results hold."""

import csv
import io
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from docutils.core import publish_doctree
from docutils.nodes import entry, row

from skerdiff.benchmark import CATALOGUE, Table, compare, load_results, write_report
from skerdiff.benchmark._report import _row, cells_csv
from skerdiff.benchmark._results import FILE
from skerdiff.benchmark._tables import difference, slug, summary
from skerdiff.exceptions import BenchmarkError

METHODS = {"no adaptation": -0.3, "geometry only": 0.8, "ERDiff": 0.85, "oracle": 0.9}


def line(index=0, result=None, **cell):
    cell = {
        "index": index,
        "experiment": "one",
        "kind": "decoding",
        "data": "mihi",
        "behaviour": None,
        "setting": {"name": "balanced"},
        "method": "ERDiff",
        "seed": 0,
        "reference": None,
    } | cell
    result = {
        "r2": 0.5, "rmse": 0.1, "adapt_s": 1.0, "epoch_s": 0.1, "steps": 3,
        "n_parameters_added": 2000, "ambiguous": False,
    } | (result or {})  # fmt: skip
    facts = {
        "versions": {"python": "3"}, "revision": "abc", "system": "s",
        "processor": "p", "n_cores": 2,
    }  # fmt: skip
    key = json.dumps([cell[k] for k in sorted(cell) if k != "index"])
    return cell | {"key": key, "content": key, "result": result, "seconds": 2.0,
                   "made_by": facts}  # fmt: skip


def decoding_lines(n_seeds=5, shift=0.0, **cell):
    rng = np.random.default_rng(0)
    return [
        line(
            10 * i + seed,
            {"r2": r2 + 0.01 * rng.standard_normal() + shift},
            method=method,
            seed=seed,
            **cell,
        )  # fmt: skip
        for i, (method, r2) in enumerate(METHODS.items())
        for seed in range(n_seeds)
    ]


def tables_of(experiment, lines):
    """Tables of the tool's experiments, with the texts of cells as rows."""
    results = pd.DataFrame([_row(one, False) for one in lines])
    tables = CATALOGUE.experiments[lines[0]["kind"]].tables(experiment, results)
    for table in tables:
        table.header = list(table.frame)
        table.rows = table.frame.to_numpy().tolist()
    return tables


def write(folder, lines):
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_text("".join(json.dumps(one) + "\n" for one in lines))
    return folder


def cells_of(rst):
    """Text of the cells of a table of reStructuredText."""
    rows = publish_doctree(rst).findall(row)
    return [[cell.astext() for cell in one.findall(entry)] for one in rows]


def test_the_table_of_methods_says_what_the_results_say():
    lines = decoding_lines()
    (table,) = tables_of("one", lines)
    found = dict(zip(table.header, next(r for r in table.rows if r[0] == "ERDiff")))
    r2 = np.array([e["result"]["r2"] for e in lines if e["method"] == "ERDiff"])
    base = np.array(
        [e["result"]["r2"] for e in lines if e["method"] == "geometry only"]
    )
    expected = f"{r2.mean():.2f} ± {r2.std(ddof=1):.2f} [{r2.min():.2f}]"
    assert found["R2"] == expected
    gain = found["R2 less geometry only"]
    assert gain.startswith(f"{(r2 - base).mean():+.3f} [")
    low, high = map(float, re.findall(r"[+-]\d\.\d+", gain)[1:])
    assert low < (r2 - base).mean() < high
    assert found["rank"] == "2.0"


def test_several_settings_make_a_table_of_settings_by_methods():
    lines = decoding_lines() + decoding_lines(
        setting={"name": "few", "target_trials": 8}, shift=-0.2
    )
    for one in lines[-3:]:
        one["result"]["r2_absent"] = 0.25
    tables = tables_of("one", lines)
    names = ["one-mihi", "one-mihi-absent", "one-shares", "one-parts"]
    assert [t.name for t in tables] == names
    assert [r[0] for r in tables[0].rows] == ["balanced", "few"]
    assert tables[0].header == ["setting", *METHODS]
    assert tables[1].rows[0][-1].startswith("0.25")


def test_a_table_is_the_same_in_all_its_forms():
    lines = decoding_lines()
    (table,) = tables_of("one", lines)
    expected = [table.header, *table.rows]
    assert list(csv.reader(io.StringIO(table.csv()))) == expected
    assert cells_of(table.rst()) == expected
    page = table.html()
    for text in ("geometry only", table.rows[2][1], table.title):
        assert text in page


def test_html_is_escaped():
    page = Table("x", "<b>", [{"a & b": "<script>"}], ["<i>"]).html()
    assert "<script>" not in page and "&lt;script&gt;" in page and "a &amp; b" in page
    assert "&lt;b&gt;" in page and "&lt;i&gt;" in page


def test_what_methods_cost():
    lines = [
        line(seed, {"adapt_s": 1.0 + seed}, kind="cost", seed=seed) for seed in (0, 1)
    ]
    (table,) = tables_of("one", lines)
    assert table.rows[0][:6] == ["ERDiff", "2.0K", "8", "100", "1.5 (2.0)", "3"]


def test_what_a_method_adds_is_paired_and_averaged_over_data():
    lines = [
        line(data=data, method=method, seed=seed, setting={"name": name},
             result={"r2": r2 + 0.1 * seed + (0.04 if method == "ERDiff" else 0.0)})
        for name, r2 in (("balanced", 0.5), ("few", -7.0))
        for data in ("mihi", "jango")
        for method in ("geometry only", "ERDiff", "oracle")
        for seed in range(3)
    ]  # fmt: skip
    table = next(t for t in tables_of("one", lines) if t.name == "one-parts")
    assert table.header == ["setting", "geometry only", "ERDiff"]
    balanced, few, everything = table.rows
    assert balanced[1:] == ["0.600", "+0.040 [+0.040, +0.040]"]
    # both are below the floor
    assert few[1:] == ["-1.000", "+0.000 [+0.000, +0.000]"]
    assert everything[:2] == ["all settings", "-0.200"]
    assert everything[2].startswith("+0.020")


def test_shares_of_the_oracle_are_of_means_and_of_the_worst_seed():
    lines = []
    runs = [(0.9, 0.9), (0.3, 0.6), (-9.0, 0.5), (0.1, -0.2)]
    for setting in ({"name": "balanced"}, {"name": "nothing", "permuted": True}):
        for seed, (own, best) in enumerate(runs):
            for method, r2 in (("geometry only", own), ("oracle", best)):
                cell = {"setting": setting, "seed": seed, "method": method}
                lines.append(line(result={"r2": r2}, **cell))
    extra = {"setting": {"name": "few"}, "seed": 0, "method": "geometry only"}
    lines.append(line(result={"r2": 0.7}, **extra))  # without an oracle
    table = next(t for t in tables_of("one", lines) if t.name == "one-shares")
    # -9 counts as -1, and an oracle below zero not at all
    assert table.rows == [["balanced", "0.10 [-2.00], 1 failed"]]


def test_warnings_are_held_against_failures():
    right = {"r2": 0.8, "confidence": 3.0, "margin": 0.3, "variance_explained": 0.6}
    wrong = {"r2": -1.0, "confidence": 0.5, "margin": 0.01, "variance_explained": 0.5}
    missed = {"r2": 0.3, "confidence": 2.0, "margin": 0.4, "variance_explained": 0.4}
    nothing = {"r2": 0.7, "confidence": 0.1, "margin": 0.0, "variance_explained": 0.02}
    runs = [
        ({"name": "balanced"}, 0, right, False),
        ({"name": "balanced"}, 1, missed, False),
        ({"name": "few"}, 0, wrong, True),
        ({"name": "few"}, 1, right, True),
        ({"name": "structureless", "permuted": True}, 0, nothing, True),
    ]
    lines = []
    for setting, seed, result, warned in runs:
        cell = {"setting": setting, "seed": seed}
        result = result | {"ambiguous": warned}
        lines.append(line(method="geometry only", result=result, **cell))
        lines.append(line(method="no adaptation", result={"r2": 0.1}, **cell))
        lines.append(line(method="oracle", result={"r2": 0.9}, **cell))
    table = next(t for t in tables_of("one", lines) if t.name == "one-warnings")
    assert table.rows == [
        ["geometry only", "5", "2/4", "1.00 (1.00)", "0.67 (0.50)", "1.00 (1.00)",
         "1/2", "1/1", "1/2"]
    ]  # fmt: skip
    without = [one for one in lines if one["method"] != "oracle"]
    names = [t.name for t in tables_of("one", without)]
    assert "one-warnings" not in names


def test_the_page_stands_alone_and_names_its_origin(tmp_path):
    lines = decoding_lines() + decoding_lines(experiment="two", setting={"name": "few"})
    lines += decoding_lines(experiment="two")
    page = write_report([write(tmp_path / "in", lines)], tmp_path / "out", "A <title>")
    text = page.read_text(encoding="utf-8")
    assert "A &lt;title&gt;" in text and "labels are used for the score alone" in text
    assert not re.search(r"(src|href)=['\"](?!data:)", text)
    assert text.count("data:image/png;base64,") == 2
    assert "abc" in text and "2 cores" in text
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"one-mihi.rst", "one-mihi.csv", "one-mihi.png", "cells.csv"}
    assert not [name for name in names if name.endswith(".part")]


def test_reports_of_equal_results_are_equal_but_for_time(tmp_path):
    lines = decoding_lines()
    pages = []
    for name, shift in (("a", 0), ("b", 3)):
        for one in lines:
            one["seconds"] += shift
            one["result"]["adapt_s"] += shift
        lines = lines[::-1]  # finished in another order
        page = write_report([write(tmp_path / name, lines)], tmp_path / name / "report")
        pages.append(page.read_bytes())
    assert pages[0] == pages[1]
    table = cells_csv(load_results([tmp_path / "a"]))
    assert "adapt_s" not in table and "r2" in table and "0.85" in table


def test_settings_of_other_kinds_get_tables_of_their_own():
    lines = [
        line(i, {"r2": 0.1 * i}, kind="cost", seed=seed, setting={"name": name})
        for i, name in enumerate(["all", "few"])
        for seed in range(2)
    ]
    tables = {table.name: table.rows for table in tables_of("one", lines)}
    assert list(tables) == ["one-mihi-all", "one-mihi-few"]
    assert tables["one-mihi-all"][0][6].startswith("0.00")
    assert tables["one-mihi-few"][0][6].startswith("0.10")


def test_seed_0_alone_makes_a_table_of_settings():
    lines = [line(i, setting={"name": name}) for i, name in enumerate("ab")]
    (table,) = tables_of("one", lines)
    assert table.rows == [["a", "0.50"], ["b", "0.50"]]


def test_missing_seeds_are_said_and_ranks_are_of_whole_rows():
    lines = decoding_lines()
    lines = [e for e in lines if e["method"] != "ERDiff" or e["seed"] == 2]
    (table,) = tables_of("one", lines)
    rows = {r[0]: dict(zip(table.header, r)) for r in table.rows}
    assert rows["ERDiff"]["R2"].endswith("(1 of 5 seeds)")
    assert rows["ERDiff"]["rank"] == "" and rows["oracle"]["rank"] == "1.0"


def test_experiments_of_one_name_in_two_folders_are_told_apart(tmp_path):
    a = write(tmp_path / "a", decoding_lines())
    b = write(tmp_path / "b", decoding_lines(shift=-0.1))
    assert set(load_results([a, b])["experiment"]) == {"one (a)", "one (b)"}
    shutil.copytree(a, tmp_path / "c" / "a")
    found = load_results([a, tmp_path / "c" / "a"])
    assert found["experiment"].nunique() == 2
    place = ["experiment", "data", "setting", "method", "seed"]
    assert not found.duplicated(place).any()
    assert set(load_results([a, a])["experiment"]) == {"one"}


def test_a_report_leaves_pyplot_alone(tmp_path):
    import matplotlib.pyplot as plt

    backend, numbers = plt.get_backend(), plt.get_fignums()
    write_report([write(tmp_path / "in", decoding_lines())], tmp_path / "out")
    assert (plt.get_backend(), plt.get_fignums()) == (backend, numbers)


def test_no_result_yet(tmp_path):
    with pytest.raises(BenchmarkError, match="holds no finished result yet"):
        write_report([write(tmp_path / "in", [])], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_runs_are_compared_by_seed(tmp_path):
    a = write(tmp_path / "a", decoding_lines())
    b = write(tmp_path / "b", decoding_lines(n_seeds=4, shift=0.1))
    table = compare(a, b)
    assert list(table.frame["method"]) == list(METHODS)
    assert set(table.frame["seeds"]) == {"4"}
    assert set(table.frame["adapting B / A"]) == {"1.00"}
    # the noise of the first method's first seeds is the same in both
    assert table.frame["B less A"][0] == "+0.1000"
    assert all(re.match(r"\+0\.\d{4}", text) for text in table.frame["B less A"])
    with pytest.raises(ValueError, match="share no result"):
        compare(a, write(tmp_path / "c", decoding_lines(data="jango")))


def test_texts():
    assert summary([0.5]) == "0.50"
    assert summary([0.5, 0.7]) == "0.60 ± 0.14 [0.50]"
    assert summary([0.5, 0.7], worst=max).endswith("[0.70]")
    assert summary([]) == ""
    one = pd.Series({0: 1.0})
    assert difference(one, one - 0.5) == "+0.500"
    assert difference(one, pd.Series({1: 1.0})) == ""
    assert slug("My data/one.npz", "b") == "my-data-one-npz-b"
