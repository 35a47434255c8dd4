"""The comparison of density models of trajectories."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf

from benchmarks.prior_quality import (
    REAL,
    GaussianTrajectories,
    MixtureTrajectories,
    models,
    prior_quality,
    source_latents,
)


def walks(n, seed=0):
    """First-order autoregressions, and their covariance."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, 6, 2))
    for k in range(1, 6):
        Z[:, k] += 0.9 * Z[:, k - 1]
    return Z


def test_gaussian_is_that_of_ledoit_and_wolf():
    Z, new = walks(50), walks(9, 1)
    rows = Z.reshape(50, -1)
    expected = multivariate_normal(rows.mean(0), ledoit_wolf(rows)[0])
    found = GaussianTrajectories().fit(Z).score_samples(new)
    np.testing.assert_allclose(found, expected.logpdf(new.reshape(9, -1)))


def test_var_is_the_best_model_of_an_autoregression():
    Z, new = walks(60), walks(300, 1)
    scores = [
        model.fit(Z).score_samples(new).mean()
        for model in (
            GaussianTrajectories("var"),
            GaussianTrajectories(),
            MixtureTrajectories(),
        )
    ]
    assert scores[0] > max(scores[1:])


def test_rows():
    rows = prior_quality(walks(60), names=["VAR(1)", "prior, closed form alone"])
    assert [r["model"] for r in rows] == [REAL, "VAR(1)", "prior, closed form alone"]
    assert "log_likelihood" not in rows[0]
    assert 0.03 < rows[2]["denoising_error"] < 1
    for row in rows[1:]:
        assert 0.5 < row["neighbour"] < 2
        assert -3 < row["log_likelihood"] < 0


def test_every_model_of_the_issue_is_compared():
    assert {"Gaussian", "Gaussian mixture", "VAR(1)", "prior"} <= set(models(0))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_prior_beats_all_on_held_out_latents_of_mihi(seed, motor_cortex_home):
    Z = source_latents("mihi", seed)
    names = ["Gaussian", "Gaussian mixture", "VAR(1)", "prior"]
    rows = prior_quality(Z, seed, names)
    score = {row["model"]: row.get("log_likelihood") for row in rows}
    best = max(score[name] for name in names[:3])
    assert score["prior"] > best + 0.05  # nats per value
    (prior,) = [row for row in rows if row["model"] == "prior"]
    (real,) = [row for row in rows if row["model"] == REAL]
    assert prior["auc"] < 0.75
    assert prior["neighbour"] > 0.7
    assert prior["value"] < real["value"] + 0.1
    assert prior["correlation"] < real["correlation"] + 0.1
