"""Searches on a recording: over methods and nested parameters, without labels."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skerdiff import (
    DiffusionPrior,
    ERDiffAligner,
    GeometryAligner,
    IdentityAligner,
    PerBinRegressor,
    SequentialVAE,
)
from skerdiff.alignment import DANNAligner, MMDAligner
from skerdiff.datasets import load_motor_cortex
from skerdiff.metrics import agreement_scorer, r2_scorer
from skerdiff.model_selection import TargetKFold

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning"),
]


@pytest.fixture(scope="module")
def mihi(motor_cortex_home):
    return load_motor_cortex(
        "mihi", data_home=motor_cortex_home, download_if_missing=False, random_state=0
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return {"memory": str(tmp_path_factory.mktemp("models")), "random_state": 0}


@pytest.fixture
def trained(monkeypatch):
    """Names of the models that are trained."""
    names = []
    for model in (SequentialVAE, DiffusionPrior):

        def fit(self, X, y=None, original=model.fit, name=model.__name__):
            names.append(name)
            return original(self, X, y)

        monkeypatch.setattr(model, "fit", fit)
    return names


def search_over(aligner, grid, mihi):
    search = GridSearchCV(
        make_pipeline(aligner, PerBinRegressor(Ridge())),
        grid,
        scoring={"agreement": agreement_scorer, "r2": r2_scorer},
        refit="agreement",
        cv=TargetKFold(2),
        error_score="raise",
    )
    # the target's labels are for the report alone
    return search.fit(mihi.trials, mihi.y, groups=mihi.direction)


def test_search_over_methods_trains_one_source_model(mihi, shared, trained):
    methods = [
        IdentityAligner(**shared),
        GeometryAligner(**shared),
        ERDiffAligner(max_steps=20, **shared),
        DANNAligner(max_steps=20, **shared),
        MMDAligner(max_steps=20, **shared),
    ]
    search = search_over(methods[2], {"erdiffaligner": methods}, mihi)
    r2 = search.cv_results_["mean_test_r2"]
    assert r2[0] < 0.5 < 0.85 < r2[1]
    assert r2.max() - r2[search.best_index_] < 0.03
    assert trained == ["SequentialVAE", "DiffusionPrior"]  # 5 methods, 2 folds, a refit
    assert search.best_estimator_.predict(mihi.trials).shape == mihi.y.shape


def test_search_over_dims_starts_and_noise_scales(mihi, shared, trained):
    small = ERDiffAligner(prior=DiffusionPrior(max_iter=5), max_steps=20, **shared)
    grid = [
        {"erdiffaligner__n_components": [4, 8]},
        {"erdiffaligner__init": ["source", "random"]},
        {"erdiffaligner__noise_scale": [0.7]},
        {"erdiffaligner__prior__n_blocks": [2]},
    ]
    search = search_over(small, grid, mihi)
    r2 = search.cv_results_["mean_test_r2"]
    init = [p.get("erdiffaligner__init") for p in search.cv_results_["params"]]
    assert search.best_params_.get("erdiffaligner__init") is None
    assert r2.max() - r2[search.best_index_] < 0.03
    assert np.max(r2[[i is not None for i in init]]) < r2[search.best_index_]
    # 4 dims; 8 dims are there from the search above, or trained here if it has not run
    assert trained.count("SequentialVAE") <= 2
    # 4 and 8 dims, another noise scale, another number of blocks
    assert trained.count("DiffusionPrior") == 4
