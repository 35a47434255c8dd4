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
from dataclasses import dataclass, field, fields
from textwrap import dedent, indent

# what `inherited : attributes` stands for, by the class that has them
_ATTRIBUTES = "_attributes_doc"
_OWN = "__annotations__"
_PLACE = re.compile(r"^( *)inherited : (\w+)\n(?: +.*\n)", re.MULTILINE)
_DOCUMENTED = re.compile(r"^ {4}(\w+) : ", re.MULTILINE)


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
        ``type, default=value``, then the text. None where the docstring of its class
        has the entry and no other class inherits the parameter.
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
    """
    # estimators are compared by identity and shown by scikit-learn
    cls = dataclass(eq=False, repr=False, match_args=False)(declared)
    cls._parameter_constraints = {
        f.name: f.metadata["constraints"] for f in fields(cls)
    }
    if cls.__doc__ is not None:  # None under python -OO
        cls.__doc__ = _PLACE.sub(lambda match: _fill(cls, match), cls.__doc__)
        _order_signature(cls)
    return cls


def _fill(cls, match):
    """Entries that stand at a place of a docstring."""
    if match[2] == "attributes":
        found = [vars(base).get(_ATTRIBUTES, "") for base in cls.__mro__]
        found = [dedent(text).strip("\n") for text in found if text]
        return indent("\n".join(found), match[1]) + "\n"
    own = set(_DOCUMENTED.findall(_parameters_section(cls)))
    by_name = {f.name: f for f in fields(cls)}
    # what a class adds stands before what it inherits
    names = [name for base in cls.__mro__ for name in vars(base).get(_OWN, ())]
    found = []
    for name in dict.fromkeys(names):
        doc, positional = by_name[name].metadata["doc"], not by_name[name].kw_only
        if name not in own and doc and positional == (match[2] == "positional"):
            first, _, rest = doc.strip().partition("\n")
            found.append(f"{name} : {first}\n{indent(dedent(rest), '    ')}".rstrip())
    return indent("\n".join(found), match[1]) + "\n"


def _parameters_section(cls):
    return cls.__doc__.split("\n    Attributes\n")[0]


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
