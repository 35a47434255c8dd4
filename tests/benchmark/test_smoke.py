"""The smoke configuration, as a new user runs it."""

import numpy as np
import pytest

from skerdiff.benchmark._cli import main
from skerdiff.benchmark._report import compare
from skerdiff.benchmark._results import read_results


@pytest.mark.slow
def test_the_smoke_configuration_runs_and_finds_the_alignment(tmp_path, capsys):
    assert main(["run", "smoke", "--output", str(tmp_path), "--jobs", "1"]) == 0
    r2 = {}
    for line in read_results(tmp_path):
        key = line["experiment"], line["method"]
        r2.setdefault(key, []).append(line["result"]["r2"])
    assert np.max(r2["decoding", "no adaptation"]) < 0.3
    for method in ("geometry only", "ERDiff", "oracle"):
        assert np.min(r2["decoding", method]) > 0.9
    assert np.min(r2["few trials", "geometry only"]) > 0.7
    report = tmp_path / "report"
    pictures = {path.stem for path in report.glob("*.png")}
    assert pictures == {
        "decoding-synthetic",
        "few-trials-synthetic",
    }
    assert (report / "cost-synthetic.rst").exists()
    table = compare(tmp_path, tmp_path)
    assert set(table.frame["B less A"]) == {"+0.0000"}
