"""Closed-form denoiser of a mixture of Gaussians, to which the network adds."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from torch import Tensor, nn

from ._mixture import Mixture, fit_mixtures

_PENALTIES = np.logspace(-1, 4, 11)


class MixtureDenoiser(nn.Module):
    """Optimal denoiser if trajectories came from a mixture of Gaussians.

    For ``z_0 ~ sum_k w_k N(c_k, S)`` cluster k has posterior probability ``r_k``
    proportional to ``w_k N(z_t; alpha c_k, alpha^2 S + sigma^2 I)`` and the expected
    noise is ``sigma (alpha^2 S + sigma^2 I)^{-1} (z_t - alpha sum_k r_k c_k)``.

    Parameters
    ----------
    mixture : Mixture
        The mixture, over blocks of coordinates that do not covary.
    """

    def __init__(self, mixture: Mixture):
        super().__init__()
        self.by_bin = mixture.by_bin
        self.n_clusters = mixture.centres.shape[1]
        values, vectors = np.linalg.eigh(mixture.covariance)
        arrays = {
            "log_weights": mixture.log_weights[:, None],
            "vectors": vectors,
            "values": np.maximum(values, 1e-6)[:, None],
            "centres": mixture.centres @ vectors,
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.tensor(array, dtype=torch.float32))

    def forward(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Expected noise and expected clean trajectory.

        Parameters
        ----------
        z : Tensor of shape (n, n_bins, d)
            Noised trajectories.
        alpha, sigma : Tensor of shape (n, 1, 1)
            Signal and noise.

        Returns
        -------
        noise, clean : Tensor of shape (n, n_bins, d)
            Expectations given z.
        """
        h, shares, precision = self._posterior(z, alpha, sigma)
        alpha, sigma = alpha[:, 0], sigma[:, 0]
        centre = shares @ self.centres
        residual = (h - alpha * centre) * precision
        clean = centre + alpha * self.values * residual
        return tuple(self._restore(a, z) for a in (sigma * residual, clean))

    def trace(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Divergence of the expected noise with respect to z, (n,)."""
        _, shares, precision = self._posterior(z, alpha, sigma)
        alpha, sigma = alpha[:, 0], sigma[:, 0]
        variance = shares @ self.centres**2 - (shares @ self.centres) ** 2
        return (sigma * precision * (1.0 - alpha**2 * precision * variance)).sum((0, 2))

    def _posterior(self, z, alpha, sigma):
        """Coordinates in the eigenbases, shares of the clusters, and precisions."""
        ordered = z if self.by_bin else z.transpose(1, 2)
        n_blocks, _, m = self.values.shape
        h = ordered.reshape(len(z), n_blocks, m).transpose(0, 1) @ self.vectors
        alpha, sigma = alpha[:, 0], sigma[:, 0]  # (n, 1)
        precision = 1.0 / (alpha**2 * self.values + sigma**2)
        logits = (
            self.log_weights
            + alpha * (h * precision) @ self.centres.mT
            - 0.5 * alpha**2 * precision @ (self.centres**2).mT
        )
        return h, logits.softmax(-1), precision

    def _restore(self, h, z):
        """From the eigenbases of the blocks back to the shape of z."""
        ordered = z if self.by_bin else z.transpose(1, 2)
        h = (h @ self.vectors.mT).transpose(0, 1).reshape(ordered.shape)
        return h if self.by_bin else h.transpose(1, 2)


class StandardDenoiser(nn.Module):
    """Optimal denoiser of independent standard normal latents."""

    n_clusters = 0

    def forward(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Expected noise and expected clean trajectory, see `MixtureDenoiser`."""
        precision = 1.0 / (alpha**2 + sigma**2)
        return sigma * precision * z, alpha * precision * z

    def trace(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Divergence of the expected noise with respect to z, (n,)."""
        return z[0].numel() * (sigma / (alpha**2 + sigma**2))[:, 0, 0]


class ConditionalDenoiser(nn.Module):
    """Closed-form denoiser with or without a condition.

    Given a condition, the trajectory is a linear function of it plus a residual, which
    comes from a second mixture.

    Parameters
    ----------
    marginal, residual : Module
        Denoisers of trajectories and of residuals, see `MixtureDenoiser`. The second is
        None if there are no conditions.
    weights : Tensor of shape (n_inputs, n_bins * d)
        Linear map from the flattened condition.
    offset : Tensor of shape (n_bins, d)
        Its value at a condition of zero.
    """

    def __init__(self, marginal, residual=None, weights=None, offset=None):
        super().__init__()
        self.marginal, self.residual = marginal, residual
        self.register_buffer("weights", weights)
        self.register_buffer("offset", offset)

    def forward(
        self, z: Tensor, alpha: Tensor, sigma: Tensor, condition=None, keep=None
    ) -> tuple[Tensor, Tensor]:
        """Expected noise and expected clean trajectory, see `MixtureDenoiser`.

        Parameters
        ----------
        z, alpha, sigma : Tensor
            Noised trajectories, signal and noise.
        condition : Tensor of shape (n, ...) or None
            Condition of each trial; None for none.
        keep : Tensor of bool, shape (n,), or None
            Whether the condition of each trial is used; None for all.

        Returns
        -------
        noise, clean : Tensor of shape (n, n_bins, d)
            Expectations given z and the condition.
        """
        if condition is None:
            return self.marginal(z, alpha, sigma)
        shift = self._shift(condition)
        noise, clean = self.residual(z - alpha * shift, alpha, sigma)
        clean = clean + shift
        if keep is not None:
            keep = keep[:, None, None]
            free = self.marginal(z, alpha, sigma)
            noise = torch.where(keep, noise, free[0])
            clean = torch.where(keep, clean, free[1])
        return noise, clean

    def trace(self, z: Tensor, alpha: Tensor, sigma: Tensor, condition=None) -> Tensor:
        """Divergence of the expected noise with respect to z, (n,)."""
        if condition is None:
            return self.marginal.trace(z, alpha, sigma)
        return self.residual.trace(z - alpha * self._shift(condition), alpha, sigma)

    def _shift(self, condition):
        """Trajectories that the conditions predict."""
        shift = condition.flatten(1) @ self.weights
        return shift.view(-1, *self.offset.shape) + self.offset


def fit_closed_forms(Z, condition, fold, n_clusters, spatial, temporal, seed):
    """Fit the closed form to all trials, and without the trials of each fold.

    Parameters
    ----------
    Z : ndarray of shape (n_trials, n_bins, d)
        Standardised trajectories.
    condition : ndarray of shape (n_trials, ...) or None
        Condition of each trial.
    fold : ndarray of shape (n_trials,)
        Number of the fold of each trial.
    n_clusters : int or "auto"
        Number of clusters; 0 for standard normal latents.
    spatial, temporal : bool
        Whether latent dims, and bins, may covary.
    seed : int
        Seed of k-means.

    Returns
    -------
    closed_form : ConditionalDenoiser
        Fitted to all trials.
    folds : list of ConditionalDenoiser
        One per fold, fitted without the trials of the fold. There is one exception: the
        residuals of the other trials come from regressions that saw these trials.
    n_clusters : int
        Number of clusters of the unconditional denoiser.
    """
    settings = (n_clusters, spatial, temporal, seed)
    marginals = _denoisers(Z, fold, *settings)
    n_clusters = marginals[0].n_clusters
    if condition is None:
        denoisers = [ConditionalDenoiser(marginal) for marginal in marginals]
        return denoisers[0], denoisers[1:], n_clusters
    flat, n_folds = condition.reshape(len(Z), -1), int(fold.max()) + 1
    training = [fold != i for i in range(n_folds)] if n_folds > 1 else [fold == 0]
    maps = [_linear_map(flat[rows], Z[rows]) for rows in training]
    # of trials that the regression was not fitted to: on others they are too small
    outside = np.empty_like(Z)
    for i, (weights, offset) in enumerate(maps):
        rows = fold == i
        outside[rows] = Z[rows] - (flat[rows] @ weights).reshape(Z[rows].shape) - offset
    residuals = _denoisers(outside, fold, *settings)
    maps = [_linear_map(flat, Z), *maps]
    denoisers = [
        ConditionalDenoiser(
            marginal, residual, *(torch.tensor(a).float() for a in pair)
        )
        for marginal, residual, pair in zip(marginals, residuals, maps)
    ]
    return denoisers[0], denoisers[1:], n_clusters


def _denoisers(Z, fold, n_clusters, *settings):
    """Denoiser fitted to all trials, then those fitted without each fold."""
    if n_clusters == 0:
        return [StandardDenoiser() for _ in range(int(fold.max()) + 2)]
    mixture, folds = fit_mixtures(Z, fold, n_clusters, *settings)
    return [MixtureDenoiser(one) for one in (mixture, *folds)]


def _linear_map(inputs, Z):
    """Ridge regression of trajectories on flattened conditions."""
    ridge = RidgeCV(_PENALTIES).fit(inputs, Z.reshape(len(Z), -1))
    return ridge.coef_.T, ridge.intercept_.reshape(Z.shape[1:])
