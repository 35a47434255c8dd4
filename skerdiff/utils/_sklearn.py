"""What this package uses of scikit-learn's private modules, in one place.

Parameter constraints. scikit-learn has no public counterpart: ``_validate_params`` of
`sklearn.base.BaseEstimator`, on which every estimator here relies, reads constraints of
these classes. They have been where they are, and have had these signatures, since
version 1.3; the tests run on 1.9, and the floor of ``pyproject.toml``, 1.6.1, has them
too. There is no fallback: without them no parameter would be checked, silently.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers

import numpy as np
import sklearn

try:
    from sklearn.utils._param_validation import (
        HasMethods,
        Interval,
        StrOptions,
        validate_parameter_constraints,
        validate_params,
    )
except ImportError as error:  # pragma: no cover
    raise ImportError(
        f"skerdiff checks its parameters by means of scikit-learn {sklearn.__version__}"
        ", which no longer has them where they were (sklearn.utils._param_validation). "
        "Install a scikit-learn that it was tested with, 1.6.1 to 1.9."
    ) from error

__all__ = [
    "COUNT",
    "NON_NEGATIVE",
    "POSITIVE",
    "HasMethods",
    "Interval",
    "StrOptions",
    "at_least",
    "output_container",
    "validate_parameter_constraints",
    "validate_params",
]


def at_least(least):
    """Constraint of an integer, which True and False are not.

    Parameters
    ----------
    least : int
        The least.

    Returns
    -------
    constraint : Interval
        For ``_parameter_constraints``.
    """
    return _Integers(numbers.Integral, least, None, closed="left")


class _Integers(Interval):
    def is_satisfied_by(self, val):
        return not isinstance(val, bool | np.bool_) and super().is_satisfied_by(val)


COUNT = [at_least(1)]
# reals are such that single precision can hold them, and what they are multiplied with
NON_NEGATIVE = [Interval(numbers.Real, 0, 1e6, closed="both")]
POSITIVE = [Interval(numbers.Real, 1e-12, 1e6, closed="both")]


def output_container(estimator, method="transform"):
    """Container that ``set_output`` or ``set_config`` asks for.

    Parameters
    ----------
    estimator : BaseEstimator
        An estimator.
    method : str, default="transform"
        Method whose output is meant.

    Returns
    -------
    container : str
        ``"default"``, ``"pandas"`` or ``"polars"``.
    """
    own = getattr(estimator, "_sklearn_output_config", {})
    return own.get(method, sklearn.get_config()[f"{method}_output"])
