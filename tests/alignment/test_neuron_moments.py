"""Moments of neurons: drift is undone, and each neuron gets its own moments."""

import copy

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from skerdiff import PerBinRegressor
from skerdiff.alignment import NeuronMomentsAligner


def test_drift_of_gain_and_baseline_is_undone(reaching, settings):
    aligner = NeuronMomentsAligner(**settings)
    aligner.fit(reaching.source, reaching.y_source)
    Z = aligner.transform(reaching.source, session="source")
    decoder = PerBinRegressor(Ridge()).fit(Z, reaching.y_source)

    def score(X, session):
        return decoder.score(aligner.transform(X, session=session), reaching.y_others)

    rng = np.random.default_rng(0)
    gain, baseline = rng.uniform(0.3, 3.0, 60), rng.uniform(0.0, 3.0, 60)
    # features are square roots: shift and scale those
    drift = [
        (gain * np.sqrt(X) + baseline) ** 2 for X in (reaching.source, reaching.others)
    ]
    aligner.adapt(drift[0])
    before = score(reaching.others, "source")
    assert score(drift[1], "source") < before - 0.2
    assert score(drift[1], "target") == pytest.approx(before, abs=0.01)


def test_neuron_moments_match_column_by_column(reaching, settings):
    aligner = NeuronMomentsAligner(**settings)
    aligner.fit(reaching.source, reaching.y_source)
    silent = reaching.others.copy()
    silent[:, :, 5] = 0.0
    for X in (reaching.others[:, :, :40], silent, np.tile(reaching.others, 2)):
        fitted = copy.deepcopy(aligner).adapt(X)
        model = fitted.latent_model_
        features = model.features(X)
        activations = model.activations(features, fitted.sessions_["target"].readin)
        n = min(60, X.shape[2])
        matched = np.tile(
            model.features(reaching.source).mean((0, 1)), (*X.shape[:2], 1)
        )
        source = model.features(reaching.source)[:, :, :n]
        here = features[:, :, :n]
        spread = here.std((0, 1))
        moving = spread > 0
        standard = (here - here.mean((0, 1)))[..., moving] / spread[moving]
        matched[:, :, np.flatnonzero(moving)] += standard * source.std((0, 1))[moving]
        np.testing.assert_allclose(activations, model.activations(matched), atol=1e-8)
