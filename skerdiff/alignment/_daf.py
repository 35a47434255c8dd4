"""DAF: alignment by attention that the sessions share."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..utils._sklearn import COUNT, NON_NEGATIVE, at_least
from ._gradient import AdversarialAligner
from ._objective import Objective
from ._parameters import aligner, parameter

WINDOWS = (3, 5)  # bins that a pattern spans
_FLOOR = 1e-3  # added to the variance of standardised latents


class Patterns(nn.Module):
    """Convolutions of several windows over the bins before, or after, each bin.

    Parameters
    ----------
    n_components : int
        Number of latent dims.
    n_hidden : int
        Channels of all windows together.
    after : bool
        Whether windows begin after the bin, rather than end before it.
    """

    def __init__(self, n_components: int, n_hidden: int, after: bool):
        super().__init__()
        self.after = after
        n_last = n_hidden // len(WINDOWS)
        sizes = [n_hidden - n_last * (len(WINDOWS) - 1)] + [n_last] * (len(WINDOWS) - 1)
        self.windows = nn.ModuleList(
            nn.Conv1d(n_components, size, window)
            for size, window in zip(sizes, WINDOWS)
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map (n, n_bins, d) to (n, n_bins, n_hidden); no bin reads itself."""
        pads = [(-1, w) if self.after else (w, -1) for w in WINDOWS]
        parts = [conv(F.pad(z.mT, pad)) for conv, pad in zip(self.windows, pads)]
        return torch.cat(parts, 1).mT


def _mlp(n_inputs, n_hidden, n_outputs):
    return nn.Sequential(
        nn.Linear(n_inputs, n_hidden), nn.GELU(), nn.Linear(n_hidden, n_outputs)
    )


def relative_error(prediction: Tensor, z: Tensor) -> Tensor:
    """Mean squared error over the variance of each dim, the mean over dims."""
    error = (prediction - z).square().mean((0, 1))
    return (error / (z.var((0, 1), correction=0) + _FLOOR)).mean()


class DAFObjective(Objective):
    """Prediction in both sessions, and a discriminator of their queries."""

    adversaries = ("discriminator",)

    def __init__(self, n_components, n_hidden, n_heads, adversarial_weight):
        super().__init__()
        self.n_heads, self.adversarial_weight = n_heads, adversarial_weight
        self.before = Patterns(n_components, n_hidden, after=False)
        self.after = Patterns(n_components, n_hidden, after=True)
        self.query, self.key = (_mlp(n_hidden, n_hidden, n_hidden) for _ in range(2))
        # private to the source and to the target
        self.values = nn.ModuleList(
            _mlp(n_components, n_hidden, n_hidden) for _ in range(2)
        )
        self.heads = nn.ModuleList(
            _mlp(n_hidden, n_hidden, n_components) for _ in range(2)
        )
        self.discriminator = _mlp(n_hidden, n_hidden, 1)
        for layer in self.discriminator[::2]:
            nn.init.normal_(layer.weight, std=0.1)
            nn.init.zeros_(layer.bias)

    def patterns(self, z: Tensor) -> Tensor:
        """Map (n, n_bins, d) to (n, 2, n_bins, n_hidden), before and after bins."""
        return torch.stack([self.before(z), self.after(z)], 1)

    def predict(self, z, queries, keys, domain) -> tuple[Tensor, Tensor]:
        """Predict bins from the past, and from all others.

        Scores of the past compare what came before two bins, those of the future what
        came after; values are the bins themselves.

        Parameters
        ----------
        z : Tensor of shape (n, n_bins, d)
            Latents of one session.
        queries, keys : Tensor of shape (n, 2, n_bins, n_hidden)
            Those of its patterns.
        domain : int
            0 for the source, 1 for the target.

        Returns
        -------
        forecast : Tensor of shape (n, n_bins - 1, d)
            All bins but the first, each from those before it.
        interpolation : Tensor of shape (n, n_bins, d)
            All bins, each from all others.
        """
        q, k, v = (
            a.unflatten(-1, (self.n_heads, -1)).transpose(-3, -2)
            for a in (queries, keys, self.values[domain](z))
        )
        from_past, from_future = (q / math.sqrt(q.shape[-1]) @ k.mT).unbind(1)
        n_bins = z.shape[1]
        own = torch.eye(n_bins, dtype=torch.bool, device=z.device)
        past = torch.ones_like(own).tril(-1)
        past[0, 0] = True  # a row without keys is no number; it is cut off
        both = torch.where(past, from_past, from_future)
        scores = (
            from_past.masked_fill(~past, -torch.inf),
            both.masked_fill(own, -torch.inf) if n_bins > 1 else both,
        )
        forecast, interpolation = (
            self.heads[domain]((a.softmax(-1) @ v).transpose(1, 2).flatten(2))
            for a in scores
        )
        return forecast[:, min(1, n_bins - 1) :], interpolation

    def losses(self, source, target, progress, generator):
        """Squared error of all predictions, and what the discriminator gets right."""
        sizes = len(source), len(target)
        patterns = self.patterns(torch.cat([source, target]))
        queries, keys = (f(patterns).split(sizes) for f in (self.query, self.key))
        sequence = sum(
            relative_error(prediction, z[:, -prediction.shape[1] :])
            for domain, z in enumerate((source, target))
            for prediction in self.predict(z, queries[domain], keys[domain], domain)
        )
        adversarial = -self.adversarial_weight * self.discrimination(*queries)
        return {"sequence": sequence, "adversarial": adversarial}

    def discrimination(self, source: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of the discriminator, which calls queries source or target."""
        loss = F.softplus(-self.discriminator(source)).mean()
        return loss + F.softplus(self.discriminator(target)).mean()

    def adversary(self, source, target, generator):
        """The same on detached queries."""
        with torch.no_grad():
            queries = [self.query(self.patterns(z)) for z in (source, target)]
        return self.discrimination(*queries)


@aligner
class DAFAligner(AdversarialAligner):
    r"""Align sessions by attention that they share, under an adversary (DAF).

    Both sessions are predicted by one attention, bins from those before them and from
    all others. Queries q and keys are computed from convolutions over neighbouring
    bins by networks that the sessions share; the values and the heads that turn them
    into latents are private to each. A discriminator D tells the sessions by their
    queries,

    .. math:: L_D = -E_s \log D(q) - E_t \log (1 - D(q)),

    and the target read-in and all other networks minimise

    .. math:: L_\mathrm{seq}(s) + L_\mathrm{seq}(t) - \lambda L_D

    in turns with it, where :math:`L_\mathrm{seq}` is the mean squared error of both
    kinds of predictions over the variance of what is predicted.

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    n_hidden : int, default=96
        Width of the networks.
    n_heads : int, default=4
        Attention heads; `n_hidden` is a multiple.
    adversarial_weight : float, default=1.0
        Weight :math:`\lambda` of the discriminator's loss.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.

    See Also
    --------
    SASAAligner : Attention weights that the sessions have in common, no adversary.
    JSDAligner : Moments of the latents in place of queries.

    Notes
    -----
    Patterns span the three and five bins before a bin, and those after it. A query and
    the key of an earlier bin are of the patterns before either bin, a query and the key
    of a later bin of those after, so that no prediction reads what it predicts. A trial
    of one bin predicts itself.

    Differences from the published code: errors count relative to the variance, because
    here the latents of the target move too, and contracted ones are predicted with a
    smaller error (with plain errors they did contract); there the windows are centred,
    and the pattern of a bin that is interpolated contains the bin; the convolutions are
    private to a session, here they are shared, so that it is left to the read-in to
    make the queries alike; there is one layer of attention, without positions, dropout
    or normalisation.

    References
    ----------
    .. [1] Jin, X. et al. "Domain adaptation for time series forecasting via attention
       sharing." ICML 2022. :arxiv:`2102.06828`

    Examples
    --------
    >>> from skerdiff import SequentialVAE
    >>> from skerdiff.alignment import DAFAligner
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> trials, y = make_reaching_sessions(
    ...     n_trials=60, n_neurons=40, random_state=0, return_X_y=True
    ... )
    >>> model = SequentialVAE(max_iter=2, n_hidden=8)
    >>> aligner = DAFAligner(model, n_starts=4, max_steps=2, random_state=0)
    >>> aligner = aligner.fit(trials["day0"]).adapt(trials["day1"])
    >>> aligner.transform(trials["day1"]).shape
    (60, 20, 8)
    """

    n_hidden: int = parameter(96, [at_least(2)])
    n_heads: int = parameter(4, COUNT)
    adversarial_weight: float = parameter(1.0, NON_NEGATIVE)

    def _make_objective(self, source):
        if self.n_hidden % self.n_heads != 0:
            raise ValueError(
                f"n_hidden={self.n_hidden} must be a multiple of "
                f"n_heads={self.n_heads}."
            )
        return DAFObjective(
            source.shape[-1], self.n_hidden, self.n_heads, self.adversarial_weight
        )
