"""Log-likelihoods and their bound with exact noise predictors."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import kstest, multivariate_normal

from skerdiff.diffusion import _likelihood
from skerdiff.diffusion._likelihood import (
    adaptive_log_likelihood,
    evidence_bound,
    paired_lengths,
    probability_flow_log_likelihood,
)
from skerdiff.diffusion._sde import SCHEDULES, SDES, T_MIN, DiffusionSDE, time_grid

N_BINS, D = 4, 2
SIZE = N_BINS * D
PLAIN = [DiffusionSDE(schedule, 1.0, kind) for schedule in SCHEDULES for kind in SDES]
sdes = pytest.mark.parametrize(
    "sde",
    [*PLAIN, DiffusionSDE("linear", 0.5), DiffusionSDE("cosine", 2.0, "sub-vp")],
    ids=str,
)


def gaussian(seed=0, floor=0.3):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((SIZE, SIZE))
    return rng.standard_normal(SIZE), A @ A.T / SIZE + floor * np.eye(SIZE)


def exact(sde, mean, covariance):
    """Expected noise for z_0 ~ N(mean, covariance), and its divergence."""
    mean = torch.tensor(mean)
    values, vectors = torch.linalg.eigh(torch.tensor(covariance))

    def noise_and_trace(z, t):
        alpha, sigma = sde.marginal(t[0])
        gain = sigma / (alpha**2 * values + sigma**2)
        noise = (z.flatten(1) - alpha * mean) @ (vectors * gain) @ vectors.T
        return noise.view_as(z), gain.sum().expand(len(z))

    return noise_and_trace


def draw(mean, covariance, n=6, seed=1):
    rng = np.random.default_rng(seed)
    rows = rng.multivariate_normal(mean, covariance, n)
    rows[-1] += 3.0  # one trial far from the rest
    return torch.tensor(rows).view(n, N_BINS, D)


def log_likelihood(sde, z, n_steps=32, **kwargs):
    return probability_flow_log_likelihood(
        exact(sde, *gaussian(**kwargs)), sde, z, n_steps
    )


def ends(sde):
    """(alpha, sigma) at the smallest and at the largest diffusion time."""
    alphas, sigmas = sde.marginal(torch.tensor([T_MIN, 1.0]).double())
    return list(zip(alphas.tolist(), sigmas.tolist()))


def root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(values) @ vectors.T


def pulled_back(sde, z):
    """Log-density at z of N(0, I) moved by the exact flow from t = 1 to T_MIN.

    Gaussian marginals N(a mu, C) make the flow affine: z = a mu + C^(1/2) u with u
    constant along it.
    """
    mean, covariance = gaussian()
    (a0, s0), (a1, s1) = ends(sde)
    start = root(a0**2 * covariance + s0**2 * np.eye(SIZE))
    end = root(a1**2 * covariance + s1**2 * np.eye(SIZE))
    linear = start @ np.linalg.inv(end)
    law = multivariate_normal(a0 * mean - a1 * linear @ mean, linear @ linear.T)
    return law.logpdf(z.flatten(1).numpy())


@sdes
def test_log_likelihood_is_that_of_noise_moved_back_by_the_flow(sde):
    z = draw(*gaussian())
    out = log_likelihood(sde, z)
    np.testing.assert_allclose(out.numpy(), pulled_back(sde, z), rtol=0, atol=0.002)


@sdes
def test_log_likelihood_of_a_gaussian(sde):
    # 32 steps, in nats per dim on average over draws: the density of the marginal at
    # the smallest diffusion time, and that of the data
    mean, covariance = gaussian()
    z = draw(mean, covariance, 400)[:-1]
    (alpha, sigma), _ = ends(sde)
    noised = alpha**2 * covariance + sigma**2 * np.eye(SIZE)
    flat = z.flatten(1).numpy()
    out = float(log_likelihood(sde, z).mean())
    for law in (
        multivariate_normal(alpha * mean, noised),
        multivariate_normal(mean, covariance),
    ):
        assert out / SIZE == pytest.approx(law.logpdf(flat).mean() / SIZE, abs=0.005)


@pytest.mark.parametrize("sde", PLAIN[:4], ids=str)
def test_order_of_the_integration(sde):
    mean, covariance = gaussian(floor=0.05)
    z = draw(mean, covariance)
    fine = log_likelihood(sde, z, 128, floor=0.05)
    errors = [
        (log_likelihood(sde, z, n, floor=0.05) - fine).abs().max() for n in (16, 32)
    ]
    assert errors[1] < errors[0] / 6


@pytest.mark.parametrize(
    "sde", [DiffusionSDE(), DiffusionSDE("cosine", 2.0, "sub-vp")], ids=str
)
def test_adaptive_integration_agrees(sde):
    z = draw(*gaussian(), n=2)
    out = adaptive_log_likelihood(exact(sde, *gaussian()), sde, z, 1e-6).numpy()
    np.testing.assert_allclose(out, pulled_back(sde, z), rtol=0, atol=1e-4 * SIZE)
    fixed = log_likelihood(sde, z, 64).numpy()
    np.testing.assert_allclose(out, fixed, rtol=0, atol=1e-4 * SIZE)


def test_adaptive_integration_follows_its_tolerance():
    sde = DiffusionSDE()
    z = draw(*gaussian(), n=1)
    errors = [
        adaptive_log_likelihood(exact(sde, *gaussian()), sde, z, tolerance).numpy()
        - pulled_back(sde, z)
        for tolerance in (1e-2, 1e-5)
    ]
    assert abs(errors[1]) < 0.05 * abs(errors[0])


@pytest.mark.parametrize("kind", SDES)
@pytest.mark.parametrize("integrator", ["fixed", "adaptive"])
def test_log_likelihood_of_a_trial_does_not_depend_on_the_batch(kind, integrator):
    sde = DiffusionSDE(kind=kind)
    z = draw(*gaussian(), n=2)

    def run(z):
        if integrator == "fixed":
            return log_likelihood(sde, z, 8)
        return adaptive_log_likelihood(exact(sde, *gaussian()), sde, z, 1e-2)

    alone = torch.cat([run(one[None]) for one in z])
    torch.testing.assert_close(run(z), alone, rtol=1e-12, atol=1e-12)


def test_failing_integration_is_an_error(monkeypatch):
    failure = SimpleNamespace(success=False, message="Step size became too small.")
    monkeypatch.setattr(_likelihood, "solve_ivp", lambda *args, **kwargs: failure)
    sde = DiffusionSDE()
    with pytest.raises(RuntimeError, match="Step size became too small"):
        adaptive_log_likelihood(exact(sde, *gaussian()), sde, draw(*gaussian()), 1e-3)


def spread_times(sde, n_times):
    """Midpoints of equal parts of the log SNR."""
    return time_grid(sde, 2 * n_times, T_MIN, 1.0)[1::2]


def expected_bound(denoiser, sde, z, n_times):
    """Bound without the randomness of noise.

    The error of a linear denoiser is quadratic in the noise: its expectation is the
    average over unit vectors of both signs, scaled to identity covariance.
    """
    units = SIZE**0.5 * torch.eye(SIZE).double()
    noises = torch.cat([units, -units]).view(-1, N_BINS, D)
    times = spread_times(sde, n_times).repeat_interleave(2 * SIZE)
    return evidence_bound(denoiser, sde, z, times, noises.repeat(n_times, 1, 1))


def predictor(sde, *law):
    pair = exact(sde, *law)
    return lambda z, t: pair(z, t)[0]


@pytest.mark.parametrize("sde", PLAIN, ids=str)
def test_bound_is_tight_for_a_gaussian_and_below_its_log_density(sde):
    mean, covariance = gaussian()
    z = draw(mean, covariance, 300)[:-1]
    bound = expected_bound(predictor(sde, mean, covariance), sde, z, 30).numpy()
    truth = multivariate_normal(mean, covariance).logpdf(z.flatten(1).numpy())
    assert bound.mean() < truth.mean()
    np.testing.assert_allclose(bound, truth, rtol=0, atol=0.005)


def test_bound_of_random_noise_has_the_expected_value():
    sde = DiffusionSDE()
    denoiser = predictor(sde, *gaussian())
    z = draw(*gaussian(), n=1)
    generator = torch.Generator().manual_seed(0)
    times = spread_times(sde, 20)
    draws = torch.stack(
        [
            evidence_bound(
                denoiser,
                sde,
                z,
                times,
                torch.empty(20, N_BINS, D).double().normal_(generator=generator),
            )
            for _ in range(100)
        ]
    )
    expected = expected_bound(denoiser, sde, z, 20)
    assert abs(float(draws.mean() - expected)) < 4 * float(draws.std()) / 10


@pytest.mark.parametrize("kind", SDES)
def test_bound_falls_with_a_wrong_predictor(kind):
    sde = DiffusionSDE(kind=kind)
    mean, covariance = gaussian()
    z = draw(mean, covariance, 100)
    right = expected_bound(predictor(sde, mean, covariance), sde, z, 30)
    wrong = expected_bound(predictor(sde, mean + 0.5, covariance), sde, z, 30)
    assert wrong.mean() < right.mean() - 0.1


@sdes
def test_constant_of_the_bound_is_that_of_its_drift(sde):
    # Of z = 0 and noise predicted without error there remain n int (f + g^2 / (2
    # sigma^2)) dt, the end, and the decoder's n log alpha.
    times = spread_times(sde, 5)
    noises = torch.ones(5, N_BINS, D, dtype=torch.float64)
    z = torch.zeros(1, N_BINS, D, dtype=torch.float64)
    out = evidence_bound(lambda z, t: torch.ones_like(z), sde, z, times, noises)
    grid = time_grid(sde, 4000, T_MIN, 1.0)
    rate = sde.drift(grid) + 0.5 * (sde.dispersion(grid) / sde.marginal(grid)[1]) ** 2
    (alpha, _), (_, sigma) = ends(sde)
    end = -0.5 * (sigma**2 + np.log(2 * np.pi))
    expected = SIZE * (float(torch.trapezoid(rate, grid)) + end + np.log(alpha))
    assert float(out) == pytest.approx(expected, abs=1e-3)


@sdes
def test_bounds_of_two_trials_differ_by_what_depends_on_them(sde):
    denoiser = predictor(sde, *gaussian())
    z = draw(*gaussian(), n=2)
    times = spread_times(sde, 20)
    generator = torch.Generator().manual_seed(0)
    noises = torch.empty(20, N_BINS, D).double().normal_(generator=generator)
    (a0, s0), (a1, s1) = ends(sde)
    span = 2 * np.log(a0 / s0) - 2 * np.log(a1 / s1)
    parts = []
    for one in z:
        error = [
            (noise - denoiser(a * one[None] + s * noise, t[None])).square().sum()
            for t, noise, a, s in zip(times, noises, *sde.marginal(times))
        ]
        parts.append(-0.5 * (a1 * one).square().sum() - 0.5 * span * sum(error) / 20)
    out = evidence_bound(denoiser, sde, z, times, noises)
    torch.testing.assert_close(out[0] - out[1], parts[0] - parts[1])


@pytest.mark.parametrize("shape", [(1, 1), (4, 2)])
def test_paired_lengths_leave_standard_normal_noise(shape):
    generator = torch.Generator().manual_seed(0)
    noises = torch.randn(4001, *shape, generator=generator, dtype=torch.float64)
    paired = paired_lengths(noises, generator)
    assert kstest(paired.flatten().numpy(), "norm").pvalue > 1e-3
    assert (paired * noises >= 0).all()
    length = paired.square().sum(dim=(1, 2))
    pairs = length[:-1].view(-1, 2)
    if shape == (4, 2):
        # a mean squared error hardly varies any more
        assert pairs.mean(1).var() < 0.25 * length.var() / 2
    assert torch.corrcoef(pairs.T)[0, 1] < -0.4


def test_paired_lengths_come_from_the_generator_alone():
    noises = torch.randn(5, 4, 2, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    first, again, other = (
        paired_lengths(noises, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
