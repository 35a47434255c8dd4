"""What a saved file may hold objects of; the one place that says it."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import inspect
import re
from importlib import import_module

import numpy as np
import scipy.special
import torch

from ..exceptions import LoadError

# never imported from a file: they run commands, or are there for tests
_NOT_FROM = re.compile(
    r"(^|\.)(__|benchmark(\.|$)|cli$|tests?(\.|$)|conftest$|_testing$|_build_utils|"
    r"externals)"
)
_FUNCTIONS = "skerdiff.metrics"  # whose functions scorers hold
# compiled classes of scikit-learn, which alone are made by calling them
_COMPILED = (
    "sklearn._loss._loss",
    "sklearn.linear_model._sgd_fast",
    "sklearn.metrics._dist_metrics",
    "sklearn.neighbors._ball_tree",
    "sklearn.neighbors._kd_tree",
    "sklearn.tree._tree",
)
_BUILTIN = {
    (cls.__module__, cls.__qualname__): cls
    for cls in (bool, int, float, str, complex, np.float64, np.float32, np.int64)
}
# functions of NumPy that estimators take as parameters, besides universal functions
_REDUCTIONS = ("mean", "median", "sum", "min", "max", "std", "var")


class Trust:
    """Finds classes and functions that a file names, if it may.

    Parameters
    ----------
    trusted : list of type or str
        What a user trusts besides.
    packages : dict
        Versions of the packages that wrote the file.

    Raises
    ------
    TypeError
        If an entry is neither a class or function nor a name.
    """

    def __init__(self, trusted, packages):
        self.packages, self.trusted = packages, {}
        trusted = () if trusted is None else trusted
        for entry in [trusted] if isinstance(trusted, str | type) else trusted:
            if isinstance(entry, str):
                self.trusted[entry] = None
            elif hasattr(entry, "__qualname__"):
                self.trusted[f"{entry.__module__}.{entry.__qualname__}"] = entry
            else:
                raise TypeError(
                    "trusted takes classes, or names such as 'my_package.MyModel', got "
                    f"{entry!r}."
                )

    def find_all(self, named):
        """Find what nodes name.

        Parameters
        ----------
        named : set of tuple
            What each is to be ("object", "class", "function" or "compiled"), its module
            and its name.

        Returns
        -------
        found : dict
            The classes and functions.

        Raises
        ------
        LoadError
            If one is not trusted, is not there, or is something else. Nothing is
            imported before all are known to be trusted by their names.
        """
        refused = sorted(
            {f"{m}.{name}" for how, m, name in named if not self._may_be(how, m, name)}
        )
        if refused:
            raise LoadError(
                f"it holds objects of {', '.join(refused)}, which are not trusted. If "
                f"you trust them, write load(path, trusted={refused!r})."
            )
        return {key: self._find(*key) for key in named}

    def _may_be(self, how, module, name):
        if how == "compiled":
            return module in _COMPILED
        first = module.split(".")[0]
        return (
            f"{module}.{name}" in self.trusted
            or (module, name) in _BUILTIN
            or (first in ("skerdiff", "sklearn") and not _NOT_FROM.search(module))
            or (module.startswith("torch.nn.modules.") and not _NOT_FROM.search(module))
        )

    def _find(self, how, module, name):
        if (module, name) in _BUILTIN:
            return _BUILTIN[module, name]
        full = f"{module}.{name}"
        found = self.trusted.get(full) or self._imported(module, name)
        is_right = inspect.isfunction if how == "function" else inspect.isclass
        allowed = is_right(found)
        if full not in self.trusted or how == "compiled":
            # not what a module of those packages has imported from elsewhere
            allowed &= getattr(found, "__module__", None) == module
            if how == "function":
                allowed &= module.startswith(_FUNCTIONS)
            elif module.startswith("torch"):
                allowed = allowed and issubclass(found, torch.nn.Module)
        if not allowed:
            raise LoadError(
                f"{full} is nothing that a file may hold as {how}. If it is yours, and "
                f"you trust it, write load(path, trusted=['{full}'])."
            )
        return found

    def _imported(self, module, name):
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            written = self.packages.get(module.split(".")[0])
            raise LoadError(
                f"there is no {module}.{name} here ({error}). It was written with "
                f"{written or 'another version'} of its package: install that one."
            ) from error


def is_compiled(cls):
    """Whether objects of a class may be kept as what its class is called with."""
    return cls.__module__ in _COMPILED


def numpy_function(name):
    """Find a universal function, or one of the reductions, by its name.

    Parameters
    ----------
    name : str
        ``"sqrt"``, say, or ``"special.expit"`` of SciPy.

    Returns
    -------
    function : callable or None
        None if there is none of that name that a file may hold.
    """
    module = scipy.special if name.startswith("special.") else np
    function = getattr(module, name.removeprefix("special."), None)
    allowed = isinstance(function, np.ufunc) or (module is np and name in _REDUCTIONS)
    return function if allowed else None
