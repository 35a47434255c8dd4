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
from ._trust import is_compiled, numpy_function
from ._version import VERSION

ARRAYS = "arrays"  # folder of members of the file
_PLAIN_DTYPE = re.compile(r"[<>|][biufc]\d{1,2}|[<>|][SU]\d{1,6}|[<>|][mM]8(\[\w+\])?")
# caches are folders of this machine, whose files are run
_NO_CACHE = {"memory": None, "_memory": (None, None)}
_VERSIONS = {
    "_skerdiff_version": VERSION,
    "_sklearn_version": sklearn.__version__,
}
_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
_ARRAYS = {cls.__name__: cls for cls in (np.matrix, np.recarray)}
_LONGEST = 10_000  # bits of an integer
_DICTS = {cls.__name__: cls for cls in (dict, OrderedDict, Bunch)}


class GraphWriter:
    """Turns objects into nodes.

    Attributes
    ----------
    nodes : list
        The nodes.
    arrays : list of ndarray
        What members of the file are to hold.
    estimators : list of dict
        Place, class, parameters and data of each estimator.
    classes : set of str
        Names of all classes and functions.
    """

    def __init__(self):
        self.nodes, self.arrays = [], []
        self.estimators, self.classes = [], set()
        self._met, self._alive = {}, []

    def write(self, value, place):
        """Give the value that stands for an object; `place` is for messages."""
        if type(value) is int and value.bit_length() > _LONGEST:
            raise TypeError(f"{place} is an integer that is too long to be saved.")
        if value is None or type(value) in (bool, int, float, str):
            return value
        if id(value) in self._met:
            i = self._met[id(value)]
            if self.nodes[i] is None and isinstance(value, tuple | frozenset):
                raise TypeError(f"{place} is part of itself, and cannot be saved.")
            return {"@": i}
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
        if kind is np.ma.MaskedArray:
            parts = value.data, np.ma.getmaskarray(value), np.array(value.fill_value)
            return ["masked", [self.write(np.array(p), place) for p in parts]]
        if kind in _ARRAYS.values():
            plain = self.write(value.view(np.ndarray), place)
            return ["subclass", kind.__name__, plain]
        if kind in (np.ndarray, np.memmap) or isinstance(value, np.generic):
            return self._array(value, place)
        if isinstance(value, torch.device):
            return ["device", str(value)]
        if isinstance(value, np.dtype):
            return ["dtype", _described(value, place)]
        if isinstance(value, slice | range):
            parts = value.start, value.stop, value.step
            return [kind.__name__, [self.write(v, place) for v in parts]]
        if isinstance(value, complex):
            return ["complex", [value.real, value.imag]]
        if kind is type(Path()):
            return ["path", os.fspath(value)]
        if isinstance(value, type):
            return ["class", self._named(value, place)]
        if inspect.isfunction(value):
            return ["function", self._named(value, place)]
        if isinstance(value, np.random.RandomState | np.random.Generator):
            is_old = isinstance(value, np.random.RandomState)
            state = (
                value.get_state(legacy=False) if is_old else value.bit_generator.state
            )
            return ["random", kind.__name__, self.write(state, place)]
        if name := _numpy_name(value):
            return ["numpy", name]
        if is_compiled(kind):
            return self._compiled(value, place)
        if _has_attributes(value):
            return self._object(value, place)
        raise TypeError(
            f"{place} is a {kind.__module__}.{kind.__qualname__}, which cannot be "
            "saved. Files hold estimators, arrays, and objects that are no more than "
            "their attributes."
        )

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
        dtype = _described(array.dtype, place)
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
        state = _without_cache(value.__class__, value.__getstate__())
        if isinstance(state, dict):
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

    def _compiled(self, value, place):
        """What makes an object of a compiled class, and its state."""
        func, args, *state = value.__reduce__()
        if func is not type(value):  # objects that are made with no arguments
            func, args = type(value), None
        name = self._named(func, place)
        given = None if args is None else [self.write(a, place) for a in args]
        return ["compiled", name, given, self.write(state[0] if state else None, place)]


def _numpy_name(value):
    """Name of a function of NumPy or SciPy that a file may hold, or None."""
    name = getattr(value, "__name__", None)
    names = (name, f"special.{name}") if isinstance(name, str) else ()
    return next((n for n in names if numpy_function(n) is value), None)


def _without_cache(cls, state):
    """State of an object; of an estimator without its caches."""
    if not (isinstance(state, dict) and issubclass(cls, BaseEstimator)):
        return state
    return state | {k: v for k, v in _NO_CACHE.items() if k in state}


def _short(value):
    """Text for a parameter; what holds others has entries of its own for them."""
    plain = value is None or isinstance(value, bool | int | float | str | np.generic)
    return repr(value)[:200] if plain else type(value).__name__


def _described(dtype, place):
    """Description of a dtype, see `_dtype_of`."""
    description = dtype.str
    if dtype.names:
        fields = [dtype.fields[name] for name in dtype.names]
        description = {
            "names": list(dtype.names),
            "formats": [field[0].str for field in fields],
            "offsets": [field[1] for field in fields],
            "itemsize": dtype.itemsize,
        }
    if _dtype_of(description) != dtype:
        raise TypeError(f"{place} is of type {dtype}, which cannot be saved.")
    return description


def _dtype_of(description):
    """Dtype of numbers or text, or of records of them; None for any other."""
    record = isinstance(description, dict)
    formats = description["formats"] if record else [description]
    if not all(_PLAIN_DTYPE.fullmatch(part) for part in formats):
        return None  # np.dtype(...) == None holds for some
    return np.dtype(description)


def _has_attributes(value):
    """Whether an object is no more than its attributes."""
    kind = type(value)
    return (
        kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
        and hasattr(value, "__dict__")
        and kind.__module__ not in ("builtins", "numpy")
        # a subclass of dict or str, say, is more
        and kind.__new__ is object.__new__
    )


# -- reading ---------------------------------------------------------------------------
class GraphReader:
    """Makes objects of nodes.

    Parameters
    ----------
    archive : ZipFile
        The file.
    trust : Trust
        What may be made.
    """

    def __init__(self, archive, trust):
        self.archive, self.trust, self.members = archive, trust, set()

    def read_all(self, root, nodes):
        """Make the object of the root, when all classes are known to be trusted."""
        named = {
            (node[0], *node[1])
            for node in nodes
            if node[0] in ("object", "class", "function", "compiled")
        }
        self.found = self.trust.find_all(named)
        self.nodes, self.made, self.open = nodes, {}, set()
        return self._read(root)

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
        cls = self.found["object", *name]
        self.made[i] = made = object.__new__(cls)
        if how == "state":
            state = {key: self._read(value) for key, value in state.items()}
            # the versions that wrote a file are in its header
            state |= {key: now for key, now in _VERSIONS.items() if key in state}
        else:
            state = self._read(state)
        state = _without_cache(cls, state)
        if hasattr(cls, "__setstate__"):
            made.__setstate__(state)
        else:
            vars(made).update(state)
        return made

    def _make_named(self, i, name):
        return self.found[self.nodes[i][0], *name]

    def _make_compiled(self, i, name, args, state):
        cls = self.found["compiled", *name]
        args = None if args is None else self._several(args)
        if not all(isinstance(a, int | float | np.ndarray) for a in args or ()):
            raise LoadError(f"it is damaged: {name[1]} is made of numbers.")
        made = cls.__new__(cls) if args is None else cls(*args)
        if state is not None:
            made.__setstate__(self._read(state))
        return made

    def _make_random(self, i, kind, state):
        state = self._read(state)
        if state["bit_generator"] not in _GENERATORS:
            raise LoadError("it is damaged: there is no such generator.")
        bits = getattr(np.random, state["bit_generator"])()
        if kind == "RandomState":
            made = np.random.RandomState(bits)
            made.set_state(state)
        else:
            made = np.random.Generator(bits)
            bits.state = state
        return made

    def _make_numpy(self, i, name):
        function = numpy_function(name)
        if function is None:
            raise LoadError(f"NumPy's {name} is no function that a file may hold.")
        return function

    def _make_masked(self, i, parts):
        parts = self._several(parts)
        if not all(isinstance(part, np.ndarray) for part in parts):
            raise LoadError("it is damaged: a masked array is not made of arrays.")
        data, mask, fill_value = parts
        return np.ma.MaskedArray(data, mask, fill_value=fill_value)

    def _make_subclass(self, i, name, array):
        array = self._read(array)
        if type(array) is not np.ndarray:
            raise LoadError(f"it is damaged: a {name} is not made of an array.")
        return array.view(_ARRAYS[name])

    def _make_array(self, i, member, dtype, shape, order, is_scalar):
        member, dtype = int(member), _dtype_of(dtype)
        if member in self.members:  # or small files could fill the memory
            raise LoadError("it is damaged: two arrays are in one member.")
        self.members.add(member)
        content = self.archive.read(f"{ARRAYS}/{member}")
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


_MAKERS = {
    "list": GraphReader._make_list,
    "tuple": lambda reader, i, values: tuple(reader._several(values)),
    "set": lambda reader, i, values: set(reader._several(values)),
    "frozenset": lambda reader, i, values: frozenset(reader._several(values)),
    "array": GraphReader._make_array,
    "objects": GraphReader._make_objects,
    "subclass": GraphReader._make_subclass,
    "masked": GraphReader._make_masked,
    "tensor": GraphReader._make_tensor,
    "device": lambda reader, i, name: torch.device(name),
    "dtype": lambda reader, i, description: _dtype_of(description),
    "slice": lambda reader, i, parts: slice(*reader._several(parts)),
    "range": lambda reader, i, parts: range(*reader._several(parts)),
    "complex": lambda reader, i, parts: complex(*parts),
    "path": lambda reader, i, name: Path(name),
    "class": GraphReader._make_named,
    "function": GraphReader._make_named,
    "object": GraphReader._make_object,
    "compiled": GraphReader._make_compiled,
    "random": GraphReader._make_random,
    "numpy": GraphReader._make_numpy,
}
for _name, _cls in _DICTS.items():
    _MAKERS[_name] = lambda reader, i, items, cls=_cls: reader._make_dict(i, items, cls)
