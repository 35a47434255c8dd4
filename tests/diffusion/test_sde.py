"""The diffusions, their objective and the diffusion times."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from skerdiff.diffusion._objectives import (
    LOSSES,
    denoising_loss,
    stratified_times,
    time_weights,
)
from skerdiff.diffusion._sde import SCHEDULES, SDES, T_MIN, DiffusionSDE, time_grid

PLAIN = [DiffusionSDE(schedule, 1.0, kind) for schedule in SCHEDULES for kind in SDES]
ALL = PLAIN + [
    DiffusionSDE(plain.schedule, scale, plain.kind)
    for plain in PLAIN
    for scale in (0.5, 2.0)
]
sdes = pytest.mark.parametrize("sde", ALL, ids=str)
plain_sdes = pytest.mark.parametrize("sde", PLAIN, ids=str)
schedules = pytest.mark.parametrize("schedule", SCHEDULES)


def times(n=200):
    return torch.linspace(T_MIN, 1.0, n, dtype=torch.float64)


def derivative(function):
    """d function / dt at `times()`."""
    t = times().requires_grad_()
    (slope,) = torch.autograd.grad(function(t).sum(), t)
    return slope


def close(actual, expected, rtol=1e-8):
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=0)


def test_what_is_tested_below_is_what_there_is():
    assert SCHEDULES == ("linear", "cosine", "quadratic")
    assert SDES == ("vp", "sub-vp")


def test_a_diffusion_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DiffusionSDE().noise_scale = 2.0


@sdes
def test_what_each_kind_preserves(sde):
    alpha, sigma = sde.marginal(times())
    power = 2 if sde.kind == "vp" else 1
    close(alpha**2 + sigma**power, torch.ones_like(alpha), rtol=1e-12)


@sdes
def test_marginal_has_the_signal_to_noise_ratio(sde):
    alpha, sigma = sde.marginal(times())
    torch.testing.assert_close(2 * torch.log(alpha / sigma), sde.log_snr(times()))


@sdes
def test_log_snr_decreases(sde):
    assert (sde.log_snr(times()).diff() < 0).all()


@plain_sdes
def test_data_at_the_start_and_noise_at_the_end(sde):
    alpha, sigma = sde.marginal(times())
    assert sigma[0] < 0.02
    assert alpha[-1] < 0.02


@schedules
def test_sub_vp_has_less_noise(schedule):
    _, sigma = DiffusionSDE(schedule).marginal(times())
    _, less = DiffusionSDE(schedule, kind="sub-vp").marginal(times())
    assert (less < sigma).all()
    close(less, sigma**2)


@sdes
def test_slope_is_the_derivative_of_log_snr(sde):
    close(sde.log_snr_slope(times()), derivative(sde.log_snr))


@sdes
def test_drift_is_the_rate_of_decay_of_the_signal(sde):
    slope = derivative(lambda t: sde.marginal(t)[0].log())
    close(sde.drift(times()), slope)
    close(sde.contraction(times()), slope / derivative(sde.log_snr))
    assert (sde.drift(times()) < 0).all()
    assert (sde.contraction(times()) <= 0.5).all()


@sdes
def test_dispersion_is_what_the_variance_gains(sde):
    variance = sde.marginal(times())[1] ** 2
    gain = derivative(lambda t: sde.marginal(t)[1] ** 2)
    gain = gain - 2 * sde.drift(times()) * variance
    close(sde.dispersion(times()) ** 2, gain, rtol=1e-7)


def test_linear_schedule_is_that_of_song():
    # Song et al., 2021, appendix C: beta_min 0.1, beta_max 20
    t = times()
    sde = DiffusionSDE("linear")
    beta = 0.1 + 19.9 * t
    close(-2 * sde.drift(t), beta)
    close(sde.dispersion(t), beta.sqrt())
    close(sde.marginal(t)[0], torch.exp(-0.5 * (0.1 * t + 19.9 * t**2 / 2)))


def test_sub_vp_is_that_of_song():
    # Song et al., 2021, equations 28 and 29
    t = times()
    sde = DiffusionSDE("linear", kind="sub-vp")
    beta, integral = 0.1 + 19.9 * t, 0.1 * t + 19.9 * t**2 / 2
    alpha, sigma = sde.marginal(t)
    close(alpha, torch.exp(-0.5 * integral))
    close(sigma, 1 - torch.exp(-integral))
    close(sde.drift(t), -0.5 * beta)
    close(sde.dispersion(t), torch.sqrt(beta * (1 - torch.exp(-2 * integral))))


def test_rate_of_the_quadratic_schedule_has_a_linear_root():
    root = torch.sqrt(-2 * DiffusionSDE("quadratic").drift(times()))
    steps = root.diff()
    close(steps, steps.mean().expand(len(steps)), rtol=1e-6)
    assert float(root[0] ** 2) == pytest.approx(0.1, rel=0.05)


def test_angle_of_the_cosine_schedule_is_linear():
    alpha, sigma = DiffusionSDE("cosine").marginal(times())
    angle = torch.atan2(sigma, alpha)
    # a little is cut off at either end
    close(angle, 1e-3 + (0.5 * math.pi - 1e-3 - 1e-2) * times(), rtol=1e-9)


@pytest.mark.parametrize("kind", SDES)
def test_quadratic_and_linear_schedule_end_in_the_same_noise(kind):
    linear, quadratic = (
        DiffusionSDE(schedule, kind=kind).log_snr(torch.ones(1).double())
        for schedule in ("linear", "quadratic")
    )
    close(quadratic, linear, rtol=1e-3)


@plain_sdes
@pytest.mark.parametrize("noise_scale", [0.3, 2.0])
def test_noise_scale_multiplies_the_noise_to_signal_ratio(sde, noise_scale):
    t = times()
    scaled = DiffusionSDE(sde.schedule, noise_scale, sde.kind)
    alpha, sigma = sde.marginal(t)
    scaled_alpha, scaled_sigma = scaled.marginal(t)
    close(scaled_sigma / scaled_alpha, noise_scale * sigma / alpha)
    shift = sde.log_snr(t) - scaled.log_snr(t)
    close(shift, torch.full_like(t, 2 * math.log(noise_scale)), rtol=1e-10)


@pytest.mark.parametrize(
    "sde",
    [*PLAIN, DiffusionSDE("linear", 2.0), DiffusionSDE("linear", 2.0, "sub-vp")],
    ids=str,
)
def test_marginal_is_that_of_the_simulated_sde(sde):
    # Euler-Maruyama of dz = f z dt + g dw. At T_MIN z has the marginal of T_MIN, from
    # there on the simulation is on its own.
    rng = np.random.default_rng(0)
    n, n_steps, z0, end = 10_000, 400, 1.5, 0.6
    grid = torch.linspace(T_MIN, end, n_steps + 1, dtype=torch.float64)
    middle = 0.5 * (grid[1:] + grid[:-1])
    h = (end - T_MIN) / n_steps
    alpha, sigma = (float(a) for a in sde.marginal(grid[0]))
    z = alpha * z0 + sigma * rng.standard_normal(n)
    for f, g in zip(sde.drift(middle).tolist(), sde.dispersion(middle).tolist()):
        z = z + f * h * z + g * math.sqrt(h) * rng.standard_normal(n)
    alpha, sigma = (float(a) for a in sde.marginal(grid[-1]))
    assert z.mean() == pytest.approx(alpha * z0, abs=4 * sigma / math.sqrt(n) + 2e-3)
    assert z.std() == pytest.approx(sigma, rel=4 / math.sqrt(2 * n) + 5e-3)


@sdes
def test_time_at_inverts_log_snr(sde):
    close(sde.time_at(sde.log_snr(times())), times(), rtol=1e-9)


@sdes
@pytest.mark.parametrize("ends", [(1.0, T_MIN), (T_MIN, 1.0), (0.7, 0.2)], ids=str)
def test_time_grid_is_even_in_log_snr(sde, ends):
    grid = time_grid(sde, 7, *ends)
    assert grid.shape == (8,)
    assert grid.dtype == torch.float64
    assert (float(grid[0]), float(grid[-1])) == ends
    steps = sde.log_snr(grid).diff()
    close(steps, steps.mean().expand(7), rtol=1e-7)


def test_time_grid_of_one_step_is_its_ends():
    assert time_grid(DiffusionSDE(), 1, 1.0, T_MIN).tolist() == [1.0, T_MIN]


def gaussian(n_bins=4, d=2, seed=0):
    """Mean (n_bins * d,) and covariance of a Gaussian over trajectories."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n_bins * d, n_bins * d))
    covariance = A @ A.T / (n_bins * d) + 0.1 * np.eye(n_bins * d)
    return torch.tensor(rng.standard_normal(n_bins * d)), torch.tensor(covariance)


def exact_noise(sde, mean, covariance):
    """Expected noise given z_t for z_0 ~ N(mean, covariance)."""

    def denoiser(z, t):
        alpha, sigma = (a[:, None, None] for a in sde.marginal(t))
        noised = alpha**2 * covariance + sigma**2 * torch.eye(len(mean)).to(mean)
        residual = z.flatten(1)[..., None] - alpha * mean[:, None]
        return (sigma * torch.linalg.solve(noised, residual)).view_as(z)

    return denoiser


@plain_sdes
@pytest.mark.parametrize("t", [0.05, 0.4])
def test_denoising_loss_of_the_exact_noise_predictor(sde, t):
    # the error of the conditional mean is Cov(eps | z_t), whose trace is
    # sum_i alpha^2 lambda_i / (alpha^2 lambda_i + sigma^2)
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


def test_denoising_loss_of_zero_and_of_the_truth():
    sde = DiffusionSDE()
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(6, 3, 2, generator=rng)
    noise = torch.randn(6, 3, 2, generator=rng)
    t = torch.linspace(0.1, 0.9, 6)
    of_zero = denoising_loss(lambda z, t: torch.zeros_like(z), sde, z, t, noise)
    torch.testing.assert_close(of_zero, (noise**2).mean(dim=(1, 2)))
    alpha, sigma = (a[:, None, None] for a in sde.marginal(t))
    truth = denoising_loss(lambda x, t: (x - alpha * z) / sigma, sde, z, t, noise)
    torch.testing.assert_close(truth, torch.zeros(6), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("mse", [0.25, 0.0004, 4.0]),
        ("l1", [0.5, 0.02, 2.0]),
        ("smooth_l1", [0.475, 0.004, 1.975]),
        ("l1_mse", [0.375, 0.0102, 3.0]),
    ],
)
def test_losses_by_hand(name, expected):
    error = torch.tensor([0.5, 0.02, -2.0], dtype=torch.float64)
    noise = torch.tensor([0.1, -1.0, 3.0], dtype=torch.float64)
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(LOSSES[name](noise + error, noise), expected)
    t = torch.full((1,), 0.3, dtype=torch.float64)
    noise = noise.view(1, 3, 1)
    predicted = noise + error.view(1, 3, 1)
    loss = denoising_loss(lambda z, t: predicted, DiffusionSDE(), noise, t, noise, name)
    torch.testing.assert_close(loss, expected.mean()[None])


def test_every_loss_has_a_value_by_hand():
    assert set(LOSSES) == {"mse", "l1", "smooth_l1", "l1_mse"}


@sdes
def test_likelihood_weights_follow_the_dispersion(sde):
    t = times()
    weights = time_weights(sde, t, "likelihood")
    rate = (sde.dispersion(t) / sde.marginal(t)[1]) ** 2
    close(weights / weights[0], rate / rate[0])
    grid = time_grid(sde, 5000, T_MIN, 1.0)
    integral = torch.trapezoid(time_weights(sde, grid, "likelihood"), grid)
    assert float(integral) / (1 - T_MIN) == pytest.approx(1, rel=1e-3)


@sdes
def test_snr_weights_hold_down_the_times_of_little_noise(sde):
    snr = torch.tensor([0.01, 1.0, 4.99, 10.0, 50.0], dtype=torch.float64)
    weights = time_weights(sde, sde.time_at(snr.log()), "snr")
    close(weights, torch.tensor([1, 1, 1, 0.5, 0.1], dtype=torch.float64))


def test_uniform_weights_are_one():
    assert (time_weights(DiffusionSDE(), times(), "uniform") == 1).all()


@pytest.mark.parametrize("kind", SDES)
def test_stratified_times_halve_the_variance_of_the_loss_of_a_batch(kind):
    sde = DiffusionSDE(kind=kind)
    n_batches, n, size = 400, 16, 8
    denoiser = exact_noise(sde, *gaussian(4, 2))
    generator = torch.Generator().manual_seed(0)
    factor = torch.linalg.cholesky(gaussian(4, 2)[1])
    like = torch.zeros(1, dtype=torch.float64)
    stratified = [stratified_times(n, generator, like) for _ in range(n_batches)]
    uniform = torch.empty(n_batches * n).double().uniform_(generator=generator)
    variances = []
    for t in (torch.cat(stratified), T_MIN + (1 - T_MIN) * uniform):
        z, noise = torch.randn(
            2, len(t), size, generator=generator, dtype=torch.float64
        )
        z = (gaussian(4, 2)[0] + z @ factor.T).view(-1, 4, 2)
        loss = denoising_loss(denoiser, sde, z, t, noise.view_as(z))
        variances.append(float(loss.view(n_batches, n).mean(1).var()))
    assert variances[0] < 0.5 * variances[1]


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
