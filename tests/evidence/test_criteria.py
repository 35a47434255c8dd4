"""Criteria that choose between candidate alignments."""

import numpy as np
import pytest

from benchmarks import criteria, pool
from benchmarks.criteria import CRITERIA, compare_criteria
from benchmarks.criteria import _by_prior as judge_by_prior
from skerdiff import SequentialVAE
from skerdiff.benchmark import load_pair, make_split
from skerdiff.diffusion import DiffusionPrior
from skerdiff.geometry import distinct_alignments, geometric_readin


@pytest.fixture(scope="module")
def prior():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((20, 6, 2)) * [3.0, 1.0]
    return DiffusionPrior(max_iter=5, n_channels=8, random_state=0).fit(Z), Z


def test_contraction_pays_only_without_the_change_of_volume(prior):
    model, Z = prior
    right, small = judge_by_prior(model, Z, 1.0), judge_by_prior(model, 0.2 * Z, 0.2)
    # the same target, read at a fifth of its size
    assert small[0] < right[0]
    assert small[1] > right[1]
    assert small[2] > right[2]


def test_likelihood_of_a_map_is_that_of_the_mapped_variable(prior):
    # densities of x and of 2 x differ by the volume
    model, Z = prior
    scaled = judge_by_prior(model, Z, 2.0)
    expected = -np.mean(model.score_samples(Z)) / Z[0].size - np.log(2.0)
    assert scaled[2] == pytest.approx(expected)


@pytest.mark.slow
def test_every_criterion_chooses_from_one_pool(monkeypatch):
    model = SequentialVAE(n_components=4, n_hidden=16, max_iter=10)
    quick = pool.GeometryAligner(model)
    monkeypatch.setattr(
        pool,
        "GeometryAligner",
        lambda **params: quick.set_params(**params),
    )
    monkeypatch.setattr(
        criteria,
        "DiffusionPrior",
        lambda **params: DiffusionPrior(max_iter=2, n_channels=8, **params),
    )
    monkeypatch.setattr(criteria, "_MAX_TRIALS", 4)
    split = make_split(load_pair("synthetic"), 0, {"target_trials": 60})
    found = pool.search_pool(split)
    # judges that name the place of the best and of the worst of three alignments
    r2, candidates = [], distinct_alignments(found.candidates, found.target)
    for candidate in candidates:
        readin, _ = geometric_readin(
            found.features,
            found.rigid(candidate),
            found.coordinates,
            found.activations,
        )
        r2.append(found.score(readin))
    assert len(r2) > 1 and np.ptp(r2) > 0.1
    best, worst = np.argmax(r2), np.argmin(r2)
    turn = iter(np.arange(len(r2)))

    def judge(prior, Z, scale):
        i = next(turn)
        return float(i != worst), float(i != best), float(i != worst)

    monkeypatch.setattr(criteria, "_by_prior", judge)
    row = compare_criteria(split)
    assert set(row) == {"n_alignments", "r2", *CRITERIA}
    assert row["n_alignments"] == len(r2)
    assert row["r2"] == row["bound"] == pytest.approx(r2[best])
    assert row["denoising error"] == row["likelihood"] == pytest.approx(r2[worst])
    assert row["relative residual"] == pytest.approx(
        r2[np.argmin([c.residual for c in candidates])]
    )
