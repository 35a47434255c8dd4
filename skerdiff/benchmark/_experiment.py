"""What an experiment is: what may be asked, what a result is, how results are shown."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sklearn.base import clone

from ..utils._code import classes_of, code_digest
from ._methods import aligner_names, make_aligner
from ._sessions import MODEL_SETTINGS, SETTING, SIMULATION, load_pair, make_split
from ._tables import group, slug


class Experiment:
    """A kind of experiment; subclass it to add one of your own.

    A subclass says by class attributes what its tables ``[[experiment]]`` may hold, and
    has the methods `run` and `table`. A result is a dict of numbers, texts or lists
    that can be written as JSON; names of times end in ``_s``. Results come back to
    tables and figures as a DataFrame with one row per cell: ``experiment``, ``kind``,
    ``data``, ``setting``, ``method``, ``seed`` and what was measured.

    Attributes
    ----------
    methods : tuple of str
        Methods where a configuration names none.
    takes_aligners : bool
        Whether methods are aligners. If not, they are names of `methods` alone.
    settings : frozenset of str
        Keys that a setting may hold, besides its name.
    simulates : str or None
        Name of the data, where the experiment simulates its own.
    timed : bool
        Whether times are a result: then nothing else runs beside it.
    shows_settings_together : bool
        Whether a table holds all settings; else each has a table of its own.
    measured_by : tuple
        Functions that a result depends on, besides the aligner; by default the class.
    """

    methods = ("main",)
    takes_aligners = True
    settings = frozenset(SETTING)
    simulates = None
    timed = False
    shows_settings_together = False
    measured_by = ()

    def refuse(self, methods):
        """List sentences that say why methods, given by name, cannot be used."""
        return []

    def load(self, cell):
        """Load the sessions of a cell, and split them as its setting says."""
        setting, name = cell["setting"], cell["file"] or cell["data"]
        simulation = {k: v for k, v in setting.items() if k in SIMULATION}
        data = load_pair(name, cell["seed"], cell["behaviour"], **simulation)
        return data, make_split(data, cell["seed"], setting)

    def run(self, cell, aligner, memory=None):
        """Measure one cell with an unfitted aligner; `memory` is a folder to cache in.

        The aligner is None for the oracle, and where methods are no aligners.
        """
        raise NotImplementedError

    def digest(self, aligner):
        """Digest of the code that a result depends on; documentation does not count."""
        used = self.measured_by or (type(self),)
        return _digest(frozenset({*used, *classes_of(aligner)}))

    def table(self, name, title, results):
        """Lay out one of the `parts` as a `Table`."""
        raise NotImplementedError

    def tables(self, experiment, results):
        """Lay out all results; tables without rows are left out."""
        tables = [self.table(*part) for part in self.parts(experiment, results)]
        return [table for table in tables if len(table.frame)]

    def figures(self, experiment, results):
        """List figures as name, caption and figure; matplotlib is there."""
        return []

    def parts(self, experiment, results):
        """Yield name, title and results of what gets a table of its own.

        That is one pair of sessions in one setting, or in all if they are shown
        together.
        """
        apart = not self.shows_settings_together and results["setting"].nunique() > 1
        for data, mine in group(results, "data"):
            name, title = slug(experiment, data), f"{experiment}: {data}"
            if not apart:
                yield name, title, mine
                continue
            for setting, part in group(mine, "setting"):
                yield f"{name}-{slug(setting)}", f"{title}, {setting}", part


@cache
def _digest(objects):
    return code_digest(*objects)


@dataclass(frozen=True)
class Catalogue:
    """What configurations can name.

    Parameters
    ----------
    experiments : dict of str to Experiment
        By ``kind``.
    methods : dict of str to aligner
        Unfitted aligners; None stands for the within-target oracle. Every aligner of
        `skerdiff.alignment` can be named by its class besides.
    groups : dict of str to list of str
        Names that stand for several methods.
    folder : Path
        Folder of ready configurations, ``*.toml``.
    """

    experiments: dict
    methods: dict
    groups: dict
    folder: Path

    def ready(self):
        """Paths of the ready configurations, by name."""
        return {path.stem: path for path in sorted(self.folder.glob("*.toml"))}

    def method_names(self):
        """Names of all methods."""
        return [*self.methods, *aligner_names()]

    def aligner_of(self, cell, own=None):
        """Make the unfitted aligner of a cell; None for the oracle, or if it has none.

        `own` are descriptions of a user's own methods, by name.
        """
        name, setting = cell["method"], cell["setting"]
        if not self.experiments[cell["kind"]].takes_aligners:
            return None
        if own and name in own:
            aligner = make_aligner(own[name])
        elif name in self.methods:
            aligner = self.methods[name]
        else:
            aligner = make_aligner({"aligner": name})
        if aligner is None:
            return None
        taken = aligner.get_params(deep=False)
        params = {k: setting[k] for k in MODEL_SETTINGS if k in setting and k in taken}
        return clone(aligner).set_params(**params)
