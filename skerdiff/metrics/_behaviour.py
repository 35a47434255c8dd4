"""How well behaviour is decoded, and scorers of it."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.metrics import make_scorer, mean_squared_error, r2_score

from ..utils._arrays import as_array
from ..utils._settings import own_settings


def _rows(y_true, y_pred, sample_weight):
    """Fold trials and bins into rows, (n_rows, n_outputs), and spread the weights."""
    y_true, y_pred = as_array(y_true, "y_true"), as_array(y_pred, "y_pred")
    if y_true.shape != y_pred.shape:
        raise ValueError(
            f"y_true has shape {y_true.shape}, y_pred {y_pred.shape}: both must be the "
            "behaviour of the same trials, bins and outputs."
        )
    if not 1 <= y_true.ndim <= 3:
        raise ValueError(
            "Behaviour must be of shape (n_trials, n_bins, n_outputs), or (n_rows,) or "
            f"(n_rows, n_outputs), got {y_true.shape}."
        )
    if y_true.ndim < 3:
        return y_true, y_pred, sample_weight
    if sample_weight is not None:
        sample_weight = np.repeat(sample_weight, y_true.shape[1])
    n_outputs = y_true.shape[2]
    return y_true.reshape(-1, n_outputs), y_pred.reshape(-1, n_outputs), sample_weight


@own_settings()
def behaviour_r2_score(y_true, y_pred, *, sample_weight=None):
    """R2 of behaviour, pooled over trials and bins and averaged over outputs.

    Parameters
    ----------
    y_true : array-like of shape (n_trials, n_bins, n_outputs)
        True behaviour; also rows, (n_rows,) or (n_rows, n_outputs). Two dimensions
        are taken as rows and outputs.
    y_pred : array-like of the same shape
        Decoded behaviour.
    sample_weight : array-like of shape (n_trials,) or (n_rows,), default=None
        Weights of trials, or of rows where behaviour comes in rows.

    Returns
    -------
    score : float
        At best 1. A constant guess of each output's mean scores 0, worse ones below.

    Raises
    ------
    ValueError
        If the shapes differ or if values are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.metrics import behaviour_r2_score
    >>> y = np.arange(12.0).reshape(2, 3, 2)
    >>> behaviour_r2_score(y, y)
    1.0
    """
    y_true, y_pred, sample_weight = _rows(y_true, y_pred, sample_weight)
    return r2_score(y_true, y_pred, sample_weight=sample_weight)


@own_settings()
def behaviour_rmse(y_true, y_pred, *, sample_weight=None):
    r"""Root mean squared error of behaviour, pooled over trials, bins and outputs.

    .. math:: \sqrt{\frac{1}{N L q} \sum_{n, l, o} (y_{nlo} - \hat y_{nlo})^2}

    Parameters
    ----------
    y_true : array-like of shape (n_trials, n_bins, n_outputs)
        True behaviour; also rows, (n_rows,) or (n_rows, n_outputs).
    y_pred : array-like of the same shape
        Decoded behaviour.
    sample_weight : array-like of shape (n_trials,) or (n_rows,), default=None
        Weights of trials, or of rows where behaviour comes in rows.

    Returns
    -------
    error : float
        In the units of the behaviour, 0 at best.

    Raises
    ------
    ValueError
        If the shapes differ or if values are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.metrics import behaviour_rmse
    >>> behaviour_rmse(np.zeros((2, 3, 2)), np.full((2, 3, 2), 2.0))
    2.0
    """
    y_true, y_pred, sample_weight = _rows(y_true, y_pred, sample_weight)
    return float(
        np.sqrt(mean_squared_error(y_true, y_pred, sample_weight=sample_weight))
    )


r2_scorer = make_scorer(behaviour_r2_score)
rmse_scorer = make_scorer(behaviour_rmse, greater_is_better=False)
