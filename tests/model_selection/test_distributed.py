"""The same search on Dask workers, through joblib."""

import joblib
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_info

from skerdiff import GeometryAligner, PerBinRegressor, SequentialVAE
from skerdiff.datasets import make_reaching_sessions
from skerdiff.model_selection import TargetKFold

distributed = pytest.importorskip("distributed", reason="extra skerdiff[distributed]")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning"),
    # what Dask does with its own event loop and ports is not ours to judge
    pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed"),
    pytest.mark.filterwarnings("ignore::UserWarning:distributed"),
]

VAE = SequentialVAE(max_iter=2, n_hidden=4, n_readin=4, n_components=3)


@pytest.fixture(scope="module")
def cluster():
    options = {"dashboard_address": None, "threads_per_worker": 1}
    with distributed.LocalCluster(n_workers=2, **options) as cluster:
        with distributed.Client(cluster) as client:
            yield client


@pytest.fixture
def search(tmp_path):
    aligner = GeometryAligner(VAE, n_starts=1, memory=str(tmp_path), random_state=0)
    return GridSearchCV(
        make_pipeline(aligner, PerBinRegressor(Ridge())),
        {"geometryaligner__n_components": [2, 3]},
        cv=TargetKFold(2),
        error_score="raise",
    )


def test_dask_finds_what_one_process_finds(cluster, search):
    trials, y = make_reaching_sessions(
        n_trials=20, n_neurons=[10, 12], n_bins=6, random_state=0, return_X_y=True
    )
    serial = search.fit(trials, y).cv_results_["mean_test_score"]
    search.estimator.set_params(geometryaligner__memory=None)
    with joblib.parallel_backend("dask"):
        found = search.fit(trials, y).cv_results_["mean_test_score"]
    np.testing.assert_allclose(found, serial, rtol=1e-4)
    assert search.predict(trials).shape == y.shape


def fitted_threads(trials, y):
    """Fit in a worker; count what its pools had before and after."""
    before = [pool["num_threads"] for pool in threadpool_info()]
    GeometryAligner(VAE, n_starts=1, random_state=0).fit(trials, y)
    return before, [pool["num_threads"] for pool in threadpool_info()]


def test_workers_keep_to_one_thread(cluster):
    trials, y = make_reaching_sessions(
        n_trials=20, n_neurons=[10, 12], n_bins=6, random_state=0, return_X_y=True
    )
    futures = [cluster.submit(fitted_threads, trials, y, pure=False) for _ in range(2)]
    for before, after in cluster.gather(futures):
        assert before
        assert after[: len(before)] == before
        assert set(after) == {1}
