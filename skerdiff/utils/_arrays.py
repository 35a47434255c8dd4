"""From what users bring to arrays of numbers, or to an error that says why not."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import datetime
import hashlib
from collections.abc import Mapping

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array

_NO_NUMBERS = (
    str,
    bytes,
    datetime.date,  # and datetime
    datetime.time,
    datetime.timedelta,
    np.datetime64,
    np.timedelta64,
)
_KINDS = {
    "M": "dates",
    "m": "time differences",
    "U": "text",
    "S": "byte strings",
    "V": "records",
}
_TRIALS = (
    "For activity of several sessions, write skerdiff.Trials({'day0': X0, 'day1': X1})."
)
_PART = 1_000_000  # numbers that are converted at a time
_LARGEST = 1e18  # its square is finite in single precision


def as_array(X, name="X", numeric=True):
    """Convert to an array of numbers.

    Parameters
    ----------
    X : array-like
        Array, nested lists, tensor, data frame or other container. Trials of one shape
        in an object array (cells of MATLAB) are stacked. Masked entries become NaN.
    name : str, default="X"
        Name of the argument.
    numeric : bool, default=True
        Whether text and dates are refused.

    Returns
    -------
    X : ndarray
        The array, not copied if it was one.

    Raises
    ------
    TypeError
        If X is a mapping or sparse.
    ValueError
        If X is ragged or a list of sessions, or holds anything but numbers.
    """
    if isinstance(X, Mapping):
        raise TypeError(
            f"{name} is a {type(X).__name__}, but one array is needed. {_TRIALS}"
        )
    if issparse(X):
        raise TypeError(
            f"{name} is a sparse matrix, but dense numbers are needed. Convert it with "
            "toarray()."
        )
    X = _plain(X)
    if isinstance(X, list | tuple) and any(_is_special(x) for x in X):
        X = [_plain(x) for x in X]
    try:
        X = np.asarray(X)
    except ValueError:  # NumPy's message does not say of what
        raise _ragged(name, X) from None
    if X.dtype == object and X.size:
        X = _stacked(X, name)
    if numeric:
        refuse_others(X, name)
        if X.dtype == object:
            X = _as_floats(X, name)
    return X


def _is_special(X):
    return isinstance(X, np.ma.MaskedArray) or hasattr(X, "detach")


def _plain(X):
    """Arrays without mask, and tensors as arrays."""
    if isinstance(X, np.ma.MaskedArray):
        if not np.ma.is_masked(X):
            return X.data
        return X.astype(np.result_type(X.dtype, np.float32)).filled(np.nan)
    if hasattr(X, "detach"):  # a tensor of torch
        if X.is_meta or str(X.layout) != "torch.strided":
            raise ValueError(
                f"A tensor with layout {X.layout} on the device {str(X.device)!r} is "
                "no array of numbers. Pass a dense one on the CPU."
            )
        X = X.detach().cpu().resolve_conj().resolve_neg()
        is_half = X.dtype.is_floating_point and X.dtype.itemsize == 2
        return (X.float() if is_half else X).numpy()
    return X


def _stacked(X, name):
    """Trials of an object array as one array, if they are of one shape."""
    trials = [_plain(trial) for trial in X.ravel()]
    try:
        shapes = {np.shape(trial) for trial in trials}
    except ValueError:
        raise _ragged(name, trials) from None
    if shapes == {()}:
        return X
    if len(shapes) > 1:
        raise _ragged(name, trials)
    stacked = np.stack(trials)
    if X.ndim == 2 and 1 in X.shape:  # cells of MATLAB are 1 x n or n x 1
        return stacked
    return stacked.reshape(X.shape + stacked.shape[1:])


def _as_floats(X, name):
    """Numbers of an array of objects."""
    try:
        return X.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        kinds = sorted({type(x).__name__ for x in X.ravel()[:1000]})
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"{name} holds objects that are no numbers (types {', '.join(kinds)}; "
            f"{error}). Missing values must be NaN."
        ) from error


def _ragged(name, trials):
    if len(trials) and getattr(trials[0], "ndim", 0) == 3:
        return ValueError(
            f"{name} is a list of {len(trials)} three-dimensional arrays, but one is "
            f"needed. {_TRIALS}"
        )
    return ValueError(
        f"{name} is ragged: every trial must have the same number of bins and neurons. "
        "Bring ragged trials to one length with skerdiff.preprocessing.warp_trials."
    )


def refuse_others(X, name):
    """Raise for dates, text and the like, which NumPy would turn into numbers."""
    if X.dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: {name} holds complex numbers, but real "
            "numbers are needed. Take their real part or their size."
        )
    what = _KINDS.get(X.dtype.kind)
    if X.dtype == object:
        kinds = {type(x) for x in X.ravel() if isinstance(x, _NO_NUMBERS)}
        what = ", ".join(sorted(kind.__name__ for kind in kinds))
    if what:
        raise ValueError(
            f"{name} holds {what} (dtype {X.dtype}), but real numbers are needed. "
            "Convert what are numbers in disguise with astype(float)."
        )


def is_table(X):
    """Whether X is two-dimensional and keeps what an array would lose."""
    is_frame = all(hasattr(X, name) for name in ("columns", "dtypes", "shape"))
    return is_frame or issparse(X)


def shape_of(X):
    """Shape of what is an array, or will be one."""
    return tuple(X.shape) if is_table(X) else as_array(X).shape


def feature_names(X):
    """Names of the columns of a data frame, if all are text; else None."""
    names = list(X.columns) if is_table(X) and not issparse(X) else []
    if not names or not all(isinstance(name, str) for name in names):
        return None
    return np.array(names, dtype=object)


def check_table(X, name="X"):
    """Raise if a column of a data frame holds anything but numbers."""
    if issparse(X):
        return  # scikit-learn says that it takes none
    kinds = {getattr(dtype, "kind", "O") for dtype in X.dtypes}
    if kinds & {"O", *_KINDS}:
        X = np.asarray(X)
        refuse_others(X, name)
        if X.dtype == object:
            _as_floats(X, name)


def check_numbers(X, name="X", **params):
    """Convert to a finite array of double precision with any number of axes.

    Parameters
    ----------
    X : array-like
        See `as_array`.
    name : str, default="X"
        Name of the argument.
    **params : dict
        More for `sklearn.utils.check_array`.

    Returns
    -------
    X : ndarray
        The array.
    """
    params = {"allow_nd": True, "dtype": np.float64} | params
    X = check_array(as_array(X, name), input_name=name, **params)
    check_size(X, name)
    return X


def check_finite(X, name="X", advice="", numbers=None):
    """Raise if X (n_trials, n_bins, d), or rows of it (n, d), holds NaN or infinity.

    Parameters
    ----------
    X : ndarray
        Numbers.
    name : str, default="X"
        Name of the argument.
    advice : str, default=""
        What to do about it.
    numbers : ndarray of int, shape (n_trials,), default=None
        Numbers of the trials; None counts them.
    """
    with np.errstate(all="ignore"):
        if np.isfinite(X.sum(dtype=np.float64)):  # no array of its own, as isfinite(X)
            return
    bad = ~np.isfinite(X).all(axis=tuple(range(1, X.ndim)))
    if not bad.any():
        return
    what = "NaN" if np.isnan(X[bad]).any() else "infinity"
    where = np.flatnonzero(bad) if numbers is None else numbers[bad]
    unit = "trial" if X.ndim == 3 else "row"
    shown = ", ".join(map(str, where[:10])) + (" and others" if len(where) > 10 else "")
    raise ValueError(
        f"Input {name} contains {what}, in {len(where)} of {len(X)} {unit}s ({unit}"
        f"{'s' if len(where) > 1 else ''} {shown}). {advice}".rstrip()
    )


def check_size(X, name="X", most=_LARGEST):
    """Raise if values are too large; by default, to be squared in single precision."""
    largest = max(float(X.max()), -float(X.min())) if X.size else 0.0
    if largest > most:
        raise ValueError(
            f"{name} holds values of up to {largest:.3g}, more than {most:.0e}, "
            "with which nothing can be computed. Check the units, or for values that "
            "stand for missing ones."
        )


def fingerprint(*data):
    """Digest of what an estimator is fitted to, by which it can be told later.

    Parameters
    ----------
    *data : ndarray, Trials or None
        Arrays of numbers.

    Returns
    -------
    digest : str
        32 hexadecimal digits; other values, shapes or types give others.
    """
    found = hashlib.blake2b(digest_size=16)
    for part in data:
        arrays = part.items() if hasattr(part, "items") else [("", part)]
        for name, array in arrays:
            array = np.asarray(array)
            found.update(f"{name}/{array.dtype.str}/{array.shape}/".encode())
            plain = array.dtype != object
            content = np.ascontiguousarray(array) if plain else repr(array.tolist())
            found.update(content if plain else content.encode())
    return found.hexdigest()


def in_double(func, X):
    """Apply a function of trials to them in double precision.

    Single precision is converted a few trials at a time, for want of memory.

    Parameters
    ----------
    func : callable
        Maps trials (n, n_bins, d) to results (n, ...), each trial by itself.
    X : ndarray of shape (n_trials, n_bins, d)
        Trials.

    Returns
    -------
    results : ndarray of shape (n_trials, ...)
        The results.
    """
    if X.dtype == np.float64:
        return func(X)
    return np.concatenate([func(part) for part in in_parts(X)])


def in_parts(*arrays):
    """Iterate over arrays (n, ...) in double precision, a few rows at a time.

    Parameters
    ----------
    *arrays : ndarray
        Arrays of the same number of rows.

    Yields
    ------
    part : ndarray or tuple of ndarray
        The same rows of the array, or of each.
    """
    step = max(1, _PART // max(1, *(X[0].size for X in arrays)))
    for i in range(0, len(arrays[0]), step):
        part = tuple(X[i : i + step].astype(np.float64, copy=False) for X in arrays)
        yield part if len(part) > 1 else part[0]


def mean_and_variance(X):
    """Mean and variance of each column of (..., d), in double precision, (d,) each."""
    axes = tuple(range(X.ndim - 1))
    if X.dtype == np.float64:
        return X.mean(axes), X.var(axes)
    rows = X.reshape(-1, X.shape[-1])
    mean = sum(part.sum(0) for part in in_parts(rows)) / len(rows)
    return mean, sum(((part - mean) ** 2).sum(0) for part in in_parts(rows)) / len(rows)
