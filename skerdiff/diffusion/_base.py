"""What an aligner needs of a prior of latent trajectories."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from abc import ABCMeta, abstractmethod

from sklearn.base import DensityMixin


class TrajectoryPrior(DensityMixin, metaclass=ABCMeta):
    r"""Base class of priors of whole latent trajectories.

    A prior learns the distribution of the source session's latents, one trial being
    one sample. `ERDiffAligner` adapts a new session under it. It calls `fit` and
    `denoiser`, nothing else; `score_samples` makes the prior a density estimator of its
    own. To write a prior, derive from this class and from
    `sklearn.base.BaseEstimator`, in this order, and define the three methods.
    `check_trajectory_prior` checks them.

    Attributes
    ----------
    n_bins_ : int
        Number of bins per trial, set by `fit`.

    See Also
    --------
    DiffusionPrior : The prior that ERDiff uses by default.
    check_trajectory_prior : Checks a prior of your own.

    Notes
    -----
    `ERDiffAligner` clones the prior. It sets the parameters `noise_scale`,
    `random_state`, `device` and `verbose` of the clone if the prior has them; a prior
    needs none of them, but a `noise_scale` that the aligner is given.

    Examples
    --------
    A Gaussian prior whose latents are independent. The expected noise given
    :math:`z_t = \alpha z_0 + \sigma \epsilon` is then :math:`\sigma z_t` at every t,
    because the latents are standardised.

    >>> import numpy as np
    >>> import torch
    >>> from scipy.stats import norm
    >>> from sklearn.base import BaseEstimator
    >>> from skerdiff.diffusion import TrajectoryPrior, check_trajectory_prior
    >>> class QuarterCircle:
    ...     def marginal(self, t):
    ...         return torch.cos(1.57 * t), torch.sin(1.57 * t)
    >>> class WhiteDenoiser(torch.nn.Module):
    ...     sde = QuarterCircle()
    ...
    ...     def forward(self, z_t, t):
    ...         return self.sde.marginal(t)[1][:, None, None] * z_t
    >>> class WhitePrior(TrajectoryPrior, BaseEstimator):
    ...     def fit(self, Z, y=None):
    ...         self.n_bins_ = Z.shape[1]
    ...         scale = Z.std((0, 1))
    ...         self.law_ = norm(Z.mean((0, 1)), np.where(scale == 0, 1, scale))
    ...         return self
    ...
    ...     def score_samples(self, Z):
    ...         return self.law_.logpdf(Z).sum((1, 2))
    ...
    ...     def denoiser(self):
    ...         return WhiteDenoiser().eval()
    >>> check_trajectory_prior(WhitePrior())
    """

    @abstractmethod
    def fit(self, Z, y=None):
        """Learn the distribution of trajectories.

        Parameters
        ----------
        Z : ndarray of shape (n_trials, n_bins, n_components)
            Latents of the source session.
        y : None
            Not used by `ERDiffAligner`, which passes None.

        Returns
        -------
        self : object
            Fitted prior.
        """

    @abstractmethod
    def score_samples(self, Z):
        """Log-density of each trial.

        Parameters
        ----------
        Z : ndarray of shape (n_trials, n_bins, n_components)
            Latents.

        Returns
        -------
        log_density : ndarray of shape (n_trials,)
            Natural logarithm of the density of the whole trial, in the units of Z
            (nats per trial). It does not depend on the other trials.
        """

    @abstractmethod
    def denoiser(self):
        r"""Frozen network that predicts the noise in noised latents.

        The latents are standardised: less the mean and divided by the standard
        deviation of each latent dim, over all trials and bins that `fit` saw. A
        standard deviation of zero counts as one.

        Returns
        -------
        denoiser : torch.nn.Module
            A copy that shares nothing with the prior, on the CPU, in evaluation mode,
            no parameter of which requires gradients. Called as ``denoiser(z_t, t)``
            it maps noised latents z_t of shape (n_trials, n_bins, n_components) and
            diffusion times t of shape (n_trials,), in (0, 1], to the expected noise,
            of the shape of z_t. It treats each trial by itself, and gradients flow to
            z_t. After ``denoiser.float()`` it works in float32, after
            ``denoiser.double()`` in float64.

            ``denoiser.sde.marginal(t)`` returns :math:`\alpha(t)` and
            :math:`\sigma(t)` of :math:`z_t = \alpha(t) z_0 + \sigma(t) \epsilon`, two
            tensors of the shape and dtype of t. Both are positive, and
            :math:`\alpha / \sigma` falls with t. No other method of ``sde`` is called.
        """
