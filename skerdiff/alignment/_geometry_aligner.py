"""Alignment by the geometry of trials alone."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from ..utils._sklearn import COUNT
from ._base import BaseAligner
from ._parameters import aligner, parameter


@aligner
class GeometryAligner(BaseAligner):
    """Align sessions by the geometry of whole trials, in closed form.

    The warm start of `ERDiffAligner` without its gradient steps. In the principal
    coordinates of each session, and in the eight leading modes by which its trials
    differ, a similarity map (rotation, scale and shift) alternates with an
    optimal-transport assignment of trials: from many random starts between cluster
    means of each session, then from the best of them between trials, seeking the
    target's trials in the source and the source's in the target. Where a session has as
    many neurons as the source, what the source's axes make of it, electrode by
    electrode, is one more start. The map with the lowest relative residual is kept,
    with a handicap of a twentieth for the latter way. The source partners of target
    trials, by unbalanced optimal transport, say what their read-in activations should
    be; a ridge regression of these on the target's neurons, shrunk towards what the map
    alone gives, is the new read-in.

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
    The report of a session holds

    - ``residual``: mean squared distance of the aligned trials to their nearest source
      trials over their own spread, in the leading modes, lower is better, or the same
      of source trials that were sought in the target; and ``residuals``, those of all
      alignments found that are not variants of each other, in the order of preference;
    - ``margin``: by how much, relatively, the residual of the second exceeds that of
      the first. Only what the search found can be compared, so that it means little
      after few starts. Below zero a start was followed though another fits better;
    - ``variance_explained``: the share of the source's variance over trials that the
      partners of target trials have. Little is carried if the target has no structure
      or too few movements, and by some wrong alignments;
    - ``confidence``: the lesser of the last two over their thresholds; below 1 there is
      an `AmbiguousAlignmentWarning`. Where a start was followed, the margin may be as
      low as zero;
    - ``coverage``: the share of the source's trials that target trials take up as
      partners; its square says how far the regression is trusted beside the map;
    - ``scale`` of the map, ``n_candidates``, ``n_trials``, ``n_neurons``,
      ``n_active_neurons`` and, of counts, ``bits_per_spike`` of held-out trials, from
      rates that are linear in the aligned latents: how much of the activity these
      keep;
    - ``followed_start``, if `adapt` was given a start.

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
