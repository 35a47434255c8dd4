"""The methods of the benchmark, by name."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import importlib
import sys
from contextlib import contextmanager

from sklearn.base import clone

from ..alignment import (
    ADANAligner,
    CORALAligner,
    CycleGANAligner,
    DAFAligner,
    DANNAligner,
    ERDiffAligner,
    GeometryAligner,
    IdentityAligner,
    JSDAligner,
    MMDAligner,
    NeuronMomentsAligner,
    SASAAligner,
    SinkhornAligner,
)
from ..diffusion import DiffusionPrior
from ..exceptions import ConfigurationError
from ..latent import SequentialVAE

SOURCE_START = ", source start"


def from_source(aligner):
    """Let an aligner start from the source's read-in, with more and larger steps.

    Parameters
    ----------
    aligner : aligner
        Left as it is.

    Returns
    -------
    aligner : aligner
        Its clone, with a budget that makes up for the start: the same for all methods,
        but for smaller steps where an adversary has to keep up.
    """
    aligner = clone(aligner).set_params(init="source")
    known = aligner.get_params(deep=False)
    if "max_steps" in known:
        rate = 3e-4 if "adversary_learning_rate" in known else 1e-3
        aligner.set_params(max_steps=300, patience=30, learning_rate=rate)
    return aligner


METHODS = {
    "no adaptation": IdentityAligner(),
    "geometry only": GeometryAligner(),
    "ERDiff": ERDiffAligner(),
    "ERDiff" + SOURCE_START: from_source(ERDiffAligner()),
    "oracle": None,
}
# those of the paper and others one would try
_OTHERS = {
    "CORAL": CORALAligner(),
    "JSDM": JSDAligner(),
    "MMD": MMDAligner(),
    "RDA-MMD": MMDAligner(recurrent=True),
    "Sinkhorn": SinkhornAligner(),
    "DANN": DANNAligner(),
    "Cycle-GAN": CycleGANAligner(),
    "ADAN": ADANAligner(),
    "SASA": SASAAligner(),
    "DAF": DAFAligner(),
    "ERDiff w/o S": ERDiffAligner(prior=DiffusionPrior(spatial=False)),
    "ERDiff w/o T": ERDiffAligner(prior=DiffusionPrior(temporal=False)),
}
BASELINES = {"neuron moments": NeuronMomentsAligner()}
for _name, _aligner in _OTHERS.items():
    BASELINES[_name] = _aligner
    BASELINES[_name + SOURCE_START] = from_source(_aligner)

# in the order of tables: the way without, those that train, the upper end
GROUPS = {
    "all": ["no adaptation", "neuron moments", "geometry only"]
    + [n for n in BASELINES if n != "neuron moments" and "w/o" not in n]
    + ["ERDiff", "ERDiff" + SOURCE_START]
    + [n for n in BASELINES if "w/o" in n]
    + ["oracle"],
    "main": list(METHODS),
}


def make_aligner(description):
    """Build an aligner from its class and parameters.

    Parameters
    ----------
    description : dict
        ``aligner``, the name of a class of `skerdiff.alignment` or of one of your own
        as ``"module:Class"``, and its parameters; and, if need be, ``folder``, where
        modules are looked for too.

    Returns
    -------
    aligner : aligner
        The unfitted aligner.

    Raises
    ------
    ConfigurationError
        If there is no such class or it has no such parameter.
    """
    params = dict(description) if isinstance(description, dict) else {}
    folder, name = params.pop("folder", None), params.pop("aligner", None)
    if not isinstance(name, str):
        raise ConfigurationError(
            "a method must be a table with the key aligner, the name of a class, got "
            f"{description!r}."
        )
    module, _, cls = name.rpartition(":")
    try:
        with _importable(folder):
            cls = getattr(importlib.import_module(module or "skerdiff.alignment"), cls)
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
    if folder is None:
        yield
        return
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
