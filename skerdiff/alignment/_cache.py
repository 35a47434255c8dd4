"""The cache behind ``memory``: what costs time is done once for each setting."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import hashlib
import os
import pickle
from pathlib import Path

import joblib
from filelock import FileLock
from sklearn import config_context
from sklearn.utils.validation import check_memory

from ..utils._code import classes_of, code_digest, has_source, library_versions
from ..utils._warnings import warn_caller


def fit_model(model, X, y=None, verbose=False, **params):
    """Fit a model and return it; it is not asked for data frames."""
    if verbose and "verbose" in model.get_params(deep=False):
        model.set_params(verbose=verbose)
    with config_context(transform_output="default"):
        return model.fit(X, y, **params)


def run(func, arguments, code, unkeyed):
    """Call a function; what a cache wraps. The code's digest is there for the key.

    Returns
    -------
    packed : tuple of bytes
        The pickled result, and its digest, by which a damaged one is noticed.
    """
    result = func(**arguments, **unkeyed)
    try:
        content = pickle.dumps(result, protocol=5)
    except _NO_PICKLE as error:
        raise _NotPickled(result) from error
    return content, hashlib.sha256(content).digest()


class _NotPickled(Exception):
    """Carries a result that cannot be pickled to who asked for it."""


# what pickle raises of functions and classes that cannot be imported
_NO_PICKLE = (pickle.PicklingError, AttributeError, TypeError)


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
    code : list of str or None
        The digest, and versions of what this package computes with. None if the code of
        a class is not at hand, so that it could change unnoticed.
    """
    classes = {cls for value in arguments.values() for cls in classes_of(value)}
    if not all(map(has_source, classes)):
        return None
    return [code_digest(func, *classes), *library_versions()]


def run_once(memory, func, arguments, unkeyed):
    """Call a function, or load what it returned before for the same arguments.

    Several workers that share a cache wait for the one that was first, rather than do
    the same work. A worker that dies lets go of its lock, and leaves nothing half
    written: joblib writes to another name first. Where nothing can be written, what is
    there is used, and what is not is computed. So it is, with a warning, where there is
    no telling what a class does, or a model cannot be pickled.

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

    Raises
    ------
    ValueError
        If `memory` names a file.
    """
    try:
        memory = _open(memory)
        location = getattr(memory, "location", None)
        if location is None:
            return func(**arguments, **unkeyed)
        cached = memory.cache(run, ignore=["unkeyed"])
    except OSError as error:
        _warn_uncached(_not_written(memory, error))
        return func(**arguments, **unkeyed)
    code = code_of(func, arguments)
    if code is None:
        _warn_uncached(
            "the source of a class of yours is not at hand, as for those "
            "that are defined in an interpreter. Define it in a module."
        )
        return func(**arguments, **unkeyed)
    call = func, arguments, code, unkeyed
    try:
        key = joblib.hash((func.__module__, func.__qualname__, arguments, code))
    except _NO_PICKLE as error:
        _warn_uncached(
            f"a model cannot be pickled ({error}). Define classes and "
            "functions at the top of a module."
        )
        return func(**arguments, **unkeyed)
    try:
        # a cache that is complete may be read-only
        if cached.check_call_in_cache(*call):
            return _load(cached, call)
        try:
            locks = Path(location) / "locks"
            locks.mkdir(exist_ok=True)
            locked = FileLock(locks / f"{key}.lock").acquire()
        except OSError as error:
            _warn_uncached(_not_written(location, error))
            return func(**arguments, **unkeyed)
        with locked:
            return _load(cached, call)
    except _NotPickled as error:
        _warn_uncached(f"a fitted model cannot be pickled ({error.__cause__}).")
        return error.args[0]


def _load(cached, call):
    """Result of a call, computed if it is not there or damaged."""
    for _ in range(2):
        match cached(*call):
            case (bytes(content), digest) if hashlib.sha256(content).digest() == digest:
                return pickle.loads(content)
        warn_caller(
            f"A result in the cache {cached.store_backend.location} is damaged (its "
            "checksum is wrong); it is computed anew.",
            UserWarning,
        )
        cached.call_and_shelve(*call).clear()
    func, arguments, _, unkeyed = call
    return func(**arguments, **unkeyed)


def locate(memory):
    """Make the path of a cache absolute, so that it stays where it is.

    Parameters
    ----------
    memory : str, joblib.Memory or None
        The cache.

    Returns
    -------
    memory : str, joblib.Memory or None
        The same.
    """
    if not isinstance(memory, str):
        return memory
    if not memory:
        raise ValueError("memory='' names no folder. Name one, or leave it at None.")
    return os.path.abspath(os.path.expanduser(memory))


def _open(memory):
    if isinstance(memory, str):
        path = Path(memory)
        if path.exists() and not path.is_dir():
            raise ValueError(
                f"memory={memory!r} is a file. Name a folder for the cache, which may "
                "be a new one."
            )
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700, exist_ok=True)  # whoever can write in it, runs code
    return check_memory(memory)


def _warn_uncached(reason):
    warn_caller(f"Results are not cached: {reason}", UserWarning)


def _not_written(memory, error):
    return f"in memory={str(memory)!r} nothing can be written ({error})."
