"""Parameters of aligners, each said once: default, constraint and documentation.

An aligner is a class whose parameters are fields, made by `parameter`, and which is
decorated with `aligner`. That writes the constructor that scikit-learn's conventions
ask for, collects the constraints, and fills the docstring with what is inherited, in
the places ``inherited : positional``, ``inherited : parameters`` and ``inherited :
attributes``. ``examples/plot_write_your_own.py`` writes an aligner this way.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import inspect
import re
from dataclasses import Field, dataclass, field, fields
from textwrap import dedent, indent

# what `inherited : attributes` stands for, by the class that has them
_ATTRIBUTES = "_attributes_doc"
_PLACE = re.compile(r"^inherited : (\w+)\n +.*$", re.MULTILINE)
_DOCUMENTED = re.compile(r"^(\w+) : ", re.MULTILINE)


def parameter(default, constraints, doc=None, *, keyword_only=True):
    """Declare a parameter of an aligner.

    Parameters
    ----------
    default : object
        Its default value.
    constraints : list
        What it may be, as in scikit-learn's ``_parameter_constraints``.
    doc : str, default=None
        Its entry in the docstrings of classes that inherit it: a line
        ``type, default=value``, then the text. Leave it out if the docstring of the
        class has the entry and no subclass inherits the parameter.
    keyword_only : bool, default=True
        Whether it must be passed by name.

    Returns
    -------
    field : dataclasses.Field
        The field.
    """
    metadata = {"constraints": constraints, "doc": doc}
    return field(default=default, kw_only=keyword_only, metadata=metadata)


def aligner(declared):
    """Make an aligner of a class that declares its parameters.

    Parameters
    ----------
    declared : type
        A subclass of `BaseAligner` whose parameters are fields.

    Returns
    -------
    cls : type
        The class, with ``__init__``, ``_parameter_constraints`` and a whole docstring.

    Raises
    ------
    TypeError
        If the class gives an inherited parameter a plain value.
    """
    check_declared(declared, to_be_decorated=True)
    # estimators are compared by identity and shown by scikit-learn
    cls = dataclass(eq=False, repr=False, match_args=False)(declared)
    cls._parameter_constraints = {
        f.name: f.metadata["constraints"] for f in fields(cls)
    }
    if cls.__doc__ is not None:  # None under python -OO
        # Python 3.13 takes the indent of docstrings away, Python 3.12 does not
        cls.__doc__ = inspect.cleandoc(cls.__doc__) + "\n"
        cls.__doc__ = _PLACE.sub(lambda match: _fill(cls, match[1]), cls.__doc__)
        _order_signature(cls)
    return cls


def check_declared(cls, to_be_decorated=False):
    """Check that all parameters which a class declares have become parameters.

    Parameters
    ----------
    cls : type
        A subclass of `BaseAligner`.
    to_be_decorated : bool, default=False
        Whether fields of the class itself will be made parameters.

    Raises
    ------
    TypeError
        If a class has fields but no decorator, or gives an inherited parameter a plain
        value, which would be ignored.
    """
    for base in cls.__mro__:
        own = {} if to_be_decorated and base is cls else _own_fields(base)
        inherited = {
            name for parent in base.__mro__[1:] for name in _own_fields(parent)
        }
        for name, value in vars(base).items():
            if isinstance(value, Field) and not (to_be_decorated and base is cls):
                raise TypeError(
                    f"{base.__name__}.{name} is declared with `parameter`, but the "
                    "class is not decorated. Write @aligner above it."
                )
            if name in inherited and name not in own and not isinstance(value, Field):
                raise TypeError(
                    f"{base.__name__}.{name} is a plain value, but {name} is an "
                    "inherited parameter, whose default stays. Write "
                    f"{name}: type = parameter(default, constraints) and decorate the "
                    "class with @aligner."
                )


def _own_fields(cls):
    """Fields that a class declares itself."""
    found = vars(cls).get("__dataclass_fields__", {})
    parents = [getattr(p, "__dataclass_fields__", {}) for p in cls.__mro__[1:]]
    return {
        name: f
        for name, f in found.items()
        if all(f is not p.get(name) for p in parents)
    }


def _fill(cls, what):
    """Entries that stand at a place of a docstring."""
    if what == "attributes":
        found = [vars(base).get(_ATTRIBUTES, "") for base in cls.__mro__]
        return "\n".join(dedent(text).strip("\n") for text in found if text)
    own = set(_DOCUMENTED.findall(_parameters_section(cls)))
    by_name = {f.name: f for f in fields(cls)}
    # what a class adds stands before what it inherits
    names = [name for base in cls.__mro__ for name in _own_fields(base)]
    found = []
    for name in dict.fromkeys(names):
        doc, positional = by_name[name].metadata["doc"], not by_name[name].kw_only
        if name not in own and doc and positional == (what == "positional"):
            first, _, rest = doc.strip().partition("\n")
            found.append(f"{name} : {first}\n{indent(dedent(rest), '    ')}".rstrip())
    return "\n".join(found)


def _parameters_section(cls):
    return cls.__doc__.split("\nAttributes\n")[0]


def _order_signature(cls):
    """Let the signature name parameters in the order of the docstring."""
    signature = inspect.signature(cls.__init__)
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    names = _DOCUMENTED.findall(_parameters_section(cls))
    place = {name: i for i, name in enumerate(names)}
    free = [p for p in bare if p.kind is not p.KEYWORD_ONLY]
    named = [p for p in bare if p.kind is p.KEYWORD_ONLY]
    named.sort(key=lambda p: place.get(p.name, len(place)))
    cls.__init__.__signature__ = signature.replace(parameters=[*free, *named])
