"""No adaptation: the row that every table starts with."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from ._base import BaseAligner


class IdentityAligner(BaseAligner):
    """Read every session with the source's read-in, without adaptation.

    The control of every comparison. Neurons are taken column by column: where a
    session has more than the source the surplus is left out, where it has fewer the
    missing ones count as silent. That is meaningful where columns are electrodes that
    stay in place, and a random guess elsewhere.

    Parameters
    ----------
    latent_model : SequentialVAE, default=None
        Latent-variable model of the source; None is ``SequentialVAE()``. It is cloned.
    n_components : int, default=None
        Number of latent dims; overrides that of `latent_model`.
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
        For each target session how its alignment went.
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
    GeometryAligner : Alignment by the geometry of trials.
    ERDiffAligner : Alignment under a diffusion prior.

    Examples
    --------
    >>> from skerdiff import IdentityAligner, SequentialVAE
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> trials, y = make_reaching_sessions(
    ...     n_trials=20, n_neurons=15, random_state=0, return_X_y=True
    ... )
    >>> aligner = IdentityAligner(SequentialVAE(max_iter=2, n_hidden=8), random_state=0)
    >>> aligner = aligner.fit(trials["day0"]).adapt(trials["day1"])
    >>> aligner.transform(trials["day1"]).shape
    (20, 20, 8)
    """

    _min_trials = 1

    def __init__(
        self,
        latent_model=None,
        *,
        n_components=None,
        on_new_session="align",
        memory=None,
        trial_length=None,
        device="auto",
        random_state=None,
        verbose=False,
    ):
        self.latent_model = latent_model
        self.n_components = n_components
        self.on_new_session = on_new_session
        self.memory = memory
        self.trial_length = trial_length
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _align(self, features, seed):
        return self._start(features, seed, "source")
