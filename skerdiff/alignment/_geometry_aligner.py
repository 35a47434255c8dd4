"""Alignment by the geometry of trials alone."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers

from sklearn.utils._param_validation import Interval

from ._base import BaseAligner
from ._docs import share_docs


@share_docs
class GeometryAligner(BaseAligner):
    """Align sessions by the geometry of whole trials, in closed form.

    The warm start of `ERDiffAligner` without its gradient steps. In the principal
    coordinates of each session, trials are coupled by their distances
    (Gromov-Wasserstein, from many starts); each coupling is refined by alternating a
    similarity map with an optimal-transport assignment; of all candidates the one with
    the lowest relative residual is kept; a ridge regression of the matched source
    trials' read-in activations on the target's neurons is the new read-in.

    Parameters
    ----------
    shared : model
        See `_docs`.
    n_starts : int, default=200
        Random starts of the search, beside the uniform one.
    shared : aligner
        See `_docs`.

    Attributes
    ----------
    n_parameters_added_ : int
        Parameters of networks that the method adds to the source model: none.
    shared : fitted
        See `_docs`.

    See Also
    --------
    ERDiffAligner : Goes on from here under a diffusion prior.

    Notes
    -----
    The report of a session holds ``residual`` (mean squared distance of the aligned
    trials to their nearest source trial over their own spread, lower is better),
    ``margin`` (by how much, relatively, the residual of the best alignment of another
    kind exceeds it; only what the search found can be compared, so that it means little
    after few starts), ``scale`` of the similarity map, ``n_candidates``, ``n_trials``,
    ``n_neurons`` and ``n_active_neurons``.

    References
    ----------
    .. [1] Memoli, F. "Gromov-Wasserstein distances and the metric approach to object
       matching." Foundations of Computational Mathematics 11, 2011.
       :doi:`10.1007/s10208-011-9093-5`
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

    _parameter_constraints = BaseAligner._parameter_constraints | {
        "n_starts": [Interval(numbers.Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        latent_model=None,
        *,
        n_components=None,
        n_starts=200,
        on_new_session="align",
        memory=None,
        trial_length=None,
        device="auto",
        random_state=None,
        verbose=False,
    ):
        self.latent_model = latent_model
        self.n_components = n_components
        self.n_starts = n_starts
        self.on_new_session = on_new_session
        self.memory = memory
        self.trial_length = trial_length
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _align(self, features, seed, known=None):
        return self._start(features, seed, "geometry", self.n_starts, known)
