"""ERDiff: alignment under a diffusion prior of whole latent trajectories."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers

import torch
from sklearn.base import clone

from ..diffusion import DiffusionPrior
from ..diffusion._objectives import denoising_loss, stratified_times
from ..diffusion._sde import T_MIN
from ..utils._random import derive_seed
from ..utils._sklearn import HasMethods, Interval, StrOptions
from ._cache import fit_model
from ._divergences import gaussian_kl, moments, transport_cost
from ._docs import share_docs
from ._gradient import GradientAligner
from ._objective import Objective


class ERDiffObjective(Objective):
    """Score matching under a frozen prior, and an anchor."""

    def __init__(self, source, denoiser, anchor, anchor_weight, t_max):
        super().__init__()
        self.denoiser = denoiser
        self.anchor, self.anchor_weight, self.t_max = anchor, anchor_weight, t_max
        self.source, self.source_moments = source, moments(source)

    def losses(self, source, target, progress, generator):
        """Denoising error of the target's latents, and the weighted anchor."""
        t = stratified_times(len(target), generator, target, t_max=self.t_max)
        noise = torch.empty_like(target).normal_(generator=generator)
        error = denoising_loss(self.denoiser, self.denoiser.sde, target, t, noise)
        parts = {"score_matching": error.mean()}
        if self.anchor == "moments":
            anchor = gaussian_kl(self.source_moments, moments(target))
            parts["anchor"] = self.anchor_weight * anchor
        elif self.anchor == "transport":
            parts["anchor"] = self.anchor_weight * transport_cost(self.source, target)
        return parts


@share_docs
class ERDiffAligner(GradientAligner):
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
    contracting to a mode.

    Parameters
    ----------
    latent_model : SequentialVAE, default=None
        Latent-variable model of the source; None is ``SequentialVAE()``. It is cloned.
    prior : TrajectoryPrior, default=None
        Distribution of the latents; None is ``DiffusionPrior()``, whose parameters
        `spatial` and `temporal` make "ERDiff w/o S" and "w/o T". It is cloned.
    n_components : int, default=None
        Number of latent dims; overrides that of `latent_model`.
    noise_scale : float, default=None
        Noise scale of the diffusion; overrides that of `prior`.
    anchor : {"moments", "transport"} or None, default="moments"
        The anchor D: KL divergence of Gaussians with the mean and covariance of all
        bins, optimal-transport cost between whole trials, or none.
    anchor_weight : float, default=1.0
        Weight :math:`\lambda` of the anchor.
    t_max : float, default=0.5
        Largest diffusion time of the score matching.
    shared : start
        See `_docs`.
    shared : loop
        See `_docs`.
    shared : aligner
        See `_docs`.

    Attributes
    ----------
    prior_ : TrajectoryPrior
        The fitted prior.
    shared : trained
        See `_docs`.
    shared : fitted
        See `_docs`.

    See Also
    --------
    GeometryAligner : The warm start alone.
    IdentityAligner : No adaptation.
    skerdiff.diffusion.DiffusionPrior : The prior as an estimator of its own.

    Notes
    -----
    The objective cannot tell a right alignment from a rotated one, so that it finds one
    only if it starts near it.

    Differences from the published code: the geometry warm start; selection of the step
    without labels (the public code keeps the best epoch by target labels);
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

    _parameter_constraints = GradientAligner._parameter_constraints | {
        "prior": [HasMethods(["fit", "score_samples", "denoiser"]), None],
        "noise_scale": [Interval(numbers.Real, 0, None, closed="neither"), None],
        "anchor": [StrOptions({"moments", "transport"}), None],
        "anchor_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "t_max": [Interval(numbers.Real, T_MIN, 1, closed="right")],
    }

    def __init__(
        self,
        latent_model=None,
        prior=None,
        *,
        n_components=None,
        noise_scale=None,
        anchor="moments",
        anchor_weight=1.0,
        t_max=0.5,
        init="geometry",
        n_starts=200,
        learning_rate=1e-4,
        batch_size=32,
        max_steps=100,
        check_every=10,
        patience=10,
        held_out=0.2,
        on_new_session="align",
        memory=None,
        trial_length=None,
        device="auto",
        random_state=None,
        verbose=False,
    ):
        super().__init__(
            latent_model,
            n_components=n_components,
            init=init,
            n_starts=n_starts,
            learning_rate=learning_rate,
            batch_size=batch_size,
            max_steps=max_steps,
            check_every=check_every,
            patience=patience,
            held_out=held_out,
            on_new_session=on_new_session,
            memory=memory,
            trial_length=trial_length,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.prior = prior
        self.noise_scale = noise_scale
        self.anchor = anchor
        self.anchor_weight = anchor_weight
        self.t_max = t_max

    def _fit_source(self, Z):
        prior = self._configure(
            DiffusionPrior() if self.prior is None else clone(self.prior),
            noise_scale=self.noise_scale,
            random_state=derive_seed(self._seed, "prior"),
        )
        self.prior_ = self._once(fit_model, {"verbose": self.verbose}, model=prior, X=Z)
        super()._fit_source(Z)

    def _make_objective(self, source):
        denoiser = self.prior_.denoiser().float().to(source.device)
        return ERDiffObjective(
            source,
            denoiser,
            self.anchor,
            self.anchor_weight,
            self.t_max,
        )
