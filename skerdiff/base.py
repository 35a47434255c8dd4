"""The three forms of X, validated once for every estimator.

Activity comes as a 3-D array (one session), as `Trials` (several sessions) or as a 2-D
array whose rows are bins. Estimators work on 3-D arrays or `Trials`; `_check_X` turns
2-D input into 3-D and gives back a form whose ``restore`` undoes it.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from .exceptions import OneBinTrialsWarning
from .trials import Trials
from .utils._arrays import (
    as_array,
    check_finite,
    check_size,
    check_table,
    is_table,
    refuse_others,
    shape_of,
)
from .utils._sklearn import output_container
from .utils._version import VERSION
from .utils._warnings import warn_caller, warn_of_version

__all__ = ["TrialEstimator"]

_DTYPES = [np.float64, np.float32]
_PADDED = (
    "If trials of different length are padded with NaN, bring them to one length with "
    "skerdiff.preprocessing.warp_trials; else leave these trials out, or interpolate."
)
_UNKNOWN = (
    "Behaviour of source trials must be known in every bin: where it is not, leave the "
    "trials out of X and y, or interpolate."
)


class Form:
    """Whether X came as rows (bins), and the way back to that form.

    Parameters
    ----------
    is_rows : bool
        Whether X was a 2-D array whose rows are bins.
    """

    def __init__(self, is_rows=False):
        self.is_rows = is_rows

    def restore(self, Z):
        """Bring (n_trials, n_bins, n_features) back to the form of the input."""
        return Z.reshape(-1, Z.shape[-1]) if self.is_rows else Z


class TrialEstimator(BaseEstimator):
    """Base of the estimators that take activity in trials."""

    _row_by_row = False  # whether it is all the same which rows make a trial

    def __getstate__(self):
        return {**super().__getstate__(), "_skerdiff_version": VERSION}

    def __setstate__(self, state):
        state = dict(state)
        warn_of_version(state.pop("_skerdiff_version", None), type(self).__name__)
        super().__setstate__(state)

    def _check_X(self, X, *, reset, any_width=False, min_trials=1, targets_later=False):
        """Validate X and bring it to 3-D or `Trials`.

        Parameters
        ----------
        X : array-like or Trials
            Input in any of the three forms.
        reset : bool
            Whether to store the width (and names) of X as those of this estimator;
            otherwise X is checked against them.
        any_width : bool, default=False
            Whether X may have another width than the one stored.
        min_trials : int, default=1
            Fewest trials accepted; for `Trials` it counts those of the source.
        targets_later : bool, default=False
            Whether the values of other sessions than the sources of `Trials` are left
            for `_check_session`, so that a bad one does not spoil the others.

        Returns
        -------
        X : ndarray of shape (n_trials, n_bins, n_neurons) or Trials
            Validated input of floating dtype.
        form : Form
            The form in which it came.
        """
        # set since fit, they may be wrong; a class of a user's need not declare any
        if not reset and hasattr(self, "_parameter_constraints"):
            self._validate_params()
        if isinstance(X, Trials):
            if reset and hasattr(self, "transform"):
                self._check_output(Form())
            X = self._check_trials(X, reset, any_width, min_trials, targets_later)
            return X, Form()
        if is_table(X):
            check_table(X)
        else:
            X = as_array(X)
        n_axes = len(shape_of(X))
        if n_axes > 3:
            raise ValueError(
                f"X has {n_axes} axes, but activity of one session is of shape "
                "(n_trials, n_bins, n_neurons). For several sessions, write "
                "skerdiff.Trials({'day0': X0, 'day1': X1})."
            )
        form = Form(is_rows=n_axes != 3)
        if reset and hasattr(self, "transform"):
            self._check_output(form)  # before it takes minutes to fit
        if form.is_rows:
            X = self._check_rows(X, reset, any_width)
        else:
            X = self._check_array_3d(X, reset, any_width)
        self._check_enough(len(X), min_trials)
        return X, form

    def _check_trials(self, X, reset, any_width, min_trials, targets_later):
        if not len(X):
            raise ValueError(
                "Found Trials with 0 trial(s) while a minimum of 1 is required by "
                f"{type(self).__name__}."
            )
        if reset:
            source = X[X.session == X.source]
            if not len(source):
                raise ValueError(
                    f"{type(self).__name__} fits on the source session, but X holds "
                    f"no trial of {X.source!r}, only of {X.names}. Use a splitter of "
                    "skerdiff.model_selection, or name another source with "
                    "X.with_source."
                )
            self._check_enough(len(source), min_trials)
            self._check_array_3d(source[X.source], True, any_width)

        def check(name, A):
            later = targets_later and name not in X.sources
            return A if later else self._check_session(A, name)

        return X.map_items(check)

    def _check_session(self, X, name):
        """Validate the activity of one session of `Trials`."""
        return self._check_array_3d(X, False, True, f"session {name!r}")

    def _check_array_3d(self, X, reset, any_width, input_name="X"):
        if 0 in X.shape[1:]:
            what = "feature(s)" if X.shape[1] else "bin(s)"
            raise ValueError(
                f"0 {what} (shape={X.shape}) while a minimum of 1 is required by "
                f"{type(self).__name__}."
            )
        if not len(X):
            raise ValueError(
                f"Found array with 0 sample(s) (shape={X.shape}) while a minimum of 1 "
                f"is required by {type(self).__name__}."
            )
        rows = X.reshape(-1, X.shape[2])
        X = self._validate(rows, reset, any_width, input_name).reshape(X.shape)
        check_finite(X, input_name, _PADDED)
        check_size(X, input_name)
        return X

    def _validate(self, rows, reset, any_width, input_name="X"):
        # sums depend on the layout in memory, to the last bits: keep to one
        params = {"dtype": _DTYPES, "order": "C", "ensure_all_finite": False}
        if any_width and not reset:
            return check_array(rows, estimator=self, input_name=input_name, **params)
        return validate_data(self, rows, reset=reset, **params)

    def _check_rows(self, X, reset, any_width):
        X = self._validate(X, reset, any_width)
        check_finite(X)
        check_size(X)
        length = getattr(self, "trial_length", None)
        if length is None and reset and not self._row_by_row:
            warn_caller(
                f"2-D X, and {type(self).__name__} has no trial_length: each of the "
                f"{len(X)} rows counts as a trial of one bin. If some rows make a "
                "trial, set trial_length to their number, or pass X of shape "
                "(n_trials, n_bins, n_neurons).",
                OneBinTrialsWarning,
            )
        length = length or 1
        if len(X) % length:
            raise ValueError(
                f"2-D X has {len(X)} rows (bins), which is no multiple of "
                f"trial_length={length}: every {length} consecutive rows must be one "
                "whole trial."
            )
        return X.reshape(-1, length, X.shape[1])

    def _check_output(self, form):
        """Refuse data frames as output of anything but 2-D input."""
        container = output_container(self)
        if not form.is_rows and container != "default":
            raise ValueError(
                f"set_output(transform={container!r}) takes 2-D input, one row per "
                "bin: a data frame cannot hold three dimensions. Pass 2-D X (with "
                "trial_length), or set_output(transform='default')."
            )

    def _check_enough(self, n_trials, min_trials):
        if n_trials < min_trials:
            raise ValueError(
                f"Found array with {n_trials} sample(s) (trials) while a minimum of "
                f"{min_trials} is required by {type(self).__name__}."
            )

    def _check_y(self, y, X, form, used):
        """Validate behaviour and bring it to 3-D.

        Parameters
        ----------
        y : array-like
            Behaviour: (n_trials, n_bins, n_outputs), or (n_trials, n_bins) for one
            output; with 2-D X (n_rows,) or (n_rows, n_outputs).
        X : ndarray or Trials
            Validated input.
        form : Form
            The form in which X came.
        used : ndarray of bool, shape (n_trials,)
            The trials whose behaviour is read; all other rows are never looked at.

        Returns
        -------
        y : ndarray of shape (n_used_trials, n_bins, n_outputs)
            Behaviour of the trials in use.
        """
        n_trials = len(X)
        n_bins = X.n_bins if isinstance(X, Trials) else X.shape[1]
        expected = (n_trials, n_bins)
        y = as_array(y, "y", numeric=False)
        n = n_trials * n_bins if form.is_rows else n_trials
        if y.ndim == 0 or len(y) != n:
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: X has {n}"
                f" {'rows' if form.is_rows else 'trials'}, y has shape "
                f"{y.shape}."
            )
        if form.is_rows and y.ndim <= 2:
            y = y.reshape(n_trials, n_bins, -1)
        elif y.ndim == 2 and y.shape == expected:
            y = y[:, :, None]
        if y.ndim != 3 or y.shape[:2] != expected or not y.shape[2]:
            raise ValueError(
                f"y must hold behaviour per bin, of shape {(*expected, 'n_outputs')}, "
                f"got {y.shape}. A single value per trial (such as the direction) "
                "cannot be decoded bin by bin."
            )
        y = y[used]
        refuse_others(y, "y")  # rows that are not used may hold anything
        rows = check_array(
            y.reshape(-1, y.shape[2]),
            dtype=_DTYPES,
            estimator=self,
            input_name="y",
            ensure_all_finite=False,
        )
        y = rows.reshape(y.shape)
        check_finite(y, "y", _UNKNOWN, np.flatnonzero(used))
        check_size(y, "y")
        return y


def check_conditions(conditions, X, form):
    """Validate the condition of each trial.

    Parameters
    ----------
    conditions : array-like or None
        One name or number per trial; with 2-D X one per trial or per row.
    X : ndarray or Trials
        Validated input.
    form : Form
        The form in which it came.

    Returns
    -------
    conditions : ndarray of shape (n_trials,) or None
        The conditions.

    Raises
    ------
    ValueError
        If there is not one for each trial, or if rows of a trial differ.
    """
    if conditions is None:
        return None
    conditions = as_array(conditions, "conditions", numeric=False)
    if form.is_rows and conditions.shape == (len(X) * X.shape[1],):
        by_trial = conditions.reshape(len(X), -1)
        if (by_trial != by_trial[:, :1]).any():
            raise ValueError("conditions must be the same in all rows of a trial.")
        conditions = by_trial[:, 0]
    if conditions.shape != (len(X),):
        raise ValueError(
            f"conditions must hold one value for each of the {len(X)} trials, got "
            f"shape {conditions.shape}."
        )
    return conditions


def check_not_silent(X, name):
    """Raise if no neuron of X (n_trials, n_bins, n_neurons) ever changes."""
    if not np.ptp(X, axis=(0, 1)).any():
        raise ValueError(
            f"{name} is silent: no neuron ever changes its activity, so there is "
            "nothing to learn from. Check the channel map and the units."
        )
