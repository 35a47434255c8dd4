"""SASA: alignment of sparse associative structure."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..utils._sklearn import COUNT, NON_NEGATIVE
from ._gradient import GradientAligner
from ._objective import Objective
from ._parameters import aligner, parameter

N_SEGMENTS = 6  # at most


def sparsemax(scores: Tensor) -> Tensor:
    """Project scores onto the simplex along the last axis; entries can be zero.

    Entries of minus infinity get no weight, if one at least is finite.
    """
    ordered = scores.sort(-1, descending=True).values
    highest = ordered[..., :1]  # differences to it, which hold large scores exactly
    ordered = ordered - highest
    excess = ordered.cumsum(-1) - 1
    rank = torch.arange(1, scores.shape[-1] + 1, device=scores.device)
    size = (rank * ordered > excess).sum(-1, keepdim=True).clamp_min(1)
    threshold = excess.gather(-1, size - 1) / size
    return F.relu(scores - highest - threshold)


def segment_lengths(n_bins: int) -> list[int]:
    """Lengths of the segments of a history of so many bins, longest first."""
    shortest = max(1, round(n_bins / N_SEGMENTS))
    lengths = torch.linspace(shortest, n_bins, N_SEGMENTS).round().int()
    return sorted(set(lengths.tolist()), reverse=True)


class SegmentLSTMs(nn.Module):
    """One LSTM per variable, over all end-aligned segments of its history.

    Parameters
    ----------
    n_variables : int
        Number of variables.
    n_hidden : int
        Size of the state of each LSTM.
    """

    def __init__(self, n_variables: int, n_hidden: int):
        super().__init__()

        def uniform(*shape):
            bound = 1 / math.sqrt(n_hidden)
            return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))

        self.input = uniform(n_variables, 1, 1, 4 * n_hidden)
        self.bias = uniform(n_variables, 1, 1, 4 * n_hidden)
        self.recurrent = uniform(n_variables, n_hidden, 4 * n_hidden)

    def forward(self, z: Tensor) -> Tensor:
        """Last states (n, n_variables, n_segments, n_hidden) of z (n, n_bins, .).

        Segments are ordered from the longest to the shortest. All variables and
        segments go through one loop over bins, which a segment joins at its first bin.
        """
        (n, n_bins, n_variables), n_hidden = z.shape, self.recurrent.shape[1]
        drive = torch.addcmul(self.bias, z.permute(2, 1, 0)[..., None], self.input)
        starts = [n_bins - length for length in segment_lengths(n_bins)]
        state = cell = z.new_zeros(n_variables, 0, n_hidden)
        fresh = z.new_zeros(n_variables, n, n_hidden)
        for t, arriving in enumerate(drive.unbind(1)):
            if t in starts:
                state, cell = (torch.cat([a, fresh], 1) for a in (state, cell))
            arriving = arriving.repeat(1, state.shape[1] // n, 1)
            gates = torch.baddbmm(arriving, state, self.recurrent)
            gates, change = gates.split([3 * n_hidden, n_hidden], -1)
            inlet, forget, outlet = gates.sigmoid().chunk(3, -1)
            cell = torch.addcmul(forget * cell, inlet, change.tanh())
            state = outlet * cell.tanh()
        return state.unflatten(1, (len(starts), n)).permute(2, 0, 1, 3)


class SASAObjective(Objective):
    """Forecast of the source, and distance of the mean attention of both sessions."""

    def __init__(self, n_components, n_hidden, weight):
        super().__init__()
        self.weight = weight
        self.encoder = SegmentLSTMs(n_components, n_hidden)
        maps = torch.randn(3, n_components, n_hidden, n_hidden) / math.sqrt(n_hidden)
        self.maps = nn.Parameter(maps)  # to queries, keys and values
        self.head = nn.Linear(2 * n_components * n_hidden, n_components)

    def structure(self, history: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Attention within and between variables, and features, of (n, n_bins, d).

        Returns alpha (n, d, n_segments), beta (n, d, d * n_segments), in which a
        variable has no weight on its own segments, and features (n, 2 * d * n_hidden).
        """
        h = self.encoder(history)
        n_components, n_segments, n_hidden = h.shape[1:]
        q, k, v = h @ self.maps[:, None]
        # the mean over queries of all scores is the score of the mean query
        scores = q.mean(-2, keepdim=True) @ k.mT / math.sqrt(n_hidden)
        alpha = sparsemax(scores)
        within = (alpha @ v).squeeze(-2)
        segments = h.flatten(1, 2)
        cosines = _unit(within) @ _unit(segments).mT
        if n_components > 1:
            own = torch.eye(n_components, dtype=torch.bool, device=h.device)
            own = own.repeat_interleave(n_segments, 1)
            cosines = cosines.masked_fill(own, -torch.inf)
        beta = sparsemax(cosines)
        features = torch.cat([within, beta @ segments], -1)
        return alpha.squeeze(-2), beta, features.flatten(1)

    def losses(self, source, target, progress, generator):
        """Squared error of the forecast, and the weighted distance of structures."""
        n = len(source)
        history = torch.cat([source, target])[:, : max(1, source.shape[1] - 1)]
        *structures, features = self.structure(history)
        gaps = [a[:n].mean(0) - a[n:].mean(0) for a in structures]
        # torch's norm has gradient zero at zero
        alignment = sum(torch.linalg.vector_norm(gap, dim=-1).sum() for gap in gaps)
        forecast = F.mse_loss(self.head(features[:n]), source[:, -1])
        return {"forecast": forecast, "alignment": self.weight * alignment}


def _unit(x):
    # the small constant bounds the gradient at zero
    return x / (x.square().sum(-1, keepdim=True) + 1e-8).sqrt()


@aligner
class SASAAligner(GradientAligner):
    r"""Align sessions by the sparse associations between their latents (SASA).

    Latent dims are variables. Of each variable i, segments of several lengths that end
    at the last bin but one go through an LSTM of its own, with last states
    :math:`h_i^n`. Sparse attention weighs the segments of a variable,
    :math:`\alpha_i`, and, by the cosine to what it has read, :math:`Z_i`, those of all
    other variables, :math:`\beta_i`, which gives :math:`U_i`. Adaptation minimises

    .. math:: E_s \lVert f(Z, U) - z_\mathrm{last} \rVert^2 + w \sum_i
              \left( \lVert E_s \alpha_i - E_t \alpha_i \rVert_2 +
              \lVert E_s \beta_i - E_t \beta_i \rVert_2 \right),

    a forecast of the last bin in the source, and the distance between the mean
    attention weights of source s and target t, over the target read-in and the
    networks.

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    n_hidden : int, default=22
        Size of the state of each LSTM.
    weight : float, default=1.0
        Weight :math:`w` of the distance.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.

    See Also
    --------
    DAFAligner : Attention shared by the sessions, under an adversary.
    JSDAligner : Moments of the latents in place of associations.

    Notes
    -----
    The read-in is moved by the distance alone, for the forecast reads the source. As
    Adam divides a gradient by its size, `weight` counts little for the read-in itself;
    it sets how far the networks give way to the distance.

    There are up to six segments, from a sixth of the history to all of it. A trial of
    one bin is its own history.

    Differences from the published code: the task is a forecast of the latents instead
    of labels, with a linear head and no dropout; attention scores are not rescaled
    with the number of segments. The public TensorFlow code takes 5 or, for one data
    set, 1000 for `weight`. In a public PyTorch version the distances are copied to new
    tensors, which cuts their gradient; here it reaches the read-in.

    References
    ----------
    .. [1] Cai, R. et al. "Time series domain adaptation via sparse associative
       structure alignment." AAAI 2021. :arxiv:`2012.11797`

    .. [2] Martins, A. and Astudillo, R. "From softmax to sparsemax: a sparse model of
       attention and multi-label classification." ICML 2016. :arxiv:`1602.02068`

    Examples
    --------
    >>> from skerdiff import SequentialVAE
    >>> from skerdiff.alignment import SASAAligner
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> trials, y = make_reaching_sessions(
    ...     n_trials=60, n_neurons=40, random_state=0, return_X_y=True
    ... )
    >>> model = SequentialVAE(max_iter=2, n_hidden=8)
    >>> aligner = SASAAligner(model, n_starts=4, max_steps=2, random_state=0)
    >>> aligner = aligner.fit(trials["day0"]).adapt(trials["day1"])
    >>> aligner.transform(trials["day1"]).shape
    (60, 20, 8)
    """

    n_hidden: int = parameter(22, COUNT)
    weight: float = parameter(1.0, NON_NEGATIVE)

    def _make_objective(self, source):
        return SASAObjective(source.shape[-1], self.n_hidden, self.weight)
