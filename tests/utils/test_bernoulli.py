"""The continuous Bernoulli distribution."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import kstest

from skerdiff.utils.bernoulli import (
    divergence,
    log_density,
    mean,
    natural_parameter,
    sample,
)

ETAS = [-40.0, -3.0, -0.5, 0.0, 0.01, 1.0, 8.0]


def density(u, eta):
    """As it is defined, for eta not 0."""
    return eta * np.exp(eta * u) / np.expm1(eta) if eta else 1.0


@pytest.mark.parametrize("eta", ETAS)
def test_density_and_mean_are_those_of_the_definition(eta):
    for u in (0.0, 0.3, 1.0):
        assert log_density(u, eta) == pytest.approx(np.log(density(u, eta)), abs=1e-6)
    expected = quad(lambda u: u * density(u, eta), 0, 1)[0]
    assert mean(eta) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("eta", ETAS)
def test_draws_follow_the_distribution(eta):
    drawn = sample(np.full(4000, eta), np.random.default_rng(0))
    assert drawn.min() >= 0 and drawn.max() <= 1
    grid = np.linspace(0, 1, 20001)
    mass = np.cumsum([density(u, eta) for u in grid])
    assert kstest(drawn, lambda u: np.interp(u, grid, mass / mass[-1])).pvalue > 1e-3


def test_the_natural_parameter_inverts_the_mean():
    means = np.linspace(0.03, 0.97, 31)
    np.testing.assert_allclose(mean(natural_parameter(means)), means, atol=1e-10)


def test_divergence_is_the_integral_and_zero_for_itself():
    def integrand(u):
        return density(u, 2.0) * np.log(density(u, 2.0) / density(u, -1.0))

    assert divergence(2.0, -1.0) == pytest.approx(quad(integrand, 0, 1)[0], abs=1e-6)
    assert divergence(2.0, 2.0) == pytest.approx(0, abs=1e-12)
