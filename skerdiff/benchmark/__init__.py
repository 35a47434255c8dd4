"""Compare methods on pairs of sessions under the honest protocol, on your own too.

Names are imported where they are first used, so that ``skerdiff --help`` is quick. All
but `cross_day`, `decode_across`, `load_pair`, `make_split` and `table` need
``pip install 'skerdiff[benchmark]'``.
"""

from importlib import import_module

PAIRS = ("synthetic", "mihi", "jango", "jango-back")
_MODULES = {
    "_cli": ["main"],
    "_config": ["read_configuration"],
    "_cross_day": ["cross_day", "table"],
    "_decode": ["decode_across"],
    "_decoding": ["CATALOGUE", "Cost", "Decoding"],
    "_experiment": ["Catalogue", "Experiment"],
    "_methods": ["METHODS"],
    "_report": ["compare", "load_results", "write_report"],
    "_runner": ["run"],
    "_sessions": ["MODEL_SETTINGS", "TRIAL_SETTINGS", "load_pair", "make_split"],
    "_tables": ["Table", "by_seed", "difference", "group", "seeds_note", "summary"],
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}
__all__ = ["PAIRS", *_WHERE]


def __getattr__(name):
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_WHERE[name]}")
    except ModuleNotFoundError as error:
        if error.name not in ("pandas", "pydantic"):
            raise
        raise ImportError(
            f"skerdiff.benchmark.{name} needs {error.name}. Install it with: "
            "pip install 'skerdiff[benchmark]'"
        ) from error
    return getattr(module, name)


def __dir__():
    return __all__
