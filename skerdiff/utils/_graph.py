"""Graphs of objects as lists of plain values, and back without running code.

A value is a JSON scalar, or ``{"@": i}`` for node i. A node is a list of its type and
of what it takes. Objects that are met twice are one node.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import inspect
import os
import re
from collections import OrderedDict
from importlib import import_module
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch

from ..exceptions import LoadError
from ._version import VERSION

ARRAYS, OTHERS = "arrays", "skops"  # folders of members of the file
_PLAIN_DTYPE = re.compile(r"[<>|][biufc]\d{1,2}|[<>|][SU]\d{1,6}|[<>|][mM]8(\[\w+\])?")
# never imported from a file: they run commands
_NOT_FROM = re.compile(r"(^|\.)(__|benchmark(\.|$)|cli$)")
_FUNCTIONS = "skerdiff.metrics"  # whose functions scorers hold
# caches are folders of this machine, whose files are run
_NO_CACHE = {"memory": None, "_memory": (None, None)}
_VERSIONS = {
    "_skerdiff_version": VERSION,
    "_sklearn_version": sklearn.__version__,
}
_DICTS = {cls.__name__: cls for cls in (dict, OrderedDict, Bunch)}


class GraphWriter:
    """Turns objects into nodes.

    Attributes
    ----------
    nodes : list
        The nodes.
    arrays, others : list of ndarray, list of bytes
        What members of the file are to hold.
    estimators : list of dict
        Place, class, parameters and data of each estimator.
    classes : set of str
        Names of all classes and functions.
    """

    def __init__(self):
        self.nodes, self.arrays, self.others = [], [], []
        self.estimators, self.classes = [], set()
        self._met, self._alive = {}, []

    def write(self, value, place):
        """Give the value that stands for an object; `place` is for messages."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if id(value) in self._met:
            return {"@": self._met[id(value)]}
        self._met[id(value)] = i = len(self.nodes)
        self._alive.append(value)  # or its id could be another's
        self.nodes.append(None)
        self.nodes[i] = self._node(value, place)
        return {"@": i}

    def _node(self, value, place):
        kind = type(value)
        if kind in (list, tuple, set, frozenset):
            items = sorted(value, key=repr) if kind in (set, frozenset) else value
            return [
                kind.__name__,
                [self.write(v, f"{place}[{k}]") for k, v in enumerate(items)],
            ]
        if _DICTS.get(kind.__name__) is kind:
            return [
                kind.__name__,
                [
                    [self.write(k, place), self.write(v, f"{place}[{k!r}]")]
                    for k, v in value.items()
                ],
            ]
        if isinstance(value, torch.Tensor):
            return self._tensor(value, place)
        if isinstance(value, np.ma.MaskedArray):
            parts = value.data, np.ma.getmaskarray(value)
            return ["masked", [self.write(np.array(p), place) for p in parts]]
        if isinstance(value, np.ndarray | np.generic):
            return self._array(value, place)
        if isinstance(value, torch.device):
            return ["device", str(value)]
        if isinstance(value, np.dtype):
            return ["dtype", value.str]
        if isinstance(value, slice | range):
            parts = value.start, value.stop, value.step
            return [kind.__name__, [self.write(v, place) for v in parts]]
        if isinstance(value, complex):
            return ["complex", [value.real, value.imag]]
        if isinstance(value, os.PathLike):
            return ["path", os.fspath(value)]
        if isinstance(value, type):
            return ["class", self._named(value, place)]
        if inspect.isfunction(value):
            return ["function", self._named(value, place)]
        if _has_attributes(value):
            return self._object(value, place)
        return self._other(value, place)

    def _tensor(self, value, place):
        if value.is_sparse or value.dtype == torch.bfloat16 or value.is_complex():
            raise TypeError(f"{place} is a tensor of a type that cannot be saved.")
        array = value.detach().cpu().numpy()
        is_parameter = isinstance(value, torch.nn.Parameter)
        return ["tensor", self.write(array, place), value.requires_grad, is_parameter]

    def _array(self, value, place):
        array = np.asarray(value)
        is_scalar = isinstance(value, np.generic)
        if array.dtype == object:
            items = [self.write(v, place) for v in array.ravel()]
            return ["objects", list(array.shape), items]
        dtype = array.dtype.descr if array.dtype.names else array.dtype.str
        if _dtype_of(dtype) != array.dtype:
            raise TypeError(
                f"{place} is an array of type {array.dtype}, which cannot be saved."
            )
        self.arrays.append(array)
        order = (
            "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        )
        if order == "F":
            self.arrays[-1] = array.T
        i = len(self.arrays) - 1
        return ["array", i, dtype, list(array.shape), order, is_scalar]

    def _object(self, value, place):
        name = self._named(value.__class__, place)
        if isinstance(value, BaseEstimator):
            params = value.get_params(deep=False)
            params = {k: _short(v) for k, v in params.items() if k != "memory"}
            self.estimators.append(
                {
                    "place": place,
                    "class": ".".join(name),
                    "params": params,
                    "data": getattr(value, "_data_fingerprint", None),
                }
            )
        state = value.__getstate__()
        if isinstance(state, dict):
            if isinstance(value, BaseEstimator):
                state |= {k: v for k, v in _NO_CACHE.items() if k in state}
            items = {k: self.write(v, f"{place}.{k}") for k, v in state.items()}
            state = ["state", items]
        elif state is None:
            state = ["state", {}]
        else:
            state = ["value", self.write(state, place)]
        return ["object", name, *state]

    def _named(self, thing, place):
        module, name = thing.__module__, thing.__qualname__
        if getattr(import_module(module), name, None) is not thing:
            raise TypeError(
                f"{place} is of {module}.{name}, which cannot be imported by that name "
                "and so cannot be saved. Define it at the top of a module."
            )
        self.classes.add(f"{module}.{name}")
        return [module, name]

    def _other(self, value, place):
        import skops.io

        try:
            content = skops.io.dumps(value)
        except Exception as error:
            raise TypeError(
                f"{place} is a {type(value).__module__}.{type(value).__qualname__}, "
                f"which cannot be saved ({error})."
            ) from error
        self.classes.update(skops.io.get_untrusted_types(data=content))
        self.others.append(content)
        return ["skops", len(self.others) - 1]


def _short(value):
    """Text for a parameter; what holds others has entries of its own for them."""
    plain = value is None or isinstance(value, bool | int | float | str | np.generic)
    return repr(value)[:200] if plain else type(value).__name__


def _dtype_of(description):
    """Dtype of numbers or text, or of records of them; None for any other."""
    if isinstance(description, str):
        plain = _PLAIN_DTYPE.fullmatch(description)
        return np.dtype(description) if plain else None
    fields = [(name, _dtype_of(field)) for name, field in description]
    # not ==: NumPy takes None for a dtype
    return None if any(of is None for _, of in fields) else np.dtype(fields)


def _has_attributes(value):
    """Whether an object is no more than its attributes."""
    kind = type(value)
    return (
        kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
        and hasattr(value, "__dict__")
        and kind.__module__ not in ("builtins", "numpy")
    )


# -- reading ---------------------------------------------------------------------------
class GraphReader:
    """Makes objects of nodes.

    Parameters
    ----------
    archive : ZipFile
        The file.
    packages : dict
        Versions of the packages that wrote it.
    trusted : list of type or str
        What it may hold objects of, besides what always may.
    """

    def __init__(self, archive, packages, trusted):
        self.archive, self.packages = archive, packages
        self.trusted, self.compiled = {}, []
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

    def read_all(self, root, nodes):
        """Make the object of the root, when all classes are known to be trusted."""
        names = {
            tuple(node[1])
            for node in nodes
            if node[0] in ("object", "class", "function")
        }
        refused = [f"{m}.{n}" for m, n in sorted(names) if not self._is_trusted(m, n)]
        refused += self._untrusted_others()
        if refused:
            raise LoadError(
                f"it holds objects of {', '.join(refused)}, which are not trusted. If "
                f"you trust them, write load(path, trusted={refused!r})."
            )
        self.classes = {name: self._find(*name) for name in names}
        self.nodes, self.made, self.open = nodes, {}, set()
        return self._read(root)

    def _is_trusted(self, module, name):
        if f"{module}.{name}" in self.trusted:
            return True
        first = module.split(".")[0]
        return (
            first in ("skerdiff", "sklearn")
            or module.startswith("torch.nn.modules.")
            or (module, name) in _BUILTIN
        ) and not _NOT_FROM.search(module)

    def _untrusted_others(self):
        members = [n for n in self.archive.namelist() if n.startswith(f"{OTHERS}/")]
        if not members:
            return []
        import skops.io

        found = {
            name
            for member in members
            for name in skops.io.get_untrusted_types(data=self.archive.read(member))
        }
        # compiled classes, trees and losses say
        self.compiled = [name for name in found if name.startswith("sklearn.")]
        return sorted(found - set(self.trusted) - set(self.compiled))

    def _find(self, module, name):
        """Class or function of a name, of which objects may be made."""
        if (module, name) in _BUILTIN:
            return _BUILTIN[module, name]
        given = self.trusted.get(f"{module}.{name}")
        if given is not None:
            return given
        try:
            found = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            written = self.packages.get(module.split(".")[0])
            raise LoadError(
                f"there is no {module}.{name} here ({error}). It was written with "
                f"{written or 'another version'} of its package: install that one."
            ) from error
        if f"{module}.{name}" in self.trusted:
            return found
        own = getattr(found, "__module__", None) == module
        if inspect.isfunction(found):
            allowed = own and module.startswith(_FUNCTIONS)
        else:
            allowed = own and isinstance(found, type)
            if module.startswith("torch"):
                allowed = allowed and issubclass(found, torch.nn.Module)
        if not allowed:
            raise LoadError(
                f"{module}.{name} is nothing that a file may hold. If you trust it, "
                f"write load(path, trusted=['{module}.{name}'])."
            )
        return found

    def _read(self, value):
        if not isinstance(value, dict):
            if isinstance(value, list):
                raise LoadError("it is damaged: a list stands for a value.")
            return value
        i = value["@"]
        if i not in self.made:
            if i in self.open:
                raise LoadError("it is damaged: an object is part of itself.")
            self.open.add(i)
            kind, *rest = self.nodes[i]
            made = _MAKERS[kind](self, i, *rest)
            self.made[i] = made
            self.open.discard(i)
        return self.made[i]

    def _several(self, values):
        return [self._read(value) for value in values]

    def _make_list(self, i, values):
        self.made[i] = made = []
        made.extend(self._several(values))
        return made

    def _make_dict(self, i, items, cls=dict):
        self.made[i] = made = cls()
        for key, value in items:
            made[self._read(key)] = self._read(value)
        return made

    def _make_object(self, i, name, how, state):
        cls = self.classes[tuple(name)]
        if not isinstance(cls, type):
            raise LoadError(f"it is damaged: {'.'.join(name)} is no class.")
        self.made[i] = made = object.__new__(cls)
        if how == "state":
            state = {key: self._read(value) for key, value in state.items()}
            # the versions that wrote a file are in its header
            state |= {key: now for key, now in _VERSIONS.items() if key in state}
        else:
            state = self._read(state)
        if hasattr(cls, "__setstate__"):
            made.__setstate__(state)
        else:
            vars(made).update(state)
        return made

    def _make_class(self, i, name):
        return self.classes[tuple(name)]

    def _make_array(self, i, member, dtype, shape, order, is_scalar):
        content, dtype = self.archive.read(f"{ARRAYS}/{int(member)}"), _dtype_of(dtype)
        if dtype is None:
            raise LoadError("it is damaged: an array is of no plain type.")
        flat = np.frombuffer(content, dtype) if content else np.empty(0, dtype)
        array = flat.reshape(shape, order=order).copy(order)
        return array[()] if is_scalar else array

    def _make_objects(self, i, shape, values):
        array = np.empty(len(values), dtype=object)
        for k, value in enumerate(self._several(values)):
            array[k] = value
        return array.reshape(shape)

    def _make_tensor(self, i, array, requires_grad, is_parameter):
        tensor = torch.from_numpy(self._read(array))
        if is_parameter:
            return torch.nn.Parameter(tensor, requires_grad=bool(requires_grad))
        return tensor.requires_grad_(bool(requires_grad))

    def _make_skops(self, i, member):
        import skops.io

        content = self.archive.read(f"{OTHERS}/{int(member)}")
        return skops.io.loads(content, trusted=[*self.trusted, *self.compiled])


_BUILTIN = {
    (cls.__module__, cls.__qualname__): cls
    for cls in (bool, int, float, str, complex, np.float64, np.float32, np.int64)
}
_MAKERS = {
    "list": GraphReader._make_list,
    "tuple": lambda reader, i, values: tuple(reader._several(values)),
    "set": lambda reader, i, values: set(reader._several(values)),
    "frozenset": lambda reader, i, values: frozenset(reader._several(values)),
    "array": GraphReader._make_array,
    "objects": GraphReader._make_objects,
    "masked": lambda reader, i, parts: np.ma.MaskedArray(*reader._several(parts)),
    "tensor": GraphReader._make_tensor,
    "device": lambda reader, i, name: torch.device(name),
    "dtype": lambda reader, i, name: np.dtype(name),
    "slice": lambda reader, i, parts: slice(*reader._several(parts)),
    "range": lambda reader, i, parts: range(*reader._several(parts)),
    "complex": lambda reader, i, parts: complex(*parts),
    "path": lambda reader, i, name: Path(name),
    "class": GraphReader._make_class,
    "function": GraphReader._make_class,
    "object": GraphReader._make_object,
    "skops": GraphReader._make_skops,
}
for _name, _cls in _DICTS.items():
    _MAKERS[_name] = lambda reader, i, items, cls=_cls: reader._make_dict(i, items, cls)
