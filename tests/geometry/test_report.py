"""What an aligner reports, and when it warns."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from skerdiff.geometry._report import (
    ambiguity_reasons,
    confidence,
    describe,
    held_out_bits_per_spike,
)
from skerdiff.metrics import bits_per_spike


def test_bits_are_those_of_a_regression_on_other_trials():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((23, 7, 3)) + 5.0
    X = rng.poisson(np.exp(Z[..., :2] - 5.0)).astype(float)
    held_out = np.arange(23) % 5 == 4
    readout = LinearRegression()
    readout.fit(Z[~held_out].reshape(-1, 3), X[~held_out].reshape(-1, 2))
    rates = readout.predict(Z[held_out].reshape(-1, 3)).reshape(4, 7, 2)
    rates = np.maximum(rates, 0.1 * X[~held_out].mean((0, 1)))
    expected = bits_per_spike(X[held_out], rates)
    assert expected > 0.1
    assert held_out_bits_per_spike(X, Z) == pytest.approx(expected)


def test_bits_do_not_depend_on_a_turn_of_the_latents():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((30, 5, 2))
    X = rng.poisson(np.exp(Z)).astype(float)
    turned = Z @ [[0.0, 2.0], [-2.0, 0.0]] + 3.0
    found = held_out_bits_per_spike(X, turned)
    assert found == pytest.approx(held_out_bits_per_spike(X, Z))


def test_bits_of_too_little():
    Z = np.random.default_rng(0).standard_normal((6, 5, 2))
    assert np.isnan(held_out_bits_per_spike(np.ones((1, 5, 2)), Z[:1]))
    assert np.isnan(held_out_bits_per_spike(np.zeros((6, 5, 2)), Z))
    assert "bits_per_spike" not in describe(-np.ones((6, 5, 2)), Z)


@pytest.mark.parametrize(
    ("margin", "carried", "words"),
    [
        (0.3, 0.6, []),
        (0.01, 0.6, ["margin 0.01, below 0.03"]),
        (0.3, 0.1, ["carry 0.10"]),
        (0.01, 0.1, ["margin 0.01, below 0.03", "carry 0.10"]),
        (np.inf, 0.6, []),
    ],
)
def test_doubts_say_why(margin, carried, words):
    report = {"margin": margin, "variance_explained": carried}
    report["confidence"] = confidence(report)
    assert (report["confidence"] < 1) == bool(words)
    reasons = ambiguity_reasons(report)
    assert len(reasons) == len(words)
    for word, reason in zip(words, reasons):
        assert word in reason


@pytest.mark.parametrize(
    ("margin", "doubted"), [(-0.01, True), (0.0, False), (0.01, False)]
)
def test_a_followed_start_is_doubted_if_another_fits_better(margin, doubted):
    report = {"margin": margin, "variance_explained": 0.9, "followed_start": True}
    report["confidence"] = confidence(report)
    assert (report["confidence"] < 1) == doubted
    reasons = ambiguity_reasons(report)
    assert len(reasons) == doubted
    assert all(
        "follows the given start" in r and "-0.01, below 0)" in r for r in reasons
    )
    assert confidence(report | {"variance_explained": 0.0}) == 0


def test_without_a_search_there_is_no_doubt():
    assert ambiguity_reasons({"init": "source"}) == []
