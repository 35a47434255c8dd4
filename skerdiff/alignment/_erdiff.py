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
from ..utils._sklearn import NON_NEGATIVE, POSITIVE, HasMethods, Interval, StrOptions
from ._cache import fit_model
from ._gradient import GradientAligner
from ._objective import Objective
from ._parameters import aligner, parameter
from .divergences import gaussian_kl, moments, transport_cost


class ERDiffObjective(Objective):
    """Score matching under a frozen prior, and an anchor."""

    def __init__(self, source, denoiser, anchor, anchor_weight, t_max):
        super().__init__()
        self.denoiser = denoiser
        self.anchor, self.anchor_weight, self.t_max = anchor, anchor_weight, t_max
        self.source, self.source_moments = source, moments(source)

    def train(self, mode=True):
        """Set the mode; the frozen denoiser stays in evaluation mode."""
        super().train(mode)
        self.denoiser.eval()
        return self

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


@aligner
class ERDiffAligner(GradientAligner):
    r"""Align sessions under a diffusion prior of latent trajectories (ERDiff).

    `fit` learns the source session: a latent-variable model gives its
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
    latent_model : LatentModel, default=None
        Latent-variable model of the source; None is ``SequentialVAE()``. It is cloned;
        `random_state`, `device` and `verbose` of the clone are the aligner's.
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
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    prior_ : TrajectoryPrior
        The fitted prior.
    inherited : attributes
        See `_parameters`.

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

    prior: object = parameter(
        None,
        [HasMethods(["fit", "denoiser"]), None],
        keyword_only=False,
    )
    noise_scale: object = parameter(None, [*POSITIVE, None])
    anchor: str = parameter("moments", [StrOptions({"moments", "transport"}), None])
    anchor_weight: float = parameter(1.0, NON_NEGATIVE)
    t_max: float = parameter(0.5, [Interval(numbers.Real, T_MIN, 1, closed="right")])

    def _fit_source(self, features):
        prior = self._configure(
            DiffusionPrior() if self.prior is None else clone(self.prior),
            {"noise_scale": self.noise_scale},
            random_state=derive_seed(self._seed, "prior"),
        )
        self.prior_ = self._once(
            fit_model, {"verbose": self.verbose}, model=prior, X=self._latents
        )
        super()._fit_source(features)

    def _make_objective(self, source):
        denoiser = self.prior_.denoiser().float().to(source.device)
        return ERDiffObjective(
            source,
            denoiser,
            self.anchor,
            self.anchor_weight,
            self.t_max,
        )
