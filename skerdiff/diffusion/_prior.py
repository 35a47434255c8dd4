"""Diffusion model of whole latent trajectories."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers
from functools import partial

import numpy as np
import torch
from sklearn.base import DensityMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..base import TrialEstimator
from ..trials import Trials
from ..utils._random import derive_seed, draw_seed, make_generator, numpy_generator
from ..utils._torch import as_tensor, limit_threads, resolve_device
from ..utils._training import train_module
from ._denoiser import SpatioTemporalDenoiser
from ._divergence import (
    exact_divergence,
    hutchinson_divergence,
    rademacher_probes,
)
from ._gaussian import GaussianDenoiser
from ._likelihood import probability_flow_log_likelihood
from ._objectives import denoising_loss
from ._samplers import ddim

_POSITIVE = [Interval(numbers.Integral, 1, None, closed="left")]


class DiffusionPrior(DensityMixin, TrialEstimator):
    r"""Diffusion model of whole latent trajectories.

    A trial's latents, all bins and dims together, are one sample. Noise is added along
    diffusion time t in [0, 1] by a variance-preserving SDE,

    .. math:: Z_t = \alpha(t) Z_0 + \sigma(t) \epsilon, \qquad
              \alpha^2 + \sigma^2 = 1,

    and a denoiser of spatio-temporal attention blocks learns to predict the noise,

    .. math:: \min_\theta \; E_{t, Z_0, \epsilon}
              \lVert \epsilon - \epsilon_\theta(Z_t, t) \rVert^2 ,

    whose minimiser gives the score of every noised density,
    :math:`\nabla \log p_t(Z_t) = -\epsilon_\theta / \sigma(t)`. Samples and exact
    likelihoods follow from the probability-flow ODE.

    Parameters
    ----------
    noise_scale : float, default=1.0
        Multiplies :math:`\sigma / \alpha` at every t: the signal-to-noise ratio is
        that of the schedule divided by ``noise_scale**2``. It means the same in every
        schedule. Larger values spend more of the training on large-scale structure.
    schedule : {"linear", "cosine"}, default="linear"
        ``"linear"``: the SDE's rate grows linearly from 0.1 to 20 [2]_; ``"cosine"``
        spends more diffusion time at middle noise levels.
    spatial : bool, default=True
        Whether latent dims attend to each other within a bin. False is the ablation
        "ERDiff w/o S": dims are then modelled as independent.
    temporal : bool, default=True
        Whether bins attend to each other within a latent dim. False is "ERDiff w/o
        T": bins are then modelled as independent.
    gaussian : bool, default=True
        Whether the network adds to the closed-form denoiser of a Gaussian fitted to
        the trajectories (within `spatial` and `temporal`). At the default `max_iter`
        the network adds next to nothing to it on Mihi latents.
    n_channels : int, default=32
        Network width.
    n_blocks : int, default=2
        Number of spatio-temporal blocks.
    n_heads : int, default=4
        Attention heads; must divide `n_channels`.
    learning_rate : float, default=3e-3
        Step size of AdamW.
    batch_size : int, default=16
        Trials per batch.
    max_iter : int, default=60
        Epochs.
    ema_decay : float, default=0.99
        Decay per step of the moving average of the weights, which is what is kept.
    n_steps : int, default=32
        Runge-Kutta steps of `score_samples`.
    n_probes : int, default=8
        Random probes of the Hutchinson-Skilling divergence in `score_samples`. 0 takes
        the exact divergence, at a cost that grows with n_bins * n_components.
    trial_length : int, default=None
        For 2-D input, the number of consecutive rows (bins) of a trial.
    device : str or torch.device, default="auto"
        Where to train. ``"auto"`` takes a GPU if there is one. The fitted model is
        kept on the CPU.
    random_state : int, RandomState instance or None, default=None
        Determines initial weights, batches, noise and probes. Two fits with one int
        agree to the bit, on as many threads.
    verbose : bool, default=False
        Whether to show progress.

    Attributes
    ----------
    module_ : SpatioTemporalDenoiser
        The trained denoiser, over standardised latents.
    mean_ : ndarray of shape (n_components,)
        Mean of each latent dim in the training trajectories.
    scale_ : ndarray of shape (n_components,)
        Standard deviation of each latent dim.
    n_bins_ : int
        Bins per trial.
    loss_curve_ : list of float
        Denoising loss of each epoch.
    n_iter_ : int
        Number of epochs.
    n_features_in_ : int
        Number of latent dims seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the latent dims, if the input had any.

    See Also
    --------
    skerdiff.ERDiffAligner : Aligns sessions under this prior.

    Notes
    -----
    Differences from the published code: continuous diffusion time in stratified
    batches; standardised latents; the closed-form Gaussian denoiser; pre-normalised
    blocks modulated by diffusion time. `score_samples` is the likelihood of the
    probability-flow ODE from the smallest diffusion time (1e-3), not the SDE's.

    References
    ----------
    .. [1] Wang, Y., Wu, Z., Li, C. and Wu, A. "Extraction and recovery of
       spatio-temporal structure in latent dynamics alignment with diffusion models."
       NeurIPS 2023.
    .. [2] Song, Y. et al. "Score-based generative modeling through stochastic
       differential equations." ICLR 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.diffusion import DiffusionPrior
    >>> Z = np.random.RandomState(0).randn(40, 5, 2).cumsum(axis=1)
    >>> prior = DiffusionPrior(max_iter=2, n_channels=8, random_state=0).fit(Z)
    >>> prior.sample(3).shape
    (3, 5, 2)
    """

    _parameter_constraints = {
        "noise_scale": [Interval(numbers.Real, 0, None, closed="neither")],
        "schedule": [StrOptions({"linear", "cosine"})],
        "spatial": ["boolean"],
        "temporal": ["boolean"],
        "gaussian": ["boolean"],
        "n_channels": [Interval(numbers.Integral, 2, None, closed="left")],
        "n_blocks": _POSITIVE,
        "n_heads": _POSITIVE,
        "learning_rate": [Interval(numbers.Real, 0, None, closed="neither")],
        "batch_size": _POSITIVE,
        "max_iter": _POSITIVE,
        "ema_decay": [Interval(numbers.Real, 0, 1, closed="left")],
        "n_steps": _POSITIVE,
        "n_probes": [Interval(numbers.Integral, 0, None, closed="left")],
        "trial_length": [*_POSITIVE, None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        noise_scale=1.0,
        schedule="linear",
        spatial=True,
        temporal=True,
        gaussian=True,
        n_channels=32,
        n_blocks=2,
        n_heads=4,
        learning_rate=3e-3,
        batch_size=16,
        max_iter=60,
        ema_decay=0.99,
        n_steps=32,
        n_probes=8,
        trial_length=None,
        device="auto",
        random_state=None,
        verbose=False,
    ):
        self.noise_scale = noise_scale
        self.schedule = schedule
        self.spatial = spatial
        self.temporal = temporal
        self.gaussian = gaussian
        self.n_channels = n_channels
        self.n_blocks = n_blocks
        self.n_heads = n_heads
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.ema_decay = ema_decay
        self.n_steps = n_steps
        self.n_probes = n_probes
        self.trial_length = trial_length
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, Z, y=None):
        """Learn the distribution of trajectories.

        Parameters
        ----------
        Z : array-like of shape (n_trials, n_bins, n_components), Trials or 2-D array
            Latents. Of `Trials` those of the source session are used.
        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        self : object
            Fitted prior.

        Raises
        ------
        ValueError
            If there are fewer than two trials, if latents are not finite, or if
            `n_heads` does not divide `n_channels`.
        """
        self._validate_params()
        device = resolve_device(self.device)
        if self.n_channels % self.n_heads:
            raise ValueError(
                f"n_heads={self.n_heads} must divide n_channels={self.n_channels}."
            )
        Z, _ = self._check_X(Z, reset=True, min_trials=2)
        if isinstance(Z, Trials):
            Z = Z[Z.source]
        seed = draw_seed(self.random_state)
        Z = Z.astype(np.float64)
        mean, scale = Z.mean((0, 1)), Z.std((0, 1))
        scale[scale == 0] = 1.0
        standard = (Z - mean) / scale
        gaussian = None
        if self.gaussian:
            gaussian = GaussianDenoiser.fit(standard, self.spatial, self.temporal)
        module, history = train_module(
            SpatioTemporalDenoiser,
            {
                "n_bins": Z.shape[1],
                "n_components": Z.shape[2],
                "n_channels": self.n_channels,
                "n_blocks": self.n_blocks,
                "n_heads": self.n_heads,
                "spatial": self.spatial,
                "temporal": self.temporal,
                "schedule": self.schedule,
                "noise_scale": self.noise_scale,
                "gaussian": gaussian,
            },
            [as_tensor(standard)],
            seed=seed,
            device=device,
            max_iter=self.max_iter,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            ema_decay=self.ema_decay,
            n_threads=2,
            label="diffusion prior",
            verbose=self.verbose,
        )
        self.module_ = module.double()
        self.mean_, self.scale_ = mean, scale
        self.n_bins_ = Z.shape[1]
        self.loss_curve_ = [row["train_loss"] for row in history]
        self.n_iter_ = len(history)
        self._seed = seed
        return self

    def sample(self, n_samples=1, *, n_steps=50, random_state=None):
        """Draw trajectories with DDIM (Song, Meng and Ermon, 2021).

        Parameters
        ----------
        n_samples : int, default=1
            Number of trajectories.
        n_steps : int, default=50
            Number of steps of the sampler.
        random_state : int, RandomState instance or None, default=None
            Determines the draws. None takes the seed of the fit: every call alike.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_bins, n_components)
            Trajectories.
        """
        check_is_fitted(self)
        for name, value in {"n_samples": n_samples, "n_steps": n_steps}.items():
            if not isinstance(value, numbers.Integral) or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}.")
        seed = self._seed if random_state is None else draw_seed(random_state)
        rng = numpy_generator(derive_seed(seed, "sample"))
        noise = rng.standard_normal((n_samples, self.n_bins_, self.n_features_in_))
        noise = as_tensor(noise, torch.float64)
        with limit_threads(2):
            z = ddim(self.module_, self.module_.sde, noise, n_steps)
        return self.mean_ + self.scale_ * z.numpy()

    def score_samples(self, Z):
        """Log-likelihood of each trajectory by the probability-flow ODE.

        The divergence is estimated with `n_probes` random probes (Hutchinson,
        Skilling), the same for every trial.

        Parameters
        ----------
        Z : array-like of shape (n_trials, n_bins, n_components), Trials or 2-D array
            Latents.

        Returns
        -------
        log_likelihood : ndarray of shape (n_trials,)
            Log-likelihood in nats per trial, in the units of Z.
        """
        z = self._standardise(Z)
        divergence = exact_divergence
        if self.n_probes:
            generator = make_generator(derive_seed(self._seed, "probes"))
            probes = rademacher_probes(self.n_probes, z, generator)
            divergence = partial(hutchinson_divergence, probes=probes)
        net, sde = self.module_, self.module_.sde
        with limit_threads(2):
            parts = [
                probability_flow_log_likelihood(
                    net, sde, part, divergence, self.n_steps
                )
                for part in z.split(64)
            ]
        return torch.cat(parts).numpy() - self.n_bins_ * np.log(self.scale_).sum()

    def score(self, Z, y=None):
        """Mean log-likelihood of the trajectories.

        Parameters
        ----------
        Z : array-like of shape (n_trials, n_bins, n_components), Trials or 2-D array
            Latents.
        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        score : float
            Mean log-likelihood in nats per trial, which changes with the units of Z.
        """
        return float(self.score_samples(Z).mean())

    def denoising_error(self, Z, *, n_times=20, t_max=1.0):
        """Denoising loss of each trajectory, averaged over diffusion times.

        Parameters
        ----------
        Z : array-like of shape (n_trials, n_bins, n_components), Trials or 2-D array
            Latents.
        n_times : int, default=20
            Number of diffusion times, evenly spaced up to `t_max`.
        t_max : float, default=1.0
            Largest diffusion time.

        Returns
        -------
        error : ndarray of shape (n_trials,)
            Mean squared error of the predicted noise over bins, dims and times.
        """
        if not 0 < t_max <= 1:
            raise ValueError(f"t_max must lie in (0, 1], got {t_max!r}.")
        z = self._standardise(Z)
        generator = make_generator(derive_seed(self._seed, "error"))
        net, error = self.module_, z.new_zeros(len(z))
        with torch.no_grad(), limit_threads(2):
            for k in range(n_times):
                t = z.new_full((len(z),), t_max * (k + 0.5) / n_times)
                noise = torch.randn(z.shape[1:], generator=generator, dtype=z.dtype)
                error += denoising_loss(net, net.sde, z, t, noise.expand(z.shape))
        return (error / n_times).numpy()

    def _standardise(self, Z):
        check_is_fitted(self)
        Z, _ = self._check_X(Z, reset=False)
        if isinstance(Z, Trials):
            Z = Z.to_array()
        if Z.shape[1] != self.n_bins_:
            raise ValueError(
                f"Trials have {Z.shape[1]} bins, but {type(self).__name__} was fitted "
                f"on trials of {self.n_bins_} bins."
            )
        return as_tensor((Z - self.mean_) / self.scale_, torch.float64)
