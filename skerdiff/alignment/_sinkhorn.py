"""Alignment by the Sinkhorn divergence of whole trials."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from ..utils._sklearn import POSITIVE
from ._gradient import GradientAligner
from ._objective import Objective
from ._parameters import aligner, parameter
from .divergences import sinkhorn_divergence


class SinkhornObjective(Objective):
    """Debiased entropic transport cost between batches of whole trials."""

    def __init__(self, regularisation):
        super().__init__()
        self.regularisation = regularisation

    def losses(self, source, target, progress, generator):
        """The divergence, per coordinate."""
        return {"divergence": sinkhorn_divergence(source, target, self.regularisation)}


@aligner
class SinkhornAligner(GradientAligner):
    r"""Align sessions by the Sinkhorn divergence of their latents.

    The target read-in is moved until whole trials of both sessions lie on each other,
    as measured by the debiased entropic transport cost

    .. math:: \mathrm{OT}_\varepsilon(s, t) - \tfrac12 \mathrm{OT}_\varepsilon(s, s)
              - \tfrac12 \mathrm{OT}_\varepsilon(t, t) .

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    regularisation : float, default=0.05
        The weight :math:`\varepsilon` of the entropy, as a share of the largest squared
        distance between the two batches.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.

    See Also
    --------
    GeometryAligner : Transport between trials, in closed form.
    MMDAligner : The divergence that this one tends to as the entropy grows.

    Notes
    -----
    ERDiff's first public code adds a Sinkhorn cost that is not debiased, whose minimum
    is a contracted set of trials.

    References
    ----------
    .. [1] Feydy, J. et al. "Interpolating between optimal transport and MMD using
       Sinkhorn divergences." AISTATS 2019. :arxiv:`1810.08278`

    Examples
    --------
    >>> from skerdiff import SequentialVAE
    >>> from skerdiff.alignment import SinkhornAligner
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> trials, y = make_reaching_sessions(
    ...     n_trials=60, n_neurons=40, random_state=0, return_X_y=True
    ... )
    >>> model = SequentialVAE(max_iter=2, n_hidden=8)
    >>> aligner = SinkhornAligner(model, n_starts=4, max_steps=2, random_state=0)
    >>> aligner = aligner.fit(trials["day0"]).adapt(trials["day1"])
    >>> aligner.transform(trials["day1"]).shape
    (60, 20, 8)
    """

    regularisation: float = parameter(0.05, POSITIVE)

    def _make_objective(self, source):
        return SinkhornObjective(self.regularisation)
