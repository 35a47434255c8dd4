"""Find, check, download and unpack published recordings."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import hashlib
import io
import os
import pickle
import pickletools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DATA_VARIABLE = "SKERDIFF_DATA"


@dataclass(frozen=True)
class PublishedFile:
    """A file of a public GitHub repository.

    Attributes
    ----------
    name : str
        File name on the user's machine.
    repository : str
        ``owner/name`` of the repository.
    commit : str
        A commit that holds the file.
    path : str
        Path of the file inside the repository.
    sha256 : str
        Checksum of its content.
    """

    name: str
    repository: str
    commit: str
    path: str
    sha256: str


def read_published_file(file, data_home=None, download_if_missing=True):
    """Read a published file after checking its SHA-256.

    The file is looked for in the folders of the environment variable
    ``SKERDIFF_DATA``, then in the cache, and is downloaded to the cache otherwise.

    Parameters
    ----------
    file : PublishedFile
        The file.
    data_home : path-like, default=None
        Cache folder. By default the user's cache folder for skerdiff.
    download_if_missing : bool, default=True
        Whether to download a file that is found nowhere.

    Returns
    -------
    content : bytes
        Content of the file.

    Raises
    ------
    OSError
        If the file is not there and cannot, or is not to, be downloaded.
    ValueError
        If its content does not have the expected SHA-256.
    """
    folders = [
        Path(folder).expanduser()
        for folder in os.environ.get(DATA_VARIABLE, "").split(os.pathsep)
        if folder
    ]
    cache = _cache_folder(data_home)
    for folder in [*folders, cache]:
        if (folder / file.name).is_file():
            return _checked(folder / file.name, file)
    if not download_if_missing:
        raise OSError(
            f"{file.name} was not found and download_if_missing=False. "
            + _by_hand(file, folders, cache)
        )
    _download(file, folders, cache)
    return _checked(cache / file.name, file)


def _urls(file):
    """Addresses of the raw file: at the fixed commit, then at the newest one."""
    root = f"https://raw.githubusercontent.com/{file.repository}"
    return [f"{root}/{ref}/{file.path}" for ref in (file.commit, "HEAD")]


def _cache_folder(data_home):
    if data_home is not None:
        return Path(data_home).expanduser()
    import pooch

    return Path(pooch.os_cache("skerdiff"))


def _download(file, folders, cache):
    """Download to the cache; pooch writes elsewhere and moves the checked file."""
    import pooch

    for url in _urls(file):
        try:
            pooch.retrieve(
                url, known_hash=f"sha256:{file.sha256}", fname=file.name, path=cache
            )
            return
        except (OSError, ValueError) as error:
            reason = error
    if isinstance(reason, OSError):
        raise OSError(
            f"{file.name} could not be downloaded ({type(reason).__name__}: {reason}). "
            + _by_hand(file, folders, cache)
        ) from reason
    raise ValueError(
        f"{file.name} was downloaded but is not the expected file, and was not kept "
        f"({reason}). " + _by_hand(file, folders, cache)
    ) from reason


def _by_hand(file, folders, cache):
    """How to get the file without this function."""
    places = " or in ".join(str(folder) for folder in [*folders, cache])
    hint = "" if folders else f" or in a folder named by {DATA_VARIABLE}"
    return (
        f"Get {file.path} from the GitHub repository {file.repository} (commit "
        f"{file.commit[:10]}, {_urls(file)[0]}) and save it as {file.name} in "
        f"{places}{hint}."
    )


def _checked(path, file):
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise ValueError(
            f"{path} is not the published file: expected SHA-256 {file.sha256}, found "
            f"{found}. Delete it, or replace it by {file.path} from the GitHub "
            f"repository {file.repository}."
        )
    return content


# Pickles of arrays are read without NumPy's own constructors, which believe what a file
# says: an array of objects is made of whatever addresses stand in it.
class _DType:
    """A dtype of plain numbers or text, as a pickle describes it."""

    def __init__(self, name, *flags):
        if not isinstance(name, str) or not _PLAIN.fullmatch(name):
            raise _refused(f"a dtype {name!r:.100}")
        self.dtype = np.dtype(name)

    def __setstate__(self, state):
        # version, byte order, and for structured dtypes more
        _, order, *more = state
        if order not in ("<", ">", "=", "|") or any(
            part is not None for part in more[:3]
        ):
            raise _refused("a structured dtype")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array that a pickle describes, to be filled by its state."""

    array = None

    def __init__(self, cls, shape, typecode):
        if cls is not _NDARRAY:
            raise _refused("an array of another class")

    def __setstate__(self, state):
        _, shape, dtype, is_fortran, content = state
        order = "F" if is_fortran else "C"
        self.array = _values(dtype, content).reshape(shape, order=order).copy(order)


class _Scalar:
    """A number of NumPy."""

    def __new__(cls, dtype, content):
        return _values(dtype, content)[0]

    def __setstate__(self, state):
        raise _refused("a number with a state")


def _values(dtype, content):
    if not isinstance(dtype, _DType) or not isinstance(content, bytes):
        raise _refused("an array without plain content")
    return np.frombuffer(content, dtype.dtype) if content else np.empty(0, dtype.dtype)


def _refused(what):
    return pickle.UnpicklingError(
        f"refused to load {what}: a recording holds NumPy arrays of numbers and "
        "nothing else. Do not open this file with pickle.load."
    )


_PLAIN = re.compile(r"[<>=|]?[?bBhHiIlLqQefdgFDG]|[<>=|]?([biufc]\d{1,2}|[SU]\d{1,6})")
_NDARRAY = object()  # cannot be called
_ADMITTED = {("numpy", "ndarray"): _NDARRAY, ("numpy", "dtype"): _DType}
# under the module names of NumPy 1 and 2
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _ADMITTED[_module, "_reconstruct"] = _Array
    _ADMITTED[_module, "scalar"] = _Scalar


class ArrayUnpickler(pickle.Unpickler):
    """Unpickler of containers of NumPy arrays that refuses everything else."""

    def find_class(self, module, name):
        """Return what stands for one of NumPy's constructors.

        Parameters
        ----------
        module : str
            Module named in the pickle.
        name : str
            Name inside the module.

        Returns
        -------
        constructor : object
            The constructor.

        Raises
        ------
        pickle.UnpicklingError
            If it is anything but NumPy's array reconstruction.
        """
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise _refused(f"{module}.{name}") from None


def load_arrays(content):
    """Unpickle plain Python containers of NumPy arrays of numbers or text.

    Parameters
    ----------
    content : bytes
        The pickle.

    Returns
    -------
    data : object
        Its content.

    Raises
    ------
    pickle.UnpicklingError
        If the pickle asks for anything but NumPy's array reconstruction, or is damaged.
    """
    try:
        for opcode, argument, _ in pickletools.genops(content):
            # Python makes room for as many entries as the largest number asks for
            if "PUT" in opcode.name and int(argument) > len(content):
                raise _refused("a number of memo entries beyond its size")
        return _filled(ArrayUnpickler(io.BytesIO(content)).load(), {})
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise pickle.UnpicklingError(f"the pickle is damaged: {error}") from error


def _filled(data, seen):
    """Containers with arrays in place of what stands for them."""
    if isinstance(data, _Array):
        if data.array is None:
            raise _refused("an array without content")
        return data.array
    if isinstance(data, _DType):
        return data.dtype
    if data is _NDARRAY or isinstance(data, type) or callable(data):
        raise _refused("a constructor")
    if not isinstance(data, dict | list | tuple | set | frozenset):
        return data
    if id(data) not in seen:
        if isinstance(data, dict):
            seen[id(data)] = found = {}
            found.update({k: _filled(value, seen) for k, value in data.items()})
        elif isinstance(data, list):
            seen[id(data)] = found = []
            found.extend(_filled(value, seen) for value in data)
        else:
            seen[id(data)] = type(data)(_filled(value, seen) for value in data)
    return seen[id(data)]
