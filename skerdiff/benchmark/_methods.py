"""The methods of the benchmark, by name."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import importlib
import importlib.util
import inspect
import sys
from contextlib import contextmanager

from .. import alignment
from ..alignment import ERDiffAligner, GeometryAligner, IdentityAligner
from ..diffusion import DiffusionPrior
from ..exceptions import ConfigurationError
from ..latent import SequentialVAE

METHODS = {
    "no adaptation": IdentityAligner(),
    "geometry only": GeometryAligner(),
    "ERDiff": ERDiffAligner(),
    "oracle": None,
}


def aligner_names():
    """List the names of the aligners of `skerdiff.alignment`, bases left out."""
    return [
        name
        for name in alignment.__all__
        if name.endswith("Aligner") and not inspect.isabstract(getattr(alignment, name))
    ]


_NAMED = {type(aligner).__name__ for aligner in METHODS.values()}
# in the order of tables: the way without, all others, the upper end
GROUPS = {
    "main": list(METHODS),
    "all": ["no adaptation", "geometry only"]
    + [name for name in aligner_names() if name not in _NAMED]
    + ["ERDiff", "oracle"],
}


def check_description(description):
    """Check a table of an aligner's class and parameters; no code of a user is run.

    Of a class of one's own only that there is such a module; the rest is checked as the
    run begins, see `make_aligner`. What is wrong is a `ConfigurationError`.
    """
    name, folder, _ = _parts(description)
    if ":" not in name:
        make_aligner(description)
        return
    module, _, cls = name.rpartition(":")
    if not all(part.isidentifier() for part in (*module.split("."), cls)):
        raise ConfigurationError(
            f"aligner {name!r} cannot be a class: it must read 'module:Class'."
        )
    first = module.split(".")[0]
    with _importable(folder):
        found = first in sys.modules or importlib.util.find_spec(first)
    if not found:  # a module without packages is not imported when it is looked for
        where = "" if folder is None else f" in {folder}"
        raise ConfigurationError(
            f"aligner {name!r}: there is no module {first!r}{where}, and none of that "
            "name is installed."
        )


def _parts(description):
    params = dict(description) if isinstance(description, dict) else {}
    folder, name = params.pop("folder", None), params.pop("aligner", None)
    if not isinstance(name, str):
        raise ConfigurationError(
            "a method must be a table with the key aligner, the name of a class, got "
            f"{description!r}."
        )
    return name, folder, params


def make_aligner(description):
    """Build an aligner from a table of its class and parameters.

    ``aligner`` is the name of a class of `skerdiff.alignment` or of one of your own as
    ``"module:Class"``, whose module is imported; it is looked for in ``folder`` too.
    What cannot be made is a `ConfigurationError`.
    """
    name, folder, params = _parts(description)
    module, _, cls = name.rpartition(":")
    try:
        with _importable(folder):
            cls = getattr(importlib.import_module(module or alignment.__name__), cls)
            aligner = cls()
    except Exception as error:  # whatever a user's module may raise
        raise ConfigurationError(
            f"aligner {name!r} cannot be made ({type(error).__name__}: {error}). Give "
            "a class of skerdiff.alignment, or one of your own as 'module:Class'."
        ) from error
    wanted = ("get_params", "set_params", "fit_transform", "adapt", "transform")
    missing = [method for method in wanted if not hasattr(aligner, method)]
    if missing:
        raise ConfigurationError(
            f"aligner {name!r} is no aligner: it has no {', '.join(missing)}."
        )
    # parameters of models that are left at their default, prior__n_blocks say
    for model, default in (("latent_model", SequentialVAE), ("prior", DiffusionPrior)):
        nested = any(key.startswith(f"{model}__") for key in params)
        if nested and getattr(aligner, model, default) is None:
            aligner.set_params(**{model: default()})
    try:
        aligner.set_params(**params)
        parts = [getattr(aligner, model, None) for model in ("latent_model", "prior")]
        for part in (aligner, *parts):
            getattr(part, "_validate_params", lambda: None)()
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"aligner {name!r}: {error}") from error
    return aligner


@contextmanager
def _importable(folder):
    """Look for modules in a folder too."""
    before = sys.path.copy()
    sys.path[:0] = [] if folder is None else [folder]
    try:
        yield
    finally:
        sys.path[:] = before
