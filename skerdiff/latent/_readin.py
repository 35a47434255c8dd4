"""Where the read-in of a latent model starts."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np

from ..geometry._similarity import fit_pca
from ..utils._random import derive_seed, numpy_generator


def initial_readin(features, n_readin, seed):
    """Principal axes over the deviation along the first; small noise beyond.

    Parameters
    ----------
    features : ndarray of shape (n_trials, n_bins, n_neurons)
        Standardised features.
    n_readin : int
        Number of activations.
    seed : int
        Seed of the noise.

    Returns
    -------
    weights : ndarray of shape (n_readin, n_neurons)
        Initial weights.
    """
    rows = features.reshape(-1, features.shape[2])
    pca = fit_pca(rows, min(n_readin, *rows.shape))
    axes = pca.components_ / (np.sqrt(pca.explained_variance_[0]) or 1.0)
    rng = numpy_generator(derive_seed(seed, "readin"))
    extra = 0.01 * rng.standard_normal((n_readin - len(axes), rows.shape[1]))
    return np.nan_to_num(np.vstack([axes, extra]))
