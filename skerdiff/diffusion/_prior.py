"""Diffusion model of whole latent trajectories."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from ..base import Form, TrialEstimator
from ..trials import Trials
from ..utils._arrays import fingerprint
from ..utils._atomic import all_or_nothing
from ..utils._random import derive_seed, draw_seed, make_generator, numpy_generator
from ..utils._settings import own_settings
from ..utils._sklearn import COUNT, POSITIVE, Interval, StrOptions, at_least
from ..utils._threads import limit_threads
from ..utils._torch import as_tensor, resolve_device
from ..utils._training import train_module
from ._base import TrajectoryPrior
from ._closed_form import fit_closed_forms
from ._conditions import CONDITIONS, NoCondition, as_denoiser
from ._denoiser import SpatioTemporalDenoiser
from ._divergence import (
    PROBES,
    draw_probes,
    exact_divergence,
    hutchinson_divergence,
)
from ._likelihood import (
    adaptive_log_likelihood,
    evidence_bound,
    paired_lengths,
    probability_flow_log_likelihood,
)
from ._objectives import LOSSES, WEIGHTINGS, denoising_loss
from ._samplers import (
    FLOW_SOLVERS,
    SOLVERS,
    ancestral,
    probability_flow,
    remove_noise,
)
from ._sde import SCHEDULES, SDES, T_MIN, DiffusionSDE, time_grid

_CHUNK = 64  # trials evaluated together
_N_FOLDS = 5
_MIN_VALIDATION = 4  # on fewer held-out trials the loss is too noisy to stop by
_VALIDATION_ROWS = 128  # validation trials times draws of noise, about


class DiffusionPrior(TrajectoryPrior, TrialEstimator):
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

    The denoiser is the sum of two parts: the optimal denoiser of a mixture of Gaussians
    fitted to the trajectories, in closed form, and a network of spatio-temporal
    attention blocks, which learns what the mixture gets wrong.

    Parameters
    ----------
    noise_scale : float, default=1.0
        Multiplies :math:`\sigma / \alpha` at every t: the signal-to-noise ratio is
        that of the schedule divided by ``noise_scale**2``, in every schedule and SDE.
        With larger values more of the training is spent on large-scale structure.
    schedule : {"linear", "cosine", "quadratic"}, default="linear"
        How fast noise is added. ``"linear"``: the rate grows linearly from 0.1 to 20
        [2]_. ``"quadratic"``: the square root of the rate grows linearly, so that less
        noise is added at small t. ``"cosine"``: more diffusion time is spent at middle
        noise levels.
    sde : {"vp", "sub-vp"}, default="vp"
        Variance preserving, :math:`\alpha^2 + \sigma^2 = 1`, or sub-variance
        preserving, :math:`\alpha^2 + \sigma = 1`, with less noise at every t [2]_.
    weighting : {"snr", "uniform", "likelihood"}, default="snr"
        Weight w(t) of a diffusion time. ``"snr"``: ``min(SNR, 5) / SNR``, which gives
        little weight to small t, where noise is too weak to be predicted.
        ``"likelihood"``: :math:`g^2/\sigma^2`, with which the loss bounds the negative
        log-likelihood up to a factor and a constant. ``"uniform"``: one.
    loss : {"mse", "l1", "smooth_l1", "l1_mse"}, default="mse"
        Loss of an error, the square above. Only ``"mse"`` has the score as its
        minimiser; with the others likelihoods are biased. ``"l1_mse"``, half of each,
        is the loss of ERDiff's public code.
    condition : {"none", "concat", "label"}, default="none"
        What the model is conditioned on, y in `fit`: nothing, behaviour per bin, or one
        class per trial. In training the condition is withheld from one trial in ten, so
        that a conditional prior is an unconditional one too, and samples can be guided
        by the difference between the two.
    spatial : bool, default=True
        Whether latent dims attend to each other within a bin. If False, dims are
        modelled as independent: the ablation "ERDiff w/o S".
    temporal : bool, default=True
        Whether bins attend to each other within a latent dim. If False, bins are
        modelled as independent: "ERDiff w/o T".
    n_clusters : int or "auto", default="auto"
        Number of Gaussians in the closed form. They share one covariance, which is
        shrunk towards that of an autoregression; `spatial` and `temporal` hold for them
        too. ``"auto"`` chooses between 1 and 16 by cross-validated likelihood. With 0
        the network learns everything.
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
        Largest number of epochs. With 0 the prior is the closed form alone.
    patience : int, default=30
        With validation trials, number of epochs without a better loss on them after
        which training stops.
    validation_fraction : float, default=0.0
        Share of the trials on which the network is validated; the closed form is fitted
        to all trials. The weights of the best epoch are used or, if no epoch is better
        than the closed form, the closed form alone. Advisable with a much larger
        `max_iter`. With 0, or fewer than 4 validation trials, all `max_iter` epochs are
        run.
    ema_decay : float, default=0.99
        Decay per step of the moving average of the weights. The fitted prior has the
        averaged weights.
    integrator : {"rk4", "adaptive"}, default="rk4"
        How `score_samples` integrates. ``"rk4"``: `n_steps` Runge-Kutta steps of order
        four. ``"adaptive"``: SciPy's Dormand-Prince method to `tolerance`, which is
        slower because it takes one trial at a time.
    n_steps : int, default=32
        Steps of ``"rk4"``.
    tolerance : float, default=1e-5
        Relative and absolute tolerance per step of ``"adaptive"``.
    probes : {"rademacher", "gaussian"}, default="rademacher"
        Distribution of the random probes of the Hutchinson-Skilling divergence.
    n_probes : int, default=2
        Number of probes in `score_samples`, the same for every trial. They estimate the
        divergence of what the network adds; that of the closed form is exact. With 0
        both are exact, at a cost that grows with n_bins * n_components.
    trial_length : int, default=None
        For 2-D input, the number of consecutive rows (bins) of a trial.
    device : str or torch.device, default="auto"
        Where to train. ``"auto"`` takes a GPU if there is one. The fitted model is on
        the CPU.
    random_state : int, RandomState instance or None, default=None
        Determines initial weights, batches, noise and probes. Two fits with the same
        int on the same number of threads agree to the bit.
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
        The same on the validation trials, with the averaged weights. Empty if there are
        no validation trials.
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
    Differences from the published code: diffusion time is continuous, and stratified
    within a batch; latents are standardised; there is a closed-form mixture, and in
    training the network sees the one fitted without the trial at hand; attention over
    dims, attention over bins and an MLP stand side by side and are modulated by
    diffusion time. In one block a token receives information from its bin and its dim,
    and from the rest of the trial through the clean trajectory that the closed form
    expects.

    `score_samples` is the likelihood of the probability-flow ODE that starts at the
    smallest diffusion time (1e-3), and `evidence_bound` bounds the likelihood of the
    reverse SDE. Unless the score is exact, these are two different densities.

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
        "noise_scale": POSITIVE,
        "schedule": [StrOptions(set(SCHEDULES))],
        "sde": [StrOptions(set(SDES))],
        "weighting": [StrOptions(set(WEIGHTINGS))],
        "loss": [StrOptions(set(LOSSES))],
        "condition": [StrOptions(set(CONDITIONS))],
        "spatial": ["boolean"],
        "temporal": ["boolean"],
        "n_clusters": [
            at_least(0),
            StrOptions({"auto"}),
        ],
        "n_channels": [at_least(2)],
        "n_blocks": COUNT,
        "n_heads": COUNT,
        "learning_rate": POSITIVE,
        "batch_size": COUNT,
        "max_iter": [at_least(0)],
        "patience": COUNT,
        "validation_fraction": [Interval(numbers.Real, 0, 1, closed="left")],
        "ema_decay": [Interval(numbers.Real, 0, 1, closed="left")],
        "integrator": [StrOptions({"rk4", "adaptive"})],
        "n_steps": COUNT,
        "tolerance": POSITIVE,
        "probes": [StrOptions(set(PROBES))],
        "n_probes": [at_least(0)],
        "trial_length": [*COUNT, None],
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

    @all_or_nothing
    @own_settings()
    def fit(self, Z, y=None):
        """Learn the distribution of trajectories.

        Parameters
        ----------
        Z : array-like of shape (n_trials, n_bins, n_components), Trials or 2-D array
            Latents. Of `Trials` those of the source session are used.
        y : array-like, default=None
            With ``condition="concat"`` behaviour of shape (n_trials, n_bins,
            n_outputs); with ``condition="label"`` labels of shape (n_trials,). With
            2-D Z one row, or one label, per row of Z. Otherwise not used.

        Returns
        -------
        self : object
            Fitted prior.

        Raises
        ------
        ValueError
            If there are fewer trials than two or than `n_clusters`, if latents are not
            finite, if `n_channels` is odd, if `n_heads` does not divide half of it, or
            if y is not what `condition` needs.
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
        condition = CONDITIONS[self.condition]()
        if self.condition != "none" and y is None:
            raise ValueError(
                f"condition={self.condition!r} needs y in fit, got None. Pass y, or "
                "use condition='none'."
            )
        y = condition.read(self, y, Z, form, used)
        if isinstance(Z, Trials):
            Z = Z[used].to_array()
        self._data_fingerprint = fingerprint(Z, y)
        encoded = condition.fit(y)
        seed = draw_seed(self.random_state)
        Z = Z.astype(np.float64)
        scaler = StandardScaler().fit(Z.reshape(-1, Z.shape[2]))
        mean, scale = scaler.mean_, scaler.scale_
        standard = (Z - mean) / scale
        fold, valid = _split_trials(len(Z), self.validation_fraction, seed)
        module, history, n_clusters = self._fit_denoiser(
            standard, encoded, fold, valid, seed, device
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

    def _fit_denoiser(self, Z, condition, fold, valid, seed, device):
        """Fit the closed form, then the network on top of it.

        Parameters
        ----------
        Z : ndarray of shape (n_trials, n_bins, d)
            Standardised trajectories.
        condition : ndarray of shape (n_trials, ...) or None
            Encoded conditions.
        fold, valid : ndarray of shape (n_trials,)
            See `_split_trials`.
        seed : int
            Seed of everything drawn.
        device : torch.device
            Where to train.

        Returns
        -------
        module : SpatioTemporalDenoiser
            The denoiser, on the CPU.
        history : list of dict
            Losses per epoch.
        n_clusters : int
            Gaussians in the unconditional closed form.
        """
        closed_form, folds, n_clusters = fit_closed_forms(
            Z,
            condition,
            fold,
            self.n_clusters,
            self.spatial,
            self.temporal,
            derive_seed(seed, "clusters"),
        )
        tensors = [as_tensor(Z), torch.tensor(fold)]
        if condition is not None:
            tensors.append(as_tensor(condition))
        settings = {
            "n_bins": Z.shape[1],
            "n_components": Z.shape[2],
            "n_channels": self.n_channels,
            "n_blocks": self.n_blocks,
            "n_heads": self.n_heads,
            "spatial": self.spatial,
            "temporal": self.temporal,
            "sde": DiffusionSDE(self.schedule, self.noise_scale, self.sde),
            "closed_form": closed_form,
            "folds": folds,
            "condition": self.condition,
            "n_inputs": 0 if condition is None else condition.shape[-1],
            "weighting": self.weighting,
            "loss_name": self.loss,
        }
        valid, held_out = torch.tensor(valid), None
        if valid.any():
            n_draws = max(1, round(_VALIDATION_ROWS / int(valid.sum())))
            # whole copies, one after the other: every trial is seen at all
            # diffusion times
            held_out = [a[valid].repeat(n_draws, *[1] * (a.ndim - 1)) for a in tensors]
        module, history = train_module(
            SpatioTemporalDenoiser,
            settings,
            [a[~valid] for a in tensors],
            held_out,
            seed=seed,
            device=device,
            max_iter=self.max_iter,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            patience=self.patience,
            ema_decay=self.ema_decay,
            fused=True,
            n_threads=2,
            label="diffusion prior",
            verbose=self.verbose,
        )
        module.folds = torch.nn.ModuleList()  # only needed in training
        return module, history, n_clusters

    @own_settings()
    def sample(
        self,
        n_samples=1,
        y=None,
        *,
        solver="dpm2",
        n_steps=25,
        guidance=1.0,
        random_state=None,
    ):
        """Draw trajectories.

        Parameters
        ----------
        n_samples : int, default=1
            Number of trajectories.
        y : array-like of shape (n_samples, n_bins, n_outputs) or (n_samples,), \
                default=None
            Behaviour or labels to condition on, depending on `condition`; an
            unconditional prior does not use it. None draws from the unconditional
            model.
        solver : {"dpm2", "heun", "ddim", "ancestral"}, default="dpm2"
            ``"dpm2"`` (DPM-Solver-2, Lu et al., 2022) and ``"heun"`` (Karras et al.,
            2022) follow the probability flow in second order; ``"ddim"`` (Song, Meng
            and Ermon, 2021) in first order, at half the cost per step; ``"ancestral"``
            (Ho, Jain and Abbeel, 2020) simulates the reverse SDE. Unless there are many
            steps, samples of the last two have too little variance.
        n_steps : int, default=25
            Number of steps of the solver.
        guidance : float, default=1.0
            Weight of the condition (classifier-free guidance): 1 is the conditional
            model; larger values exaggerate the condition.
        random_state : int, RandomState instance or None, default=None
            Determines the draws. None takes the seed of the fit, so that every call
            returns the same.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_bins, n_components)
            Trajectories.

        Raises
        ------
        ValueError
            If there is no such solver, if `n_samples` or `n_steps` is not a positive
            integer, or if y is not what `condition` needs.
        """
        check_is_fitted(self)
        _check_count("n_samples", n_samples)
        if y is not None and np.shape(y)[:1] != (n_samples,):
            raise ValueError(
                f"y must hold the condition of each of n_samples={n_samples} "
                f"trajectories, got shape {np.shape(y)}."
            )
        _check_solver(solver, SOLVERS)
        seed = self._seed if random_state is None else draw_seed(random_state)
        rng = numpy_generator(derive_seed(seed, "sample"))
        shape = (n_samples, self.n_bins_, self.n_features_in_)

        def draw():
            return as_tensor(rng.standard_normal(shape), torch.float64)

        denoiser = self._conditional_denoiser(y, np.empty(shape), Form(), guidance)
        times = self._times(n_steps, 1.0, T_MIN)
        sde = self.module_.sde
        with limit_threads(2):
            if solver == "ancestral":
                z = ancestral(denoiser, sde, draw(), times, draw)
            else:
                z = probability_flow(denoiser, sde, draw(), times, solver)
            z = remove_noise(denoiser, sde, z, T_MIN)
        return self.mean_ + self.scale_ * z.numpy()

    @own_settings()
    def invert(self, Z, y=None, *, t_stop=1.0, solver="heun", n_steps=50, guidance=1.0):
        """Follow the probability flow from latents towards noise.

        `decode` goes the other way. At ``t_stop=1`` trajectories drawn from the model
        have become standard normal.

        Parameters
        ----------
        Z : array-like of shape (n_trials, n_bins, n_components), Trials or 2-D array
            Latents.
        y : array-like, default=None
            Condition of each trial, see `fit`; None for the unconditional model. Leave
            it out if the result is to be compared with y.
        t_stop : float, default=1.0
            Diffusion time to stop at.
        solver : {"ddim", "dpm2", "heun"}, default="heun"
            See `sample`.
        n_steps : int, default=50
            Number of steps of the solver.
        guidance : float, default=1.0
            Weight of the condition.

        Returns
        -------
        Z_noised : ndarray of shape (n_trials, n_bins, n_components)
            Trajectories at `t_stop`, in standardised latents; 2-D for 2-D input.
        """
        z, form, Z = self._standardise(Z)
        denoiser = self._conditional_denoiser(y, Z, form, guidance)
        z = self._follow_flow(denoiser, z, T_MIN, t_stop, solver, n_steps)
        return form.restore(z.numpy())

    @own_settings()
    def decode(
        self, Z_noised, y=None, *, t_start=1.0, solver="heun", n_steps=50, guidance=1.0
    ):
        """Follow the probability flow from noised trajectories back to latents.

        Parameters
        ----------
        Z_noised : array-like of shape (n_trials, n_bins, n_components) or 2-D array
            Trajectories at diffusion time `t_start`, in standardised latents.
        y : array-like, default=None
            Condition of each trial, see `fit`.
        t_start : float, default=1.0
            Diffusion time of the trajectories.
        solver : {"ddim", "dpm2", "heun"}, default="heun"
            See `sample`.
        n_steps : int, default=50
            Number of steps of the solver.
        guidance : float, default=1.0
            Weight of the condition.

        Returns
        -------
        Z : ndarray of shape (n_trials, n_bins, n_components)
            Latents; 2-D for 2-D input.
        """
        z, form, Z = self._read(Z_noised)
        denoiser = self._conditional_denoiser(y, Z, form, guidance)
        z = self._follow_flow(denoiser, z, t_start, T_MIN, solver, n_steps)
        return form.restore(self.mean_ + self.scale_ * z.numpy())

    @own_settings()
    def score_samples(self, Z, y=None):
        """Log-likelihood of each trajectory by the probability-flow ODE.

        Parameters
        ----------
        Z : array-like of shape (n_trials, n_bins, n_components), Trials or 2-D array
            Latents.
        y : array-like, default=None
            Condition of each trial, see `fit`; None for the unconditional model.

        Returns
        -------
        log_likelihood : ndarray of shape (n_trials,)
            Log-likelihood in nats per trial, in the units of Z.
        """
        z, form, Z = self._standardise(Z)
        self._validate_params()  # integrator and probes may have been set since fit
        divergence = exact_divergence
        if self.n_probes:
            generator = make_generator(derive_seed(self._seed, "probes"))
            probes = draw_probes(self.probes, self.n_probes, z, generator)
            divergence = partial(hutchinson_divergence, probes=probes)
        if self.integrator == "adaptive":
            integrate = partial(adaptive_log_likelihood, tolerance=self.tolerance)
        else:
            integrate = partial(probability_flow_log_likelihood, n_steps=self.n_steps)

        net = self.module_

        def run(part, condition):
            def noise_and_trace(z, t):
                return net.noise_and_trace(z, t, divergence, condition)

            return integrate(noise_and_trace, net.sde, part)

        return self._in_units(self._by_chunk(run, z, y, Z, form))

    def denoiser(self):
        """Frozen copy of the unconditional denoiser, for use outside the prior.

        Returns
        -------
        denoiser : SpatioTemporalDenoiser
            Predicts the noise in standardised latents, see `TrajectoryPrior.denoiser`.
        """
        check_is_fitted(self)
        return deepcopy(self.module_).eval().requires_grad_(False)

    def score(self, Z, y=None):
        """Mean log-likelihood of the trajectories.

        Parameters
        ----------
        Z : array-like of shape (n_trials, n_bins, n_components), Trials or 2-D array
            Latents.
        y : array-like, default=None
            Condition of each trial, see `fit`; None for the unconditional model.

        Returns
        -------
        score : float
            Mean log-likelihood in nats per trial, in the units of Z.
        """
        return float(self.score_samples(Z, y).mean())

    @own_settings()
    def evidence_bound(self, Z, y=None, *, n_times=100):
        """Lower bound of the log-likelihood of the reverse SDE.

        ERDiff's objective is derived from this bound. Its divergence term is included;
        it is the same for every trajectory, because the drift is linear.

        Parameters
        ----------
        Z : array-like of shape (n_trials, n_bins, n_components), Trials or 2-D array
            Latents.
        y : array-like, default=None
            Condition of each trial, see `fit`.
        n_times : int, default=100
            Number of diffusion times, evenly spaced in log signal-to-noise ratio. At
            each of them all trials have the same noise.

        Returns
        -------
        bound : ndarray of shape (n_trials,)
            Estimate of the bound, in nats per trial in the units of Z.
        """
        _check_count("n_times", n_times)
        z, form, Z = self._standardise(Z)
        sde = self.module_.sde
        generator = make_generator(derive_seed(self._seed, "bound"))
        ends = sde.log_snr(torch.tensor([T_MIN, 1.0], dtype=z.dtype))
        u = torch.rand(1, generator=generator, dtype=z.dtype)
        u = (u + torch.arange(n_times, dtype=z.dtype) / n_times) % 1.0
        times = sde.time_at(ends[0] + u * (ends[1] - ends[0]))
        noises = torch.randn(n_times, *z.shape[1:], generator=generator, dtype=z.dtype)
        noises = paired_lengths(noises, generator)

        def run(part, condition):
            denoiser = as_denoiser(self.module_, condition)
            return evidence_bound(denoiser, sde, part, times, noises)

        return self._in_units(self._by_chunk(run, z, y, Z, form))

    @own_settings()
    def denoising_error(self, Z, t=None, y=None):
        """Squared error of the predicted noise of each trajectory.

        Parameters
        ----------
        Z : array-like of shape (n_trials, n_bins, n_components), Trials or 2-D array
            Latents.
        t : float or array-like of shape (n_times,), default=None
            Diffusion times in [0, 1] to average over; at each of them all trials have
            the same noise. None takes 60, evenly spaced. Times below 0.001 count as
            0.001.
        y : array-like, default=None
            Condition of each trial, see `fit`.

        Returns
        -------
        error : ndarray of shape (n_trials,)
            Mean squared error over bins, dims and diffusion times.
        """
        z, form, Z = self._standardise(Z)
        times = (np.arange(60) + 0.5) / 60 if t is None else np.atleast_1d(t)
        times = [max(_check_time("t", time), T_MIN) for time in times]
        if not times:
            raise ValueError("t holds no diffusion time.")
        generator = make_generator(derive_seed(self._seed, "error"))
        noises = torch.randn(
            len(times), *z.shape[1:], generator=generator, dtype=z.dtype
        )

        def run(part, condition):
            denoiser = as_denoiser(self.module_, condition)
            error = torch.zeros_like(part[:, 0, 0])
            for time, noise in zip(times, noises):
                now = torch.full_like(error, time)
                noise = noise.expand(part.shape)
                error += denoising_loss(denoiser, self.module_.sde, part, now, noise)
            return error / len(times)

        with torch.no_grad():
            return self._by_chunk(run, z, y, Z, form).numpy()

    def _by_chunk(self, run, z, y, Z, form):
        """Apply a function of trials and their conditions, a few trials at a time."""
        condition = self._encode(y, Z, form)
        parts = []
        with limit_threads(2):
            for rows in torch.arange(len(z)).split(_CHUNK):
                part = None if condition is None else condition[rows]
                parts.append(run(z[rows], part))
        return torch.cat(parts)

    def _in_units(self, log_density):
        """Log-density of Z from that of standardised latents."""
        return log_density.numpy() - self.n_bins_ * np.log(self.scale_).sum()

    def _follow_flow(self, denoiser, z, t_start, t_stop, solver, n_steps):
        _check_solver(solver, FLOW_SOLVERS)
        times = self._times(n_steps, t_start, t_stop)
        with limit_threads(2):
            return probability_flow(denoiser, self.module_.sde, z, times, solver)

    def _times(self, n_steps, t_start, t_stop):
        _check_count("n_steps", n_steps)
        ends = (
            max(_check_time(name, t), T_MIN)
            for name, t in (("t_start", t_start), ("t_stop", t_stop))
        )
        return time_grid(self.module_.sde, n_steps, *ends)

    def _conditional_denoiser(self, y, Z, form, guidance):
        if not isinstance(guidance, numbers.Real) or not np.isfinite(guidance):
            raise ValueError(f"guidance must be a finite number, got {guidance!r}.")
        if guidance != 1.0 and (y is None or isinstance(self._condition, NoCondition)):
            raise ValueError(
                f"guidance={guidance} weighs a condition, but there is none: fit the "
                "prior with condition='concat' or 'label', and pass y."
            )
        return as_denoiser(self.module_, self._encode(y, Z, form), float(guidance))

    def _encode(self, y, Z, form):
        """Condition of each trial as a tensor; None if there is none."""
        if y is None or isinstance(self._condition, NoCondition):
            return None
        used = np.ones(len(Z), bool)
        y = self._condition.read(self, y, Z, form, used)
        return as_tensor(self._condition.encode(y), torch.float64)

    def _read(self, Z):
        """Latents as a float64 tensor, the form of the input, and validated input."""
        check_is_fitted(self)
        Z, form = self._check_X(Z, reset=False)
        array = Z.to_array() if isinstance(Z, Trials) else Z
        if array.shape[1] != self.n_bins_:
            raise ValueError(
                f"Trials have {array.shape[1]} bins, but {type(self).__name__} was "
                f"fitted on trials of {self.n_bins_} bins."
            )
        return as_tensor(array, torch.float64), form, Z

    def _standardise(self, Z):
        z, form, Z = self._read(Z)
        mean, scale = (as_tensor(a, torch.float64) for a in (self.mean_, self.scale_))
        return (z - mean) / scale, form, Z


def _split_trials(n_trials: int, validation_fraction: float, seed: int):
    """Divide trials into the closed form's folds, and pick validation trials.

    Parameters
    ----------
    n_trials : int
        Number of trials.
    validation_fraction : float
        Share of the trials to validate on.
    seed : int
        Seed of both draws.

    Returns
    -------
    fold : ndarray of int, shape (n_trials,)
        Number of the fold of each trial.
    valid : ndarray of bool, shape (n_trials,)
        Whether a trial is a validation trial. None is if they would be too few.
    """
    rng = numpy_generator(derive_seed(seed, "folds"))
    # at least two trials outside every fold, to fit to
    n_folds = max(1, min(_N_FOLDS, n_trials - 2))
    fold = rng.permutation(n_trials) % n_folds
    valid = np.zeros(n_trials, bool)
    n_valid = min(round(validation_fraction * n_trials), n_trials - 2)
    if n_valid >= _MIN_VALIDATION:
        valid[rng.permutation(n_trials)[:n_valid]] = True
    return fold, valid


def _check_count(name, value):
    if not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}.")


def _check_time(name, t):
    if not isinstance(t, numbers.Real) or not 0 <= t <= 1:
        raise ValueError(f"{name} must be a diffusion time in [0, 1], got {t!r}.")
    return float(t)


def _check_solver(solver, allowed):
    if solver not in allowed:
        raise ValueError(
            f"solver must be one of {', '.join(map(repr, allowed))}, got {solver!r}."
        )
