"""The cache behind ``memory``: what costs time is done once for each setting."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import hashlib
import inspect
from importlib.metadata import version
from pathlib import Path

import joblib
from filelock import FileLock
from sklearn.utils.validation import check_memory

PACKAGE = Path(__file__).parents[1]


def code_version():
    """Digest of this package's code and of the versions it computes with."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    for package in ("numpy", "scipy", "scikit-learn", "torch", "skorch", "POT"):
        digest.update(f"{package} {version(package)}".encode())
    return digest.hexdigest()


# Part of every key, so that a cache never answers with what other code found. Taken on
# import: files that change later are not what runs.
CODE = code_version()


def foreign_code(arguments):
    """Source of the classes of estimators that are not of this package.

    Parameters
    ----------
    arguments : dict
        Arguments of a function.

    Returns
    -------
    sources : list of str
        One per class; empty for classes whose source is not at hand.
    """
    classes = {
        cls
        for value in arguments.values()
        if hasattr(value, "get_params")
        for cls in type(value).__mro__
        if cls.__module__.split(".")[0] not in ("builtins", "skerdiff", "sklearn")
    }
    sources = []
    for cls in sorted(classes, key=lambda cls: (cls.__module__, cls.__qualname__)):
        try:
            sources.append(inspect.getsource(cls))
        except (OSError, TypeError):  # made in an interpreter
            sources.append("")
    return sources


def fit_model(model, X, y=None, verbose=False):
    """Fit a model and return it."""
    if verbose and "verbose" in model.get_params(deep=False):
        model.set_params(verbose=verbose)
    return model.fit(X, y)


def run(func, arguments, code, unkeyed):
    """Call a function; what a cache wraps. The code's version is there for the key."""
    return func(**arguments, **unkeyed)


def run_once(memory, func, arguments, unkeyed):
    """Call a function, or load what it returned before for the same arguments.

    Several workers that share a cache wait for the one that was first, rather than do
    the same work. A worker that dies lets go of its lock, and leaves nothing half
    written: joblib writes to another name first.

    Parameters
    ----------
    memory : str, joblib.Memory or None
        The cache; None calls the function.
    func : callable
        A function of a module.
    arguments : dict
        Its keyword arguments, which make the key together with the code's version.
    unkeyed : dict
        More of its arguments, which do not change what it returns.

    Returns
    -------
    result : object
        What the function returns.
    """
    memory = check_memory(memory)
    location = getattr(memory, "location", None)
    cached = memory.cache(run, ignore=["unkeyed"])
    code = [CODE, *foreign_code(arguments)]
    if location is None:
        return cached(func, arguments, code, unkeyed)
    locks = Path(location) / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    key = joblib.hash((func.__module__, func.__qualname__, arguments, code))
    with FileLock(locks / f"{key}.lock"):
        return cached(func, arguments, code, unkeyed)
