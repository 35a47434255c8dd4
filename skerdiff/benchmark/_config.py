"""What to run: configurations, checked before anything starts."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import difflib
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from ..datasets._motor_cortex import BEHAVIOURS
from ..exceptions import ConfigurationError
from ._methods import BASELINES, GROUPS, METHODS, make_aligner
from ._published_protocol import VARIANTS
from ._sessions import MODEL, PAIRS, SETTING, SIMULATION, TRIALS, read_pair
from ._tables import slug
from .prior_quality import REAL, models

FOLDER = Path(__file__).with_name("configs")


@dataclass(frozen=True)
class Kind:
    """What an experiment of a kind may hold."""

    methods: tuple  # where a configuration names none
    settings: frozenset  # keys
    any_method: bool = True
    simulates: bool = False  # its own data


_ALL = frozenset(SETTING)
KINDS = {
    "decoding": Kind(GROUPS["main"], _ALL),
    "cost": Kind(GROUPS["all"], _ALL),
    "published protocol": Kind(tuple(VARIANTS), frozenset(TRIALS), any_method=False),
    "dynamics": Kind(
        GROUPS["main"], frozenset({"target_trials", *MODEL}), simulates=True
    ),
    "latents": Kind(("no adaptation", "geometry only", "ERDiff"), _ALL),
    "equal time": Kind(("ERDiff",), frozenset(TRIALS), any_method=False),
    "criteria": Kind(("criteria",), _ALL - frozenset(MODEL), any_method=False),
    "constants": Kind(("constants",), _ALL - frozenset(MODEL), any_method=False),
    "headroom": Kind(("geometry only", "ERDiff"), frozenset(TRIALS), any_method=False),
    "prior": Kind((REAL, *models(0)), frozenset(), any_method=False),
}
BALANCED = {"name": "balanced"}
MAX_SEED = 2**32 - 1
RESERVED = ("cells", "index")  # files of a report
_TOP = {"title", "description", "method", "experiment"}
_EXPERIMENT = {
    "name", "kind", "data", "behaviour", "methods", "seeds", "settings", "reference"
}  # fmt: skip


@dataclass(frozen=True)
class Experiment:
    """One table: every method on all data in all settings with all seeds."""

    name: str
    kind: str
    data: dict  # name to path, None for those that come with skerdiff
    behaviour: str | None
    methods: tuple
    seeds: tuple
    settings: tuple
    reference: str | None


@dataclass(frozen=True)
class Configuration:
    """What a run is made of."""

    title: str
    description: str
    methods: dict  # name to description of those that are the user's own
    experiments: tuple
    path: Path

    def cells(self):
        """List what is to be run, one dict per result, in the order it is run in.

        Seeds change faster than methods, so that workers rarely wait for the same
        source model.
        """
        return [
            {
                "experiment": e.name,
                "kind": e.kind,
                "data": data,
                "file": file,
                "behaviour": e.behaviour,
                "setting": setting,
                "method": method,
                "seed": seed,
                "reference": e.reference,
            }
            for e in self.experiments
            for setting in e.settings
            for method in e.methods
            for seed in e.seeds
            for data, file in e.data.items()
        ]


def ready_made():
    """Paths of the configurations that come with the package, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def read_configuration(source):
    """Read a configuration and check all of it.

    Parameters
    ----------
    source : path-like
        Name of one that comes with the package, or the path of a TOML file.

    Returns
    -------
    configuration : Configuration
        What to run.

    Raises
    ------
    OSError
        If there is no such file.
    ConfigurationError
        If it is no TOML, or holds what is not known; all that is wrong is listed.
    """
    known = ready_made()
    path = known.get(os.fspath(source), Path(source))
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"There is no configuration {os.fspath(source)!r}: no file of that name, "
            f"and those that come with skerdiff are {list(known)}."
        ) from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is no TOML: {error}") from error
    faults = []
    configuration = _check(content, path, faults)
    if faults:
        raise ConfigurationError(
            f"{path} cannot be run:" + "".join(f"\n- {fault}" for fault in faults)
        )
    return configuration


def _check(content, path, faults):
    _known_keys(content, _TOP, "", faults)
    own = content.get("method", {})
    if not isinstance(own, dict):
        faults.append("method must be tables, [method.NAME], one per method.")
        own = {}
    for name, description in own.items():
        if name in METHODS or name in BASELINES or name in GROUPS:
            faults.append(f"method {name!r} is there already; choose another name.")
            continue
        if isinstance(description, dict):
            own[name] = {"folder": str(path.parent.resolve()), **description}
        try:
            make_aligner(own[name])
        except ConfigurationError as error:
            faults.append(f"method {name!r}: {error}")
    experiments = content.get("experiment")
    if not isinstance(experiments, list) or not experiments:
        faults.append("there is nothing to run: add a table [[experiment]].")
        experiments = []
    found = []
    for i, table in enumerate(experiments):
        if not isinstance(table, dict):
            faults.append(f"experiment {i + 1} must be a table [[experiment]].")
            continue
        found.append(_check_experiment(table, i, own, path, faults))
    names = [slug(e.name) for e in found]
    for e, name in zip(found, names):
        if names.count(name) > 1 or name in RESERVED or not name:
            faults.append(
                f"experiment {e.name!r} needs another name: its files would be called "
                f"{name!r}, as others are."
            )
    texts = []
    for key, default in (("title", path.stem), ("description", "")):
        texts.append(_typed(content, key, str, default, "", faults))
    return Configuration(*texts, own, tuple(found), path)


def _check_experiment(table, i, own, path, faults):
    name_of = _typed(table, "name", str, f"experiment {i + 1}", "", faults)
    where = f"experiment {name_of!r}: "
    _known_keys(table, _EXPERIMENT, where, faults)
    kind = _typed(table, "kind", str, "decoding", where, faults)
    if kind not in KINDS:
        faults.append(f"{where}kind {kind!r} is not known{_near(kind, KINDS)}")
        kind = "decoding"
    methods = _check_methods(table, kind, own, where, faults)
    reference = _typed(table, "reference", str, None, where, faults)
    if reference is not None and reference not in methods:
        faults.append(f"{where}reference {reference!r} is not among its methods.")
    data = _check_data(table, kind, path, where, faults)
    behaviour = _typed(table, "behaviour", str, None, where, faults)
    for name in data if behaviour is not None else ():
        known = BEHAVIOURS.get(name.removesuffix("-back"), ())
        if behaviour not in known:
            faults.append(
                f"{where}behaviour {behaviour!r} is not there for data {name!r}; "
                f"to choose from are {list(known)}."
            )
    return Experiment(
        name=name_of,
        kind=kind,
        data=data,
        behaviour=behaviour,
        methods=methods,
        seeds=_check_seeds(table.get("seeds", 5), where, faults),
        settings=_check_settings(table, kind, data, where, faults),
        reference=reference,
    )


def _check_methods(table, kind, own, where, faults):
    names = _names(table, "methods", KINDS[kind].methods, where, faults)
    known, groups = list(KINDS[kind].methods), {}
    if KINDS[kind].any_method:
        known, groups = [*METHODS, *BASELINES, *own], GROUPS
    names = [n for name in names for n in groups.get(name, [name])]
    for name in names:
        if name not in known:
            faults.append(
                f"{where}method {name!r} is not known{_near(name, [*known, *groups])}"
            )
    if kind == "latents" and "oracle" in names:
        faults.append(f"{where}the oracle has no source latents to draw.")
    return tuple(dict.fromkeys(names))


def _check_data(table, kind, path, where, faults):
    if KINDS[kind].simulates:
        if "data" in table:
            faults.append(f"{where}kind {kind!r} simulates its data; remove data.")
        return {"bernoulli": None}
    found = {}
    for name in _names(table, "data", [], where, faults):
        found[name] = None
        if name.endswith(".npz"):
            file = (path.parent / name).resolve()
            found[name] = str(file)
            try:
                read_pair(file, 0)
            except FileNotFoundError:
                faults.append(f"{where}data {name!r}: there is no file {file}.")
            except ConfigurationError as error:
                faults.append(f"{where}data {name!r}: {error}")
        elif name not in PAIRS:
            faults.append(
                f"{where}data {name!r} is not known{_near(name, PAIRS)} Your own "
                "sessions are named by the path of an .npz file."
            )
    if not found:
        faults.append(f"{where}name its data, for example data = ['synthetic'].")
    return found


def _check_seeds(seeds, where, faults):
    if isinstance(seeds, int) and not isinstance(seeds, bool) and seeds > 0:
        return tuple(range(seeds))
    whole = isinstance(seeds, list) and seeds and all(type(s) is int for s in seeds)
    if (
        not whole
        or min(seeds) < 0
        or max(seeds) > MAX_SEED
        or len(set(seeds)) < len(seeds)
    ):
        faults.append(
            f"{where}seeds must be how many, or a list of different whole numbers, got "
            f"{seeds!r}."
        )
        return (0,)
    return tuple(seeds)


def _check_settings(table, kind, data, where, faults):
    settings = table.get("settings", [BALANCED])
    tables = isinstance(settings, list) and all(isinstance(s, dict) for s in settings)
    if not tables or not settings:
        faults.append(f"{where}settings must be a list of tables, got {settings!r}.")
        return (BALANCED,)
    for setting in settings:
        name = setting.get("name")
        if not isinstance(name, str):
            faults.append(f"{where}the setting {setting!r} has no name.")
            continue
        here = f"{where}setting {name!r}: "
        _known_keys(setting, {"name", *SETTING}, here, faults)
        for key, (of, least, most) in SETTING.items():
            value = _typed(setting, key, of, None, here, faults)
            if value is not None and not least <= value <= most:
                faults.append(
                    f"{here}{key} must be from {least} to {most}, got {value!r}."
                )
        used = SETTING.keys() & setting.keys()
        if used - KINDS[kind].settings:
            faults.append(
                f"{here}{sorted(used - KINDS[kind].settings)} have no meaning for kind "
                f"{kind!r}."
            )
        if used & SIMULATION.keys() and set(data) != {"synthetic"}:
            faults.append(
                f"{here}{sorted(used & SIMULATION.keys())} are for data 'synthetic' "
                "alone."
            )
    names = [setting.get("name") for setting in settings]
    if len(set(names)) < len(names):
        faults.append(f"{where}two settings share a name: {names}.")
    return tuple(settings)


def _known_keys(table, known, where, faults):
    for key in table:
        if key not in known:
            faults.append(f"{where}{key!r} is no key{_near(key, known)}")


def _typed(table, key, kind, default, where, faults):
    value = table.get(key, default)
    if value is default:
        return value
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        faults.append(f"{where}{key} must be of type {kind.__name__}, got {value!r}.")
        return default
    return value


def _names(table, key, default, where, faults):
    names = table.get(key, default)
    if names is default:
        return list(names)
    strings = isinstance(names, list) and all(isinstance(n, str) for n in names)
    if not strings or not names:
        faults.append(f"{where}{key} must be a list of names, got {names!r}.")
        return list(default)
    return names


def _near(name, known):
    known = [str(k) for k in known]
    close = difflib.get_close_matches(str(name), known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known are {sorted(known)}."
