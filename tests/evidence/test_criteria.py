"""Criteria that choose between candidate alignments."""

import numpy as np
import pytest

from skerdiff import SequentialVAE
from skerdiff.benchmark import _criteria, _pool
from skerdiff.benchmark._criteria import CRITERIA, _by_prior, compare_criteria
from skerdiff.benchmark._sessions import load_pair, make_split
from skerdiff.diffusion import DiffusionPrior


@pytest.fixture(scope="module")
def prior():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((20, 6, 2)) * [3.0, 1.0]
    return DiffusionPrior(max_iter=5, n_channels=8, random_state=0).fit(Z), Z


def test_contraction_pays_only_without_the_change_of_volume(prior):
    model, Z = prior
    right, small = _by_prior(model, Z, 1.0), _by_prior(model, 0.2 * Z, 0.2)
    # the same target, read at a fifth of its size
    assert small[0] < right[0]
    assert small[1] > right[1]
    assert small[2] > right[2]


def test_likelihood_of_a_map_is_that_of_the_mapped_variable(prior):
    # densities of x and of 2 x differ by the volume
    model, Z = prior
    scaled = _by_prior(model, Z, 2.0)
    expected = -np.mean(model.score_samples(Z)) / Z[0].size - np.log(2.0)
    assert scaled[2] == pytest.approx(expected)


@pytest.mark.slow
def test_every_criterion_chooses_from_one_pool(monkeypatch):
    model = SequentialVAE(n_components=4, n_hidden=16, max_iter=10)
    quick = _pool.GeometryAligner(model)
    monkeypatch.setattr(
        _pool,
        "GeometryAligner",
        lambda **params: quick.set_params(**params),
    )
    monkeypatch.setattr(
        _criteria,
        "DiffusionPrior",
        lambda **params: DiffusionPrior(max_iter=2, n_channels=8, **params),
    )
    monkeypatch.setattr(_criteria, "_MAX_TRIALS", 4)
    split = make_split(load_pair("synthetic"), 0, {"target_trials": 60})
    row = compare_criteria(split)
    assert set(row) == {"n_alignments", "r2", *CRITERIA}
    assert row["n_alignments"] >= 1
    assert all(row[name] <= row["r2"] for name in CRITERIA)
    assert row["relative residual"] > 0.5
