"""An interrupt surfaces, wherever it comes, and leaves nothing half done."""

import inspect
import pickle
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from skorch.callbacks import EarlyStopping
from threadpoolctl import threadpool_info

from skerdiff import SequentialVAE, Trials
from skerdiff.alignment import GeometryAligner
from tests.estimators import ALIGNERS, ESTIMATORS, VAE, each, small_data

pytestmark = [
    pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning"),
]
TRACED = ("skerdiff", "skorch", "sklearn", "joblib", "torch.optim", "torch.nn")
N_POINTS = 5  # for each of about 20 estimators and 15 aligners


class Interrupting:
    """Interrupt at the n-th call of a function; counts calls if n is None."""

    def __init__(self, n=None):
        self.n, self.count = n, 0

    def __call__(self, frame, event, arg):
        name = frame.f_globals.get("__name__") or ""
        # what is raised as an object dies is printed by Python, and goes nowhere
        code = frame.f_code
        dying = code.co_name == "__del__" or code.co_flags & inspect.CO_GENERATOR
        if name.startswith(TRACED) and not dying:
            self.count += 1
            if self.count == self.n:
                raise KeyboardInterrupt

    @contextmanager
    def running(self):
        sys.settrace(self)
        try:
            yield
        finally:
            sys.settrace(None)


def count_calls(func, *args):
    """Count the calls that a function makes, when what is imported once is there."""
    for _ in range(2):
        counting = Interrupting()
        with counting.running():
            func(*args)
    return counting.count


def points(func, *args):
    """Random places in the calls that a function makes."""
    n_calls = count_calls(func, *args)
    return np.random.RandomState(0).randint(1, n_calls + 1, N_POINTS)


def assert_interrupted(n, func, *args, **kwargs):
    with pytest.raises(KeyboardInterrupt), Interrupting(n).running():
        func(*args, **kwargs)


def threads():
    return torch.get_num_threads(), [pool["num_threads"] for pool in threadpool_info()]


def with_seed(estimator):
    estimator = clone(estimator)
    seeded = "random_state" in estimator.get_params()
    return estimator.set_params(random_state=0) if seeded else estimator


def content(estimator):
    """Pickles of the attributes, by name; they also tell whether one was replaced."""
    return {name: (id(a), pickle.dumps(a)) for name, a in vars(estimator).items()}


@pytest.mark.slow
@each(ESTIMATORS)
def test_fit_changes_all_or_nothing(estimator):
    X, y = small_data()
    other, y_other = small_data(n_neurons=7, n_trials=14, seed=1)
    places = points(with_seed(estimator).fit, X, y)
    fresh, fitted = with_seed(estimator), with_seed(estimator).fit(other, y_other)
    expected = with_seed(estimator).fit(X, y)
    limits = threads()
    for n in places:
        for model in (fresh, fitted):
            before = content(model)
            assert_interrupted(n, model.fit, X, y)
            assert content(model) == before
    assert threads() == limits
    # and what was interrupted can go on
    for name, value in vars(fresh.fit(X, y)).items():
        if isinstance(value, np.ndarray | float | str):
            assert_array_equal(value, getattr(expected, name))


@pytest.mark.slow
@each(ALIGNERS)
def test_adapt_changes_all_or_nothing(estimator):
    X, y = small_data()
    target, more = (small_data(n_neurons=n, seed=n)[0] for n in (8, 9))
    model = with_seed(estimator).fit(X, y).adapt(target)
    days = Trials({"target": target[::-1], "more": more})
    again = pickle.loads(pickle.dumps(model))
    places = points(again.adapt, more, "more")
    for n in places:
        before = content(model)
        assert_interrupted(n, model.adapt, more, "more")
        assert_interrupted(n, model.adapt, days)
        assert content(model) == before
    model.adapt(more, "more")
    assert_array_equal(model.transform(more), again.transform(more))


def test_an_interrupt_during_fit_of_several_sessions_leaves_none_of_them():
    X, y = small_data()
    days = Trials({"a": X, "b": X[:, :, ::-1], "c": X[::-1]})
    y = np.concatenate([y] * 3)
    aligner = GeometryAligner(VAE, n_starts=1, random_state=0)
    n_calls = count_calls(clone(aligner).fit, days, y)
    assert_interrupted(n_calls - 50, aligner.fit, days, y)
    assert not [name for name in vars(aligner) if name.endswith("_")]


@pytest.mark.parametrize("share", np.linspace(0.01, 0.99, 10))
def test_training_does_not_take_an_interrupt_for_early_stopping(share):
    X, y = small_data(n_trials=20)
    model = SequentialVAE(max_iter=6, n_hidden=4, patience=2, random_state=0)
    n_calls = count_calls(clone(model).fit, X, y)
    assert_interrupted(max(1, round(share * n_calls)), model.fit, X, y)
    assert not hasattr(model, "module_")


@pytest.mark.parametrize("name", ["_is_score_improved", "_calc_new_threshold"])
def test_an_interrupt_amid_early_stopping_is_the_users(monkeypatch, name):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(EarlyStopping, name, interrupt)
    with pytest.raises(KeyboardInterrupt):
        SequentialVAE(max_iter=6, n_hidden=4, patience=2).fit(*small_data(20))


def test_an_interrupted_fit_is_not_cached(tmp_path):
    X, y = small_data(n_trials=20)
    vae = SequentialVAE(max_iter=6, n_hidden=4, patience=2)
    aligner = GeometryAligner(vae, n_starts=1, random_state=0)
    expected = clone(aligner).fit(X, y).latent_model_
    n_calls = count_calls(clone(aligner).fit, X, y)
    aligner.set_params(memory=str(tmp_path))
    for n in np.linspace(1, n_calls, 12).astype(int)[1:-1]:
        assert_interrupted(n, clone(aligner).fit, X, y)
    found = clone(aligner).fit(X, y).latent_model_
    assert found.n_iter_ == expected.n_iter_
    assert found.loss_curve_ == expected.loss_curve_


def test_interrupts_come_from_where_they_are_asked_for():
    assert count_calls(with_seed(VAE).fit, *small_data()) > 500
