"""Matching of each neuron's mean and variance."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np

from ._base import BaseAligner
from ._docs import share_docs
from ._start import Session


@share_docs
class NeuronMomentsAligner(BaseAligner):
    """Give each neuron the mean and variance of its column on the source day.

    What practitioners try first: the features (smoothed square roots) of every neuron
    are standardised by the new session's own mean and standard deviation, scaled back
    by those of the source's neuron in the same column, and read with the source's
    read-in. It corrects drifts of gain and baseline where columns are electrodes that
    stay in place, and means nothing elsewhere. Surplus neurons are left out; those that
    are missing, or never change in the new session, are held at the source's mean.

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
    IdentityAligner : No adaptation.
    CORALAligner : Moments of latents.

    Examples
    --------
    >>> from skerdiff import SequentialVAE
    >>> from skerdiff.alignment import NeuronMomentsAligner
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> trials, y = make_reaching_sessions(
    ...     n_trials=20, n_neurons=15, random_state=0, return_X_y=True
    ... )
    >>> model = SequentialVAE(max_iter=2, n_hidden=8)
    >>> aligner = NeuronMomentsAligner(model, random_state=0)
    >>> aligner = aligner.fit(trials["day0"]).adapt(trials["day1"])
    >>> aligner.transform(trials["day1"]).shape
    (20, 20, 8)
    """

    _min_trials = 2

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
        weights, bias = self.latent_model_.readin_
        source_mean, source_scale = self._feature_moments
        n_shared = min(features.shape[2], weights.shape[1])
        mean, scale = (
            a[:n_shared] for a in (features.mean((0, 1)), features.std((0, 1)))
        )
        gain = np.divide(
            source_scale[:n_shared],
            scale,
            out=np.zeros(n_shared),
            where=scale > 1e-12,
        )
        readin = np.zeros((len(weights), features.shape[2]))
        readin[:, :n_shared] = weights[:, :n_shared] * gain
        bias = bias + weights @ source_mean - readin[:, :n_shared] @ mean
        return Session((readin, bias), {"init": "source"})
