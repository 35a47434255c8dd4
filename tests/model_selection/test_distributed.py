"""The same search on Dask workers, through joblib.

The cluster lives in a process of its own: what it leaves open there, sockets among it,
is not for the other tests to trip over.
"""

import json
import subprocess
import sys
import tempfile

import numpy as np
import pytest

SCRIPT = """
import json, sys, warnings
import joblib
from distributed import Client, LocalCluster
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_info

from skerdiff import GeometryAligner, PerBinRegressor, SequentialVAE
from skerdiff.datasets import make_reaching_sessions
from skerdiff.model_selection import TargetKFold

model = SequentialVAE(max_iter=2, n_hidden=4, n_readin=4, n_components=3)
trials, y = make_reaching_sessions(
    n_trials=20, n_neurons=[10, 12], n_bins=6, random_state=0, return_X_y=True
)


def search(memory):
    aligner = GeometryAligner(model, n_starts=1, memory=memory, random_state=0)
    return GridSearchCV(
        make_pipeline(aligner, PerBinRegressor(Ridge())),
        {"geometryaligner__n_components": [2, 3]},
        cv=TargetKFold(2),
        error_score="raise",
    )


def threads():
    before = [pool["num_threads"] for pool in threadpool_info()]
    GeometryAligner(model, n_starts=1, random_state=0).fit(trials, y)
    return before, [pool["num_threads"] for pool in threadpool_info()]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    found = {"one process": search(None).fit(trials, y)}
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        with joblib.parallel_backend("dask"):
            found["dask"] = search(None).fit(trials, y)
            found["dask, memory"] = search(sys.argv[1]).fit(trials, y)
        futures = [client.submit(threads, pure=False) for _ in range(2)]
        pools = client.gather(futures)
    scores = {k: list(s.cv_results_["mean_test_score"]) for k, s in found.items()}
    print(json.dumps({"scores": scores, "pools": pools}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the script prints."""
    pytest.importorskip("distributed", reason="extra skerdiff[distributed]")
    script = tmp_path_factory.mktemp("dask") / "search.py"
    script.write_text(SCRIPT)
    with tempfile.TemporaryDirectory() as memory:
        run = subprocess.run(
            [sys.executable, str(script), memory],
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.slow
def test_dask_finds_what_one_process_finds(found):
    scores = found["scores"]
    assert scores["one process"][0] != scores["one process"][1]
    for name in ("dask", "dask, memory"):
        np.testing.assert_allclose(scores[name], scores["one process"], rtol=1e-4)


@pytest.mark.slow
def test_workers_keep_to_one_thread(found):
    assert len(found["pools"]) == 2
    for before, after in found["pools"]:
        assert before
        assert after[: len(before)] == before
        assert set(after) == {1}
