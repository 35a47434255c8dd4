"""Time to fit the latent model of the source."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from time import perf_counter

import joblib
from sklearn.base import clone

from skerdiff.latent import SequentialVAE


def fit_seconds(model, X, y, seed=0, memory=None):
    """Time the fit of a latent model; once for each model, session and seed.

    Parameters
    ----------
    model : LatentModel or None
        The model, which is cloned; None is the default of aligners.
    X : ndarray of shape (n_trials, n_bins, n_neurons)
        Activity of the source.
    y : ndarray of shape (n_trials, n_bins, n_outputs)
        Its behaviour.
    seed : int, default=0
        Seed of the model, if it takes one.
    memory : str, default=None
        Folder in which times are cached.

    Returns
    -------
    seconds : float
        Time of the fit.
    """
    model = SequentialVAE() if model is None else clone(model)
    if "random_state" in model.get_params(deep=False):
        model.set_params(random_state=seed)
    timed = joblib.Memory(memory, verbose=0).cache(_time)
    return timed(model, X, y)


def _time(model, X, y):
    start = perf_counter()
    model.fit(X, y)
    return perf_counter() - start
