"""What to run: configurations, checked before anything starts."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import difflib
import os
import tomllib
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from pydantic import ValidationError, create_model  # isort: skip

from ..datasets._motor_cortex import BEHAVIOURS
from ..exceptions import ConfigurationError
from . import PAIRS
from ._decoding import CATALOGUE
from ._methods import check_description, make_aligner
from ._sessions import SETTING, SIMULATION, read_pair
from ._tables import slug

MAX_SEED = 2**32 - 1
RESERVED = ("cells", "index")  # files of a report
TYPES = {"string": "str", "int": "int", "float": "float", "bool": "bool"}


class _Faults(ValueError):
    """Sentences that say what is wrong with a value."""


def _refuse(*sentences):
    if sentences:
        raise _Faults(*sentences)


def _near(name, choices):
    choices = [str(k) for k in choices]
    close = difflib.get_close_matches(str(name), choices, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; choose from {sorted(choices)}."


def _experiment(info):
    """Experiment of a table; the default one where its kind is refused."""
    return info.context["catalogue"].experiments[info.data.get("kind", "decoding")]


def _names(key, names):
    strings = isinstance(names, list) and all(isinstance(n, str) for n in names)
    if not strings or not names:
        _refuse(f"{key} must be a list of names, got {names!r}.")
    return names


def _kind(kind, info):
    choices = info.context["catalogue"].experiments
    if kind not in choices:
        _refuse(f"there is no kind {kind!r}{_near(kind, choices)}")
    return kind


def _methods(names, info):
    experiment, catalogue = _experiment(info), info.context["catalogue"]
    names = experiment.methods if names is None else _names("methods", names)
    groups, choices = {}, experiment.methods
    if experiment.takes_aligners:
        groups = catalogue.groups
        choices = [*catalogue.method_names(), *info.context["own"]]
    names = [n for name in names for n in groups.get(name, [name])]
    unknown = [name for name in dict.fromkeys(names) if name not in choices]
    near = [f"there is no method {n!r}{_near(n, [*choices, *groups])}" for n in unknown]
    _refuse(*near, *experiment.refuse(names))
    return list(dict.fromkeys(names))


def _reference(name, info):
    if name not in info.data.get("methods", [name]):
        _refuse(f"reference {name!r} is not among its methods.")
    return name


def _data(names, info):
    experiment = _experiment(info)
    if experiment.simulates:
        if names is not None:
            _refuse(f"kind {info.data['kind']!r} simulates its data; remove data.")
        return {experiment.simulates: None}
    if names is None:
        _refuse("name its data, for example data = ['synthetic'].")
    found, faults = dict.fromkeys(_names("data", names)), []
    for name in found:
        if name in PAIRS:
            continue
        if not name.endswith(".npz"):
            faults.append(
                f"there are no data {name!r}{_near(name, PAIRS)} Your own sessions are "
                "named by the path of an .npz file."
            )
            continue
        file = (info.context["folder"] / name).resolve()
        found[name] = str(file)
        try:
            read_pair(file, 0)
        except FileNotFoundError:
            faults.append(f"data {name!r}: there is no file {file}.")
        except ConfigurationError as error:
            faults.append(f"data {name!r}: {error}")
    _refuse(*faults)
    return found


def _behaviour(behaviour, info):
    for name in info.data.get("data", ()):
        choices = list(BEHAVIOURS.get(name.removesuffix("-back"), ()))
        if behaviour not in choices:
            _refuse(
                f"behaviour {behaviour!r} is not there for data {name!r}; choose "
                f"from {choices}."
            )
    return behaviour


def _seeds(seeds):
    many = list(range(seeds)) if type(seeds) is int else seeds
    whole = isinstance(many, list) and many and all(type(s) is int for s in many)
    if not whole or min(many) < 0 or max(many) > MAX_SEED or len({*many}) < len(many):
        _refuse(
            "seeds must be how many, or a list of different whole numbers, got "
            f"{seeds!r}."
        )
    return many


def _tables(settings):
    tables = isinstance(settings, list) and settings
    if not tables or not all(isinstance(s, dict) for s in settings):
        _refuse(f"settings must be a list of tables, got {settings!r}.")
    return settings


def _settings(settings, info):
    kind, allowed, faults = info.data.get("kind"), _experiment(info).settings, []
    for setting in settings:
        used, here = setting.model_fields_set - {"name"}, f"setting {setting.name!r}: "
        if useless := sorted(used - allowed):
            faults.append(f"{here}{useless} have no meaning for kind {kind!r}.")
        simulated = sorted(used & SIMULATION.keys())
        if simulated and set(info.data.get("data", ())) != {"synthetic"}:
            faults.append(f"{here}{simulated} are for data 'synthetic' alone.")
    names = [setting.name for setting in settings]
    if len(set(names)) < len(names):
        faults.append(f"two settings share a name: {names}.")
    _refuse(*faults)
    return settings


def _own(tables, info):
    catalogue, own = info.context["catalogue"], info.context["own"]
    if not isinstance(tables, dict):
        _refuse("method must be tables, [method.NAME], one per method.")
    faults = []
    for name, table in tables.items():
        if name in (*catalogue.method_names(), *catalogue.groups):
            faults.append(f"method {name!r} is there already; choose another name.")
            continue
        folder = {"folder": str(info.context["folder"].resolve())}
        own[name] = folder | table if isinstance(table, dict) else table
        try:
            check_description(own[name])
        except ConfigurationError as error:
            faults.append(f"method {name!r}: {error}")
    _refuse(*faults)
    return own


def _entries(tables):
    if not isinstance(tables, list) or not tables:
        _refuse("there is nothing to run: add a table [[experiment]].")
    for i, table in enumerate(tables):
        if not isinstance(table, dict):
            _refuse(f"experiment {i + 1} must be a table [[experiment]].")
    return [{"name": f"experiment {i + 1}", **t} for i, t in enumerate(tables)]


def _files(experiments):
    names = [*RESERVED, "", *(slug(e.name) for e in experiments)]
    _refuse(
        *(
            f"experiment {e.name!r} needs another name: its files would be called "
            f"{slug(e.name)!r}, as others are."
            for e in experiments
            if names.count(slug(e.name)) > 1
        )
    )
    return experiments


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, validate_default=True)


Setting = create_model(
    "Setting",
    __base__=_Strict,
    name=(str, ...),
    **{
        key: (
            of | None if of is bool else Annotated[of, Field(ge=low, le=high)] | None,
            None,
        )
        for key, (of, low, high) in SETTING.items()
    },
)


class ExperimentTable(_Strict):
    """A table ``[[experiment]]``: every method on all data in all settings."""

    name: str
    kind: Annotated[str, AfterValidator(_kind)] = "decoding"
    methods: Annotated[list, BeforeValidator(_methods)] = None
    reference: Annotated[str, AfterValidator(_reference)] | None = None
    data: Annotated[dict, BeforeValidator(_data)] = None  # name to a user's file
    behaviour: Annotated[str, AfterValidator(_behaviour)] | None = None
    seeds: Annotated[list, BeforeValidator(_seeds)] = 5
    settings: Annotated[
        list[Setting], BeforeValidator(_tables), AfterValidator(_settings)
    ] = [{"name": "balanced"}]


class Content(_Strict):
    """A whole configuration, as its file has it."""

    title: str | None = None
    description: str = ""
    method: Annotated[dict, BeforeValidator(_own)] = {}
    experiment: Annotated[
        list[ExperimentTable], BeforeValidator(_entries), AfterValidator(_files)
    ] = None


@dataclass(frozen=True)
class Configuration:
    """What a run is made of."""

    title: str
    description: str
    methods: dict  # name to description of those that are the user's own
    experiments: list
    path: Path
    catalogue: object

    def make_methods(self):
        """Make the user's own methods, whose code runs here for the first time.

        Raises
        ------
        ConfigurationError
            If one cannot be made; all that is wrong is listed.
        """
        faults = []
        for name, description in self.methods.items():
            try:
                make_aligner(description)
            except ConfigurationError as error:
                faults.append(f"\n- method {name!r}: {error}")
        if faults:
            raise ConfigurationError(f"{self.path} cannot be run:{''.join(faults)}")

    def cells(self):
        """List what is to be run, one dict per result, in the order it is run in.

        Seeds change faster than methods, so that workers rarely wait for the same
        source model.
        """
        keys = ("setting", "method", "seed", "data", "file")
        cells = []
        for e in self.experiments:
            settings = [s.model_dump(exclude_unset=True) for s in e.settings]
            common = {k: getattr(e, k) for k in ("kind", "behaviour", "reference")}
            common["experiment"] = e.name
            for *names, data in product(settings, e.methods, e.seeds, e.data.items()):
                cells.append(common | dict(zip(keys, (*names, *data))))
        return cells


def read_configuration(source, catalogue=CATALOGUE):
    """Read a configuration and check all of it.

    Parameters
    ----------
    source : path-like
        Name of a ready one, or the path of a TOML file.
    catalogue : Catalogue
        What the configuration can name; by default that of the tool.

    Returns
    -------
    configuration : Configuration
        What to run.

    Raises
    ------
    OSError
        If there is no such file.
    ConfigurationError
        If it is no TOML, or holds what cannot be run; all that is wrong is listed.
    """
    ready = catalogue.ready()
    path = ready.get(os.fspath(source), Path(source))
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"There is no configuration {os.fspath(source)!r}: no file of that name, "
            f"and the ready ones are {list(ready)}."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path} is no configuration, for it is no text. A configuration is a TOML "
            "file; your sessions are named in it, as data = ['sessions.npz']."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is no TOML: {error}") from error
    context = {"catalogue": catalogue, "folder": path.parent, "own": {}}
    try:
        found = Content.model_validate(content, context=context)
    except ValidationError as error:
        faults = [s for e in error.errors() for s in _sentences(e, content)]
        text = "".join(f"\n- {fault}" for fault in faults)
        raise ConfigurationError(f"{path} cannot be run:{text}") from None
    title = found.title or path.stem
    entries = found.description, found.method, found.experiment
    return Configuration(title, *entries, path, catalogue)


def _sentences(error, content):
    """Say what is wrong, and where."""
    (*place, key), kind, where, model = error["loc"], error["type"], "", Content
    if place:
        table, model = content["experiment"][place[1]], ExperimentTable
        where = f"experiment {table.get('name', f'experiment {place[1] + 1}')!r}: "
    if place[2:]:
        setting, model = table["settings"][place[3]], Setting
        if kind == "missing":
            return [f"{where}the setting {setting!r} has no name."]
        where += f"setting {setting.get('name')!r}: "
    if isinstance(error.get("ctx", {}).get("error"), _Faults):
        return [where + sentence for sentence in error["ctx"]["error"].args]
    if kind == "extra_forbidden":
        return [f"{where}{key!r} is no key{_near(key, model.model_fields)}"]
    if of := TYPES.get(kind.removesuffix("_type")):
        return [f"{where}{key} must be of type {of}, got {error['input']!r}."]
    least, most = SETTING[key][1:]
    return [f"{where}{key} must be from {least} to {most}, got {error['input']!r}."]
