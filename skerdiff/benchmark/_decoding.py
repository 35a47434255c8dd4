"""The experiments of the tool, "decoding" and "cost", and what can be named in it."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from pathlib import Path

import pandas as pd

from ._decode import decode_across
from ._experiment import Catalogue, Experiment
from ._methods import GROUPS, METHODS
from ._over_settings import parts_table, share_table, warnings_table
from ._sessions import load_pair, make_split
from ._tables import (
    Table,
    by_seed,
    difference,
    group,
    mean_ranks,
    reference_of,
    seeds_note,
    slug,
    summary,
)  # fmt: skip


class Decoding(Experiment):
    """R2 of decoded behaviour, by method; with several settings, by setting too."""

    shows_settings_together = True
    measured_by = (decode_across, load_pair, make_split)

    def run(self, cell, aligner, memory=None):
        """Align and decode one cell, see `Experiment.run`."""
        return self.decode(cell, aligner, self.load(cell)[1], memory)[0]

    def decode(self, cell, aligner, split, memory):
        """Decode a split, and give the latents too, see `decode_across`."""
        oracle = aligner is None
        n_components = cell["setting"].get("n_components") if oracle else None
        more = memory, n_components, self.timed
        return decode_across(split, aligner, cell["seed"], *more)

    def tables(self, experiment, results):
        """Lay out parts, and what compares data and settings, see `Experiment`."""
        name, tables = slug(experiment), []
        several = results["setting"].nunique() > 1
        if not several and results["data"].nunique() > 1:
            tables.append(_all_data(name, f"{experiment}: all data", results))
        for part, title, mine in self.parts(experiment, results):
            tables.append(self.table(part, title, mine))
            if several and "r2_absent" in mine:
                title = f"{title}, absent directions"
                tables.append(_matrix(f"{part}-absent", title, mine, "r2_absent"))
        if several:
            for make in (share_table, parts_table, warnings_table):
                tables.append(make(name, experiment, results))
        return [table for table in tables if len(table.frame)]

    def table(self, name, title, results):
        """Lay out methods, or settings by methods, see `Experiment.table`."""
        if results["setting"].nunique() > 1:
            return _matrix(name, title, results, "r2")
        r2, n = by_seed(results), results["seed"].nunique()
        reference, ranks = reference_of(results), mean_ranks(r2.dropna(axis=1))
        rows = []
        for method, mine in group(results, "method"):
            row = {"method": method, "R2": summary(r2[method], wanted=n)}
            row["RMSE"] = f"{mine['rmse'].mean():.3f}"
            gain = "" if method == reference else difference(r2[method], r2[reference])
            row[f"R2 less {reference}"] = gain
            row["rank"] = f"{ranks[method]:.1f}" if method in ranks else ""
            row["ambiguous"] = f"{mine['ambiguous'].astype(int).sum()}/{len(mine)}"
            row["adds"] = f"{mine['n_parameters_added'].iloc[0]:,.0f}"
            rows.append(row)
        notes = [
            seeds_note(results),
            "R2 and RMSE are of decoded behaviour on held-out target trials; rank is "
            "the mean rank by R2 within a seed, 1 the best; ambiguous says in how many "
            "runs the aligner warned; adds counts the parameters that a method brings "
            "besides the source model.",
        ]
        return Table(name, title, rows, notes, results)

    def figures(self, experiment, results):
        """Draw R2 by method or setting, see `Experiment.figures`."""
        from ._figures import draw_methods, draw_settings

        several = results["setting"].nunique() > 1
        draw = draw_settings if several else draw_methods
        return [(n, *draw(t, mine)) for n, t, mine in self.parts(experiment, results)]


def _all_data(name, title, results):
    """R2 of methods by data."""
    n = results["seed"].nunique()
    rows = [
        {"method": method}
        | {data: summary(v["r2"], wanted=n) for data, v in group(mine, "data")}
        for method, mine in group(results, "method")
    ]
    frame = pd.DataFrame(rows, columns=["method", *results["data"].unique()])
    note = "R2 of decoded behaviour on held-out target trials."
    return Table(name, title, frame, [seeds_note(results), note], results)


def _matrix(name, title, results, what):
    """R2 of settings by methods; of absent directions, where there are any."""
    n = results["seed"].nunique()
    rows = [
        {"setting": setting}
        | {m: summary(v[what], wanted=n) for m, v in group(mine, "method")}
        for setting, mine in group(results[results[what].notna()], "setting")
    ]
    frame = pd.DataFrame(rows, columns=["setting", *results["method"].unique()])
    note = "R2 of held-out target trials in directions that were adapted to."
    if what == "r2_absent":
        note = "R2 in directions that were missing."
    return Table(name, title, frame, [seeds_note(results), note], results)


class Cost(Decoding):
    """Parameters added, time per epoch and to the end; one result at a time."""

    methods = ("all",)
    timed = True
    shows_settings_together = False
    tables, figures = Experiment.tables, Experiment.figures

    def table(self, name, title, results):
        """Lay out what methods cost, see `Experiment.table`."""
        rows, r2 = [], by_seed(results)
        for method, mine in group(results[results["method"] != "oracle"], "method"):
            size, adapt = mine["n_parameters_added"].iloc[0], mine["adapt_s"]
            row = {"method": method, "parameters": f"{size / 1000:.1f}K"}
            row |= {"KB": f"{4 * size / 1000:.0f}", "ms an epoch": ""}
            row["s to adapt (most)"] = f"{adapt.mean():.1f} ({adapt.max():.1f})"
            row["step accepted"] = ""
            if mine["epoch_s"].any():
                row["ms an epoch"] = f"{1000 * mine['epoch_s'].mean():.0f}"
                row["step accepted"] = f"{mine['steps'].mean():.0f}"
            row["R2"] = summary(r2[method], wanted=results["seed"].nunique())
            rows.append(row)
        notes = [
            seeds_note(results),
            "Parameters that a method adds to the latent model, at four bytes each; an "
            "epoch is one pass through the target trials; adapting includes the search "
            "for the start. One thread, nothing else running by this command.",
        ]
        return Table(name, title, rows, notes, results)


CATALOGUE = Catalogue(
    experiments={"decoding": Decoding(), "cost": Cost()},
    methods=METHODS,
    groups=GROUPS,
    folder=Path(__file__).with_name("configs"),
)
