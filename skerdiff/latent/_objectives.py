"""Likelihoods of spikes and divergences of posteriors, as pure functions."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import math

import numpy as np
from scipy.special import gammaln
from torch import Tensor


def poisson_nll(rate: Tensor, counts: Tensor) -> Tensor:
    """Poisson negative log-likelihood less its constant, ``rate - counts log rate``."""
    return rate - counts * (rate + 1e-8).log()  # finite gradient at rate 0


def gaussian_nll(mean: Tensor, log_var: Tensor, x: Tensor) -> Tensor:
    """Gaussian negative log-likelihood in nats, elementwise."""
    return 0.5 * (log_var + math.log(2 * math.pi) + (x - mean) ** 2 / log_var.exp())


def kl_to_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(0, 1)), elementwise, in nats."""
    return 0.5 * (mean**2 + log_var.exp() - 1.0 - log_var)


def poisson_log_likelihood(rate: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Poisson log-likelihood in nats, elementwise, also for fractional counts."""
    rate = np.maximum(rate, np.finfo(rate.dtype).tiny)
    return counts * np.log(rate) - rate - gammaln(counts + 1.0)


def gaussian_log_likelihood(mean, log_var, x) -> np.ndarray:
    """Gaussian log-likelihood in nats, elementwise."""
    return -0.5 * (log_var + math.log(2 * math.pi) + (x - mean) ** 2 / np.exp(log_var))


def bits_per_spike(rate: np.ndarray, counts: np.ndarray, mean_rate: np.ndarray):
    """Log-likelihood gained over each neuron's mean rate, in bits per spike.

    Defined as in the Neural Latents Benchmark (Pei et al., 2021): the difference of
    Poisson log-likelihoods over the number of spikes and log 2.
    """
    n_spikes = counts.sum()
    if n_spikes == 0:
        raise ValueError("Bits per spike need spikes, and X holds none.")
    null = np.broadcast_to(np.maximum(mean_rate, 1e-9), counts.shape)
    gain = poisson_log_likelihood(rate, counts) - poisson_log_likelihood(null, counts)
    return float(gain.sum() / (n_spikes * math.log(2)))
