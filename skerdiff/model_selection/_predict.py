"""Predictions of held-out target trials."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.model_selection import cross_validate

from ..trials import Trials
from ._target_kfold import TargetKFold


def _no_score(estimator, X, y=None):
    return 0.0


def cross_val_predict(
    estimator,
    X,
    y=None,
    *,
    groups=None,
    cv=None,
    n_jobs=None,
    verbose=0,
    params=None,
    method="predict",
):
    """Decode each target trial by a pipeline that was not adapted to it.

    The same as `sklearn.model_selection.cross_val_predict`, which refuses splitters
    that never test source trials: it wants every trial tested exactly once.

    Parameters
    ----------
    estimator : estimator
        An aligner and a decoder in a pipeline, say.
    X : Trials
        Sessions, the source and at least one more.
    y : array-like of shape (n_trials, n_bins, n_outputs), default=None
        Behaviour; that of target trials is not read.
    groups : array-like of shape (n_trials,), default=None
        Movement direction of each trial, for `TargetKFold`. With metadata routing give
        it in `params`.
    cv : splitter, default=None
        `TargetKFold` or another splitter that tests no trial twice. None takes
        ``TargetKFold()``.
    n_jobs : int, default=None
        Number of parallel workers.
    verbose : int, default=0
        The verbosity level.
    params : dict, default=None
        Passed to the estimator's ``fit``, or with metadata routing to what asked.
    method : {"predict", "transform"}, default="predict"
        What to call on trials that were left out: ``"transform"`` gives their latents.

    Returns
    -------
    y_pred : ndarray of shape (n_trials, n_bins, n_outputs or n_components)
        Decoded behaviour, or latents, of the trials that are tested. Rows of the
        others, those of the source among them, are NaN.

    Raises
    ------
    AttributeError
        If the estimator has no such method.
    ValueError
        If a trial is tested more than once.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from skerdiff import IdentityAligner, PerBinRegressor, SequentialVAE
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> from skerdiff.model_selection import TargetKFold, cross_val_predict
    >>> trials, y = make_reaching_sessions(
    ...     n_trials=20, n_neurons=10, random_state=0, return_X_y=True
    ... )
    >>> model = SequentialVAE(max_iter=2, n_hidden=4)
    >>> pipe = make_pipeline(IdentityAligner(model, random_state=0), PerBinRegressor())
    >>> y_pred = cross_val_predict(pipe, trials, y, cv=TargetKFold(2))
    >>> np.isnan(y_pred).all((1, 2)).sum()  # the source's trials
    np.int64(20)
    """
    if not hasattr(estimator, method):
        raise AttributeError(
            f"{type(estimator).__name__} has no {method}. Put a decoder behind the "
            'aligner, or ask for its latents with method="transform".'
        )
    found = cross_validate(
        estimator,
        X,
        y,
        groups=groups,
        scoring=_no_score,
        cv=TargetKFold() if cv is None else cv,
        n_jobs=n_jobs,
        verbose=verbose,
        params=params,
        error_score="raise",
        return_estimator=True,
        return_indices=True,
    )
    tests = found["indices"]["test"]
    if np.bincount(np.concatenate(tests)).max() > 1:
        raise ValueError(
            f"cv={cv!r} tests some trials more than once, so that there is no single "
            "prediction of them. Take one split, or TargetKFold."
        )
    y_pred = None
    for fitted, test in zip(found["estimator"], tests, strict=True):
        part = getattr(fitted, method)(X[test])
        part = part.to_array() if isinstance(part, Trials) else np.asarray(part)
        if y_pred is None:
            y_pred = np.full((len(X), *part.shape[1:]), np.nan)
        y_pred[test] = part
    return y_pred
