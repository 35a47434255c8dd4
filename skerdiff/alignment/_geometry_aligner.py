"""Alignment by the geometry of trials alone."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers

from sklearn.utils._param_validation import Interval

from ._base import BaseAligner


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
    latent_model : SequentialVAE, default=None
        Latent-variable model of the source; None is ``SequentialVAE()``. It is cloned.
    n_components : int, default=None
        Number of latent dims; overrides that of `latent_model`.
    n_starts : int, default=16
        Random starts of the search, beside the uniform one.
    on_new_session : {"align", "raise"}, default="align"
        What `transform` does with a session it has not met: align it among the trials
        given (nothing is stored) with a `NewSessionWarning`, or raise.
    memory : str or joblib.Memory, default=None
        Cache of fitted source models. With it, a search over methods or folds trains
        each source model once, and an interrupted fit goes on after the last model
        that was finished. It needs an integer `random_state` to be of use.
    trial_length : int, default=None
        For 2-D X, the number of consecutive rows (bins) of a trial. By default each
        row is a trial of its own.
    device : str or torch.device, default="auto"
        Where to train. ``"auto"`` takes a GPU if there is one. Fitted models are kept
        on the CPU.
    random_state : int, RandomState instance or None, default=None
        Determines everything random. Two fits with one int agree to the bit, on as
        many threads; each session has a seed of its own by its name, so that the
        order of `adapt` calls does not matter.
    verbose : bool, default=False
        Whether to show progress bars.

    Attributes
    ----------
    latent_model_ : SequentialVAE
        The fitted latent-variable model of the source.
    sessions_ : dict of str to Session
        The read-in of each session known, the source first.
    alignment_report_ : dict of str to dict
        For each target session how its alignment went, see Notes.
    source_ : str
        Name of the source session.
    n_bins_ : int
        Bins per trial.
    n_components_ : int
        Number of latent dims.
    n_features_in_ : int
        Number of neurons of the source.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the source's neurons, if X had any.

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
        "n_starts": [Interval(numbers.Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        latent_model=None,
        *,
        n_components=None,
        n_starts=16,
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

    def _align(self, features, seed):
        return self._start(features, seed, "geometry", self.n_starts)
