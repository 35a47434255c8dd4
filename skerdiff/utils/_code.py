"""A digest of the code that a result depends on.

A class or function depends on its module and on all modules of this package that it
imports, directly or not. An import from a package, ``from ..alignment import X``, leads
to the module that defines X and not to its neighbours, so that a new module changes the
digest of nothing that does not import it. Comments, docstrings and layout do not count.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import ast
import hashlib
import inspect
import io
import tokenize
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
_NAME = PACKAGE.name
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "skorch", "POT")


def code_digest(*objects, root=PACKAGE):
    """Digest of the code that classes or functions depend on.

    Parameters
    ----------
    *objects : type or function
        Of this package, or of a user's: of those the file counts in which they are
        defined, as far as it is at hand.
    root : Path, default=PACKAGE
        Folder of the package; another one for tests.

    Returns
    -------
    digest : str
        Hexadecimal.
    """
    modules, foreign = set(), set()
    for value in objects:
        if value.__module__.split(".")[0] == _NAME:
            modules |= _closure(value.__module__, root)
        else:
            foreign.add(_foreign(value))
    digest = hashlib.sha256()
    for module in sorted(modules):
        digest.update(module.encode())
        digest.update(_essence(_file(module, root)).encode())
    for source in sorted(foreign):
        digest.update(source.encode())
    return digest.hexdigest()


def library_versions():
    """Versions of what this package computes with.

    Returns
    -------
    versions : list of str
        Names and versions.
    """
    return [f"{name} {version(name)}" for name in _LIBRARIES]


def classes_of(value):
    """Classes of an estimator, of its bases and of the estimators among its parameters.

    Parameters
    ----------
    value : object
        An estimator, or anything else.

    Returns
    -------
    classes : set of type
        Empty for what has no parameters. Those of Python, scikit-learn and other
        libraries that estimators are made of are left out.
    """
    if not hasattr(value, "get_params") or inspect.isclass(value):
        return set()
    parts = [value, *value.get_params().values()]
    return {
        cls
        for part in parts
        if hasattr(part, "get_params") and not inspect.isclass(part)
        for cls in type(part).__mro__
        if cls.__module__.split(".")[0] not in ("abc", "builtins", "sklearn")
    }


def has_source(value):
    """Whether the code of a class or function is at hand.

    Parameters
    ----------
    value : type or function
        One of this package, or a user's.

    Returns
    -------
    at_hand : bool
        False for what was made in an interpreter, say.
    """
    return value.__module__.split(".")[0] == _NAME or bool(_foreign(value))


def _foreign(value):
    """Name and code of a user's object: that of its file, or its own without a file."""
    try:
        file = Path(inspect.getfile(value))
        # a cell of a notebook is no file, but its source is at hand
        source = _essence(file) if file.is_file() else inspect.getsource(value)
    except (OSError, TypeError, SyntaxError):  # made in an interpreter, or compiled
        return ""
    return f"{value.__qualname__}\x1f{source}"


def _closure(module, root):
    """Names of a module and of all modules of the package that it needs."""
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in found and _file(name, root) is not None:
            found.add(name)
            waiting += _imports(_file(name, root), name)
    return found


def _file(module, root):
    """File of a module of the package; None if there is none."""
    path = root.joinpath(*module.split(".")[1:])
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


@cache
def _imports(file, module):
    """Modules of the package that a file imports, wherever in it."""
    # a module a.b is the file a/b.py or a/b/__init__.py
    depth = len(module.split(".")) - (file.name != "__init__.py")
    root = file.parents[depth - 1]
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, module, file)
            for alias in node.names:
                found.append(_definer(origin, alias.name, root))
    return [name for name in found if name.split(".")[0] == _NAME]


def _origin(node, module, file):
    """Absolute name of what a ``from`` statement names."""
    if not node.level:
        return node.module
    parts = module.split(".")
    depth = node.level - (file.name == "__init__.py")
    parts = parts[: len(parts) - depth]
    return ".".join([*parts, *(node.module.split(".") if node.module else [])])


def _definer(origin, name, root):
    """Module that defines a name which is imported from a module or package."""
    if origin.split(".")[0] != _NAME:
        return origin
    if _file(f"{origin}.{name}", root) is not None:
        return f"{origin}.{name}"
    file = _file(origin, root)
    if file is None or file.name != "__init__.py":
        return origin
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _definer(_origin(node, origin, file), alias.name, root)
    return origin


@cache
def _essence(file):
    """Text of a file without comments, docstrings and layout."""
    text = file.read_text(encoding="utf-8")
    docstrings = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                docstrings.add((value.lineno, value.col_offset))
    left_out = (
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.ENCODING,
        tokenize.ENDMARKER,
    )
    marks = {
        tokenize.NEWLINE: "\n",
        tokenize.INDENT: "\t>",
        tokenize.DEDENT: "\t<",
    }
    parts = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in left_out or token.start in docstrings:
            continue
        parts.append(marks.get(token.type, token.string))
    return "\x1f".join(parts)
