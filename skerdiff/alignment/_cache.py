"""The cache behind ``memory``: what costs time is done once for each setting."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from pathlib import Path

import joblib
from filelock import FileLock
from sklearn.utils.validation import check_memory

from ..utils._code import classes_of, code_digest, library_versions


def fit_model(model, X, y=None, verbose=False, **params):
    """Fit a model and return it."""
    if verbose and "verbose" in model.get_params(deep=False):
        model.set_params(verbose=verbose)
    return model.fit(X, y, **params)


def run(func, arguments, code, unkeyed):
    """Call a function; what a cache wraps. The code's digest is there for the key."""
    return func(**arguments, **unkeyed)


def code_of(func, arguments):
    """Digest of a function's code, with that of the estimators it is given.

    A cache never answers with what other code has found. It is taken at the first use,
    so shortly after the import: files that change later are not what runs.

    Parameters
    ----------
    func : callable
        A function of a module.
    arguments : dict
        Its arguments.

    Returns
    -------
    code : list of str
        The digest, and versions of what this package computes with.
    """
    classes = {cls for value in arguments.values() for cls in classes_of(value)}
    return [code_digest(func, *classes), *library_versions()]


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
        Its keyword arguments, which make the key together with the code's digest.
    unkeyed : dict
        More of its arguments, which do not change what it returns.

    Returns
    -------
    result : object
        What the function returns.
    """
    memory = check_memory(memory)
    location = getattr(memory, "location", None)
    if location is None:
        return func(**arguments, **unkeyed)
    cached = memory.cache(run, ignore=["unkeyed"])
    code = code_of(func, arguments)
    locks = Path(location) / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    key = joblib.hash((func.__module__, func.__qualname__, arguments, code))
    with FileLock(locks / f"{key}.lock"):
        return cached(func, arguments, code, unkeyed)
