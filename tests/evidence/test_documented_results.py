"""Stored results: what the documentation shows is what they say."""

import json
from pathlib import Path

import pytest

from benchmarks.catalogue import CATALOGUE
from skerdiff.benchmark import group, load_results, read_configuration

ROOT = Path(__file__).parents[2]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.jsonl"))


def test_the_table_of_the_readme_is_that_of_the_results():
    results = load_results(RESULTS, CATALOGUE)
    tables = {
        table.name: table
        for name, mine in group(results, "experiment")
        for table in CATALOGUE.experiments[mine["kind"].iloc[0]].tables(name, mine)
    }
    text = (ROOT / "README.rst").read_text(encoding="utf-8")
    assert tables["main"].rst() in text


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_stored_results_are_whole(path):
    """Every cell of the configuration, made by one state of the code."""
    assert path.stem in CATALOGUE.ready()
    cells = read_configuration(path.stem, CATALOGUE).cells()
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    lines = sorted(lines, key=lambda line: line["index"])
    names = ("experiment", "data", "method", "seed", "setting")
    assert [[e[k] for k in names] for e in lines] == [
        [c[k] for k in names] for c in cells
    ]
    revisions = {line["made_by"]["revision"] for line in lines}
    assert len(revisions) == 1 and not revisions.pop().endswith("+")


def test_results_of_earlier_code_are_told_from_those_of_the_present(tmp_path):
    (path,) = [path for path in RESULTS if path.stem == "headroom"]
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    results = load_results([path], CATALOGUE)
    # before lines held the digest of their code
    expected = [
        "code" not in line
        or line["code"]
        != CATALOGUE.experiments["headroom"].digest(CATALOGUE.aligner_of(line))
        for line in sorted(lines, key=lambda line: line["index"])
    ]
    assert list(results["earlier"]) == expected
    for line in lines[:3]:
        aligner = CATALOGUE.aligner_of(line)
        line["code"] = CATALOGUE.experiments["headroom"].digest(aligner)
    for line in lines[3:]:
        line["code"] = "another"
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(e) + "\n" for e in lines))
    results = load_results([tmp_path / "new.jsonl"], CATALOGUE)
    assert (~results["earlier"]).sum() == 3
    (table, *_) = CATALOGUE.experiments["headroom"].tables("headroom", results)
    assert "are made by earlier code, revision " in table.earlier_code()
