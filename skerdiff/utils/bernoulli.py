"""The continuous Bernoulli distribution, by its natural parameter.

On [0, 1] it has the density ``eta exp(eta u) / (exp(eta) - 1)``, and is uniform for
``eta = 0`` (Loaiza-Ganem and Cunningham, 2019, with ``eta = logit(lambda)``). PyTorch's
keeps eta within about 16, which a fit by maximum likelihood may leave. All is
elementwise.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np

ETA_MAX = 60.0  # means closer to 0 or 1 than about 1 / 60 are not told apart
_SMALL = 1e-3  # below, series in place of differences of large numbers


def log_normaliser(eta):
    """Logarithm of ``(exp(eta) - 1) / eta``."""
    eta = np.asarray(eta, dtype=np.float64)
    large = np.where(np.abs(eta) < _SMALL, 1.0, eta)
    size = np.abs(large)
    exact = np.maximum(large, 0) + np.log(-np.expm1(-size) / size)
    return np.where(np.abs(eta) < _SMALL, eta / 2 + eta**2 / 24, exact)


def mean(eta):
    """Mean of the distribution; the derivative of `log_normaliser`."""
    eta = np.asarray(eta, dtype=np.float64)
    large = np.where(np.abs(eta) < _SMALL, 1.0, eta)
    size = np.abs(large)
    above = -1 / np.expm1(-size) - 1 / size  # for eta > 0; symmetric about 0.5
    exact = np.where(large > 0, above, 1 - above)
    return np.where(np.abs(eta) < _SMALL, 0.5 + eta / 12, exact)


def log_density(u, eta):
    """Log-density at u in [0, 1]."""
    return eta * u - log_normaliser(eta)


def divergence(eta, other):
    """Kullback-Leibler divergence of `eta` from `other`, in nats."""
    return (eta - other) * mean(eta) - log_normaliser(eta) + log_normaliser(other)


def natural_parameter(value):
    """Natural parameter of the distribution with this mean."""
    grid = np.linspace(-ETA_MAX, ETA_MAX, 2401)
    eta = np.interp(value, mean(grid), grid)
    for _ in range(2):  # Newton's steps; the slope of the mean is the variance
        slope = (mean(eta + 1e-4) - mean(eta - 1e-4)) / 2e-4
        eta = np.clip(eta - (mean(eta) - value) / slope, -ETA_MAX, ETA_MAX)
    return eta


def sample(eta, rng):
    """Draw one value per entry of eta, by inverting the distribution function."""
    eta = np.where(np.abs(eta) < _SMALL, _SMALL, eta)
    u = rng.uniform(size=eta.shape)
    size = np.abs(eta)
    far = -np.log(u + (1 - u) * np.exp(-size)) / size  # from the likelier end
    return np.where(eta > 0, 1 - far, far)
