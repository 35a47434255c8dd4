"""The experiments of the evidence: what a result is, and how it is shown."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from skerdiff.benchmark import (
    MODEL_SETTINGS,
    TRIAL_SETTINGS,
    Cost,
    Decoding,
    Experiment,
    Table,
    by_seed,
    difference,
    group,
    make_split,
    seeds_note,
    summary,
)
from skerdiff.datasets import make_bernoulli_dynamics
from skerdiff.exceptions import ConfigurationError
from skerdiff.geometry import LITTLE_VARIANCE, THIN_MARGIN

from .constants import CHOSEN, VARIANTS, compare_constants
from .criteria import CRITERIA, compare_criteria
from .dynamics import judge
from .equal_time import equal_time
from .evidence import Evidence
from .fit_time import fit_seconds
from .headroom import headroom
from .methods import SOURCE_START
from .prior_quality import REAL, models, prior_quality, source_latents
from .published_numbers import COST, R2_PERCENT
from .published_protocol import VARIANTS as PROTOCOLS
from .published_protocol import published_protocol

FAILED = 0.5  # times the oracle's R2; below it an alignment has failed
FLOOR = -1.0  # R2 below counts as this in means over settings
THRESHOLDS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)  # tried, in multiples of those in use


class PublishedDecoding(Decoding):
    """Decoding, with the figures as published in a column of their own."""

    def table(self, name, title, results):
        """Lay out methods or settings, see `Decoding.table`."""
        table = super().table(name, title, results)
        methods = set(results["method"])
        known = (
            results["data"].iloc[0] == "mihi" and len(methods & R2_PERCENT.keys()) > 2
        )
        if results["setting"].nunique() > 1 or not known:
            return table
        # the published start is that from the source
        table.frame["published R2, %"] = [
            ""
            if method + SOURCE_START in methods
            else R2_PERCENT.get(method.removesuffix(SOURCE_START), "")
            for method in table.frame["method"]
        ]
        table.notes.append(
            "The last column is ERDiff's Table 1, cross-day, as published: another cut "
            "of the recordings, another protocol. It is not to be compared in value."
        )
        return table


class MainDecoding(PublishedDecoding, Evidence):
    """Decoding of the main table, with the time to fit the latent model beside it."""

    measures = (fit_seconds,)

    def decode(self, cell, aligner, split, memory):
        """Decode, and time the latent model's fit, see `Decoding.decode`."""
        row, found = super().decode(cell, aligner, split, memory)
        if aligner is not None:
            row["model_fit_s"] = fit_seconds(
                aligner.latent_model, *split.source, cell["seed"], memory
            )
        return row, found

    def tables(self, experiment, results):
        """Add the time to the table of all data, see `Decoding.tables`."""
        first, *others = super().tables(experiment, results)
        seconds = results.groupby("method")["model_fit_s"].mean()
        first.frame["model fit, s"] = [
            "" if np.isnan(seconds[method]) else f"{seconds[method]:.1f}"
            for method in first.frame["method"]
        ]
        first.notes.append(
            "The last column is the mean time to fit the latent model to the source, "
            "on one thread, while the machine's second core worked too."
        )
        return [first, *others]


class PublishedCost(Cost):
    """Cost, with the figures as published in a column of their own."""

    def table(self, name, title, results):
        """Lay out what methods cost, see `Cost.table`."""
        table = super().table(name, title, results)
        names = [m.removesuffix(SOURCE_START) for m in table.frame["method"]]
        published = [", ".join(COST.get(name, ())) for name in names]
        table.frame["published: parameters, size, ms an epoch"] = published
        table.notes.append("Published figures are of other data and another machine.")
        return table


class Latents(Decoding):
    """Mean latents of each direction, on three principal axes of the source's means."""

    methods = ("no adaptation", "geometry only", "ERDiff")
    shows_settings_together = False
    tables = Experiment.tables

    def refuse(self, methods):
        """Refuse the oracle."""
        if "oracle" in methods:
            return ["the oracle has no source latents to draw."]
        return []

    def run(self, cell, aligner, memory=None):
        """Decode one cell and average its latents, see `Experiment.run`."""
        data, split = self.load(cell)
        if data.direction is None:
            raise ConfigurationError("latents by direction need directions of trials.")
        row, found = self.decode(cell, aligner, split, memory)
        scored = split.target_direction[-len(found["target"]) :]
        source = _means(found["source"], split.source_direction)
        target = _means(found["target"], scored)
        axes = PCA(min(3, found["source"].shape[2])).fit(
            np.concatenate(list(source.values()))
        )
        for name, means in (("source_paths", source), ("target_paths", target)):
            row[name] = {
                str(k): np.round(axes.transform(path), 4).tolist()
                for k, path in means.items()
            }
        return row

    def figures(self, experiment, results):
        """Draw the means, see `Experiment.figures`."""
        from .figures import draw_latents

        parts = self.parts(experiment, results)
        return [(name, *draw_latents(title, mine)) for name, title, mine in parts]


def _means(Z, direction):
    return {int(k): Z[direction == k].mean(0) for k in np.unique(direction)}


class KnownDynamics(Evidence, Decoding):
    """Known dynamics before and after alignment."""

    settings = frozenset({"target_trials", *MODEL_SETTINGS})
    simulates = "bernoulli"
    shows_settings_together = False
    measures = (judge,)
    tables = Experiment.tables

    def run(self, cell, aligner, memory=None):
        """Decode one cell and judge what comes out, see `Experiment.run`."""
        seed = cell["seed"]
        # as many target trials to adapt to as source trials, and as many to judge by
        data = make_bernoulli_dynamics(n_trials=[200, 400], random_state=seed)
        data.direction, data.onset = None, 0
        split = make_split(data, seed, cell["setting"], train_share=0.5)
        row, found = self.decode(cell, aligner, split, memory)
        return row | judge(data.dynamics, split.test[1], found["guess"])

    def table(self, name, title, results):
        """Lay out measures by method, see `Experiment.table`."""
        measures = {"NLL, nats a trial": "nll", "KL, nats a bin": "kl"}
        measures["fixed points off by"] = "fixed_points"
        rows = []
        for method, mine in group(results, "method"):
            row = {k: summary(mine[what], worst=max) for k, what in measures.items()}
            r2 = summary(mine["r2"], wanted=results["seed"].nunique())
            rows.append({"method": method, **row, "R2 of latents": r2})
        true = {
            k: f"{by_seed(results, f'true_{what}').iloc[:, -1].mean():.2f}"
            for k, what in measures.items()
        }
        rows.append({"method": "true latents", **true, "R2 of latents": "1"})
        notes = [
            seeds_note(results),
            "NLL: negative log-likelihood of decoded target trajectories under the "
            "true dynamics, the nearer to that of the true latents the better, as "
            "trajectories that are too smooth go below it. KL: divergence of dynamics "
            "fitted to them from the true ones. Fixed points: mean distance from the "
            "true stable ones to those of the fitted dynamics, in a square with sides "
            "of 1. In brackets the worst seed.",
        ]
        return Table(name, title, rows, notes, results)

    def figures(self, experiment, results):
        """Draw vector fields, see `Experiment.figures`."""
        from .figures import draw_dynamics

        parts = self.parts(experiment, results)
        return [(name, *draw_dynamics(title, mine)) for name, title, mine in parts]


class PublishedProtocol(Evidence):
    """ERDiff as its public script scores it, and with more and more of it put right."""

    methods = tuple(PROTOCOLS)
    takes_aligners = False
    settings = frozenset(TRIAL_SETTINGS)
    measures = (published_protocol,)

    def run(self, cell, aligner, memory=None):
        """Adapt and score one cell, see `Experiment.run`."""
        split = self.load(cell)[1]
        return published_protocol(split, cell["method"], cell["seed"], memory)

    def table(self, name, title, results):
        """Lay out protocols, see `Experiment.table`."""
        r2, rows = by_seed(results), []
        for protocol in r2:
            paired, best_epoch, on_adapted = PROTOCOLS[protocol]
            what = "paired by direction" if paired else "shuffled"
            what += ", best epoch by labels" if best_epoch else ", last epoch"
            what += ", adapted trials" if on_adapted else ", held-out trials"
            row = {"protocol": protocol, "what it does": what}
            row["R2"] = summary(r2[protocol], wanted=len(r2))
            if protocol != "honest" and "honest" in r2:
                row["R2 less honest"] = difference(r2[protocol], r2["honest"])
            rows.append(row)
        columns = ["protocol", "what it does", "R2", "R2 less honest"]
        notes = [
            seeds_note(results),
            "ERDiff from the source's read-in, 500 epochs, with this package's latent "
            "model and prior. Only the last row keeps to the honest protocol.",
        ]
        return Table(name, title, pd.DataFrame(rows, columns=columns), notes, results)


class EqualTime(Evidence):
    """Against the published code's shape, in one run."""

    methods = ("ERDiff",)
    takes_aligners = False
    settings = frozenset(TRIAL_SETTINGS)
    timed = True
    measures = (equal_time,)

    def run(self, cell, aligner, memory=None):
        """Race both on one cell, see `Experiment.run`."""
        return equal_time(self.load(cell)[1], cell["seed"], memory)

    def table(self, name, title, results):
        """Lay out races by seed, see `Experiment.table`."""
        header = ["seed", "R2", "s", "published shape: R2 in that time", "best R2"]
        header += ["s", "as good", "time ratio"]
        rows = [
            [
                str(r["seed"]),
                f"{r['r2']:.3f}",
                f"{r['adapt_s']:.1f}",
                f"{r['published_r2_at_equal_time']:.3f}",
                f"{r['published_best_r2']:.3f}",
                f"{r['published_s']:.0f}",
                "yes" if r["reached"] else "no",
                f"{'' if r['reached'] else '> '}{r['ratio']:.0f}",
            ]
            for _, r in results.iterrows()
        ]
        epochs = sorted(results["published_prior_epochs"].astype(int).unique())
        notes = [
            f"The published denoiser was trained for {', '.join(map(str, epochs))} "
            "epochs; the public code has 800.",
            "ERDiffAligner against the published denoiser, objective, step size, "
            "batches and start, sessions shuffled, on the same trials in one run on "
            "one thread. The published shape is stopped when its R2 on held-out trials "
            "is within 0.01, or after 25 times as long.",
        ]
        return Table(name, title, pd.DataFrame(rows, columns=header), notes, results)


class PriorQuality(Evidence):
    """The diffusion prior and other densities, on held-out trajectories."""

    methods = (REAL, *models(0))
    takes_aligners = False
    settings = frozenset()
    measures = (prior_quality, source_latents)

    def run(self, cell, aligner, memory=None):
        """Fit and score one density, see `Experiment.run`."""
        seed, name = cell["seed"], cell["method"]
        pair = cell["file"] or cell["data"]
        Z = source_latents(pair, seed, cell["behaviour"], memory)
        row = next(r for r in prior_quality(Z, seed, [name]) if r["model"] == name)
        return {key: float(value) for key, value in row.items() if key != "model"}

    def table(self, name, title, results):
        """Lay out densities, see `Experiment.table`."""
        columns = {
            "denoising": ("denoising_error", 4),
            "values": ("value", 3),
            "correlations": ("correlation", 3),
            "AUC": ("auc", 2),
            "nearest": ("neighbour", 2),
        }
        rows = []
        for model, mine in group(results, "method"):
            row = {"model": model, "log-likelihood": summary(mine["log_likelihood"])}
            for column, (what, digits) in columns.items():
                found = mine[what].dropna() if what in mine else []
                row[column] = f"{found.mean():.{digits}f}" if len(found) else ""
            rows.append(row)
        notes = [
            seeds_note(results),
            "Held-out trajectories of source latents: log-likelihood in nats per "
            "value; mean denoising error; between samples and held-out trials the "
            "distances of values and of correlations, a classifier's AUC and the "
            "nearest-neighbour ratio.",
        ]
        return Table(name, title, rows, notes, results)


class Criteria(Evidence):
    """What chooses between candidate alignments, side by side."""

    methods = ("criteria",)
    takes_aligners = False
    settings = Experiment.settings - frozenset(MODEL_SETTINGS)
    shows_settings_together = True
    measures = (compare_criteria,)

    def run(self, cell, aligner, memory=None):
        """Let criteria choose in one cell, see `Experiment.run`."""
        return compare_criteria(self.load(cell)[1], cell["seed"], memory)

    def table(self, name, title, results):
        """Lay out criteria by setting, see `Experiment.table`."""
        columns = dict(zip(CRITERIA, CRITERIA)) | {"best": "r2"}
        n = results["seed"].nunique()
        rows = [
            {"setting": setting}
            | {k: summary(mine[what], wanted=n) for k, what in columns.items()}
            for setting, mine in group(results, "setting")
        ]
        notes = [
            seeds_note(results),
            "R2 of held-out target trials by the alignment that each criterion chose "
            "from the same pool; the last column is the best of the pool by target "
            "labels. Denoising error, bound and likelihood are under a diffusion prior "
            "of the source's principal coordinates; the latter two count the change of "
            "volume.",
        ]
        return Table(name, title, rows, notes, results)


class Headroom(Evidence):
    """Aligned latents decoded by the source's decoder, and by one of their own."""

    methods = ("geometry only", "ERDiff")
    settings = frozenset(TRIAL_SETTINGS)
    measures = (headroom,)

    def refuse(self, methods):
        """Refuse the oracle."""
        return ["the oracle aligns nothing."] if "oracle" in methods else []

    def run(self, cell, aligner, memory=None):
        """Decode one cell twice, see `Experiment.run`."""
        return headroom(self.load(cell)[1], aligner, cell["seed"], memory)

    def table(self, name, title, results):
        """Lay out both decoders, see `Experiment.table`."""
        own, refitted = (by_seed(results, what) for what in ("r2", "r2_refitted"))
        rows = [
            {
                "method": method,
                "R2, source's decoder": summary(own[method], 3, wanted=len(own)),
                "R2, refitted decoder": summary(refitted[method], 3, wanted=len(own)),
                "difference": difference(refitted[method], own[method]),
            }
            for method in own
        ]
        notes = [
            seeds_note(results),
            "R2 of held-out target trials from aligned latents: by the decoder of the "
            "source, and by one trained with labels on the aligned latents of the "
            "trials that were adapted to. The difference is what moving the latents "
            "could gain.",
        ]
        return Table(name, title, rows, notes, results)


class Constants(Evidence):
    """Other values of the geometry's constants, one at a time."""

    methods = ("constants",)
    takes_aligners = False
    settings = Experiment.settings - frozenset(MODEL_SETTINGS)
    measures = (compare_constants,)

    def run(self, cell, aligner, memory=None):
        """Align and decode with each variant in one cell, see `Experiment.run`."""
        return compare_constants(self.load(cell)[1], cell["seed"], memory)

    def tables(self, experiment, results):
        """Lay out variants by data, and thresholds, see `Experiment.tables`."""
        name = "-".join(experiment.lower().replace(",", " ").split())
        tables = [
            constants_table(name, experiment, results),
            thresholds_table(name, experiment, results),
        ]
        return [table for table in tables if len(table.frame)]


def constants_table(name, title, results):
    """Lay out what other values of the geometry's constants add, paired by seed.

    Parameters
    ----------
    name, title : str
        Of the experiment.
    results : DataFrame
        One row per cell, see `compare_constants`.

    Returns
    -------
    table : Table
        One row per variant; columns for each pair of sessions and for all.
    """
    used = results[~results["structureless"]]
    rows = {CHOSEN: {}, **{variant: {} for variant in VARIANTS}}
    for part, mine in [*group(used, "data"), ("all", used)] if len(used) else ():
        means = mine.set_index("seed")[["r2", *VARIANTS]].clip(lower=FLOOR)
        means = means.groupby("seed").mean()
        rows[CHOSEN][part] = f"{means['r2'].mean():.3f}"
        for variant in VARIANTS:
            rows[variant][part] = difference(means[variant], means["r2"])
    notes = [
        seeds_note(results),
        "R2 with the constants in use, a mean over settings, structureless data apart, "
        f"and what other values have more. R2 below {FLOOR:g} counts as {FLOOR:g}.",
    ]
    frame = [{"constants": k, **row} for k, row in rows.items() if row]
    return Table(name, title, frame, notes, used)


def thresholds_table(name, title, results):
    """Lay out what an aligner would warn of with other thresholds.

    Parameters
    ----------
    name, title : str
        Of the experiment.
    results : DataFrame
        One row per cell, see `compare_constants`.

    Returns
    -------
    table : Table
        One row per threshold of the variance explained, one column per threshold of
        the margin: the share of failed runs and that of right ones that would be warned
        of. Without rows where all runs or none have failed.
    """
    failed = results["structureless"] | (results["r2"] < FAILED * results["oracle"])
    rows = []
    for little in LITTLE_VARIANCE * np.array(THRESHOLDS):
        row = {"": f"explained {little:.2f}"}
        for thin in THIN_MARGIN * np.array(THRESHOLDS):
            warned = results["margin"] < thin
            warned |= results["variance_explained"] < little
            shares = warned[failed].mean(), warned[~failed].mean()
            row[f"margin {thin:.3f}"] = "{:.2f} / {:.2f}".format(*shares)
        rows.append(row)
    notes = [
        f"Share of {failed.sum()} failed and structureless runs, and of "
        f"{(~failed).sum()} right ones, that are warned of. In use are {THIN_MARGIN} "
        f"and {LITTLE_VARIANCE}.",
    ]
    rows = [] if failed.all() or not failed.any() else rows
    return Table(f"{name}-thresholds", f"{title}: thresholds", rows, notes, results)
