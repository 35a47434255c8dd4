"""DANN: alignment against a classifier of sessions, by gradient reversal."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import math
import numbers

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..utils._sklearn import Interval
from ._docs import share_docs
from ._gradient import GradientAligner
from ._objective import Objective


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
        known, other = logits[: len(source)], logits[len(source) :]
        return F.softplus(-known).mean() + F.softplus(other).mean()


@share_docs
class DANNAligner(GradientAligner):
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
    shared : model
        See `_docs`.
    n_hidden : int, default=64
        Width of the classifier's layers.
    recurrent : bool, default=True
        Whether the classifier sees a bin together with those before it in the trial, by
        a gated recurrent unit, or each bin on its own.
    strength : float, default=1.0
        Multiplies :math:`\lambda`.
    shared : adversary
        See `_docs`.
    shared : start
        See `_docs`.
    shared : loop
        See `_docs`.
    shared : aligner
        See `_docs`.

    Attributes
    ----------
    shared : trained
        See `_docs`.
    shared : fitted
        See `_docs`.

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

    _parameter_constraints = GradientAligner._parameter_constraints | {
        "n_hidden": [Interval(numbers.Integral, 1, None, closed="left")],
        "recurrent": ["boolean"],
        "strength": [Interval(numbers.Real, 0, None, closed="left")],
        "adversary_learning_rate": [Interval(numbers.Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        latent_model=None,
        *,
        n_components=None,
        n_hidden=64,
        recurrent=True,
        strength=1.0,
        adversary_learning_rate=1e-3,
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
        self.n_hidden = n_hidden
        self.recurrent = recurrent
        self.strength = strength
        self.adversary_learning_rate = adversary_learning_rate

    def _make_objective(self, source):
        return DANNObjective(
            source.shape[2], self.n_hidden, self.recurrent, self.strength
        )
