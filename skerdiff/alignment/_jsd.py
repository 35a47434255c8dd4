"""JSDM: alignment by the Jensen-Shannon divergence of moments."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from ..utils._sklearn import StrOptions
from ._gradient import GradientAligner
from ._objective import Objective
from ._parameters import aligner, parameter
from .divergences import gaussian_jsd, moments


class JSDObjective(Objective):
    """Jensen-Shannon divergence of Gaussians with the moments of each session."""

    def __init__(self, source, per_bin):
        super().__init__()
        self.per_bin = per_bin
        self.source = [moments(part) for part in self._parts(source)]

    def _parts(self, z):
        return z.split(1, dim=1) if self.per_bin else (z,)

    def losses(self, source, target, progress, generator):
        """The divergence, the mean over bins if they count one by one."""
        parts = [
            gaussian_jsd(own, moments(part))
            for own, part in zip(self.source, self._parts(target))
        ]
        return {"divergence": sum(parts) / len(parts)}


@aligner
class JSDAligner(GradientAligner):
    r"""Align sessions by the Jensen-Shannon divergence of their latents (JSDM).

    The target read-in is moved until the latents of both sessions have the same mean
    and covariance, as measured by

    .. math:: \tfrac12 D_\mathrm{KL}(N_s \Vert N_m) +
              \tfrac12 D_\mathrm{KL}(N_t \Vert N_m)

    with Gaussians of the source's and the target's moments, and :math:`N_m` that of the
    moments of their even mixture. Nothing is added to the source model. Moments leave
    every rotation of the latents that keeps the covariance free.

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    moments : {"pooled", "per_bin"}, default="pooled"
        Whose moments: those of all bins together, or of each bin of the trial.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.

    See Also
    --------
    CORALAligner : The same moments, matched in closed form.
    MMDAligner : A discrepancy that sees more than moments.

    Notes
    -----
    The ERDiff paper compares with "Jensen-Shannon divergence metric"; its form for
    latents is our reading. Covariances are shrunk by a thousandth of the mean variance.

    References
    ----------
    .. [1] Lin, J. "Divergence measures based on the Shannon entropy." IEEE Transactions
       on Information Theory 37, 1991. :doi:`10.1109/18.61115`

    Examples
    --------
    >>> from skerdiff import SequentialVAE
    >>> from skerdiff.alignment import JSDAligner
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> trials, y = make_reaching_sessions(
    ...     n_trials=60, n_neurons=40, random_state=0, return_X_y=True
    ... )
    >>> model = SequentialVAE(max_iter=2, n_hidden=8)
    >>> aligner = JSDAligner(model, n_starts=4, max_steps=2, random_state=0)
    >>> aligner = aligner.fit(trials["day0"]).adapt(trials["day1"])
    >>> aligner.transform(trials["day1"]).shape
    (60, 20, 8)
    """

    moments: str = parameter("pooled", [StrOptions({"pooled", "per_bin"})])

    def _make_objective(self, source):
        return JSDObjective(source, self.moments == "per_bin")
