"""DDIM with exact noise predictors."""

import math

import numpy as np
import pytest
import torch

from skerdiff.diffusion._samplers import ddim, time_grid
from skerdiff.diffusion._sde import T_MIN, VPSDE

N_BINS, D = 3, 2
SIZE = N_BINS * D
SDES = [VPSDE("linear"), VPSDE("cosine"), VPSDE("linear", 2.0)]
sdes = pytest.mark.parametrize("sde", SDES, ids=str)


def gaussian(seed=0):
    """Mean and covariance of a Gaussian over flattened trajectories."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((SIZE, SIZE))
    covariance = A @ A.T / SIZE + 0.05 * np.eye(SIZE)
    return torch.tensor(rng.standard_normal(SIZE)), torch.tensor(covariance)


def exact_noise(sde, mean, covariance):
    """Expected noise given z_t for z_0 ~ N(mean, covariance)."""

    def denoiser(z, t):
        alpha, sigma = (float(a[0]) for a in sde.marginal(t))
        noised = alpha**2 * covariance + sigma**2 * torch.eye(SIZE).double()
        residual = z.flatten(1) - alpha * mean
        return (sigma * torch.linalg.solve(noised, residual.T).T).view_as(z)

    return denoiser


def pushforward(sde, n_steps):
    """Mean and covariance of DDIM samples, exactly: the sampler is affine here."""
    denoiser = exact_noise(sde, *gaussian())
    basis = torch.cat([torch.zeros(1, SIZE), torch.eye(SIZE)]).double()
    out = ddim(denoiser, sde, basis.view(-1, N_BINS, D), n_steps).flatten(1)
    linear = out[1:] - out[0]
    return out[0], linear.T @ linear


def error(sde, n_steps):
    mean, covariance = gaussian()
    sample_mean, sample_covariance = pushforward(sde, n_steps)
    return (
        float((sample_mean - mean).norm() / mean.norm()),
        float((sample_covariance - covariance).norm() / covariance.norm()),
    )


@sdes
def test_ddim_reproduces_mean_and_covariance(sde):
    mean_error, covariance_error = error(sde, 400)
    assert mean_error < 0.02
    assert covariance_error < 0.03


@sdes
def test_ddim_comes_closer_with_more_steps(sde):
    errors = [error(sde, n)[1] for n in (10, 20, 40, 80)]
    for coarse, fine in zip(errors, errors[1:]):
        assert fine < 0.65 * coarse  # of first order: about a half


def test_one_step_returns_the_posterior_mean():
    sde = VPSDE()
    mean, covariance = gaussian()
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(4, N_BINS, D, generator=generator).double()
    out = ddim(exact_noise(sde, mean, covariance), sde, z, 1)
    alpha, sigma = (float(a) for a in sde.marginal(torch.ones(1).double()))
    noised = alpha**2 * covariance + sigma**2 * torch.eye(SIZE).double()
    gain = alpha * covariance @ torch.linalg.inv(noised)
    expected = mean + (z.flatten(1) - alpha * mean) @ gain.T
    torch.testing.assert_close(out.flatten(1), expected)


def test_ddim_is_deterministic_and_leaves_its_input():
    sde = VPSDE()
    denoiser = exact_noise(sde, *gaussian())
    z = torch.randn(4, N_BINS, D, generator=torch.Generator().manual_seed(0)).double()
    before = z.clone()
    first = ddim(denoiser, sde, z, 5)
    assert torch.equal(first, ddim(denoiser, sde, z, 5))
    assert torch.equal(z, before)


@sdes
@pytest.mark.parametrize("n_steps", [1, 7, 64])
def test_time_grid_is_even_in_log_snr(sde, n_steps):
    grid = time_grid(sde, n_steps, torch.zeros(1, dtype=torch.float64))
    assert len(grid) == n_steps + 1
    assert float(grid[0]) == pytest.approx(1.0, abs=1e-9)
    assert float(grid[-1]) == pytest.approx(T_MIN, rel=1e-6)
    steps = sde.log_snr(grid).diff()
    torch.testing.assert_close(steps, steps.mean().expand(n_steps), rtol=1e-6, atol=0)
    assert (grid.diff() < 0).all()


def test_time_grid_keeps_the_dtype():
    grid = time_grid(VPSDE(), 4, torch.zeros(1))
    assert grid.dtype == torch.float32
    assert math.isclose(float(grid[-1]), T_MIN, rel_tol=1e-4)
