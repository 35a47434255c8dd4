"""Features of activity: what a read-in sees."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np

from ..preprocessing import smooth
from ._base import by_length, check_lengths


def activity_features(X, likelihood, smoothing, lengths=None):
    """Smoothed square roots of counts, or smoothed activity.

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
        Features, of dtype float64.

    Raises
    ------
    ValueError
        If counts are negative.
    """
    lengths = check_lengths(lengths, X)

    def of_trials(X):
        X = X.astype(np.float64, copy=False)
        if likelihood == "poisson":
            if X.min() < 0:
                raise ValueError(
                    f"X holds negative values (smallest {X.min():.4g}), but the "
                    "likelihood is Poisson. Pass counts or rates, or fit with "
                    "likelihood='gaussian'."
                )
            X = np.sqrt(X)
        return smooth(X, smoothing)

    return by_length(of_trials, X, lengths)


def choose_likelihood(likelihood, X):
    """Likelihood that ``"auto"`` stands for: Poisson if no value is negative."""
    if likelihood != "auto":
        return likelihood
    return "poisson" if X.min() >= 0 else "gaussian"
