"""Metrics of behaviour, pooled over trials and bins."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_validate

from skerdiff import PerBinRegressor
from skerdiff.metrics import (
    behaviour_r2_score,
    behaviour_rmse,
    r2_scorer,
    rmse_scorer,
)


@pytest.fixture
def y():
    return np.random.RandomState(0).randn(8, 5, 2) * [1.0, 4.0] + [0.0, 10.0]


def test_a_perfect_decoder(y):
    assert behaviour_r2_score(y, y) == 1.0
    assert behaviour_rmse(y, y) == 0.0


def test_closed_form_of_a_shift(y):
    shift = np.array([0.3, 2.0])
    variance = y.reshape(-1, 2).var(0)
    assert_allclose(behaviour_r2_score(y, y + shift), np.mean(1 - shift**2 / variance))
    assert_allclose(behaviour_rmse(y, y + shift), np.sqrt(np.mean(shift**2)))


def test_the_mean_of_each_output_scores_zero(y):
    guess = np.broadcast_to(y.mean((0, 1)), y.shape)
    assert_allclose(behaviour_r2_score(y, guess), 0.0, atol=1e-12)
    assert behaviour_r2_score(y, guess + 1.0) < 0


def test_values_by_hand():
    y_true = np.array([[[0.0], [1.0]], [[2.0], [3.0]]])
    y_pred = np.array([[[0.0], [1.0]], [[2.0], [1.0]]])
    assert_allclose(behaviour_r2_score(y_true, y_pred), 1 - 4 / 5)
    assert_allclose(behaviour_rmse(y_true, y_pred), 1.0)


def test_bins_are_pooled_not_averaged_by_trial():
    rng = np.random.RandomState(0)
    # trials differ in their means, which decoding gets right
    y = np.arange(6.0)[:, None, None] * 10 + rng.randn(6, 7, 1)
    guess = y + rng.randn(*y.shape)
    pooled = behaviour_r2_score(y, guess)
    by_trial = np.mean([r2_score(a, b) for a, b in zip(y, guess)])
    assert pooled > 0.99 and by_trial < 0.5
    # so is the root: it is taken once, at the end
    error = np.linspace(0, 3, 6)[:, None, None] * np.ones_like(y)
    rooted_by_trial = np.mean([np.sqrt(np.mean(e**2)) for e in error])
    assert_allclose(behaviour_rmse(y, y + error), np.sqrt(np.mean(error**2)))
    assert behaviour_rmse(y, y + error) > rooted_by_trial + 0.1


def test_rows_and_trials_agree(y):
    guess = y + np.random.RandomState(1).randn(*y.shape)
    for metric in (behaviour_r2_score, behaviour_rmse):
        rows = metric(y.reshape(-1, 2), guess.reshape(-1, 2))
        assert_allclose(metric(y, guess), rows)
        assert_allclose(
            metric(y[..., 0].ravel(), guess[..., 0].ravel()),
            metric(y[..., :1], guess[..., :1]),
        )
        assert isinstance(metric(y, guess), float)


@pytest.mark.parametrize("metric", [behaviour_r2_score, behaviour_rmse])
def test_weights_of_trials_act_as_repeats(y, metric):
    guess = y + np.random.RandomState(1).randn(*y.shape)
    weight = np.array([1, 0, 2, 1, 3, 0, 1, 1])
    repeated = np.repeat(np.arange(8), weight)
    assert_allclose(
        metric(y, guess, sample_weight=weight), metric(y[repeated], guess[repeated])
    )
    assert abs(metric(y, guess, sample_weight=weight) - metric(y, guess)) > 1e-6


@pytest.mark.parametrize("metric", [behaviour_r2_score, behaviour_rmse])
def test_wrong_input_raises(y, metric):
    with pytest.raises(ValueError, match=r"\(8, 5, 2\), y_pred \(8, 5, 1\)"):
        metric(y, y[..., :1])
    with pytest.raises(ValueError, match="Behaviour must be of shape"):
        metric(y[None], y[None])
    with pytest.raises(ValueError, match="NaN"):
        metric(y, np.where(y > 0, np.nan, y))


def test_scorers_work_on_trials_in_cross_validation():
    rng = np.random.RandomState(0)
    Z = rng.randn(30, 4, 3)
    y = Z @ rng.randn(3, 2) + 0.1 * rng.randn(30, 4, 2)
    result = cross_validate(
        PerBinRegressor(),
        Z,
        y,
        cv=3,
        scoring={"r2": r2_scorer, "rmse": rmse_scorer},
        return_estimator=True,
        return_indices=True,
        error_score="raise",
    )
    for k, test in enumerate(result["indices"]["test"]):
        guess = result["estimator"][k].predict(Z[test])
        assert result["test_r2"][k] == behaviour_r2_score(y[test], guess)
        assert result["test_rmse"][k] == -behaviour_rmse(y[test], guess)
    assert (result["test_r2"] > 0.9).all()


@pytest.mark.parametrize("scorer", [r2_scorer, rmse_scorer])
def test_scorers_prefer_the_better_decoder(scorer):
    rng = np.random.RandomState(0)
    Z = rng.randn(30, 4, 3)
    y = Z @ rng.randn(3, 2)
    from sklearn.linear_model import Ridge

    search = GridSearchCV(
        PerBinRegressor(Ridge()),
        {"estimator__alpha": [1e6, 1e-6]},
        scoring=scorer,
        cv=3,
    )
    assert search.fit(Z, y).best_params_ == {"estimator__alpha": 1e-6}
