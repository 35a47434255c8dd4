"""Alignment by the geometry of trials alone."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from ..utils._sklearn import COUNT
from ._base import BaseAligner
from ._parameters import aligner, parameter


@aligner
class GeometryAligner(BaseAligner):
    """Align sessions by the geometry of whole trials, in closed form.

    The warm start of `ERDiffAligner` without its gradient steps.

    *Search.* In the principal coordinates of each session, and in the eight leading
    modes in which its trials differ, a similarity map (rotation, scale and shift)
    alternates with an optimal-transport assignment of trials: first between cluster
    means of each session, from many random starts, then between trials, from the best
    of them. It is done both ways, with the target's trials sought in the source and the
    source's in the target. If the target has as many neurons as the source, one more
    start takes them to be the same, column by column. The map with the lowest relative
    residual wins; one found the second way must be better by a twentieth.

    *Read-in.* Unbalanced optimal transport gives the source partners of each target
    trial, and so the activations that the read-in should produce. The new read-in is a
    ridge regression of these on the target's neurons, shrunk towards what the map alone
    gives.

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    n_starts : int, default=200
        Random starts of the search, each way.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.

    See Also
    --------
    ERDiffAligner : Goes on from here under a diffusion prior.

    Notes
    -----
    `alignment_report_` says how well a session is aligned, see
    `skerdiff.sessions.SessionReport`. Where the ``confidence`` is below 1 there is an
    `AmbiguousAlignmentWarning`. The ``margin`` compares what the search has found, so
    it means little after few starts. Little of the source's variance is explained by a
    target without structure or with too few movements, and by some wrong alignments.
    The square of the ``coverage`` is the weight of the regression beside the map.

    References
    ----------
    .. [1] Besl, P. J. and McKay, N. D. "A method for registration of 3-D shapes." IEEE
       TPAMI 14, 1992. :doi:`10.1109/34.121791`
    .. [2] Umeyama, S. "Least-squares estimation of transformation parameters between
       two point patterns." IEEE TPAMI 13, 1991. :doi:`10.1109/34.88573`

    Examples
    --------
    >>> from skerdiff import GeometryAligner, SequentialVAE
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> trials, y = make_reaching_sessions(
    ...     n_trials=60, n_neurons=40, random_state=0, return_X_y=True
    ... )
    >>> model = SequentialVAE(max_iter=2, n_hidden=8)
    >>> aligner = GeometryAligner(model, n_starts=4, random_state=0)
    >>> aligner = aligner.fit(trials["day0"]).adapt(trials["day1"])
    >>> aligner.transform(trials["day1"]).shape
    (60, 20, 8)
    """

    n_starts: int = parameter(200, COUNT)

    init = "geometry"

    def _align(self, features, seed, start=None):
        return self._start(features, seed, start)
