"""What the functions of this package are given, checked before they compute."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import inspect
from functools import partial, wraps

import numpy as np
from sklearn.utils import check_array

from ..utils._arrays import as_array, check_finite, check_size
from ..utils._settings import own_settings
from ..utils._sklearn import validate_parameter_constraints

_FORMS = {
    1: "one-dimensional and not empty",
    2: "two-dimensional and not empty",
    3: "of shape (n_trials, n_bins, d) and not empty",
}


def checked(**expected):
    """Decorate a function so that its arguments are checked, and NumPy's settings ours.

    What it computes with is in ``function.unchecked``, for callers that have checked
    their arrays, or that call it many thousand times.

    Parameters
    ----------
    **expected : callable or list
        For each argument that is checked what converts it, ``convert(value, name)``, or
        constraints as of an estimator's parameters. None is let through where it is the
        default.

    Returns
    -------
    decorate : callable
        The decorator.
    """
    constraints = {k: v for k, v in expected.items() if isinstance(v, list)}
    converters = {k: v for k, v in expected.items() if k not in constraints}

    def decorate(func):
        signature = inspect.signature(func)

        @wraps(func)
        def wrapper(*args, **kwargs):
            bound = signature.bind(*args, **kwargs)
            given = bound.arguments
            scalars = {k: v for k, v in given.items() if k in constraints}
            validate_parameter_constraints(constraints, scalars, func.__qualname__)
            for name in converters.keys() & given.keys():
                default = signature.parameters[name].default
                if given[name] is not default or default is inspect.Parameter.empty:
                    given[name] = converters[name](given[name], name)
            with own_settings():
                return func(*bound.args, **bound.kwargs)

        wrapper.unchecked = func
        return wrapper

    return decorate


def _numbers(X, name, ndim=3, least=-np.inf, largest=1e18):
    """Convert to a finite array of single or double precision that is not empty."""
    X = check_array(
        as_array(X, name),
        input_name=name,
        dtype=[np.float64, np.float32],
        allow_nd=True,
        ensure_2d=False,
        ensure_min_samples=0,
        ensure_all_finite=False,
    )
    if X.ndim != ndim or not X.size:
        raise ValueError(f"{name} must be {_FORMS[ndim]}, got shape {X.shape}.")
    check_finite(X, name)
    check_size(X, name, largest)
    if X.min() < least:
        raise ValueError(f"{name} must be at least {least:g}, got {X.min():g}.")
    return X


TRIALS = _numbers
VECTOR = partial(_numbers, ndim=1)
MATRIX = partial(_numbers, ndim=2)
MASSES = partial(VECTOR, least=0.0)
WEIGHTS = partial(MATRIX, least=0.0)
DISTANCES = partial(WEIGHTS, largest=1e60)  # squared


def parts(*converters, optional=False):
    """Expect a tuple, and convert each part; None is let through if it is optional."""

    def convert(values, name):
        if not isinstance(values, tuple | list) or len(values) != len(converters):
            raise TypeError(
                f"{name} must be a tuple of {len(converters)} arrays, got "
                f"{_shown(values)}."
            )
        return tuple(
            None if optional and value is None else converter(value, f"{name}[{i}]")
            for i, (converter, value) in enumerate(zip(converters, values, strict=True))
        )

    return convert


def instance(cls):
    """Expect an instance of a class."""

    def check(value, name):
        if not isinstance(value, cls):
            raise TypeError(f"{name} must be a {cls.__name__}, got {_shown(value)}.")
        return value

    return check


def instances(cls):
    """Expect a list of one or more instances of a class."""

    def check(values, name):
        if not isinstance(values, list | tuple) or not values:
            raise TypeError(
                f"{name} must be a list with at least one {cls.__name__}, got "
                f"{_shown(values)}."
            )
        return [instance(cls)(value, f"{name}[{i}]") for i, value in enumerate(values)]

    return check


def _shown(value):
    many = isinstance(value, tuple | list)
    return type(value).__name__ + (f" of {len(value)}" if many else "")


def check_shape(X, shape, name):
    """Raise if an array has not the shape that the others ask for."""
    if X.shape != shape:
        raise ValueError(
            f"{name} must be of shape {shape}, to fit the others, got {X.shape}."
        )
