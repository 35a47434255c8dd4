"""DANN: alignment against a classifier of sessions, by gradient reversal."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..utils._sklearn import COUNT, NON_NEGATIVE
from ._gradient import AdversarialAligner
from ._objective import Objective
from ._parameters import aligner, parameter


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.strength * gradient, None


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """Return x; its gradient comes back multiplied by -strength."""
    return _ReverseGradient.apply(x, strength)


def ramp(progress: float) -> float:
    """Rise from 0 at progress 0 to almost 1 at 1, steeply at first."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


class DomainClassifier(nn.Module):
    """Logit, for every bin of a trial, that the trial is of the source session.

    Parameters
    ----------
    n_components : int
        Latent dims.
    n_hidden : int
        Width of all layers.
    recurrent : bool
        Whether a bin is seen with all bins before it, or alone.
    """

    def __init__(self, n_components: int, n_hidden: int, recurrent: bool):
        super().__init__()
        self.recurrent = recurrent
        if recurrent:
            self.features = nn.GRU(n_components, n_hidden, batch_first=True)
        else:
            self.features = nn.Sequential(
                nn.Linear(n_components, n_hidden), nn.LeakyReLU(0.2)
            )
        self.head = nn.Sequential(
            nn.Linear(n_hidden, n_hidden), nn.LeakyReLU(0.2), nn.Linear(n_hidden, 1)
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map latents (n_trials, n_bins, d) to logits (n_trials, n_bins)."""
        h = self.features(z)
        return self.head(h[0] if self.recurrent else h).squeeze(-1)


class DANNObjective(Objective):
    """A classifier of sessions, whose gradient the read-in gets with the sign turned.

    Parameters
    ----------
    n_components : int
        Latent dims.
    n_hidden : int
        Width of the classifier.
    recurrent : bool
        Whether the classifier sees whole trials.
    strength : float
        Weight of the reversed gradient at the end.
    """

    adversaries = ("classifier",)

    def __init__(self, n_components, n_hidden=64, recurrent=True, strength=1.0):
        super().__init__()
        self.classifier = DomainClassifier(n_components, n_hidden, recurrent)
        self.strength = strength

    def losses(self, source, target, progress, generator):
        """The classifier's own loss, behind the gradient reversal."""
        reversed_ = reverse_gradient(target, self.strength * ramp(progress))
        return {"domain": self._classification(source, reversed_)}

    def adversary(self, source, target, generator):
        """Cross-entropy of the sessions, the sum of the mean of each."""
        return self._classification(source, target)

    def _classification(self, source, target):
        logits = self.classifier(torch.cat([source, target]))
        own, other = logits[: len(source)], logits[len(source) :]
        return F.softplus(-own).mean() + F.softplus(other).mean()


@aligner
class DANNAligner(AdversarialAligner):
    r"""Align sessions against a classifier that tells them apart (DANN).

    A classifier D learns to tell the source's latents from the target's; the target
    read-in :math:`\phi` is moved along the reversed gradient of the classifier's loss
    [1]_,

    .. math:: L_D = -E \log D(Z_s) - E \log(1 - D(Z_\phi)), \qquad
              \phi \leftarrow \phi + \eta \lambda \nabla_\phi L_D, \qquad
              \lambda(p) = \frac{2}{1 + e^{-10 p}} - 1,

    with p the share of the steps that are done. Where D can do no better than chance,
    the sessions are aligned in everything that it can see.

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    n_hidden : int, default=64
        Width of the classifier's layers.
    recurrent : bool, default=True
        Whether the classifier sees a bin together with those before it in the trial, by
        a gated recurrent unit, or each bin on its own.
    strength : float, default=1.0
        Multiplies :math:`\lambda`.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.

    See Also
    --------
    ADANAligner : The adversary is an autoencoder.
    CycleGANAligner : Least-squares adversaries and a map of the latents.
    MMDAligner : A discrepancy in closed form, without an adversary.

    Notes
    -----
    The loss named ``"domain"`` is that of the classifier: :math:`2 \log 2` is chance.

    Differences from the published method: the features are the latents of a frozen
    source model, of which only the target's read-in moves, and so the reversed gradient
    reaches the target alone; there is no task loss, for the decoder is fitted later;
    the classifier takes a step of its own, by Adam, before each step of the read-in; it
    is recurrent, with a logit at every bin.

    References
    ----------
    .. [1] Ganin, Y. et al. "Domain-adversarial training of neural networks." Journal of
       Machine Learning Research 17, 2016. :arxiv:`1505.07818`

    Examples
    --------
    >>> from skerdiff import SequentialVAE
    >>> from skerdiff.alignment import DANNAligner
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> trials, y = make_reaching_sessions(
    ...     n_trials=60, n_neurons=40, random_state=0, return_X_y=True
    ... )
    >>> model = SequentialVAE(max_iter=2, n_hidden=8)
    >>> aligner = DANNAligner(model, n_starts=4, max_steps=2, random_state=0)
    >>> aligner = aligner.fit(trials["day0"]).adapt(trials["day1"])
    >>> aligner.transform(trials["day1"]).shape
    (60, 20, 8)
    """

    n_hidden: int = parameter(64, COUNT)
    recurrent: bool = parameter(True, ["boolean"])
    strength: float = parameter(1.0, NON_NEGATIVE)

    def _make_objective(self, source):
        return DANNObjective(
            source.shape[2], self.n_hidden, self.recurrent, self.strength
        )
