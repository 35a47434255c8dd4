"""Diffusion model of whole latent trajectories."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler

from ..base import TrialEstimator
from ..trials import Trials
from ..utils._random import draw_seed
from ..utils._sklearn import Interval, StrOptions
from ..utils._torch import resolve_device
from ._conditions import CONDITIONS, make_condition
from ._density import TrajectoryDensity
from ._divergence import PROBES
from ._fitting import fit_denoiser, split_trials
from ._objectives import LOSSES, WEIGHTINGS
from ._sde import SCHEDULES, SDES

_POSITIVE = [Interval(numbers.Integral, 1, None, closed="left")]


class DiffusionPrior(TrajectoryDensity, TrialEstimator):
    r"""Diffusion model of whole latent trajectories.

    A trial's latents, all bins and dims together, are one sample. Noise is added along
    diffusion time t in [0, 1],

    .. math:: Z_t = \alpha(t) Z_0 + \sigma(t) \epsilon,

    and a denoiser learns to predict the noise,

    .. math:: \min_\theta \; E_{t, Z_0, \epsilon} \; w(t)
              \lVert \epsilon - \epsilon_\theta(Z_t, t) \rVert^2 ,

    whose minimiser gives the score of every noised density,
    :math:`\nabla \log p_t(Z_t) = -\epsilon_\theta / \sigma(t)`. Samples, inversion and
    exact likelihoods follow from the probability-flow ODE.

    The denoiser is the closed-form one of a mixture of Gaussians fitted to the
    trajectories, plus a network of spatio-temporal attention blocks that learns what
    the mixture gets wrong.

    Parameters
    ----------
    noise_scale : float, default=1.0
        Multiplies :math:`\sigma / \alpha` at every t: the signal-to-noise ratio is
        that of the schedule divided by ``noise_scale**2``. It means the same in every
        schedule and SDE. Larger values spend more of the training on large-scale
        structure.
    schedule : {"linear", "cosine", "quadratic"}, default="linear"
        How fast noise comes in. ``"linear"``: the rate grows linearly from 0.1 to 20
        [2]_; ``"quadratic"``: its square root does, less noise early on; ``"cosine"``
        spends more diffusion time at middle noise levels.
    sde : {"vp", "sub-vp"}, default="vp"
        Variance preserving, :math:`\alpha^2 + \sigma^2 = 1`, or sub-variance
        preserving, :math:`\alpha^2 + \sigma = 1`, with less noise at every t [2]_.
    weighting : {"snr", "uniform", "likelihood"}, default="snr"
        Weight w(t) of a diffusion time. ``"snr"``: ``min(SNR, 5) / SNR``, which keeps
        the noise that cannot be seen at small t from drowning what can be learnt;
        ``"likelihood"``: :math:`g^2/\sigma^2`, with which the loss bounds the
        likelihood.
    loss : {"mse", "l1", "smooth_l1", "l1_mse"}, default="mse"
        What replaces the square above. Only ``"mse"`` has the score as its minimiser:
        with the others (``"l1_mse"``, half of each, is that of ERDiff's public code)
        likelihoods are biased.
    condition : {"none", "concat", "label"}, default="none"
        What the model is conditioned on, y in `fit`: nothing; behaviour per bin; or a
        class per trial. One trial in ten is trained without, so that a conditional
        prior is an unconditional one too, and guidance can be had between them.
    spatial : bool, default=True
        Whether latent dims attend to each other within a bin. False is the ablation
        "ERDiff w/o S": dims are then modelled as independent.
    temporal : bool, default=True
        Whether bins attend to each other within a latent dim. False is "ERDiff w/o
        T": bins are then modelled as independent.
    n_clusters : int or "auto", default="auto"
        Gaussians in the closed form (within `spatial` and `temporal`), which share one
        covariance, shrunk to that of an autoregression. ``"auto"`` chooses 1 to 16 by
        cross-validated likelihood; 0 leaves all to the network.
    n_channels : int, default=64
        Network width; attention works at half of it.
    n_blocks : int, default=1
        Number of spatio-temporal blocks.
    n_heads : int, default=4
        Attention heads; must divide half of `n_channels`.
    learning_rate : float, default=1.5e-3
        Step size of AdamW.
    batch_size : int, default=16
        Trials per batch.
    max_iter : int, default=60
        Most epochs. 0 keeps the closed form alone.
    patience : int, default=30
        With validation trials, epochs without a better loss on them before stopping.
    validation_fraction : float, default=0.0
        Share of the trials by which the network is stopped (the closed form is fitted
        to all): the best epoch is kept and, where none is better than the closed form,
        that. Needed where `max_iter` is raised far. With 0, or fewer than 4 such
        trials, all `max_iter` epochs are run.
    ema_decay : float, default=0.99
        Decay per step of the moving average of the weights, which is what is kept.
    integrator : {"rk4", "adaptive"}, default="rk4"
        How `score_samples` integrates: `n_steps` Runge-Kutta steps of order four, or
        SciPy's Dormand-Prince to `tolerance`, trial by trial and slower.
    n_steps : int, default=32
        Steps of ``"rk4"``.
    tolerance : float, default=1e-5
        Relative and absolute tolerance per step of ``"adaptive"``.
    probes : {"rademacher", "gaussian"}, default="rademacher"
        Distribution of the random probes of the Hutchinson-Skilling divergence.
    n_probes : int, default=2
        Number of probes in `score_samples`, the same for every trial. They meet only
        what the network adds: the closed form's divergence is exact. 0 takes the exact
        divergence of both, at a cost that grows with n_bins * n_components.
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
    n_clusters_ : int
        Gaussians in the unconditional closed form.
    classes_ : ndarray of shape (n_classes,) or None
        Labels, where `condition` is ``"label"``.
    loss_curve_ : list of float
        Weighted loss of each epoch.
    validation_curve_ : list of float
        The same on the validation trials, under the averaged weights. Empty without.
    n_iter_ : int
        Number of epochs.
    n_features_in_ : int
        Number of latent dims seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the latent dims, if the input had any.

    See Also
    --------
    skerdiff.ERDiffAligner : Aligns sessions under this prior.
    skerdiff.metrics.two_sample_auc : Tells samples from held-out trajectories.

    Notes
    -----
    Differences from the published code: continuous diffusion time in stratified
    batches; standardised latents; the closed-form mixture, which the network sees
    fitted without the trial at hand; attention over dims, attention over bins and MLP
    side by side, modulated by diffusion time. In one block a token hears of its bin and
    of its dim, and of the rest of the trial through the closed form's guess of the
    clean trajectory. `score_samples` is the likelihood of the probability-flow ODE from
    the smallest diffusion time (1e-3), `evidence_bound` that of the reverse SDE; with
    anything but the exact score they are those of different densities.

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
        "schedule": [StrOptions(set(SCHEDULES))],
        "sde": [StrOptions(set(SDES))],
        "weighting": [StrOptions(set(WEIGHTINGS))],
        "loss": [StrOptions(set(LOSSES))],
        "condition": [StrOptions(set(CONDITIONS))],
        "spatial": ["boolean"],
        "temporal": ["boolean"],
        "n_clusters": [
            Interval(numbers.Integral, 0, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "n_channels": [Interval(numbers.Integral, 2, None, closed="left")],
        "n_blocks": _POSITIVE,
        "n_heads": _POSITIVE,
        "learning_rate": [Interval(numbers.Real, 0, None, closed="neither")],
        "batch_size": _POSITIVE,
        "max_iter": [Interval(numbers.Integral, 0, None, closed="left")],
        "patience": _POSITIVE,
        "validation_fraction": [Interval(numbers.Real, 0, 1, closed="left")],
        "ema_decay": [Interval(numbers.Real, 0, 1, closed="left")],
        "integrator": [StrOptions({"rk4", "adaptive"})],
        "n_steps": _POSITIVE,
        "tolerance": [Interval(numbers.Real, 0, None, closed="neither")],
        "probes": [StrOptions(set(PROBES))],
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
        sde="vp",
        weighting="snr",
        loss="mse",
        condition="none",
        spatial=True,
        temporal=True,
        n_clusters="auto",
        n_channels=64,
        n_blocks=1,
        n_heads=4,
        learning_rate=1.5e-3,
        batch_size=16,
        max_iter=60,
        patience=30,
        validation_fraction=0.0,
        ema_decay=0.99,
        integrator="rk4",
        n_steps=32,
        tolerance=1e-5,
        probes="rademacher",
        n_probes=2,
        trial_length=None,
        device="auto",
        random_state=None,
        verbose=False,
    ):
        self.noise_scale = noise_scale
        self.schedule = schedule
        self.sde = sde
        self.weighting = weighting
        self.loss = loss
        self.condition = condition
        self.spatial = spatial
        self.temporal = temporal
        self.n_clusters = n_clusters
        self.n_channels = n_channels
        self.n_blocks = n_blocks
        self.n_heads = n_heads
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.ema_decay = ema_decay
        self.integrator = integrator
        self.n_steps = n_steps
        self.tolerance = tolerance
        self.probes = probes
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
        y : array-like, default=None
            With ``condition="concat"`` behaviour of shape (n_trials, n_bins,
            n_outputs); with ``condition="label"`` labels of shape (n_trials,). With
            2-D Z one row, or label, per row. Not read otherwise.

        Returns
        -------
        self : object
            Fitted prior.

        Raises
        ------
        ValueError
            If there are fewer than two trials, or than `n_clusters`, if latents are not
            finite, if `n_channels` is odd or `n_heads` does not divide its half, or if
            a condition is asked for and y does not hold it.
        """
        self._validate_params()
        device = resolve_device(self.device)
        if self.n_channels % 2:
            raise ValueError(f"n_channels={self.n_channels} must be even.")
        if self.n_channels // 2 % self.n_heads:
            raise ValueError(
                f"n_heads={self.n_heads} must divide half of "
                f"n_channels={self.n_channels}."
            )
        Z, form = self._check_X(Z, reset=True, min_trials=2)
        used = Z.is_source if isinstance(Z, Trials) else np.ones(len(Z), bool)
        condition = make_condition(self.condition)
        if self.condition != "none" and y is None:
            raise ValueError(
                f"condition={self.condition!r} needs y in fit, got None. Without y use "
                "condition='none'."
            )
        y = condition.read(self, y, Z, form, used)
        if isinstance(Z, Trials):
            Z = Z[used].to_array()
        given = condition.fit(y)
        seed = draw_seed(self.random_state)
        Z = Z.astype(np.float64)
        scaler = StandardScaler().fit(Z.reshape(-1, Z.shape[2]))
        mean, scale = scaler.mean_, scaler.scale_
        standard = (Z - mean) / scale
        fold, valid = split_trials(len(Z), self.validation_fraction, seed)
        module, history, n_clusters = fit_denoiser(
            self, standard, given, fold, valid, seed, device
        )
        self.module_ = module.double()
        self.mean_, self.scale_ = mean, scale
        self.n_bins_ = Z.shape[1]
        self.n_clusters_ = n_clusters
        self.classes_ = getattr(condition, "classes", None)
        self.loss_curve_ = [row["train_loss"] for row in history]
        self.validation_curve_ = [row["valid_loss"] for row in history if valid.any()]
        self.n_iter_ = len(history)
        self._condition = condition
        self._seed = seed
        return self
