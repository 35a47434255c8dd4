"""Brain-computer decoders that keep working across days.

Names are imported when they are first used (PEP 562): ``skerdiff --help`` need not wait
for torch.
"""

from importlib import import_module

__version__ = "0.1.0"

# where each public name is defined
_ORIGINS = {
    "AmbiguousAlignmentWarning": "exceptions",
    "DiffusionPrior": "diffusion",
    "ERDiffAligner": "alignment",
    "GeometryAligner": "alignment",
    "IdentityAligner": "alignment",
    "LoadError": "exceptions",
    "NewSessionWarning": "exceptions",
    "OneBinTrialsWarning": "exceptions",
    "PerBinRegressor": "decoding",
    "SequentialVAE": "latent",
    "Trials": "trials",
    "VersionWarning": "exceptions",
    "adapt": "alignment",
    "load": "persistence",
    "save": "persistence",
    "show_versions": "utils",
}
_SUBPACKAGES = {
    "alignment",
    "benchmark",
    "datasets",
    "decoding",
    "diffusion",
    "exceptions",
    "geometry",
    "latent",
    "metrics",
    "model_selection",
    "persistence",
    "plotting",
    "preprocessing",
    "sessions",
    "trials",
    "utils",
}

__all__ = sorted(_ORIGINS)


def __getattr__(name):
    if name in _ORIGINS:
        value = getattr(import_module(f"{__name__}.{_ORIGINS[name]}"), name)
        globals()[name] = value
        return value
    if name in _SUBPACKAGES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_ORIGINS, *_SUBPACKAGES})
