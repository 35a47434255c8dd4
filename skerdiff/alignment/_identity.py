"""No adaptation: the row that every table starts with."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from ._base import BaseAligner
from ._docs import share_docs


@share_docs
class IdentityAligner(BaseAligner):
    """Read every session with the source's read-in, without adaptation.

    The control of every comparison. Neurons are taken column by column: where a
    session has more than the source the surplus is left out, where it has fewer the
    missing ones count as silent. That is meaningful where columns are electrodes that
    stay in place, and a random guess elsewhere.

    Parameters
    ----------
    shared : model
        See `_docs`.
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

    def _align(self, features, seed, known=None):
        return self._start(features, seed, "source")
