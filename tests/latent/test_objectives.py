"""Likelihoods and divergences of the latent-variable model."""

import numpy as np
import pytest
import torch
from scipy.special import gammaln
from scipy.stats import norm, poisson
from torch.distributions import Normal, Poisson, kl_divergence

from skerdiff.latent._objectives import (
    bits_per_spike,
    gaussian_log_likelihood,
    gaussian_nll,
    kl_to_standard_normal,
    poisson_log_likelihood,
    poisson_nll,
)


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_kl_is_that_of_torch():
    mean, log_var = 2 * randn(4, 5, 3), 2 * randn(4, 5, 3, seed=1)
    expected = kl_divergence(
        Normal(mean, (0.5 * log_var).exp()), Normal(torch.zeros(3), torch.ones(3))
    )
    torch.testing.assert_close(kl_to_standard_normal(mean, log_var), expected)


def test_kl_is_zero_only_for_the_standard_normal():
    zero = torch.zeros(1, dtype=torch.float64)
    assert float(kl_to_standard_normal(zero, zero)) == 0
    for mean, log_var in [(0.1, 0.0), (0.0, 0.1), (0.0, -0.1), (-0.1, 0.0)]:
        assert kl_to_standard_normal(zero + mean, zero + log_var) > 0


def test_poisson_nll_differs_from_torch_by_what_the_rate_cannot_change():
    rate = randn(50).exp()
    counts = torch.arange(50, dtype=torch.float64) % 7
    expected = -Poisson(rate).log_prob(counts) - torch.lgamma(counts + 1)
    torch.testing.assert_close(poisson_nll(rate, counts), expected)


def test_poisson_nll_of_silence_at_rate_zero():
    rate = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    loss = poisson_nll(rate, torch.zeros(1, dtype=torch.float64))
    assert float(loss.detach()) == 0
    loss.backward()
    assert float(rate.grad) == 1


@pytest.mark.parametrize("counts", [0.0, 1.0, 2.5])
def test_poisson_nll_is_least_where_the_rate_is_the_count(counts):
    counts = torch.tensor([counts], dtype=torch.float64)
    least = poisson_nll(counts, counts)
    for rate in (counts + 0.1, (counts - 0.1).abs()):
        assert poisson_nll(rate, counts) > least


def test_gaussian_likelihoods_are_those_of_scipy():
    mean, log_var, x = (randn(6, 4, seed=seed).numpy() for seed in range(3))
    expected = norm(mean, np.exp(0.5 * log_var)).logpdf(x)
    np.testing.assert_allclose(gaussian_log_likelihood(mean, log_var, x), expected)
    nll = gaussian_nll(*(torch.tensor(a) for a in (mean, log_var, x)))
    np.testing.assert_allclose(nll.numpy(), -expected)


def test_poisson_log_likelihood_is_that_of_scipy():
    rate = np.exp(randn(40).numpy())
    counts = np.arange(40.0) % 6
    np.testing.assert_allclose(
        poisson_log_likelihood(rate, counts), poisson(rate).logpmf(counts)
    )


def test_poisson_log_likelihood_of_fractional_counts():
    value = poisson_log_likelihood(np.array([2.0]), np.array([1.5]))
    assert value[0] == pytest.approx(1.5 * np.log(2) - 2 - gammaln(2.5))


def test_poisson_log_likelihood_of_a_silent_neuron():
    zero = np.zeros(1)
    assert poisson_log_likelihood(zero, zero)[0] == pytest.approx(0)
    assert np.isfinite(poisson_log_likelihood(zero, np.ones(1))[0])
    assert poisson_log_likelihood(zero, np.ones(1))[0] < -100


def test_bits_per_spike_of_the_mean_rate_are_zero():
    counts = np.random.default_rng(0).poisson(2.0, (10, 5, 4)).astype(float)
    mean = counts.mean((0, 1))
    rate = np.broadcast_to(mean, counts.shape)
    assert bits_per_spike(rate, counts, mean) == pytest.approx(0, abs=1e-12)


def test_bits_per_spike_by_hand():
    # one neuron, counts 0 and 2 at mean rate 1. A model that says 1/2 and 3/2 gains
    # 2 log(3/2) nats, rates summing to the same: log2(3/2) bits for each of 2 spikes
    counts = np.array([0.0, 2.0]).reshape(1, 2, 1)
    rate = np.array([0.5, 1.5]).reshape(1, 2, 1)
    value = bits_per_spike(rate, counts, np.ones(1))
    assert value == pytest.approx(np.log2(1.5))


def test_bits_per_spike_are_highest_for_the_true_rates():
    rng = np.random.default_rng(0)
    rate = np.exp(0.7 * rng.standard_normal((60, 10, 8)))
    counts = rng.poisson(rate).astype(float)
    mean = counts.mean((0, 1))
    best = bits_per_spike(rate, counts, mean)
    assert best > 0
    for other in (1.3 * rate, 0.7 * rate, rate[::-1], rate**1.5):
        assert bits_per_spike(other, counts, mean) < best


def test_bits_per_spike_without_spikes():
    with pytest.raises(ValueError, match="need spikes"):
        bits_per_spike(np.ones((2, 3, 1)), np.zeros((2, 3, 1)), np.ones(1))
