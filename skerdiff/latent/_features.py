"""Features of activity: what a read-in sees."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np

from ..preprocessing import gaussian_bins
from ._base import by_length, check_lengths


def activity_features(X, likelihood, smoothing, lengths=None):
    """Smoothed square roots of counts, or smoothed activity.

    Where a session has values below zero, by an offset say, the root of their size is
    taken and the sign is kept.

    Parameters
    ----------
    X : ndarray of shape (n_trials, n_bins, n_neurons)
        Activity of any session.
    likelihood : {"poisson", "gaussian"}
        Whether X holds counts, of which the square root is taken.
    smoothing : float
        Standard deviation of the Gaussian, in bins.
    lengths : array-like of shape (n_trials,), default=None
        Number of bins of each trial.

    Returns
    -------
    features : ndarray of shape (n_trials, n_bins, n_neurons)
        Features, of dtype float32 if X is, else float64.
    """
    lengths = check_lengths(lengths, X)

    def of_trials(X):
        if X.dtype != np.float32:
            X = X.astype(np.float64, copy=False)
        if likelihood == "poisson":
            X = np.sqrt(X) if X.min() >= 0 else np.copysign(np.sqrt(np.abs(X)), X)
        return gaussian_bins(X, smoothing)

    return by_length(of_trials, X, lengths)


def choose_likelihood(likelihood, X):
    """Likelihood of a source session.

    Parameters
    ----------
    likelihood : {"auto", "poisson", "gaussian"}
        ``"auto"`` is Poisson if no value is negative.
    X : ndarray of shape (n_trials, n_bins, n_neurons)
        Activity of the source.

    Returns
    -------
    likelihood : {"poisson", "gaussian"}
        The likelihood.

    Raises
    ------
    ValueError
        If X is negative under a Poisson likelihood.
    """
    if likelihood == "auto":
        return "poisson" if X.min() >= 0 else "gaussian"
    if likelihood == "poisson" and X.min() < 0:
        raise ValueError(
            f"X holds negative values (smallest {X.min():.4g}), but the likelihood is "
            "Poisson. Pass counts or rates, or fit with likelihood='gaussian'."
        )
    return likelihood
