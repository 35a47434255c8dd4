"""The benchmark of label-free scores."""

import numpy as np
import pytest

from benchmarks import label_free
from benchmarks.label_free import (
    SCORERS,
    SCORES,
    correlations,
    label_free_runs,
    main,
    read_runs,
)
from skerdiff import GeometryAligner, IdentityAligner, SequentialVAE


def made_up(pair, n_components, seeds=range(2), memory=None, report=None):
    """Runs whose first score is right, whose last is wrong and the others constant."""
    rng = np.random.default_rng(n_components)
    rows = []
    for method in "abc":
        for seed in seeds:
            r2 = float(rng.normal())
            row = {"pair": pair, "method": method, "n_components": n_components}
            row |= {"seed": seed, "r2": r2} | dict.fromkeys(SCORES, 0.0)
            row |= {SCORES[0]: r2**3, SCORES[-1]: -r2}
            rows.append(row)
            if report is not None:
                report(row)
    return rows


def test_correlations_and_what_a_choice_gives_up():
    rows = made_up("mihi", 4) + made_up("jango", 8)
    with pytest.warns(match="constant"):
        table = correlations(rows)
    right, wrong = table[SCORES[0]], table[SCORES[-1]]
    assert right["all"] == right["mihi"] == right["jango"] == pytest.approx(1)
    assert wrong["all"] == wrong["mihi"] == pytest.approx(-1)
    assert right["given up"] == right["most"] == 0
    spans = [
        np.ptp([r["r2"] for r in rows if (r["pair"], r["seed"]) == key])
        for key in [("mihi", 0), ("mihi", 1), ("jango", 0), ("jango", 1)]
    ]
    assert wrong["given up"] == pytest.approx(np.mean(spans))
    assert wrong["most"] == pytest.approx(max(spans))


@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_finished_cells_are_not_run_again(tmp_path, monkeypatch, capsys):
    calls = []

    def runs(pair, n_components, *args):
        calls.append((pair, n_components))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return made_up(pair, n_components, *args)

    monkeypatch.setattr(label_free, "label_free_runs", runs)
    path = tmp_path / "runs.csv"
    arguments = ["--output", str(path), "--seeds", "2"]
    with pytest.raises(KeyboardInterrupt):
        main(arguments)
    assert len(read_runs(path)) == 12
    main(arguments)
    assert calls == [("mihi", 8), ("jango", 8)] + 2 * [("mihi", 4)] + [("jango", 4)]
    rows = read_runs(path)
    assert rows == sum((made_up(p, d) for d in (8, 4) for p in ("mihi", "jango")), [])
    assert "24 runs" in capsys.readouterr().out
    assert read_runs(tmp_path / "nothing.csv") == []
    # other seeds are another cell
    main(["--output", str(path), "--seeds", "3", "--data", "mihi", "--dims", "4"])
    assert calls[-1] == ("mihi", 4) and len(calls) == 6
    assert len(read_runs(path)) == 24 - 6 + 9
    with pytest.raises(SystemExit):
        main(["--output", str(path), "--seeds", "1"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
def test_runs_on_simulated_sessions(monkeypatch):
    model = SequentialVAE(max_iter=2, n_hidden=4)
    methods = {
        "identity": IdentityAligner(model),
        "geometry": GeometryAligner(model, n_starts=1),
    }
    monkeypatch.setattr(label_free, "METHODS", methods)
    seen = []
    rows = label_free_runs("synthetic", 3, range(2), report=seen.append)
    assert rows == seen
    assert [(r["method"], r["seed"]) for r in rows] == [
        (method, seed) for method in methods for seed in (0, 1)
    ]
    for row in rows:
        assert set(row) >= {"r2", *SCORERS, "seed_consistency"}
        assert np.isfinite([row[name] for name in SCORES]).all()
        assert row["n_components"] == 3
