"""Cycle-GAN: least-squares adversaries and cycle-consistent maps of latents."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..utils._sklearn import COUNT, NON_NEGATIVE, Interval
from ._gradient import AdversarialAligner
from ._objective import Objective
from ._parameters import aligner, parameter


def drop(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Dropout with a mask by a generator; without one x as it is."""
    if generator is None or rate == 0:
        return x
    kept = torch.empty_like(x).uniform_(generator=generator) >= rate
    return x * kept / (1 - rate)


class Perceptron(nn.Module):
    """Two hidden layers of rectified units with dropout.

    Parameters
    ----------
    n_in, n_hidden, n_out : int
        Widths.
    dropout : float
        Share of the hidden units dropped in training.
    """

    def __init__(self, n_in: int, n_hidden: int, n_out: int, dropout: float):
        super().__init__()
        self.hidden = nn.ModuleList(
            [nn.Linear(n_in, n_hidden), nn.Linear(n_hidden, n_hidden)]
        )
        self.out = nn.Linear(n_hidden, n_out)
        self.dropout = dropout

    def forward(self, x: Tensor, generator=None) -> Tensor:
        """Map (., n_in) to (., n_out); dropout in training with a generator."""
        generator = generator if self.training else None
        for layer in self.hidden:
            x = drop(F.relu(layer(x)), self.dropout, generator)
        return self.out(x)


class Translator(Perceptron):
    """Residual map of the latents of a bin, at first the identity."""

    def __init__(self, n_components: int, n_hidden: int, dropout: float):
        super().__init__(n_components, n_hidden, n_components, dropout)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, generator=None) -> Tensor:
        """Map latents (., d) to latents (., d)."""
        return x + super().forward(x, generator)


class CycleGANObjective(Objective):
    """Two maps between the sessions, and an adversary in each session.

    Parameters
    ----------
    n_components : int
        Latent dims.
    n_hidden : int
        Width of the hidden layers.
    cycle_weight, identity_weight : float
        Weights of the two terms besides the adversarial one.
    dropout : float
        Share of the hidden units dropped in training.
    """

    adversaries = ("judge_source", "judge_target")

    def __init__(
        self,
        n_components,
        n_hidden=72,
        cycle_weight=5.0,
        identity_weight=5.0,
        dropout=0.2,
    ):
        super().__init__()
        self.to_source = Translator(n_components, n_hidden, dropout)
        self.to_target = Translator(n_components, n_hidden, dropout)
        self.judge_source = Perceptron(n_components, n_hidden, 1, dropout)
        self.judge_target = Perceptron(n_components, n_hidden, 1, dropout)
        self.cycle_weight, self.identity_weight = cycle_weight, identity_weight

    def map_network(self):
        """Map from target to source."""
        return self.to_source

    def losses(self, source, target, progress, generator):
        """What both maps and the read-in minimise: adversarial, cycle, identity."""
        both, n = torch.cat([source, target]), len(source)
        as_source = self.to_source(both, generator)
        as_target = self.to_target(both, generator)
        fake_source, fake_target = as_source[n:], as_target[:n]
        adversarial = _squared_error(self.judge_source(fake_source, generator), 1)
        adversarial += _squared_error(self.judge_target(fake_target, generator), 1)
        cycle = F.l1_loss(self.to_target(fake_source, generator), target)
        cycle += F.l1_loss(self.to_source(fake_target, generator), source)
        identity = F.l1_loss(as_source[:n], source)
        identity += F.l1_loss(as_target[n:], target)
        return {
            "adversarial": adversarial,
            "cycle": self.cycle_weight * cycle,
            "identity": self.identity_weight * identity,
        }

    def adversary(self, source, target, generator):
        """Loss of both discriminators, least squares."""
        with torch.no_grad():
            fake_source = self.to_source(target, generator)
            fake_target = self.to_target(source, generator)
        loss = 0.0
        for judge, real, fake in (
            (self.judge_source, source, fake_source),
            (self.judge_target, target, fake_target),
        ):
            loss += 0.5 * _squared_error(judge(real, generator), 1)
            loss += 0.5 * _squared_error(judge(fake, generator), 0)
        return loss


def _squared_error(value, aim):
    return ((value - aim) ** 2).mean()


@aligner
class CycleGANAligner(AdversarialAligner):
    r"""Align sessions by cycle-consistent adversarial maps of the latents (Cycle-GAN).

    A map G takes the latents of a target bin to the source, F those of a source bin to
    the target, and a discriminator in each session tells real bins from mapped ones
    [1]_. Maps and target read-in minimise

    .. math:: &E (D_s(G(z_t)) - 1)^2 + E (D_t(F(z_s)) - 1)^2 \\
              &+ w_c \left(\lvert F(G(z_t)) - z_t \rvert
              + \lvert G(F(z_s)) - z_s \rvert\right) \\
              &+ w_i \left(\lvert G(z_s) - z_s \rvert
              + \lvert F(z_t) - z_t \rvert\right),

    each norm a mean over bins and dims, the discriminators

    .. math:: \tfrac12 E (D_s(z_s) - 1)^2 + \tfrac12 E D_s(G(z_t))^2
              + \tfrac12 E (D_t(z_t) - 1)^2 + \tfrac12 E D_t(F(z_s))^2 .

    The aligned latents are :math:`G(z_t)`.

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    n_hidden : int, default=72
        Width of both hidden layers of the four networks.
    cycle_weight : float, default=5.0
        Weight :math:`w_c`.
    identity_weight : float, default=5.0
        Weight :math:`w_i`.
    dropout : float, default=0.2
        Share of the hidden units dropped in training.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.

    See Also
    --------
    ADANAligner : One map, and an autoencoder as the adversary.
    DANNAligner : A classifier of sessions, and no map.

    Notes
    -----
    The weights are part of the losses in `loss_curve_`.

    Differences from the published code: latents of a source model take the place of
    firing rates, and so the maps have no rectifier at the end; the maps are
    :math:`x + f(x)` with the last layer of f at zero, the identity before the first
    step; the read-in is trained with the maps; a batch holds all bins of its trials;
    maps and discriminators have step sizes of 1e-4 and 1e-3, where the published values
    are 1e-3 and 1e-2; the hidden layers are wider than their input.

    References
    ----------
    .. [1] Ma, X. et al. "Using adversarial networks to extend brain computer interface
       decoding accuracy over time." eLife 12:e84296, 2023. :doi:`10.7554/eLife.84296`

    Examples
    --------
    >>> from skerdiff import SequentialVAE
    >>> from skerdiff.alignment import CycleGANAligner
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> trials, y = make_reaching_sessions(
    ...     n_trials=60, n_neurons=40, random_state=0, return_X_y=True
    ... )
    >>> model = SequentialVAE(max_iter=2, n_hidden=8)
    >>> aligner = CycleGANAligner(model, n_starts=4, max_steps=2, random_state=0)
    >>> aligner = aligner.fit(trials["day0"]).adapt(trials["day1"])
    >>> aligner.transform(trials["day1"]).shape
    (60, 20, 8)
    """

    n_hidden: int = parameter(72, COUNT)
    cycle_weight: float = parameter(5.0, NON_NEGATIVE)
    identity_weight: float = parameter(5.0, NON_NEGATIVE)
    dropout: float = parameter(0.2, [Interval(numbers.Real, 0, 1, closed="left")])

    def _make_objective(self, source):
        return CycleGANObjective(
            source.shape[2],
            self.n_hidden,
            self.cycle_weight,
            self.identity_weight,
            self.dropout,
        )
