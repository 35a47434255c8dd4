"""Saving fitted estimators in files that run no code when they are loaded.

A file is a ZIP archive, not compressed, of three kinds of members: ``header.json`` says
what wrote it and what is in it, ``content.json`` is the graph of objects, and
``arrays/0``, ``arrays/1`` and so on are the values of arrays, byte by byte. Objects are
made without calling their class, and only of classes of skerdiff, scikit-learn and
torch's layers; of others only of those that the user trusts. The compiled classes of
scikit-learn, trees say, are called, with numbers; there is a list of them.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import datetime
import json
import os
import secrets
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path

from .exceptions import LoadError, VersionWarning
from .sessions import SessionReader
from .utils._graph import ARRAYS, GraphReader, GraphWriter
from .utils._show_versions import versions_of
from .utils._torch import resolve_device
from .utils._trust import Trust
from .utils._version import VERSION
from .utils._warnings import warn_caller

__all__ = ["load", "read_header", "save"]

FORMAT = 1  # raised when older versions cannot read what is written
_PACKAGES = ("skerdiff", "scikit-learn", "torch", "numpy", "scipy")
_HEADER, _CONTENT = "header.json", "content.json"


def save(estimator, path):
    """Save a fitted estimator or pipeline in one file.

    The file holds the estimator with all that it has learned, but not the recordings.
    Caches (parameters called ``memory``) are not carried over. It is written whole or
    not at all: a file that was there stays until the new one is complete.

    Parameters
    ----------
    estimator : estimator
        An estimator of skerdiff or scikit-learn, pipelines and searches included; also
        a `skerdiff.sessions.SessionReader`. Classes of your own are saved by their
        attributes, and must be trusted when they are loaded, see `load`.
    path : path-like
        The file, ``"day0.skerdiff"`` say.

    Raises
    ------
    TypeError
        If it holds something that cannot be saved, a function of yours say; the message
        names where.
    OSError
        If the file cannot be written.

    See Also
    --------
    load : Load it again.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import skerdiff
    >>> from skerdiff import GeometryAligner
    >>> from skerdiff.latent import LinearLatentModel
    >>> X = np.random.RandomState(0).poisson(3.0, (30, 10, 20))
    >>> aligner = GeometryAligner(LinearLatentModel(), random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     skerdiff.save(aligner, Path(folder) / "day0.skerdiff")
    ...     again = skerdiff.load(Path(folder) / "day0.skerdiff")
    >>> np.array_equal(again.transform(X), aligner.transform(X))
    True
    """
    if not _is_saved(estimator):
        raise TypeError(
            f"save takes an estimator or a SessionReader, got "
            f"{type(estimator).__name__}."
        )
    writer = GraphWriter()
    try:
        root = writer.write(estimator, type(estimator).__name__)
    except RecursionError:
        raise TypeError(
            "the estimator cannot be saved: its parts are nested too deeply."
        ) from None
    header = {
        "format": FORMAT,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "packages": versions_of(_PACKAGES),
        "estimators": writer.estimators,
        "classes": sorted(writer.classes),
    }
    content = {"root": root, "nodes": writer.nodes}
    path = Path(os.path.realpath(os.fspath(path)))  # a link stays one
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; name a file in it.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent} to save to.")
    whole = path.with_name(f".{secrets.token_hex(8)}")
    try:
        with (
            open(whole, "xb") as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,
        ):
            archive.writestr(_HEADER, json.dumps(header, indent=1))
            archive.writestr(_CONTENT, json.dumps(content))
            for i, array in enumerate(writer.arrays):
                archive.writestr(f"{ARRAYS}/{i}", array.tobytes())
        with open(whole, "rb+") as file:
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, whole)  # who may read it
        os.replace(whole, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(whole)
        raise


def read_header(path):
    """Read what a file claims of itself, and load nothing.

    Parameters
    ----------
    path : path-like
        A file that `save` wrote.

    Returns
    -------
    header : dict
        ``format``, ``written`` (UTC), ``packages`` (versions), ``estimators`` (for each
        its place, class, parameters as text, and the fingerprint of the data that it
        was fitted to) and ``classes`` (all that the file holds objects of).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    LoadError
        If it is damaged, or no file of skerdiff's.
    """
    path = os.fspath(path)
    with _opened(path) as archive:
        return _header(archive, path)


def load(path, *, trusted=(), device=None):
    """Load an estimator that `save` has written; no code in the file is run.

    Parameters
    ----------
    path : path-like
        The file.
    trusted : list of type or str, default=()
        Classes of your own, or functions, that the file may hold objects of: classes,
        or names such as ``"my_package.models.MyModel"``, whose modules are imported.
    device : str or torch.device, default=None
        Where the estimators are to train from now on: their parameter ``device``. None
        leaves it as it was. Fitted models are kept on the CPU in any case.

    Returns
    -------
    estimator : estimator
        As it was saved: what it computes is the same to the bit.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    LoadError
        If the file is damaged, no file of skerdiff's, of a newer version, or holds
        objects of classes that are not trusted. It is a ValueError.
    ValueError
        If there is no such device.

    Warns
    -----
    VersionWarning
        If another version of skerdiff or scikit-learn has written it.

    Notes
    -----
    Of a file from others look at ``estimator.get_params()`` before it is used: it may
    hold any parameters. Compiled objects of scikit-learn, the trees of a forest say,
    are rebuilt by scikit-learn, which checks them little: of a crafted file they may
    crash the process.
    """
    if device is not None:
        resolve_device(device)
    path = os.fspath(path)
    with _opened(path) as archive:
        header = _header(archive, path)
        reader = GraphReader(archive, Trust(trusted, header["packages"]))
        try:
            content = json.loads(archive.read(_CONTENT))
            estimator = reader.read_all(content["root"], content["nodes"])
            if not _is_saved(estimator):
                raise LoadError(f"it holds no estimator, but {type(estimator)}.")
        except LoadError as error:
            raise LoadError(f"{path!r} cannot be loaded: {error}") from error
        except Exception as error:  # whatever a damaged file leads to
            raise LoadError(
                f"{path!r} is damaged ({type(error).__name__}: {error}). "
                "Save it again, or get another copy."
            ) from error
    written = header["packages"]
    now = versions_of(("skerdiff", "scikit-learn"))
    other = [name for name in now if written.get(name) != now[name]]
    if other:
        changes = ", ".join(f"{n} {written.get(n)} (here {now[n]})" for n in other)
        warn_caller(
            f"{path!r} was written with {changes}. What it computes may "
            "differ; fit anew if in doubt.",
            VersionWarning,
        )
    if device is not None:
        _set_device(estimator, device)
    return estimator


def _is_saved(value):
    """Whether a file may hold it, not as a part of something else."""
    is_estimator = hasattr(value, "get_params") and not isinstance(value, type)
    return is_estimator or isinstance(value, SessionReader)


def _set_device(estimator, device):
    if isinstance(estimator, SessionReader):
        estimator = estimator.latent_model
    params = estimator.get_params(deep=True)
    names = [n for n in params if n == "device" or n.endswith("__device")]
    estimator.set_params(**dict.fromkeys(names, device))


def _opened(path):
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise LoadError(f"{path!r} is damaged, or no file of skerdiff.save.") from error


def _header(archive, path):
    try:
        for member in archive.infolist():
            # nothing unfolds to more than the file's size, nor do members overlap
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError("a member is compressed")
        if sum(m.file_size for m in archive.infolist()) > os.path.getsize(path):
            raise ValueError("its members are larger than the file")
        header = json.loads(archive.read(_HEADER))
        version, written = header["format"], header["packages"]["skerdiff"]
        if not isinstance(version, int):
            raise TypeError("format is no number")
    except Exception as error:
        raise LoadError(
            f"{path!r} is damaged, or no file of skerdiff.save "
            f"({type(error).__name__}: {error})."
        ) from error
    if version > FORMAT:
        raise LoadError(
            f"{path!r} was written by skerdiff {written} in a newer format "
            f"({version}); skerdiff {VERSION} reads formats up to {FORMAT}. "
            "Upgrade skerdiff."
        )
    return header
