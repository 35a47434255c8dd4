"""Dynamics of decoded trajectories against the true ones."""

import numpy as np
import pytest

from benchmarks.dynamics import (
    dynamics_divergence,
    fit_dynamics,
    fitted_natural_parameter,
    fixed_point_error,
    implied_draws,
    negative_log_likelihood,
)
from skerdiff.datasets import make_bernoulli_dynamics
from skerdiff.utils.bernoulli import log_density


@pytest.fixture(scope="module")
def dynamics():
    return make_bernoulli_dynamics(1, 2, 2, random_state=0).dynamics


@pytest.fixture(scope="module")
def Z(dynamics):
    return dynamics.sample(300, 24, np.random.default_rng(0))


def test_the_likelihood_is_that_of_the_definition(dynamics, Z):
    z = Z[:1]
    expected = 0
    for before, after in zip(z[0], z[0, 1:]):
        draw = before + (after - before) / 0.2
        eta = dynamics.natural_parameter(before)
        expected -= log_density(draw, eta).sum() - 2 * np.log(0.2)
    assert negative_log_likelihood(dynamics, z) == pytest.approx(expected, rel=1e-6)


def test_true_trajectories_are_likelier_than_turned_ones(dynamics, Z):
    true = negative_log_likelihood(dynamics, Z)
    assert negative_log_likelihood(dynamics, Z[..., ::-1]) > true + 1
    assert negative_log_likelihood(dynamics, 1 - Z) > true + 1


def test_the_fit_finds_the_dynamics(dynamics, Z):
    weights = fit_dynamics(Z, 0.2)
    assert dynamics_divergence(dynamics, weights, Z) < 0.01
    assert fixed_point_error(dynamics, weights) < 0.05
    turned = fit_dynamics(1 - Z, 0.2)
    assert dynamics_divergence(dynamics, turned, Z) > 0.2
    assert fixed_point_error(dynamics, turned) > 0.1


def test_the_fit_is_at_the_maximum_of_the_likelihood(Z):
    weights = fit_dynamics(Z, 0.2, ridge=1e-4)
    draws = implied_draws(Z, 0.2)

    def objective(w):
        fit = log_density(draws, fitted_natural_parameter(w, Z[:, :-1]))
        return fit.sum(-1).mean() - 0.5e-4 * (w**2).sum()

    rng = np.random.default_rng(1)
    for _ in range(5):
        other = weights + 0.1 * rng.standard_normal(weights.shape)
        assert objective(other) < objective(weights)


def test_no_fixed_point_counts_as_a_side_of_the_square(dynamics):
    weights = np.zeros((26, 2))
    weights[0] = 200.0  # draws of 1 everywhere: the state runs into the corner
    assert fixed_point_error(dynamics, weights) > 0.5
