"""An aligner knows when there is nothing to align, or too little."""

import warnings

import numpy as np
import pytest

from skerdiff import AmbiguousAlignmentWarning, GeometryAligner, SequentialVAE
from skerdiff.datasets import make_reaching_sessions

MODEL = SequentialVAE(n_hidden=16, max_iter=10)


def over_trials(X, rng):
    """Keeps each neuron's time course and counts, of every bin."""
    return np.take_along_axis(X, rng.random(X.shape).argsort(0), 0)


def over_all(X, rng):
    """Keeps each neuron's counts."""
    rows = X.reshape(-1, X.shape[2])
    return rng.permuted(rows, axis=0).reshape(X.shape)


def warns(aligner, X):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        aligner.adapt(X)
    return any(issubclass(w.category, AmbiguousAlignmentWarning) for w in caught)


@pytest.fixture(scope="module")
def days():
    return make_reaching_sessions(6, 120, 50, random_state=0)


@pytest.fixture(scope="module")
def fitted(days):
    return GeometryAligner(MODEL, random_state=0).fit(days.trials["day0"])


def test_nothing_to_align_is_announced(fitted, days):
    rng = np.random.default_rng(0)
    for permute in (over_trials, over_all):
        assert warns(fitted, permute(days.trials["day1"], rng))
        assert fitted.alignment_report_["target"]["confidence"] < 1


@pytest.mark.slow
def test_nothing_to_align_is_announced_in_19_runs_of_20(fitted, days):
    runs = [
        warns(fitted, permute(days.trials[f"day{k}"], np.random.default_rng(seed)))
        for permute in (over_trials, over_all)
        for k in range(1, 6)
        for seed in range(2)
    ]
    assert len(runs) == 20
    assert sum(runs) >= 19


def test_a_whole_session_is_trusted(fitted, days):
    assert not warns(fitted, days.trials["day1"])
    report = fitted.alignment_report_["target"]
    assert report["confidence"] > 1
    assert report["variance_explained"] > 0.3
    assert report["residuals"][0] == report["residual"]
    assert report["bits_per_spike"] > 0


@pytest.mark.slow
def test_one_direction_is_too_little(fitted, days):
    direction = days.direction[days.trials.session == "day1"]
    assert warns(fitted, days.trials["day1"][direction == 0])
