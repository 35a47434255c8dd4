"""Probability-flow log-likelihood with exact noise predictors."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from skerdiff.diffusion._divergence import exact_divergence, hutchinson_divergence
from skerdiff.diffusion._likelihood import probability_flow_log_likelihood
from skerdiff.diffusion._sde import T_MIN, VPSDE

N_BINS, D = 4, 2
SIZE = N_BINS * D
sdes = pytest.mark.parametrize(
    "sde",
    [VPSDE("linear"), VPSDE("cosine"), VPSDE("linear", 0.5), VPSDE("cosine", 2.0)],
    ids=str,
)


def gaussian(seed=0, floor=0.3):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((SIZE, SIZE))
    return rng.standard_normal(SIZE), A @ A.T / SIZE + floor * np.eye(SIZE)


def exact_noise(sde, mean, covariance):
    mean, covariance = torch.tensor(mean), torch.tensor(covariance)

    def denoiser(z, t):
        alpha, sigma = (float(a[0]) for a in sde.marginal(t))
        noised = alpha**2 * covariance + sigma**2 * torch.eye(SIZE).double()
        residual = z.flatten(1) - alpha * mean
        return (sigma * torch.linalg.solve(noised, residual.T).T).view_as(z)

    return denoiser


def draw(mean, covariance, n=6, seed=1):
    rng = np.random.default_rng(seed)
    rows = rng.multivariate_normal(mean, covariance, n)
    rows[-1] += 3.0  # one trial far from the rest
    return torch.tensor(rows).view(n, N_BINS, D)


def log_likelihood(sde, z, n_steps=32, divergence=exact_divergence, **kwargs):
    denoiser = exact_noise(sde, *gaussian(**kwargs))
    return probability_flow_log_likelihood(denoiser, sde, z, divergence, n_steps)


def root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(values) @ vectors.T


@sdes
def test_log_likelihood_is_that_of_noise_carried_back_by_the_flow(sde):
    # Gaussian marginals N(a mu, C) make the flow affine: z = a mu + C^(1/2) u with u
    # constant along it. It carries N(0, I) from t = 1 to this Gaussian at T_MIN.
    mean, covariance = gaussian()
    z = draw(mean, covariance)
    (a0, a1), (s0, s1) = (
        a.tolist() for a in sde.marginal(torch.tensor([T_MIN, 1.0]).double())
    )
    start = root(a0**2 * covariance + s0**2 * np.eye(SIZE))
    end = root(a1**2 * covariance + s1**2 * np.eye(SIZE))
    linear = start @ np.linalg.inv(end)
    carried = multivariate_normal(a0 * mean - a1 * linear @ mean, linear @ linear.T)
    out = log_likelihood(sde, z).numpy()
    expected = carried.logpdf(z.flatten(1).numpy())
    np.testing.assert_allclose(out, expected, rtol=0, atol=0.002)


@sdes
def test_log_likelihood_of_a_gaussian(sde):
    # of mean zero, so that what is left of the mean at t = 1 does not count
    _, covariance = gaussian()
    mean = np.zeros(SIZE)
    z = draw(mean, covariance, 12)[:-1]
    out = probability_flow_log_likelihood(
        exact_noise(sde, mean, covariance), sde, z, exact_divergence, 32
    )
    expected = multivariate_normal(mean, covariance).logpdf(z.flatten(1).numpy())
    np.testing.assert_allclose(out.numpy(), expected, rtol=0, atol=0.005 * SIZE)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_order_of_the_integration(schedule):
    sde = VPSDE(schedule)
    mean, covariance = gaussian(floor=0.05)
    z = draw(mean, covariance)
    fine = log_likelihood(sde, z, 128, floor=0.05)
    errors = [
        (log_likelihood(sde, z, n, floor=0.05) - fine).abs().max() for n in (8, 16, 32)
    ]
    assert errors[1] < errors[0] / 6
    assert errors[2] < errors[1] / 6


def test_log_likelihood_of_a_trial_does_not_depend_on_the_batch():
    sde = VPSDE()
    z = draw(*gaussian())
    together = log_likelihood(sde, z, 8)
    alone = torch.cat([log_likelihood(sde, one[None], 8) for one in z])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_all_sign_patterns_as_probes_give_the_exact_log_likelihood():
    sde = VPSDE()
    z = draw(*gaussian())
    signs = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    probes = torch.cartesian_prod(*[signs] * SIZE).view(-1, N_BINS, D)
    out = log_likelihood(
        sde, z, 4, divergence=lambda f, z: hutchinson_divergence(f, z, probes)
    )
    torch.testing.assert_close(out, log_likelihood(sde, z, 4))
