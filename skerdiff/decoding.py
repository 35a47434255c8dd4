"""Decoders of behaviour, bin by bin."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.base import MetaEstimatorMixin, RegressorMixin, clone
from sklearn.linear_model import Ridge
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from .base import TrialEstimator
from .metrics import behaviour_r2_score
from .trials import Trials
from .utils._arrays import as_array, check_numbers, fingerprint, shape_of
from .utils._atomic import all_or_nothing
from .utils._settings import own_settings
from .utils._sklearn import HasMethods, at_least

__all__ = ["PerBinRegressor"]


class PerBinRegressor(MetaEstimatorMixin, RegressorMixin, TrialEstimator):
    """Decode behaviour bin by bin with any regressor.

    Folds the bins of all trials into rows, delegates to `estimator`, and unfolds what
    it predicts. On `Trials` it is fitted on the source session only: target behaviour
    is never read.

    Parameters
    ----------
    estimator : regressor, default=None
        Regressor of rows. None is ``Ridge()``.
    trial_length : int, default=None
        For 2-D X, the number of consecutive rows (bins) of a trial. Rows are decoded
        one by one in any case.

    Attributes
    ----------
    estimator_ : regressor
        The fitted regressor.
    n_features_in_ : int
        Number of features (latent dims) seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had any.

    See Also
    --------
    ERDiffAligner : Latents that one decoder reads on every day.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skerdiff import PerBinRegressor
    >>> Z = np.random.RandomState(0).randn(10, 5, 3)
    >>> velocity = Z @ np.ones((3, 2))
    >>> decoder = PerBinRegressor(Ridge(1e-6)).fit(Z, velocity)
    >>> decoder.predict(Z).shape
    (10, 5, 2)
    >>> round(decoder.score(Z, velocity), 3)
    1.0
    """

    _parameter_constraints = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "trial_length": [at_least(1), None],
    }

    _row_by_row = True

    def __init__(self, estimator=None, *, trial_length=None):
        self.estimator = estimator
        self.trial_length = trial_length

    def _regressor(self):
        return Ridge() if self.estimator is None else self.estimator

    @all_or_nothing
    @own_settings()
    def fit(self, X, y, sample_weight=None):
        """Fit the regressor on the bins of all source trials.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_features), Trials or 2-D array
            Latents or activity.
        y : array-like of shape (n_trials, n_bins, n_outputs)
            Behaviour; also (n_trials, n_bins), and with 2-D X (n_rows,) or (n_rows,
            n_outputs). Of `Trials` only the rows of source trials are read.
        sample_weight : array-like of shape (n_trials,) or (n_rows,), default=None
            Weights of trials, or of rows with 2-D X, for regressors that take them.

        Returns
        -------
        self : object
            Fitted decoder.

        Raises
        ------
        ValueError
            If X or y is not finite, if they or the weights do not fit each other, or if
            there are weights and the regressor takes none.
        """
        self._validate_params()
        X, form = self._check_X(X, reset=True)
        if y is None:
            raise ValueError(
                "PerBinRegressor requires y to be passed, but the target y is None."
            )
        used = X.is_source if isinstance(X, Trials) else np.ones(len(X), dtype=bool)
        y = as_array(y, "y", numeric=False)
        self._single = y.ndim == (1 if form.is_rows else 2)
        flat = self._check_y(y, X, form, used)
        flat = flat.ravel() if self._single else flat.reshape(-1, flat.shape[2])
        if isinstance(X, Trials):
            X = X[used].to_array()
        self._data_fingerprint = fingerprint(X, flat)
        weights = self._row_weights(sample_weight, form, used, X.shape[1])
        regressor = clone(self._regressor())
        self.estimator_ = regressor.fit(X.reshape(-1, X.shape[2]), flat, **weights)
        return self

    def _row_weights(self, sample_weight, form, used, n_bins):
        """What the regressor is to be given of weights of trials, or of rows."""
        if sample_weight is None:
            return {}
        if not has_fit_parameter(self._regressor(), "sample_weight"):
            raise ValueError(
                f"sample_weight was given, but {type(self._regressor()).__name__}.fit "
                "takes none. Leave it out, or use a regressor that does, Ridge say."
            )
        weights = check_numbers(sample_weight, "sample_weight", ensure_2d=False)
        n = len(used) * (n_bins if form.is_rows else 1)
        if weights.shape != (n,):
            raise ValueError(
                f"sample_weight must hold one weight for each of the {n} "
                f"{'rows' if form.is_rows else 'trials'}, got shape {weights.shape}."
            )
        if weights.min() < 0 or not weights.max() > 0:
            raise ValueError(
                "sample_weight must not be negative, nor zero everywhere, got weights "
                f"from {weights.min():g} to {weights.max():g}."
            )
        if not form.is_rows:
            weights = np.repeat(weights[used], n_bins)
        return {"sample_weight": weights}

    @own_settings()
    def predict(self, X):
        """Decode the behaviour of each trial.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_features), Trials or 2-D array
            Latents or activity.

        Returns
        -------
        y : ndarray of shape (n_trials, n_bins, n_outputs)
            Behaviour, without its last axis where y in `fit` was without; with 2-D X
            one row per bin.
        """
        check_is_fitted(self)
        X, form = self._check_X(X, reset=False)
        if isinstance(X, Trials):
            X = self._check_array_3d(X.to_array(), False, False)
        y = np.asarray(self.estimator_.predict(X.reshape(-1, X.shape[2])))
        if form.is_rows:
            return y
        # some regressors drop the axis of one output
        return y.reshape(X.shape[:2] if self._single else (*X.shape[:2], -1))

    @own_settings()
    def score(self, X, y, sample_weight=None):
        """R2 pooled over trials and bins, averaged over outputs.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_features), Trials or 2-D array
            Latents or activity.
        y : array-like
            True behaviour of every trial of X.
        sample_weight : array-like of shape (n_trials,) or (n_rows,), default=None
            Weights of trials, or of rows with 2-D X.

        Returns
        -------
        score : float
            R2.
        """
        prediction, y = self.predict(X), as_array(y, "y")
        # (n_trials, n_bins) is one output without its axis
        if isinstance(X, Trials) or len(shape_of(X)) != 2:
            y, prediction = (
                A[..., None] if A.ndim == 2 else A for A in (y, prediction)
            )
        return behaviour_r2_score(y, prediction, sample_weight=sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self._regressor())
        tags.target_tags = inner.target_tags
        tags.target_tags.required = True
        tags.non_deterministic = inner.non_deterministic
        return tags
