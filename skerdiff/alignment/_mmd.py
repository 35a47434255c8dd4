"""MMD: alignment by the maximum mean discrepancy of latents."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import nn
from torch.nn import functional as F

from ..utils._sklearn import COUNT, NON_NEGATIVE
from ._gradient import GradientAligner
from ._objective import Objective
from ._parameters import aligner, parameter
from .divergences import squared_mmd

_N_ROWS = 256  # bins of each session whose states are compared in a step


class MMDObjective(Objective):
    """Discrepancy of whole trials, or of a recurrent network's states and forecasts."""

    def __init__(self, source, recurrent, n_hidden, forecast_weight):
        super().__init__()
        self.forecast_weight = forecast_weight
        self.network = self.out = None
        if recurrent:
            d = source.shape[2]
            self.network = nn.LSTM(d, n_hidden, batch_first=True)
            self.out = nn.Linear(n_hidden, d)

    def losses(self, source, target, progress, generator):
        """The discrepancy and, with a network, the error of its forecasts."""
        if self.network is None:
            return {"discrepancy": squared_mmd(source.flatten(1), target.flatten(1))}
        states = [self.network(z)[0] for z in (source, target)]
        forecast = sum(
            F.mse_loss(self.out(h[:, :-1]), z[:, 1:])
            for h, z in zip(states, (source, target))
            if z.shape[1] > 1
        )
        rows = (self._draw(h.flatten(0, 1), generator) for h in states)
        return {
            "discrepancy": squared_mmd(*rows),
            "forecast": self.forecast_weight * forecast,
        }

    @staticmethod
    def _draw(rows, generator):
        """Some of the rows: the cost grows with the square of their number."""
        order = torch.randperm(len(rows), generator=generator, device=rows.device)
        return rows[order[:_N_ROWS]]


@aligner
class MMDAligner(GradientAligner):
    r"""Align sessions by the maximum mean discrepancy of their latents (MMD).

    The target read-in is moved until whole trials of both sessions are alike in the
    reproducing-kernel sense,

    .. math:: \mathrm{MMD}^2 = E\, k(s, s') + E\, k(t, t') - 2 E\, k(s, t) ,

    under a mean of Gaussian kernels around the median squared distance. With
    ``recurrent=True`` it is RDA-MMD: the discrepancy is that of the states of a
    recurrent network in single bins, and the network forecasts the next bin of both
    sessions, so that its states tell dynamics apart.

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    recurrent : bool, default=False
        Whether to compare states of a recurrent network.
    n_hidden : int, default=120
        Size of the recurrent network.
    forecast_weight : float, default=0.1
        Weight of the forecast error beside the discrepancy; of use with `recurrent`.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.

    See Also
    --------
    JSDAligner : Compares moments only.
    SinkhornAligner : Compares whole trials by transport.

    Notes
    -----
    Kernels have 1/4, 1/2, 1, 2 and 4 times the median as bandwidth (the median
    heuristic, taken anew in each batch and held fixed in the gradient). RDA-MMD is a
    baseline of [2]_ without public code; its form here is our reading.

    References
    ----------
    .. [1] Gretton, A. et al. "A kernel two-sample test." JMLR 13, 2012.
    .. [2] Jin, X. et al. "Domain adaptation for time series forecasting via attention
       sharing." ICML 2022. :arxiv:`2102.06828`

    Examples
    --------
    >>> from skerdiff import SequentialVAE
    >>> from skerdiff.alignment import MMDAligner
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> trials, y = make_reaching_sessions(
    ...     n_trials=60, n_neurons=40, random_state=0, return_X_y=True
    ... )
    >>> model = SequentialVAE(max_iter=2, n_hidden=8)
    >>> aligner = MMDAligner(model, n_starts=4, max_steps=2, random_state=0)
    >>> aligner = aligner.fit(trials["day0"]).adapt(trials["day1"])
    >>> aligner.transform(trials["day1"]).shape
    (60, 20, 8)
    """

    recurrent: bool = parameter(False, ["boolean"])
    n_hidden: int = parameter(120, COUNT)
    forecast_weight: float = parameter(0.1, NON_NEGATIVE)

    def _make_objective(self, source):
        return MMDObjective(source, self.recurrent, self.n_hidden, self.forecast_weight)
