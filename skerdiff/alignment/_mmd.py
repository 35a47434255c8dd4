"""MMD: alignment by the maximum mean discrepancy of latents."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers

import torch
from torch import nn
from torch.nn import functional as F

from ..utils._sklearn import Interval
from ._divergences import squared_mmd
from ._docs import share_docs
from ._gradient import GradientAligner
from ._objective import Objective

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


@share_docs
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
    shared : model
        See `_docs`.
    recurrent : bool, default=False
        Whether to compare states of a recurrent network.
    n_hidden : int, default=120
        Size of the recurrent network.
    forecast_weight : float, default=0.1
        Weight of the forecast error beside the discrepancy; of use with `recurrent`.
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

    _parameter_constraints = GradientAligner._parameter_constraints | {
        "recurrent": ["boolean"],
        "n_hidden": [Interval(numbers.Integral, 1, None, closed="left")],
        "forecast_weight": [Interval(numbers.Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        latent_model=None,
        *,
        n_components=None,
        recurrent=False,
        n_hidden=120,
        forecast_weight=0.1,
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
        self.recurrent = recurrent
        self.n_hidden = n_hidden
        self.forecast_weight = forecast_weight

    def _make_objective(self, source):
        return MMDObjective(source, self.recurrent, self.n_hidden, self.forecast_weight)
