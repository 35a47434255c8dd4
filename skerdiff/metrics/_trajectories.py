"""How alike two sets of latent trajectories are distributed."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from ..utils._arrays import check_numbers
from ..utils._settings import own_settings


def check_pair(Z, Z_other, names=("Z", "Z_other")):
    arrays = []
    for name, array in zip(names, (Z, Z_other)):
        array = check_numbers(array, name)
        if array.ndim != 3:
            raise ValueError(
                f"{name} must hold trajectories of shape (n_trials, n_bins, "
                f"n_components), got {array.shape}."
            )
        arrays.append(array)
    if arrays[0].shape[1:] != arrays[1].shape[1:]:
        raise ValueError(
            f"{names[0]} and {names[1]} must have the same bins and latent dims, got "
            f"{arrays[0].shape[1:]} and {arrays[1].shape[1:]}."
        )
    return arrays


def check_folds(cv, n_trials):
    """Raise if there cannot be as many folds of so many trials."""
    if not isinstance(cv, numbers.Integral) or not 2 <= cv <= n_trials:
        raise ValueError(
            f"cv={cv!r} must be a number of folds, from 2 to the number of trials "
            f"({n_trials} in the smaller set)."
        )


def _spread(Z):
    """Standard deviation of each latent dim; 1 for a constant one."""
    return StandardScaler().fit(Z.reshape(-1, Z.shape[2])).scale_


@own_settings()
def value_distance(Z, Z_other):
    """Distance between the value distributions of each latent dim.

    The Wasserstein distance of order one between all values (trials and bins pooled) of
    a dim in both sets, in standard deviations of the dim in Z, averaged over dims. The
    value distribution shift of PaD-TS, without its bins.

    Parameters
    ----------
    Z : array-like of shape (n_trials, n_bins, n_components)
        Trajectories that give the units.
    Z_other : array-like of shape (n_other, n_bins, n_components)
        Trajectories to compare them with.

    Returns
    -------
    distance : float
        0 for equal distributions. Two finite samples of one distribution differ too:
        compare with the distance between two halves of the real trajectories.

    Raises
    ------
    ValueError
        If the shapes do not fit or values are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.metrics import value_distance
    >>> Z = np.random.RandomState(0).randn(50, 10, 2)
    >>> round(value_distance(Z, Z + Z.std((0, 1))), 6)
    1.0
    """
    Z, Z_other = check_pair(Z, Z_other)
    distances = [
        wasserstein_distance(a.ravel(), b.ravel()) / s
        for a, b, s in zip(Z.transpose(2, 0, 1), Z_other.transpose(2, 0, 1), _spread(Z))
    ]
    return float(np.mean(distances))


def _cross_correlations(Z, max_lag):
    """Correlations over bins between dims of each trial, (n_correlations, n_trials)."""
    n_bins, d = Z.shape[1:]
    rows, columns = np.triu_indices(d, 1)
    found = []
    for lag in range(max_lag + 1):
        early, late = Z[:, : n_bins - lag], Z[:, lag:]
        early, late = (a - a.mean(1, keepdims=True) for a in (early, late))
        norm = (
            np.linalg.norm(early, axis=1)[:, :, None]
            * np.linalg.norm(late, axis=1)[:, None]
        )
        correlation = early.transpose(0, 2, 1) @ late
        # a dim that does not move in a trial correlates with nothing
        correlation = np.divide(
            correlation, norm, out=np.zeros_like(norm), where=norm > 1e-12
        )
        found.append(correlation[:, rows, columns])
        if lag:
            found.append(correlation[:, columns, rows])
            found.append(np.diagonal(correlation, axis1=1, axis2=2))
    return np.concatenate(found, axis=1).T


@own_settings()
def cross_correlation_distance(Z, Z_other, *, max_lag=1):
    """Distance between the distributions of cross-correlations over trials.

    Each trial has a correlation over bins for every pair of latent dims and every lag
    (from lag one on, of each dim with itself too). The Wasserstein distance of order
    one between their distributions over trials, averaged over pairs and lags: the
    functional dependency distribution shift of PaD-TS.

    Parameters
    ----------
    Z : array-like of shape (n_trials, n_bins, n_components)
        Trajectories.
    Z_other : array-like of shape (n_other, n_bins, n_components)
        Trajectories to compare them with.
    max_lag : int, default=1
        Largest lag in bins.

    Returns
    -------
    distance : float
        Between 0, equal distributions, and 2.

    Raises
    ------
    ValueError
        If the shapes do not fit, values are not finite, or there is nothing to
        correlate: `max_lag` leaves fewer than two bins, or one dim without a lag.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.metrics import cross_correlation_distance
    >>> Z = np.random.RandomState(0).randn(50, 10, 2)
    >>> cross_correlation_distance(Z, 2 * Z + 1) < 1e-9
    True
    """
    Z, Z_other = check_pair(Z, Z_other)
    if not isinstance(max_lag, numbers.Integral) or not 0 <= max_lag <= Z.shape[1] - 2:
        raise ValueError(
            f"max_lag={max_lag} must be an integer between 0 and n_bins - 2 = "
            f"{Z.shape[1] - 2}."
        )
    if max_lag == 0 and Z.shape[2] == 1:
        raise ValueError("A single latent dim has correlations from max_lag=1 on.")
    pairs = zip(_cross_correlations(Z, max_lag), _cross_correlations(Z_other, max_lag))
    return float(np.mean([wasserstein_distance(a, b) for a, b in pairs]))


@own_settings()
def two_sample_auc(Z, Z_other, *, classifier=None, cv=5, random_state=None):
    """How well a classifier tells two sets of trajectories apart.

    Area under the ROC curve of cross-validated decisions on whole trajectories (Lopez-
    Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017).

    Parameters
    ----------
    Z : array-like of shape (n_trials, n_bins, n_components)
        Trajectories.
    Z_other : array-like of shape (n_other, n_bins, n_components)
        Trajectories to tell from them.
    classifier : estimator, default=None
        Classifier of flattened trajectories with ``decision_function`` or
        ``predict_proba``. None takes a support vector machine with a Gaussian kernel on
        standardised coordinates.
    cv : int, default=5
        Number of stratified, shuffled folds.
    random_state : int, RandomState instance or None, default=None
        Determines the folds.

    Returns
    -------
    auc : float
        1 when the sets can be told apart, about one half when they cannot; with few
        trials it scatters around that.

    Raises
    ------
    ValueError
        If the shapes do not fit, values are not finite, or a set has fewer trials than
        `cv`.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.metrics import two_sample_auc
    >>> Z = np.random.RandomState(0).randn(50, 10, 2)
    >>> two_sample_auc(Z, Z + 10.0, random_state=0)
    1.0
    """
    Z, Z_other = check_pair(Z, Z_other)
    check_folds(cv, min(len(Z), len(Z_other)))
    if classifier is None:
        classifier = make_pipeline(StandardScaler(), SVC(random_state=0))
    X = np.concatenate([Z, Z_other]).reshape(len(Z) + len(Z_other), -1)
    y = np.repeat([0, 1], [len(Z), len(Z_other)])
    folds = StratifiedKFold(cv, shuffle=True, random_state=random_state)
    folds = list(folds.split(X, y))  # the same for the scores and their areas
    method = "decision_function"
    if not hasattr(classifier, method):
        method = "predict_proba"
    scores = cross_val_predict(clone(classifier), X, y, cv=folds, method=method)
    # each fold has a classifier of its own: only its own scores can be compared
    areas = [
        roc_auc_score(y[test], scores[test].reshape(len(test), -1)[:, -1])
        for _, test in folds
    ]
    return float(np.mean(areas))


@own_settings()
def nearest_neighbour_ratio(Z_train, Z_held_out, Z_sampled):
    """Whether samples lie closer to the training trajectories than new ones do.

    The median distance of samples to their nearest training trajectory, divided by that
    of held-out trajectories. A model that has memorised its training set samples close
    to it.

    Parameters
    ----------
    Z_train : array-like of shape (n_train, n_bins, n_components)
        Trajectories that a model was fitted to.
    Z_held_out : array-like of shape (n_held_out, n_bins, n_components)
        Trajectories of the same kind that it has not seen.
    Z_sampled : array-like of shape (n_sampled, n_bins, n_components)
        Trajectories drawn from the model.

    Returns
    -------
    ratio : float
        About 1 without memorisation, 0 for copies of the training trajectories. Above
        1, samples are further off than real trajectories.

    Raises
    ------
    ValueError
        If the shapes do not fit or values are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.metrics import nearest_neighbour_ratio
    >>> Z = np.random.RandomState(0).randn(60, 10, 2)
    >>> nearest_neighbour_ratio(Z[:30], Z[30:], Z[:10])
    0.0
    """
    names = ("Z_train", "Z_held_out")
    train, held_out = check_pair(Z_train, Z_held_out, names)
    _, sampled = check_pair(train, Z_sampled, ("Z_train", "Z_sampled"))
    scale = _spread(train)
    train, held_out, sampled = (
        (a / scale).reshape(len(a), -1) for a in (train, held_out, sampled)
    )
    medians = [np.median(cdist(a, train).min(1)) for a in (sampled, held_out)]
    if medians[1] == 0:
        raise ValueError(
            "Z_held_out holds copies of Z_train, so that there is no distance to "
            "compare with. Split the trials before fitting."
        )
    return float(medians[0] / medians[1])
