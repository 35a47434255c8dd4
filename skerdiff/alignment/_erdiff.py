"""ERDiff: alignment under a diffusion prior of whole latent trajectories."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers
from copy import deepcopy

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from ..diffusion import DiffusionPrior
from ..diffusion._objectives import denoising_loss, stratified_times
from ..diffusion._sde import T_MIN
from ..utils._random import derive_seed, numpy_generator
from ..utils._torch import as_tensor, limit_threads, resolve_device
from ..utils._training import progress_bar
from ._base import BaseAligner, _fit_model
from ._divergences import gaussian_kl, moments, transport_cost
from ._loop import ReadIn, adapt_readin
from ._start import Session


class ERDiffAligner(BaseAligner):
    r"""Align sessions under a diffusion prior of latent trajectories (ERDiff).

    `fit` learns the source session: a sequential variational autoencoder gives its
    latents :math:`Z`, and a diffusion model :math:`\theta` their distribution over
    whole trajectories. `adapt` finds the read-in :math:`\phi` of a new session, without
    labels, while encoder and prior stay frozen: it starts from the geometry of trials
    (see `GeometryAligner`) and minimises by gradient steps

    .. math:: \min_\phi \; E_{t, \epsilon} \lVert \epsilon - \epsilon_\theta(\alpha(t)
              Z_\phi + \sigma(t) \epsilon, t) \rVert^2 + \lambda \,
              D(Z_\mathrm{source}, Z_\phi),

    denoising score matching, the uniformly weighted form of the bound on the negative
    log-likelihood under the prior, with an anchor D that keeps the latents from
    contracting to a mode. A part of the target trials is held out of the gradient; the
    step with the lowest objective on them is kept, the start included.

    Parameters
    ----------
    latent_model : SequentialVAE, default=None
        Latent-variable model of the source; None is ``SequentialVAE()``. It is cloned.
    prior : DiffusionPrior, default=None
        Diffusion model of the latents; None is ``DiffusionPrior()``. It is cloned.
    n_components : int, default=None
        Number of latent dims; overrides that of `latent_model`.
    noise_scale : float, default=None
        Noise scale of the diffusion; overrides that of `prior`.
    init : {"geometry", "source", "random"}, default="geometry"
        Where the target read-in starts: the geometry warm start; the source's read-in
        column by column, as in the public ERDiff code; or random weights. The
        objective cannot tell a right alignment from a rotated one, so that the latter
        two find one only if they start near it.
    n_starts : int, default=16
        Random starts of the geometry search, beside the uniform one.
    anchor : {"moments", "transport"} or None, default="moments"
        The anchor D: KL divergence of Gaussians with the mean and covariance of all
        bins, optimal-transport cost between whole trials, or none.
    anchor_weight : float, default=1.0
        Weight :math:`\lambda` of the anchor.
    t_max : float, default=0.5
        Largest diffusion time of the score matching.
    learning_rate : float, default=1e-4
        Step size of Adam, for features of unit variance.
    batch_size : int, default=32
        Target trials per step.
    max_steps : int, default=60
        Most gradient steps; 0 keeps the start.
    check_every : int, default=10
        Steps between two looks at the held-out objective.
    patience : int, default=3
        Looks without improvement before stopping.
    held_out : float, default=0.2
        Share of the target trials that chooses the step.
    on_new_session : {"align", "raise"}, default="align"
        What `transform` does with a session it has not met: align it among the trials
        given (nothing is stored) with a `NewSessionWarning`, or raise.
    memory : str or joblib.Memory, default=None
        Cache of fitted source models. With it, a search over methods or folds trains
        each source model once, and an interrupted fit goes on after the last model
        that was finished. It needs an integer `random_state` to be of use.
    trial_length : int, default=None
        For 2-D X, the number of consecutive rows (bins) of a trial. By default each
        row is a trial of its own.
    device : str or torch.device, default="auto"
        Where to train. ``"auto"`` takes a GPU if there is one. Fitted models are kept
        on the CPU.
    random_state : int, RandomState instance or None, default=None
        Determines everything random. Two fits with one int agree to the bit, on as
        many threads; each session has a seed of its own by its name, so that the
        order of `adapt` calls does not matter.
    verbose : bool, default=False
        Whether to show progress bars.

    Attributes
    ----------
    prior_ : DiffusionPrior
        The fitted prior.
    latent_model_ : SequentialVAE
        The fitted latent-variable model of the source.
    sessions_ : dict of str to Session
        The read-in of each session known, the source first.
    alignment_report_ : dict of str to dict
        For each target session how its alignment went, see Notes.
    source_ : str
        Name of the source session.
    n_bins_ : int
        Bins per trial.
    n_components_ : int
        Number of latent dims.
    n_features_in_ : int
        Number of neurons of the source.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the source's neurons, if X had any.

    See Also
    --------
    GeometryAligner : The warm start alone.
    IdentityAligner : No adaptation.
    skerdiff.diffusion.DiffusionPrior : The prior as an estimator of its own.

    Notes
    -----
    The report of a session holds that of the warm start (see `GeometryAligner`),
    ``criterion_curve`` (step and held-out objective) and ``n_steps`` (the step kept).

    Differences from the published code: the geometry warm start; held-out selection
    of the step without labels (the public code keeps the best epoch by target labels);
    source and target batches are never paired by index (in its direction-sorted files
    that leaks labels); the divergence term is left out, for it is constant under a
    variance-preserving SDE; latents are posterior means.

    References
    ----------
    .. [1] Wang, Y., Wu, Z., Li, C. and Wu, A. "Extraction and recovery of
       spatio-temporal structure in latent dynamics alignment with diffusion models."
       NeurIPS 2023.

    Examples
    --------
    >>> from skerdiff import ERDiffAligner, SequentialVAE
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> from skerdiff.diffusion import DiffusionPrior
    >>> trials, y = make_reaching_sessions(
    ...     n_trials=60, n_neurons=40, random_state=0, return_X_y=True
    ... )
    >>> aligner = ERDiffAligner(
    ...     SequentialVAE(max_iter=2, n_hidden=8),
    ...     DiffusionPrior(max_iter=1, n_channels=8),
    ...     n_starts=4,
    ...     max_steps=2,
    ...     random_state=0,
    ... )
    >>> aligner = aligner.fit(trials["day0"]).adapt(trials["day1"])
    >>> aligner.transform(trials["day1"]).shape
    (60, 20, 8)
    """

    _parameter_constraints = BaseAligner._parameter_constraints | {
        "prior": [HasMethods(["fit", "score_samples"]), None],
        "noise_scale": [Interval(numbers.Real, 0, None, closed="neither"), None],
        "init": [StrOptions({"geometry", "source", "random"})],
        "n_starts": [Interval(numbers.Integral, 0, None, closed="left")],
        "anchor": [StrOptions({"moments", "transport"}), None],
        "anchor_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "t_max": [Interval(numbers.Real, T_MIN, 1, closed="right")],
        "learning_rate": [Interval(numbers.Real, 0, None, closed="neither")],
        "batch_size": [Interval(numbers.Integral, 1, None, closed="left")],
        "max_steps": [Interval(numbers.Integral, 0, None, closed="left")],
        "check_every": [Interval(numbers.Integral, 1, None, closed="left")],
        "patience": [Interval(numbers.Integral, 1, None, closed="left")],
        "held_out": [Interval(numbers.Real, 0, 1, closed="neither")],
    }

    def __init__(
        self,
        latent_model=None,
        prior=None,
        *,
        n_components=None,
        noise_scale=None,
        init="geometry",
        n_starts=16,
        anchor="moments",
        anchor_weight=1.0,
        t_max=0.5,
        learning_rate=1e-4,
        batch_size=32,
        max_steps=60,
        check_every=10,
        patience=3,
        held_out=0.2,
        on_new_session="align",
        memory=None,
        trial_length=None,
        device="auto",
        random_state=None,
        verbose=False,
    ):
        self.latent_model = latent_model
        self.prior = prior
        self.n_components = n_components
        self.noise_scale = noise_scale
        self.init = init
        self.n_starts = n_starts
        self.anchor = anchor
        self.anchor_weight = anchor_weight
        self.t_max = t_max
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.check_every = check_every
        self.patience = patience
        self.held_out = held_out
        self.on_new_session = on_new_session
        self.memory = memory
        self.trial_length = trial_length
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _fit_source(self, Z):
        prior = self._configure(
            DiffusionPrior() if self.prior is None else clone(self.prior),
            noise_scale=self.noise_scale,
            random_state=derive_seed(self._seed, "prior"),
        )
        self.prior_ = self._cached(_fit_model)(prior, Z, None)

    def _align(self, features, seed):
        start = self._start(features, seed, self.init, self.n_starts)
        if self.max_steps == 0:
            return start
        device = resolve_device(self.device)
        order = numpy_generator(derive_seed(seed, "held out")).permutation(
            len(features)
        )
        n_held_out = min(max(2, round(self.held_out * len(order))), len(order) - 2)
        x = as_tensor(features, device=device)
        size = np.sqrt(features.var((0, 1)).mean())
        readin = ReadIn(
            *(as_tensor(a, device=device) for a in (*start.readin, size))
        ).to(device)
        bar = progress_bar(self.verbose, self.max_steps, "alignment", "step")
        with limit_threads(2), bar as progress:
            curve, n_steps = adapt_readin(
                readin,
                x[order[n_held_out:]],
                x[order[:n_held_out]],
                self._objective(device),
                max_steps=self.max_steps,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                check_every=self.check_every,
                patience=self.patience,
                seed=seed,
                progress=progress,
            )
        report = start.report | {"criterion_curve": curve, "n_steps": n_steps}
        if n_steps == 0:
            return Session(start.readin, report)
        moved = (a.detach().cpu().double().numpy() for a in readin.current())
        return Session(tuple(moved), report)

    def _objective(self, device):
        """Score matching and anchor, as a function of activations and a generator."""
        encoder, denoiser = (
            deepcopy(model.module_).float().to(device).requires_grad_(False)
            for model in (self.latent_model_, self.prior_)
        )
        # the gradient of a recurrent network on a GPU needs its training mode, which
        # changes nothing else: there is no dropout behind the read-in
        encoder.train(device.type == "cuda")
        mean, scale = (
            as_tensor(a, device=device) for a in (self.prior_.mean_, self.prior_.scale_)
        )
        source = (as_tensor(self._latents, device=device) - mean) / scale
        source_moments = moments(source)

        def objective(activations, generator):
            z = (encoder.encode(activations)[0] - mean) / scale
            t = stratified_times(len(z), generator, z, t_max=self.t_max)
            noise = torch.empty_like(z).normal_(generator=generator)
            loss = denoising_loss(denoiser, denoiser.sde, z, t, noise).mean()
            if self.anchor == "moments":
                anchor = gaussian_kl(source_moments, moments(z))
            elif self.anchor == "transport":
                anchor = transport_cost(source, z)
            else:
                anchor = 0.0
            return loss + self.anchor_weight * anchor

        return objective
