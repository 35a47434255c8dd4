"""Judge whether the true dynamics are still there after alignment.

On `skerdiff.datasets.make_bernoulli_dynamics` the true latents and their dynamics are
known. The decoder of the source's true latents reads the target's aligned latents; what
comes out is judged under the true dynamics, and dynamics fitted to it are compared with
the true ones.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from scipy.optimize import minimize

from skerdiff.datasets import find_fixed_points
from skerdiff.utils.bernoulli import divergence, log_density, mean

CENTRES = np.stack(np.meshgrid(*[np.linspace(0, 1, 5)] * 2), -1).reshape(-1, 2)
WIDTH = 0.25


def judge(dynamics, true, decoded):
    """Hold decoded trajectories against the true dynamics.

    Parameters
    ----------
    dynamics : BernoulliDynamics
        The true dynamics.
    true, decoded : ndarray of shape (n_trials, n_bins, 2)
        True trajectories, and what was decoded of them.

    Returns
    -------
    row : dict
        ``nll``, ``kl`` and ``fixed_points`` of what was decoded, see the functions
        here; the same of true trajectories, as ``true_nll`` and so on; and ``weights``
        of the fitted dynamics.
    """
    row, weights = {}, {}
    for name, Z in (("", decoded), ("true_", true)):
        weights[name] = fit_dynamics(Z, dynamics.step)
        row[f"{name}nll"] = negative_log_likelihood(dynamics, Z)
        row[f"{name}kl"] = dynamics_divergence(dynamics, weights[name], true)
        row[f"{name}fixed_points"] = fixed_point_error(dynamics, weights[name])
    return row | {"weights": np.round(weights[""], 5).tolist()}


def implied_draws(Z, step):
    """Draws that the steps of trajectories (n, n_bins, 2) imply, within [0, 1]."""
    return np.clip(Z[:, :-1] + np.diff(Z, axis=1) / step, 0, 1)


def negative_log_likelihood(dynamics, Z):
    """Mean over trials of the negative log-likelihood under the true dynamics.

    Parameters
    ----------
    dynamics : BernoulliDynamics
        The true dynamics.
    Z : ndarray of shape (n_trials, n_bins, 2)
        Trajectories. Draws that they imply beyond [0, 1] count as at its edge.

    Returns
    -------
    nll : float
        In nats per trial; the first bin is given.
    """
    eta = dynamics.natural_parameter(np.clip(Z[:, :-1], 0, 1))
    found = log_density(implied_draws(Z, dynamics.step), eta) - np.log(dynamics.step)
    return float(-found.sum((1, 2)).mean())


def fit_dynamics(Z, step, ridge=1e-4):
    """Fit continuous Bernoulli dynamics to trajectories, by maximum likelihood.

    The natural parameter of the draw is linear in radial basis functions of the state;
    the problem is convex.

    Parameters
    ----------
    Z : ndarray of shape (n_trials, n_bins, 2)
        Trajectories.
    step : float
        Share of its way to the draw that the state goes per bin.
    ridge : float, default=1e-4
        Penalty of squared weights, per draw.

    Returns
    -------
    weights : ndarray of shape (n_features, 2)
        Weights of the natural parameters.
    """
    features = _features(np.clip(Z[:, :-1], 0, 1).reshape(-1, 2))
    draws = implied_draws(Z, step).reshape(-1, 2)

    def loss(w, u):
        eta = features @ w
        gradient = features.T @ (mean(eta) - u) / len(u) + ridge * w
        return -log_density(u, eta).mean() + 0.5 * ridge * w @ w, gradient

    start = np.zeros(features.shape[1])
    fits = [minimize(loss, start, args=(u,), jac=True).x for u in draws.T]
    return np.stack(fits, axis=1)


def fitted_natural_parameter(weights, Z):
    """Natural parameter of fitted dynamics at states (..., 2)."""
    return _features(Z.reshape(-1, 2)).dot(weights).reshape(Z.shape)


def fitted_velocity(weights, Z, step):
    """Mean change per bin of fitted dynamics at states (..., 2)."""
    return step * (mean(fitted_natural_parameter(weights, Z)) - Z)


def dynamics_divergence(dynamics, weights, Z):
    """Divergence of fitted dynamics from the true ones.

    Parameters
    ----------
    dynamics : BernoulliDynamics
        The true dynamics.
    weights : ndarray of shape (n_features, 2)
        Fitted ones, see `fit_dynamics`.
    Z : ndarray of shape (n_trials, n_bins, 2)
        True states, over which the divergence of one transition is averaged.

    Returns
    -------
    kl : float
        Kullback-Leibler divergence in nats per bin.
    """
    states = Z[:, :-1].reshape(-1, 2)
    fitted = fitted_natural_parameter(weights, states)
    return float(divergence(dynamics.natural_parameter(states), fitted).sum(1).mean())


def fixed_point_error(dynamics, weights):
    """Mean distance from the true stable fixed points to the nearest fitted ones.

    Parameters
    ----------
    dynamics : BernoulliDynamics
        The true dynamics.
    weights : ndarray of shape (n_features, 2)
        Fitted ones, see `fit_dynamics`.

    Returns
    -------
    distance : float
        In units of the latents, whose square has sides of 1; 1 where none was found.
    """
    true, stable = dynamics.fixed_points()
    found, attracting = find_fixed_points(
        lambda Z: fitted_velocity(weights, Z, dynamics.step)
    )
    if not attracting.any():
        return 1.0
    distance = np.linalg.norm(true[stable][:, None] - found[attracting], axis=-1)
    return float(distance.min(1).mean())


def _features(states):
    distance = ((states[:, None] - CENTRES) ** 2).sum(-1)
    bumps = np.exp(-distance / (2 * WIDTH**2))
    return np.hstack([np.ones((len(states), 1)), bumps])
