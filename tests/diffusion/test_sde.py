"""The variance-preserving diffusion and denoising score matching."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from skerdiff.diffusion._objectives import denoising_loss, stratified_times
from skerdiff.diffusion._sde import T_MIN, VPSDE

SCHEDULES = ["linear", "cosine"]
sdes = pytest.mark.parametrize(
    "sde",
    [VPSDE(schedule, scale) for schedule in SCHEDULES for scale in (0.5, 1.0, 2.0)],
    ids=str,
)


def times(n=200):
    return torch.linspace(T_MIN, 1.0, n, dtype=torch.float64)


@sdes
def test_variance_is_preserved(sde):
    alpha, sigma = sde.marginal(times())
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha))


@sdes
def test_marginal_has_the_signal_to_noise_ratio(sde):
    alpha, sigma = sde.marginal(times())
    torch.testing.assert_close(2 * torch.log(alpha / sigma), sde.log_snr(times()))


@sdes
def test_log_snr_decreases(sde):
    assert (sde.log_snr(times()).diff() < 0).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_data_at_the_start_and_noise_at_the_end(schedule):
    alpha, sigma = VPSDE(schedule).marginal(times())
    assert sigma[0] < 0.02
    assert alpha[-1] < 0.02


@sdes
def test_slope_is_the_derivative_of_log_snr(sde):
    t = times().requires_grad_()
    (slope,) = torch.autograd.grad(sde.log_snr(t).sum(), t)
    torch.testing.assert_close(sde.log_snr_slope(t), slope, rtol=1e-8, atol=0)


@sdes
def test_beta_is_the_rate_of_decay_of_the_signal(sde):
    t = times().requires_grad_()
    (slope,) = torch.autograd.grad(sde.marginal(t)[0].log().sum(), t)
    torch.testing.assert_close(sde.beta(t), -2 * slope, rtol=1e-8, atol=0)
    assert (sde.beta(t) > 0).all()


def test_beta_of_the_linear_schedule_is_that_of_song():
    # Song et al., 2021, appendix C: beta_min 0.1, beta_max 20
    t = times()
    torch.testing.assert_close(VPSDE("linear").beta(t), 0.1 + 19.9 * t)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("noise_scale", [0.3, 2.0])
def test_noise_scale_multiplies_the_noise_to_signal_ratio(schedule, noise_scale):
    t = times()
    alpha, sigma = VPSDE(schedule).marginal(t)
    scaled_alpha, scaled_sigma = VPSDE(schedule, noise_scale).marginal(t)
    torch.testing.assert_close(
        scaled_sigma / scaled_alpha, noise_scale * sigma / alpha, rtol=1e-9, atol=0
    )
    torch.testing.assert_close(
        VPSDE(schedule, noise_scale).log_snr(t),
        VPSDE(schedule).log_snr(t) - 2 * math.log(noise_scale),
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize(
    "sde", [VPSDE("linear"), VPSDE("cosine"), VPSDE("linear", 2.0)], ids=str
)
def test_marginal_is_that_of_the_simulated_sde(sde):
    # Euler-Maruyama of dz = -beta/2 z dt + sqrt(beta) dw. At T_MIN z has the marginal
    # of T_MIN, from there on the simulation is on its own.
    rng = np.random.default_rng(0)
    n, n_steps, z0 = 20_000, 500, 1.5
    end = 0.6
    grid = torch.linspace(T_MIN, end, n_steps + 1, dtype=torch.float64)
    beta = sde.beta(0.5 * (grid[1:] + grid[:-1])).numpy()
    h = (end - T_MIN) / n_steps
    alpha, sigma = (float(a) for a in sde.marginal(grid[0]))
    z = alpha * z0 + sigma * rng.standard_normal(n)
    for rate in beta:
        z = z - 0.5 * rate * h * z + math.sqrt(rate * h) * rng.standard_normal(n)
    alpha, sigma = (float(a) for a in sde.marginal(grid[-1]))
    assert z.mean() == pytest.approx(alpha * z0, abs=4 * sigma / math.sqrt(n) + 2e-3)
    assert z.std() == pytest.approx(sigma, rel=4 / math.sqrt(2 * n) + 5e-3)


def gaussian(n_bins=4, d=2, seed=0):
    """Mean (n_bins * d,) and covariance of a Gaussian over trajectories."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n_bins * d, n_bins * d))
    covariance = A @ A.T / (n_bins * d) + 0.1 * np.eye(n_bins * d)
    return torch.tensor(rng.standard_normal(n_bins * d)), torch.tensor(covariance)


def exact_noise(sde, mean, covariance):
    """Expected noise given z_t, one trial at a time, straight from its definition."""

    def denoiser(z, t):
        out = []
        for one, alpha, sigma in zip(z, *sde.marginal(t)):
            cov = alpha**2 * covariance + sigma**2 * torch.eye(len(mean)).to(mean)
            residual = one.flatten() - alpha * mean
            out.append(sigma * torch.linalg.solve(cov, residual).view_as(one))
        return torch.stack(out)

    return denoiser


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("t", [0.05, 0.4])
def test_denoising_loss_of_the_exact_noise_predictor(schedule, t):
    # the error of the conditional mean is Cov(eps | z_t), whose trace is
    # sum_i alpha^2 lambda_i / (alpha^2 lambda_i + sigma^2)
    sde = VPSDE(schedule)
    mean, covariance = gaussian()
    rng = np.random.default_rng(1)
    n = 4000
    z = rng.multivariate_normal(mean.numpy(), covariance.numpy(), n)
    z = torch.tensor(z).view(n, 4, 2)
    noise = torch.tensor(rng.standard_normal((n, 4, 2)))
    time = torch.full((n,), t, dtype=torch.float64)
    loss = denoising_loss(exact_noise(sde, mean, covariance), sde, z, time, noise)
    alpha, sigma = sde.marginal(time[0])
    values = torch.linalg.eigvalsh(covariance)
    expected = (alpha**2 * values / (alpha**2 * values + sigma**2)).mean()
    standard_error = float(loss.std()) / math.sqrt(n)
    assert loss.shape == (n,)
    assert float(loss.mean()) == pytest.approx(float(expected), abs=4 * standard_error)
    assert standard_error < 0.01 * float(expected) + 0.005


def test_denoising_loss_of_silence_and_of_truth():
    sde = VPSDE()
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(6, 3, 2, generator=rng)
    noise = torch.randn(6, 3, 2, generator=rng)
    t = torch.linspace(0.1, 0.9, 6)
    silent = denoising_loss(lambda z, t: torch.zeros_like(z), sde, z, t, noise)
    torch.testing.assert_close(silent, (noise**2).mean(dim=(1, 2)))
    alpha, sigma = (a[:, None, None] for a in sde.marginal(t))
    truth = denoising_loss(lambda x, t: (x - alpha * z) / sigma, sde, z, t, noise)
    torch.testing.assert_close(truth, torch.zeros(6), rtol=0, atol=1e-6)


def test_stratified_times_fill_every_part():
    like = torch.zeros(1, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        t = stratified_times(16, generator, like, 0.2, 0.6)
        parts = ((t - 0.2) / 0.4 * 16).floor().long()
        assert sorted(parts.tolist()) == list(range(16))


def test_each_stratified_time_is_uniform():
    like = torch.zeros(1, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    draws = torch.stack([stratified_times(5, generator, like) for _ in range(1500)])
    for i in range(5):
        u = (draws[:, i].numpy() - T_MIN) / (1 - T_MIN)
        assert kstest(u, "uniform").pvalue > 1e-3
    assert draws.min() >= T_MIN
    assert draws.max() <= 1.0


def test_stratified_times_keep_the_dtype_and_their_generator():
    for dtype in (torch.float32, torch.float64):
        like = torch.zeros(1, dtype=dtype)
        a, b = (
            stratified_times(4, torch.Generator().manual_seed(3), like)
            for _ in range(2)
        )
        assert a.dtype == dtype
        assert torch.equal(a, b)
