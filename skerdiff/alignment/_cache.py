"""The cache behind ``memory``: what costs time is done once for each setting."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import hashlib
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import joblib
from filelock import FileLock
from sklearn.utils.validation import check_memory

PACKAGE = Path(__file__).parents[1]


@lru_cache
def code_version():
    """Digest of this package's code and of the versions it computes with.

    It is part of every key, so that a cache never answers with what other code found.
    """
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    for package in ("numpy", "scipy", "scikit-learn", "torch", "skorch", "POT"):
        digest.update(f"{package} {version(package)}".encode())
    return digest.hexdigest()


def fit_model(model, X, y=None):
    """Fit a model and return it."""
    return model.fit(X, y)


def run(func, arguments, code, progress=None):
    """Call a function; what a cache wraps. The code's version is there for the key."""
    if progress is not None:
        arguments = {**arguments, "progress": progress}
    return func(**arguments)


def run_once(memory, func, arguments, progress=None):
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
        Its keyword arguments, which make the key together with `code_version`.
    progress : callable or None
        Its argument ``progress``, if given, which is no part of the key.

    Returns
    -------
    result : object
        What the function returns.
    """
    memory = check_memory(memory)
    cached = memory.cache(run, ignore=["progress"])
    code = code_version()
    location = getattr(memory, "location", None)
    if location is None:
        return cached(func, arguments, code, progress)
    locks = Path(location) / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    key = joblib.hash((func.__module__, func.__qualname__, arguments, code))
    with FileLock(locks / f"{key}.lock"):
        return cached(func, arguments, code, progress)
