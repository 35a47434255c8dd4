"""Constants of the geometry, varied one at a time."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from benchmarks import pool
from benchmarks.constants import VARIANTS, compare_constants
from benchmarks.experiments import constants_table, thresholds_table
from skerdiff import GeometryAligner, SequentialVAE
from skerdiff.benchmark import load_pair, make_split
from skerdiff.decoding import PerBinRegressor
from skerdiff.metrics import behaviour_r2_score


def result(r2, margin=1.0, carried=1.0, **more):
    found = {"r2": r2, "oracle": 0.9, "margin": margin, "variance_explained": carried}
    return dict.fromkeys(VARIANTS, r2) | found | more


def line(data, seed, result, name="balanced", permuted=False):
    names = {"data": data, "seed": seed, "setting": name, "structureless": permuted}
    return names | result


def test_other_values_are_compared_by_seed_and_data():
    lines = [
        line(data, seed, result(0.8, **{"entropy 0.5": 0.8 + gain}))
        for data, gain in (("jango", 0.01), ("synthetic", 0.03))
        for seed in (0, 1)
    ]
    lines.append(line("jango", 0, result(-9.0), name="none", permuted=True))
    table = constants_table("c", "c", pd.DataFrame(lines))
    assert list(table.frame) == ["constants", "jango", "synthetic", "all"]
    rows = table.frame.to_numpy().tolist()
    assert rows[0] == ["as chosen", "0.800", "0.800", "0.800"]
    (row,) = [row for row in rows if row[0] == "entropy 0.5"]
    assert [text.split()[0] for text in row[1:]] == ["+0.010", "+0.030", "+0.020"]
    (row,) = [row for row in rows if row[0] == "map alone"]
    assert row[3].startswith("+0.000")


def test_thresholds_are_judged_by_failed_and_right_runs():
    lines = [
        line("jango", 0, result(0.8, margin=0.03)),
        line("jango", 1, result(0.8, carried=0.15)),
        line("jango", 2, result(0.1, margin=0.015)),
        line("jango", 3, result(0.8, carried=0.05), name="none", permuted=True),
    ]
    frame = thresholds_table("c", "c", pd.DataFrame(lines)).frame
    rows = {row[0]: row[1:] for row in frame.to_numpy().tolist()}
    # margins below 0, 0.005, 0.01, 0.02, 0.04, 0.08; variances down the rows
    lowest, low, half, used, *_ = rows
    assert rows[lowest][0] == "0.00 / 0.00"
    assert rows[half][0] == "0.50 / 0.00"
    assert rows[half][3] == "1.00 / 0.00"
    assert rows[used][3] == "1.00 / 0.50"
    assert rows[used][4] == "1.00 / 1.00"
    assert not len(thresholds_table("c", "c", pd.DataFrame(lines[:2])).frame)


@pytest.mark.slow
def test_constants_in_use_are_those_of_the_aligner(monkeypatch):
    model = SequentialVAE(n_components=4, n_hidden=16, max_iter=10)
    monkeypatch.setattr(
        pool, "GeometryAligner", lambda **params: GeometryAligner(model, **params)
    )
    split = make_split(load_pair("synthetic"), 0, {"target_trials": 60})
    row = compare_constants(split)
    aligner = GeometryAligner(model, random_state=0)
    decoder = PerBinRegressor(Ridge())
    decoder.fit(aligner.fit_transform(*split.source), split.source[1])
    guess = decoder.predict(aligner.adapt(split.train[0]).transform(split.test[0]))
    # other random starts, the same alignment
    assert row["r2"] == pytest.approx(
        behaviour_r2_score(split.test[1], guess), abs=1e-3
    )
    assert min(row["oracle"], row["r2"]) > 0.5
    assert row["map alone"] != row["r2"] != row["regression alone"]
    assert np.isfinite([row[name] for name in VARIANTS]).all()
