"""Samplers with exact noise predictors."""

import numpy as np
import pytest
import torch

from skerdiff.diffusion._samplers import (
    FLOW_SOLVERS,
    SOLVERS,
    ancestral,
    probability_flow,
    remove_noise,
)
from skerdiff.diffusion._sde import T_MIN, DiffusionSDE, time_grid

N_BINS, D = 3, 2
SIZE = N_BINS * D
sdes = pytest.mark.parametrize(
    "sde",
    [
        DiffusionSDE("linear"),
        DiffusionSDE("linear", kind="sub-vp"),
        DiffusionSDE("quadratic", 0.5),
        DiffusionSDE("cosine", 2.0, "sub-vp"),
    ],
    ids=str,
)
solvers = pytest.mark.parametrize("solver", FLOW_SOLVERS)
ENDS = {"to data": (1.0, T_MIN), "to noise": (T_MIN, 1.0)}
directions = pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS.keys())


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


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


def marginal(sde, t):
    alpha, sigma = (
        float(a) for a in sde.marginal(torch.tensor(t, dtype=torch.float64))
    )
    return alpha, sigma


def exact_flow(sde, z, t_start, t_stop):
    """Probability flow of the Gaussian.

    dx / d rho = rho (S + rho^2)^-1 (x - mu) scales x - mu by sqrt(lambda + rho^2).
    """
    mean, covariance = gaussian()
    values, vectors = torch.linalg.eigh(covariance)
    (a0, s0), (a1, s1) = marginal(sde, t_start), marginal(sde, t_stop)
    growth = (values + (s1 / a1) ** 2) / (values + (s0 / a0) ** 2)
    h = (z.flatten(1) / a0 - mean) @ vectors * growth.sqrt()
    return a1 * (mean + h @ vectors.T).view_as(z)


def flow_error(sde, solver, n_steps, ends):
    z = randn(5, N_BINS, D)
    out = probability_flow(
        exact_noise(sde, *gaussian()), sde, z, time_grid(sde, n_steps, *ends), solver
    )
    expected = exact_flow(sde, z, *ends)
    return float((out - expected).norm() / expected.norm())


@sdes
@directions
def test_ddim_is_of_first_order(sde, ends):
    errors = [flow_error(sde, "ddim", n, ends) for n in (100, 200, 400)]
    for coarse, fine in zip(errors, errors[1:]):
        assert 1.7 < coarse / fine < 2.4
    assert errors[-1] < 0.05


@sdes
@directions
@pytest.mark.parametrize("solver", ["dpm2", "heun"])
def test_dpm2_and_heun_are_of_second_order(sde, solver, ends):
    errors = [flow_error(sde, solver, n, ends) for n in (50, 100, 200)]
    for coarse, fine in zip(errors, errors[1:]):
        assert 3 < coarse / fine < 5.5
    assert errors[-1] < 0.01


def moment_errors(mean, covariance):
    expected_mean, expected = gaussian()
    return (
        float((mean - expected_mean).norm() / expected_mean.norm()),
        float((covariance - expected).norm() / expected.norm()),
    )


def flow_moments(sde, solver, n_steps):
    """Mean and covariance of samples, exactly: the sampler is affine here."""
    basis = torch.cat([torch.zeros(1, SIZE), torch.eye(SIZE)]).double()
    out = probability_flow(
        exact_noise(sde, *gaussian()),
        sde,
        basis.view(-1, N_BINS, D),
        time_grid(sde, n_steps, 1.0, T_MIN),
        solver,
    ).flatten(1)
    linear = out[1:] - out[0]
    return out[0], linear.T @ linear


@sdes
@solvers
def test_flow_samples_have_mean_and_covariance(sde, solver):
    n_steps = 400 if solver == "ddim" else 100
    mean_error, covariance_error = moment_errors(*flow_moments(sde, solver, n_steps))
    assert mean_error < 0.02
    assert covariance_error < 0.03


def ancestral_moments(sde, n_steps, mean, covariance):
    """The same for the ancestral sampler, affine in its start and in all its draws.

    The first trial is the response to nothing; every other one starts from, or draws
    in one step, a unit vector.
    """
    n = 1 + SIZE * (n_steps + 1)
    units = torch.eye(n, dtype=torch.float64)[:, 1:].view(n, n_steps + 1, N_BINS, D)
    inputs = iter(units.unbind(1))
    start = next(inputs)
    times = time_grid(sde, n_steps, 1.0, T_MIN)
    denoiser = exact_noise(sde, mean, covariance)
    out = ancestral(denoiser, sde, start, times, lambda: next(inputs)).flatten(1)
    linear = out[1:] - out[0]
    return out[0], linear.T @ linear


@sdes
def test_ancestral_samples_have_mean_and_covariance(sde):
    # of first order: errors halve, and what they fall to is nothing
    moments = [ancestral_moments(sde, n, *gaussian()) for n in (40, 80, 160)]
    errors = [moment_errors(*pair) for pair in moments]
    for coarse, fine in zip(errors, errors[1:]):
        assert coarse[1] / fine[1] == pytest.approx(2, abs=0.35)
    limit = 2 * moments[2][1] - moments[1][1]
    mean_error, covariance_error = moment_errors(moments[2][0], limit)
    assert mean_error < 0.02
    assert covariance_error < 0.02


@sdes
@pytest.mark.parametrize("n_steps", [1, 3])
def test_ancestral_is_exact_for_a_single_trajectory(sde, n_steps):
    # whatever the number of steps: the expected clean trajectory is the true one. Noise
    # starts from N(0, I) in place of the marginal, of which the share below is left.
    mean, _ = gaussian()
    nothing = torch.zeros(SIZE, SIZE, dtype=torch.float64)
    out, covariance = ancestral_moments(sde, n_steps, mean, nothing)
    (a0, s0), (a1, s1) = marginal(sde, T_MIN), marginal(sde, 1.0)
    left = (s0 / a0 / s1 * a1) ** 2
    variance = s0**2 * (1 - left + left / s1**2)
    torch.testing.assert_close(out, a0 * (1 - left) * mean)
    torch.testing.assert_close(
        covariance, variance * torch.eye(SIZE).double(), rtol=1e-6, atol=1e-16
    )


@sdes
def test_a_step_of_ancestral_is_the_posterior_by_hand(sde):
    # Ho, Jain and Abbeel, 2020, equations 6 and 7, with the predicted clean trajectory
    t, s = 0.6, 0.5
    z, noise = randn(2, 4, N_BINS, D)
    (a_t, s_t), (a_s, s_s) = marginal(sde, t), marginal(sde, s)

    def denoiser(z, t):
        return torch.tanh(z) + t[:, None, None]

    clean = (z - s_t * denoiser(z, torch.full((4,), t))) / a_t
    ratio = a_t / a_s
    added = s_t**2 - ratio**2 * s_s**2  # noise that the step from s to t adds
    mean = (ratio * s_s**2 * z + a_s * added * clean) / s_t**2
    expected = mean + np.sqrt(added) * s_s / s_t * noise
    times = torch.tensor([t, s], dtype=torch.float64)
    out = ancestral(denoiser, sde, z, times, lambda: noise)
    torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-7)


def test_one_step_of_ddim_by_hand():
    # Song, Meng and Ermon, 2021, equation 12 without noise
    sde, t, s = DiffusionSDE(), 0.7, 0.4
    z = randn(4, N_BINS, D)
    (a_t, s_t), (a_s, s_s) = marginal(sde, t), marginal(sde, s)
    times = torch.tensor([t, s], dtype=torch.float64)
    out = probability_flow(lambda z, t: torch.tanh(z), sde, z, times, "ddim")
    noise = torch.tanh(z)
    torch.testing.assert_close(out, a_s * (z - s_t * noise) / a_t + s_s * noise)


@pytest.mark.parametrize("solver, evaluations", [("ddim", 1), ("dpm2", 2), ("heun", 2)])
def test_evaluations_per_step(solver, evaluations):
    sde, seen = DiffusionSDE(), []

    def denoiser(z, t):
        seen.append(float(t[0]))
        return torch.zeros_like(z)

    z = randn(2, N_BINS, D)
    probability_flow(denoiser, sde, z, time_grid(sde, 6, 1.0, T_MIN), solver)
    assert len(seen) == 6 * evaluations
    assert max(seen) <= 1.0
    assert min(seen) >= T_MIN


@sdes
@solvers
def test_inverting_and_decoding_returns_to_the_start(sde, solver):
    denoiser = exact_noise(sde, *gaussian())
    z = randn(4, N_BINS, D)

    def error(n_steps):
        there = probability_flow(
            denoiser, sde, z, time_grid(sde, n_steps, T_MIN, 1.0), solver
        )
        times = time_grid(sde, n_steps, 1.0, T_MIN)
        back = probability_flow(denoiser, sde, there, times, solver)
        return float((back - z).norm() / z.norm())

    errors = [error(n) for n in (25, 50, 100)]
    assert errors[1] < 0.7 * errors[0]
    assert errors[2] < 0.7 * errors[1]
    assert errors[2] < 0.3


@sdes
@pytest.mark.parametrize("t", [T_MIN, 0.3, 1.0])
def test_removing_noise_gives_the_posterior_mean(sde, t):
    mean, covariance = gaussian()
    z = randn(4, N_BINS, D)
    alpha, sigma = marginal(sde, t)
    noised = alpha**2 * covariance + sigma**2 * torch.eye(SIZE).double()
    gain = alpha * covariance @ torch.linalg.inv(noised)
    expected = mean + (z.flatten(1) - alpha * mean) @ gain.T
    out = remove_noise(exact_noise(sde, mean, covariance), sde, z, t)
    torch.testing.assert_close(out.flatten(1), expected)


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_are_deterministic_and_leave_their_input(solver):
    sde = DiffusionSDE()
    denoiser = exact_noise(sde, *gaussian())
    z = randn(4, N_BINS, D)
    before = z.clone()
    times = time_grid(sde, 5, 1.0, T_MIN)

    def run():
        if solver != "ancestral":
            return probability_flow(denoiser, sde, z, times, solver)
        generator = torch.Generator().manual_seed(1)
        return ancestral(
            denoiser,
            sde,
            z,
            times,
            lambda: torch.empty_like(z).normal_(generator=generator),
        )

    first = run()
    assert torch.equal(first, run())
    assert torch.equal(z, before)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_solvers_keep_the_dtype(solver, dtype):
    sde = DiffusionSDE()
    z = randn(2, N_BINS, D).to(dtype)
    times = time_grid(sde, 3, 1.0, T_MIN)
    if solver == "ancestral":
        out = ancestral(lambda z, t: z, sde, z, times, lambda: torch.zeros_like(z))
    else:
        out = probability_flow(lambda z, t: z, sde, z, times, solver)
    assert out.dtype == dtype
    assert remove_noise(lambda z, t: z, sde, z, T_MIN).dtype == dtype
