"""Experiments whose results depend on code of this folder too."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import ast
import hashlib
import inspect
import sys

from skerdiff.benchmark import Experiment


class Evidence(Experiment):
    """An experiment that is measured by functions of this folder.

    Attributes
    ----------
    measures : tuple of functions
        What a result depends on, with all that their modules import from here and from
        skerdiff.
    """

    measures = ()

    @property
    def measured_by(self):
        """List functions and classes of skerdiff that a result depends on."""
        used = {
            value
            for module in modules_of(self.measures)
            for value in vars(module).values()
            if (inspect.isclass(value) or inspect.isfunction(value))
            and value.__module__.startswith("skerdiff.")
        }
        return (*used, *getattr(super(), "measured_by", ()))

    def digest(self, aligner):
        """Digest of the code here and in skerdiff, see `Experiment.digest`."""
        texts = [super().digest(aligner), *map(code, modules_of(self.measures))]
        return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def modules_of(functions):
    """Modules of this folder that functions need, by name.

    Parameters
    ----------
    functions : list of functions
        Of this folder.

    Returns
    -------
    modules : list of module
        Theirs, and all that they import from here.
    """
    found, waiting = {}, [function.__module__ for function in functions]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = sys.modules[name]
            used = {getattr(v, "__module__", None) for v in vars(found[name]).values()}
            waiting += [n for n in used if n and n.startswith("benchmarks.")]
    return [found[name] for name in sorted(found)]


def code(module):
    """Code of a module without comments, docstrings and layout.

    Parameters
    ----------
    module : module
        Of this folder.

    Returns
    -------
    text : str
        Its syntax tree.
    """
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return ast.dump(tree)
