"""Square root, smoothing along bins and time warping of ragged trials."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers

import numpy as np
from scipy.ndimage import gaussian_filter1d
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .base import TrialEstimator
from .trials import Trials
from .utils._arrays import check_numbers, shape_of
from .utils._atomic import all_or_nothing
from .utils._settings import own_settings
from .utils._sklearn import COUNT, NON_NEGATIVE

__all__ = ["GaussianSmoother", "SquareRoot", "smooth", "warp_trials"]

_NARROWEST = 0.02  # of a Gaussian, in bins
_WIDEST = 10  # of a Gaussian, in trials


def smooth(X, smoothing):
    """Smooth each trial along its bins with a Gaussian.

    Parameters
    ----------
    X : array-like of shape (n_trials, n_bins, n_neurons)
        Activity.
    smoothing : float
        Standard deviation of the Gaussian, in bins. 0 leaves X as it is.

    Returns
    -------
    X : ndarray of shape (n_trials, n_bins, n_neurons)
        Smoothed activity; trials are mirrored at their ends and never mixed.

    Raises
    ------
    ValueError
        If X is not three-dimensional or not finite, or if `smoothing` is negative or
        not finite.
    """
    X = check_numbers(X, dtype=[np.float64, np.float32])
    if X.ndim != 3:
        raise ValueError(
            f"X must be of shape (n_trials, n_bins, n_neurons), got {X.shape}."
        )
    if not isinstance(smoothing, numbers.Real) or not 0 <= smoothing < np.inf:
        raise ValueError(
            f"smoothing must be a finite number of bins, at least 0, got {smoothing!r}."
        )
    return gaussian_bins(X, smoothing)


def gaussian_bins(X, smoothing):
    """Smooth checked activity (n_trials, n_bins, n_neurons), see `smooth`."""
    # narrower, the neighbours of a bin have no weight; wider, all have the same
    if smoothing < _NARROWEST or X.shape[1] == 1:
        return X
    if smoothing > _WIDEST * X.shape[1]:
        return np.repeat(X.mean(1, keepdims=True), X.shape[1], axis=1)
    return gaussian_filter1d(X, smoothing, axis=1, mode="reflect")


class _Elementwise(OneToOneFeatureMixin, TransformerMixin, TrialEstimator):
    """Fit and transform of steps that learn nothing and accept any width in 3-D."""

    @all_or_nothing
    @own_settings()
    def fit(self, X, y=None):
        """Check the parameters and the input; nothing is learned.

        Parameters
        ----------
        X : array-like, Trials or 2-D array-like
            Activity, see `transform`.
        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        self : object
            Fitted estimator.
        """
        self._validate_params()
        X, _ = self._check_X(X, reset=True)
        for part in X.items() if isinstance(X, Trials) else [("X", X)]:
            self._check_values(part[1])
        return self

    def _check_values(self, X):
        """Raise if an array of activity is not in the domain of the step."""

    @own_settings()
    def transform(self, X):
        """Transform each trial.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_neurons), Trials or 2-D array-like
            Activity. In 3-D the number of neurons may be another than in `fit`.

        Returns
        -------
        X : ndarray or Trials
            Transformed activity, in the form of the input.
        """
        check_is_fitted(self)
        # 2-D input keeps its columns
        any_width = isinstance(X, Trials) or len(shape_of(X)) == 3
        X, form = self._check_X(X, reset=False, any_width=any_width)
        self._check_output(form)
        return form.restore(
            X.map(self._apply) if isinstance(X, Trials) else self._apply(X)
        )


class SquareRoot(_Elementwise):
    """Square root of counts, which makes their variance nearly constant.

    For a Poisson count of mean m the variance of the square root tends to 1/4,
    whatever m (Bartlett, 1936). Aligners do this themselves; the step is for
    pipelines without one.

    Parameters
    ----------
    trial_length : int, default=None
        For 2-D X, the number of consecutive rows (bins) of a trial.

    Attributes
    ----------
    n_features_in_ : int
        Number of neurons seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the neurons seen in `fit`, if X had any.

    Raises
    ------
    ValueError
        If X holds negative values.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.preprocessing import SquareRoot
    >>> SquareRoot().fit_transform(np.full((1, 2, 2), 9.0))
    array([[[3., 3.],
            [3., 3.]]])
    """

    _parameter_constraints = {"trial_length": [*COUNT, None]}

    _row_by_row = True

    def __init__(self, *, trial_length=None):
        self.trial_length = trial_length

    def _check_values(self, X):
        if X.min() < 0:
            raise ValueError(
                "Negative values in data passed to SquareRoot: it takes counts or "
                f"rates, and the smallest value is {X.min():.4g}."
            )

    def _apply(self, X):
        self._check_values(X)
        return np.sqrt(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags


class GaussianSmoother(_Elementwise):
    """Gaussian smoothing along the bins of each trial.

    Parameters
    ----------
    smoothing : float, default=1.0
        Standard deviation of the Gaussian, in bins. The filter looks ahead as far as
        it looks back; 0 switches it off.
    trial_length : int, default=None
        For 2-D X, the number of consecutive rows (bins) of a trial. By default each
        row is a trial and there is nothing to smooth.

    Attributes
    ----------
    n_features_in_ : int
        Number of neurons seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the neurons seen in `fit`, if X had any.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.preprocessing import GaussianSmoother
    >>> X = np.zeros((1, 5, 1))
    >>> X[0, 2] = 1.0
    >>> GaussianSmoother(0.5).fit_transform(X).ravel().round(2)
    array([0.  , 0.11, 0.79, 0.11, 0.  ])
    """

    _parameter_constraints = {
        "smoothing": NON_NEGATIVE,
        "trial_length": [*COUNT, None],
    }

    def __init__(self, smoothing=1.0, *, trial_length=None):
        self.smoothing = smoothing
        self.trial_length = trial_length

    def _apply(self, X):
        return gaussian_bins(X, self.smoothing)


@own_settings()
def warp_trials(trials, n_bins):
    """Warp ragged trials in time to a common number of bins.

    Each trial is interpolated linearly at `n_bins` points evenly spaced from its
    first to its last bin. Warp activity and behaviour alike, each with its own call.
    The values stay what they were (a rate in Hz stays one); the width of a bin
    becomes another for every trial, so that warped counts no longer sum to the number
    of spikes.

    Parameters
    ----------
    trials : sequence of array-like of shape (n_bins_i, n_features)
        Trials of different length; a 3-D array is taken as trials of one length.
    n_bins : int
        Number of bins of every trial afterwards.

    Returns
    -------
    X : ndarray of shape (n_trials, n_bins, n_features)
        Warped trials.

    Raises
    ------
    ValueError
        If there are no trials, if a trial is not 2-D, is empty, holds NaN or has
        another number of features than the first, or if `n_bins` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.preprocessing import warp_trials
    >>> warp_trials([np.array([[0.0], [2.0]]), np.array([[1.0], [3.0], [5.0]])], 3)
    array([[[0.],
            [1.],
            [2.]],
    <BLANKLINE>
           [[1.],
            [3.],
            [5.]]])
    """
    if not isinstance(n_bins, numbers.Integral) or n_bins < 1:
        raise ValueError(f"n_bins must be a positive integer, got {n_bins!r}.")
    if len(trials) == 0:
        raise ValueError("warp_trials needs at least one trial, got none.")
    warped = []
    for i, trial in enumerate(trials):
        trial = check_numbers(trial, f"trial {i}", dtype="numeric", allow_nd=False)
        if trial.shape[1] != len(np.atleast_2d(trials[0])[0]):
            raise ValueError(
                f"trial {i} has {trial.shape[1]} features, trial 0 has "
                f"{len(np.atleast_2d(trials[0])[0])}: all trials must have the same."
            )
        position = np.linspace(0, len(trial) - 1, n_bins)
        left = np.minimum(position.astype(int), max(len(trial) - 2, 0))
        right = np.minimum(left + 1, len(trial) - 1)
        weight = (position - left)[:, None]
        warped.append((1 - weight) * trial[left] + weight * trial[right])
    return np.stack(warped)
