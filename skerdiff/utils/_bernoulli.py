"""The continuous Bernoulli distribution, by its natural parameter.

On [0, 1] it has the density ``eta exp(eta u) / (exp(eta) - 1)``, and is uniform for
``eta = 0`` (Loaiza-Ganem and Cunningham, 2019, with ``eta = logit(lambda)``). All is
elementwise, NumPy in and out.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch
from torch.distributions import ContinuousBernoulli, kl_divergence

ETA_MAX = 60.0  # means closer to 0 or 1 than about 1 / 60 are not told apart


def _distribution(eta):
    return ContinuousBernoulli(
        logits=torch.as_tensor(np.asarray(eta, dtype=np.float64)), validate_args=False
    )


def log_density(u, eta):
    """Log-density at u in [0, 1]."""
    return _distribution(eta).log_prob(torch.as_tensor(u)).numpy()


def mean(eta):
    """Mean of the distribution."""
    return _distribution(eta).mean.numpy()


def divergence(eta, other):
    """Kullback-Leibler divergence of `eta` from `other`, in nats."""
    return kl_divergence(_distribution(eta), _distribution(other)).numpy()


def sample(eta, rng):
    """Draw one value per entry of eta."""
    u = torch.as_tensor(rng.uniform(size=np.shape(eta)))
    return _distribution(eta).icdf(u).numpy()


def natural_parameter(value):
    """Natural parameter of the distribution with this mean."""
    eta = np.interp(value, mean(_GRID), _GRID)
    for _ in range(2):  # Newton's steps; the slope of the mean is the variance
        slope = (mean(eta + 1e-4) - mean(eta - 1e-4)) / 2e-4
        eta = np.clip(eta - (mean(eta) - value) / slope, -ETA_MAX, ETA_MAX)
    return eta


_GRID = np.linspace(-ETA_MAX, ETA_MAX, 2401)
