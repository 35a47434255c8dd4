"""Tables in the documentation are those of the stored results."""

from pathlib import Path

import pytest

from skerdiff.benchmark._config import read_configuration, ready_made
from skerdiff.benchmark._kinds import tables_of
from skerdiff.benchmark._report import load
from skerdiff.benchmark._tables import group

ROOT = Path(__file__).parents[2]
RESULTS = sorted((ROOT / "doc" / "results").glob("*.jsonl"))


def tables():
    lines = load(RESULTS)
    return {
        table.name: table
        for experiment, mine in group(lines, "experiment").items()
        for table in tables_of(experiment, mine)
    }


def test_the_table_of_the_readme_is_that_of_the_results():
    text = (ROOT / "README.rst").read_text(encoding="utf-8")
    assert tables()["main"].rst() in text


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_stored_results_are_whole(path):
    """Every cell of the configuration, made by one state of the code."""
    assert path.stem in ready_made()
    cells = read_configuration(path.stem).cells()
    lines = load([path])
    names = ("experiment", "data", "method", "seed")
    expected = [(*(c[k] for k in names), c["setting"]) for c in cells]
    assert [(*(e[k] for k in names), e["setting"]) for e in lines] == expected
    assert len({line["made_by"]["code"] for line in lines}) == 1
    revisions = {line["made_by"]["revision"] for line in lines}
    assert len(revisions) == 1 and not revisions.pop().endswith("+")
