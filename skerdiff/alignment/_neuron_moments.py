"""Matching of each neuron's mean and variance."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np

from ..utils._arrays import mean_and_variance
from ._base import BaseAligner
from ._parameters import aligner


@aligner
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
    inherited : positional
        See `_parameters`.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.

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

    def _fit_source(self, features):
        self._moments = _moments(features)

    def _align(self, features, seed, start=None):
        weights, bias = self.latent_model_.readin_
        source_mean, source_scale = self._moments
        n_shared = min(features.shape[2], weights.shape[1])
        mean, scale = (a[:n_shared] for a in _moments(features))
        gain = np.divide(
            source_scale[:n_shared],
            scale,
            out=np.zeros(n_shared),
            where=scale > 1e-12,
        )
        readin = np.zeros((len(weights), features.shape[2]))
        readin[:, :n_shared] = weights[:, :n_shared] * gain
        bias = bias + weights @ source_mean - readin[:, :n_shared] @ mean
        return self._reader((readin, bias), init="source")


def _moments(features):
    mean, variance = mean_and_variance(features)
    return mean, np.sqrt(variance)
