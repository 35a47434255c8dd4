"""Finding the estimators of this package."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import inspect
import pkgutil
from importlib import import_module

from sklearn.base import BaseEstimator

from ._sklearn import StrOptions, validate_params

_PACKAGE = __name__.split(".")[0]
# hold no estimators, and may need extras
_APPLICATIONS = ("benchmark", "cli")
# what an estimator of each type has
_METHODS = {
    "aligner": "adapt",
    "transformer": "transform",
    "regressor": "predict",
    "density": "score_samples",
}


@validate_params(
    {"type_filter": [StrOptions(set(_METHODS)), None]},
    prefer_skip_nested_validation=True,
)
def all_estimators(type_filter=None):
    """List the public estimators of skerdiff, as scikit-learn's function does its own.

    Parameters
    ----------
    type_filter : {"aligner", "transformer", "regressor", "density"}, default=None
        Type of the estimators to list; an aligner is a transformer too. By default
        all.

    Returns
    -------
    estimators : list of tuple
        Name and class of each, sorted by name.

    Examples
    --------
    >>> from skerdiff.utils import all_estimators
    >>> all_estimators("density")
    [('DiffusionPrior', <class 'skerdiff.diffusion._prior.DiffusionPrior'>)]
    """
    found = {}
    for module in pkgutil.walk_packages(
        import_module(_PACKAGE).__path__, f"{_PACKAGE}."
    ):
        parts = module.name.split(".")
        if parts[1] in _APPLICATIONS or any(part.startswith("_") for part in parts):
            continue
        module = import_module(module.name)
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            # base classes have no fit
            if (
                inspect.isclass(value)
                and issubclass(value, BaseEstimator)
                and not inspect.isabstract(value)
                and hasattr(value, "fit")
                and hasattr(value, _METHODS.get(type_filter, "fit"))
            ):
                found[name] = value
    return sorted(found.items())
