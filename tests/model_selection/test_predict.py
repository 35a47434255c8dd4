"""Predictions of trials left out, by an estimator that says what it was given."""

import threading

import joblib
import numpy as np
import pytest
import sklearn
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, clone

from skerdiff import Trials
from skerdiff.model_selection import TargetKFold, cross_val_predict


class Echo(BaseEstimator):
    """Predicts what it was fitted on. Has no score."""

    def __init__(self, broken=False):
        self.broken = broken

    def fit(self, X, y=None, extra=0.0):
        if self.broken:
            raise ZeroDivisionError("broken")
        # every trial knows its own number, as a power of 2
        self.seen_ = sum(trial[0, 0] for trial in X), np.nansum(y), extra
        self.thread_ = threading.current_thread() is threading.main_thread()
        return self

    def predict(self, X):
        return np.broadcast_to([*self.seen_, self.thread_], (len(X), 2, 4))


@pytest.fixture
def data():
    numbers = 2.0 ** np.arange(24)[:, None, None] * np.ones((2, 3))
    y = np.where(np.arange(24) < 4, np.arange(24), np.nan)[:, None, None]
    return Trials({"a": numbers[:4], "b": numbers[4:]}), y


def by_hand(data, cv, groups=None):
    trials, y = data
    guess = np.full((24, 2, 4), np.nan)
    for train, test in cv.split(trials, groups=groups):
        guess[test] = clone(Echo()).fit(trials[train], y[train]).predict(trials[test])
    return guess


def test_a_trial_is_predicted_by_what_was_fitted_on_the_other_folds(data):
    cv = TargetKFold(4, random_state=3)
    assert_array_equal(cross_val_predict(Echo(), *data, cv=cv), by_hand(data, cv))


def test_without_cv_the_folds_are_those_of_TargetKFold(data):
    assert_array_equal(cross_val_predict(Echo(), *data), by_hand(data, TargetKFold()))


def test_folds_are_shaped_by_the_groups(data):
    groups = np.r_[np.zeros(4), np.arange(20) // 5]
    guess = cross_val_predict(Echo(), *data, groups=groups)
    assert_array_equal(guess, by_hand(data, TargetKFold(), groups))
    assert (guess[4:] != by_hand(data, TargetKFold())[4:]).any()
    with sklearn.config_context(enable_metadata_routing=True):
        routed = cross_val_predict(Echo(), *data, params={"groups": groups})
    assert_array_equal(routed, guess)


def test_params_reach_fit(data):
    guess = cross_val_predict(Echo(), *data, params={"extra": 7.0})
    assert (guess[4:, :, 2] == 7).all()


def test_parallel_jobs_fit_outside_of_the_main_thread(data):
    with joblib.parallel_config(backend="threading"):
        assert (cross_val_predict(Echo(), *data, n_jobs=1)[4:, :, 3] == 1).all()
        assert (cross_val_predict(Echo(), *data, n_jobs=2)[4:, :, 3] == 0).all()


def test_progress_is_printed_where_asked_for(data, capsys):
    cross_val_predict(Echo(), *data)
    assert capsys.readouterr().out == ""
    cross_val_predict(Echo(), *data, verbose=2)
    assert capsys.readouterr().out.count("[CV] END") == 5


def test_an_error_of_the_estimator_is_raised_as_it_is(data):
    with pytest.raises(ZeroDivisionError, match="broken"):
        cross_val_predict(Echo(broken=True), *data)
