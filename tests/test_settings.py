"""Whatever the user's process is set to: the same results, and nothing is changed."""

import os
import random
import subprocess
import sys
import threading
import warnings
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from threadpoolctl import threadpool_info

from skerdiff import metrics
from skerdiff.utils._random import SeededTorch
from skerdiff.utils._settings import own_settings
from tests.estimators import ESTIMATORS, PRIOR, VAE, each, small_data, use

pytestmark = [
    pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning"),
    pytest.mark.filterwarnings("ignore::skerdiff.OneBinTrialsWarning"),
    pytest.mark.usefixtures("scores_search_little"),
]


@contextmanager
def double_precision():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def another_device():
    torch.set_default_device("meta")  # has no values: a tensor put there is noticed
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SETTINGS = {
    "double precision": double_precision,
    "another device": another_device,
    "deterministic algorithms": deterministic,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "floating-point errors": lambda: np.errstate(all="raise"),
}


def all_at_once():
    with ExitStack() as stack:
        for setting in SETTINGS.values():
            stack.enter_context(setting())
        return stack.pop_all()


def run(estimator):
    """Results of every method that computes, with a seed."""
    X, y = small_data()
    target = small_data(n_neurons=8, seed=1)[0]
    estimator = clone(estimator)
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=0)
    estimator.fit(X, y)
    found = [use(estimator, X)]
    if hasattr(estimator, "adapt"):
        estimator.adapt(target)
        found += [estimator.transform(target), estimator.score(target)]
        found += [estimator.adapt_back(target, X)]
    if hasattr(estimator, "sample"):
        found += [estimator.sample(2), estimator.evidence_bound(X, n_times=3)]
        found += [estimator.decode(estimator.invert(X)), estimator.denoising_error(X)]
    if hasattr(estimator, "inverse_transform"):
        found += [estimator.inverse_transform(found[0]), estimator.score(X)]
    return found


def assert_same_results(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        assert_array_equal(a, b)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("estimator", [VAE, PRIOR], ids=["latent model", "prior"])
def test_each_setting_by_itself(estimator, setting):
    expected = run(estimator)
    with SETTINGS[setting]():
        found = run(estimator)
    assert_same_results(found, expected)


def state_of_the_process():
    name, keys, *rest = np.random.get_state()
    return {
        "variables": dict(os.environ),
        "filters": list(warnings.filters),
        "NumPy's errors": np.geterr(),
        "NumPy's generator": (keys.tobytes(), *rest),
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "Python's generator": random.getstate(),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.empty(0).device,
        "gradients": torch.is_grad_enabled(),
        "threads of torch": torch.get_num_threads(),
        "threads of libraries": [pool["num_threads"] for pool in threadpool_info()],
        "threads": {t.name for t in threading.enumerate()},
    }


@pytest.mark.usefixtures("any_step_is_accepted")
@each(ESTIMATORS)
def test_any_setting_gives_the_same_to_the_bit_and_stays(estimator):
    if "verbose" in estimator.get_params():
        estimator = clone(estimator).set_params(verbose=True)
    before = state_of_the_process()
    expected = run(estimator)
    assert state_of_the_process() == before
    with all_at_once():
        before = state_of_the_process()
        found = run(estimator)
        assert state_of_the_process() == before
    assert_same_results(found, expected)


def test_the_first_fit_of_a_process_sets_no_variable():
    code = (
        "import os, numpy, torch, sklearn\n"
        "from skerdiff import SequentialVAE\n"
        "before = dict(os.environ)\n"
        "X = numpy.random.RandomState(0).poisson(3.0, (8, 4, 5))\n"
        "SequentialVAE(max_iter=1).fit(X)\n"
        "assert dict(os.environ) == before, set(os.environ) ^ set(before)\n"
    )
    environment = {k: v for k, v in os.environ.items() if "INDUCTOR" not in k}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize(
    "metric",
    [
        metrics.value_distance,
        metrics.cross_correlation_distance,
        metrics.two_sample_auc,
        metrics.relative_residual,
        metrics.sliced_wasserstein_distance,
    ],
    ids=lambda f: f.__name__,
)
def test_metrics_heed_and_change_no_setting(metric):
    Z, other = np.random.RandomState(0).randn(2, 20, 5, 2)
    seeded = {"random_state": 0} if "random_state" in str(metric.__doc__) else {}
    before = state_of_the_process()
    expected = metric(Z, other, **seeded)
    assert state_of_the_process() == before
    with all_at_once():
        assert metric(Z, other, **seeded) == expected


# -- the parts -------------------------------------------------------------------------
def modules():
    return torch.nn.ModuleList(
        [
            torch.nn.Linear(5, 7),
            torch.nn.GRU(7, 9, batch_first=True),
            torch.nn.MultiheadAttention(8, 2),
            torch.nn.Embedding(4, 5),
            torch.nn.Conv1d(3, 4, 3),
            torch.nn.ParameterList([torch.randn(3, 4), torch.rand(3)]),
        ]
    )


def test_seeded_weights_are_those_of_the_global_generator():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        expected = modules().state_dict()
    before = torch.get_rng_state()
    with SeededTorch(3):
        found = modules().state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert set(found) == set(expected)
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name


DRAWS = {
    "randint": lambda: torch.randint(5, (9,)),
    "randint from": lambda: torch.randint(2, 90, (9,)),
    "randint like": lambda: torch.randint_like(torch.ones(9), 2, 90),
    "normal": lambda: torch.normal(torch.zeros(9), torch.ones(9)),
    "dropout": lambda: torch.nn.functional.dropout(torch.ones(9), 0.5),
    "bernoulli": lambda: torch.empty(9).bernoulli_(0.5),
    "permutation": lambda: torch.randperm(9),
    "orthogonal": lambda: torch.nn.init.orthogonal_(torch.empty(3, 3)),
    "gamma": lambda: torch.distributions.Gamma(1.0, 1.0).sample((9,)),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_whatever_draws_is_given_the_generator(draw):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        expected = draw()
    before = torch.get_rng_state()
    with SeededTorch(3):
        found = draw()
    assert torch.equal(found, expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_generator_that_is_given_is_used():
    with SeededTorch(3):
        found = torch.rand(4, generator=torch.Generator().manual_seed(5))
    assert torch.equal(found, torch.rand(4, generator=torch.Generator().manual_seed(5)))


def test_own_settings_end_with_the_block_whatever_is_raised():
    with all_at_once():
        before = state_of_the_process()
        with pytest.raises(KeyboardInterrupt), own_settings():
            assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
            assert not torch.is_autocast_enabled("cpu")
            assert torch.zeros(1).dtype == torch.float32
            assert torch.zeros(1).device.type == "cpu"
            assert np.geterr()["divide"] == "warn"
            raise KeyboardInterrupt
        assert state_of_the_process() == before
        assert torch.is_inference_mode_enabled() and torch.is_autocast_enabled("cpu")
