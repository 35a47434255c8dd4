"""Tables of results: what each kind of experiment shows, and how it is written."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import csv
import html
import io
from dataclasses import dataclass, field

import numpy as np

from ._methods import SOURCE_START
from ._published_numbers import COST, R2_PERCENT
from ._statistics import mean_ranks, paired_difference, spread


@dataclass
class Table:
    """Rows of text under a header, with a title and notes."""

    name: str  # of its file
    title: str
    header: list
    rows: list
    notes: list = field(default_factory=list)

    def rst(self):
        """Write as a simple table of reStructuredText, without its title."""
        rows = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*rows)]
        rule = "  ".join("=" * width for width in widths)
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths)) for row in rows]
        lines = [line.rstrip() for line in lines]
        return "\n".join([rule, lines[0], rule, *lines[1:], rule]) + "\n"

    def csv(self):
        """Write as comma-separated values."""
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows([self.header, *self.rows])
        return file.getvalue()

    def html(self):
        """Write as a table of HTML, with its title and notes."""

        def row(cells, tag):
            return "".join(f"<{tag}>{html.escape(str(c))}</{tag}>" for c in cells)

        body = "\n".join(f"<tr>{row(cells, 'td')}</tr>" for cells in self.rows)
        notes = "".join(f"<p>{html.escape(note)}</p>\n" for note in self.notes)
        return (
            f"<h3>{html.escape(self.title)}</h3>\n<table>\n"
            f"<tr>{row(self.header, 'th')}</tr>\n{body}\n</table>\n{notes}"
        )


def group(lines, *keys):
    """Group lines by entries of theirs, in order of appearance."""
    groups = {}
    for line in lines:
        name = tuple(_entry(line, key) for key in keys)
        groups.setdefault(name[0] if len(keys) == 1 else name, []).append(line)
    return groups


def _entry(line, key):
    return line["setting"]["name"] if key == "setting" else line[key]


def by_seed(lines, what):
    """One measure of some lines, by seed; lines without it are left out."""
    found = {line["seed"]: line["result"].get(what) for line in lines}
    return {seed: value for seed, value in found.items() if value is not None}


def tables_of(experiment, lines):
    """Tables of one experiment.

    Parameters
    ----------
    experiment : str
        Its name.
    lines : list of dict
        Its results, all of one kind.

    Returns
    -------
    tables : list of Table
        At least one.
    """
    found = []
    kind, one_setting = lines[0]["kind"], len(group(lines, "setting")) == 1
    if kind == "decoding" and one_setting and len(group(lines, "data")) > 1:
        found.append(_by_data(slug(experiment), experiment, lines))
    for data, mine in group(lines, "data").items():
        of = f"{slug(experiment)}-{slug(data)}"
        found += KINDS[kind](of, f"{experiment}: {data}", mine)
    return found


def slug(text):
    """Make a name for a file."""
    text = "".join(c if c.isalnum() else "-" for c in text.rpartition("/")[2].lower())
    return "-".join(part for part in text.split("-") if part)


def summary(values, digits=2, worst=min):
    """Write mean, standard deviation and, in brackets, the worst."""
    values = list(values)
    if not values:
        return ""
    text = f"{np.mean(values):.{digits}f}"
    if len(values) > 1:
        text += f" ± {spread(values):.{digits}f} [{worst(values):.{digits}f}]"
    return text


def difference(mine, reference, digits=3):
    """Write the mean of paired differences and its interval."""
    mean, low, high = paired_difference(mine, reference)
    if np.isnan(mean):
        return ""
    if np.isnan(low):
        return f"{mean:+.{digits}f}"
    return f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def _seeds_note(lines):
    n = len({line["seed"] for line in lines})
    if n == 1:
        return "One seed."
    return (
        f"{n} seeds: mean ± standard deviation and, in brackets, the worst seed. "
        "Differences are paired by seed, with a 95 % bootstrap interval over seeds: it "
        "speaks of other seeds on these sessions, not of other recordings."
    )


def reference_of(lines):
    """Name the method that others are compared with."""
    methods = [line["method"] for line in lines]
    asked = lines[0].get("reference")
    return next(m for m in (asked, "geometry only", methods[0]) if m in methods)


def _decoding(name, title, lines):
    settings = group(lines, "setting")
    if len(settings) > 1:
        return _matrix(name, title, lines, settings)
    methods = group(lines, "method")
    r2 = {method: by_seed(mine, "r2") for method, mine in methods.items()}
    ranks, reference = mean_ranks(r2), reference_of(lines)
    published = lines[0]["data"] == "mihi" and len(R2_PERCENT.keys() & r2.keys()) > 2
    header = ["method", "R2", "RMSE", f"R2 less {reference}", "rank", "ambiguous"]
    rows = []
    for method, mine in methods.items():
        rmse = by_seed(mine, "rmse").values()
        row = [
            method,
            summary(r2[method].values()),
            f"{np.mean(list(rmse)):.3f}",
            "" if method == reference else difference(r2[method], r2[reference]),
            f"{ranks[method]:.1f}",
            f"{sum(by_seed(mine, 'ambiguous').values())}/{len(mine)}",
        ]
        rows.append([*row, _published_r2(method, r2)] if published else row)
    notes = [
        _seeds_note(lines),
        "R2 and RMSE are of decoded behaviour on held-out target trials; rank is the "
        "mean rank by R2 within a seed, 1 the best; ambiguous says in how many runs "
        "the aligner warned.",
    ]
    if published:
        header.append("published R2, %")
        notes.append(
            "The last column is ERDiff's Table 1, cross-day, as published: another cut "
            "of the recordings, another protocol. It is not to be compared in value."
        )
    return [Table(name, title, header, rows, notes)]


def _published_r2(method, measured):
    """Published figure of a method; the published start is that from the source."""
    if method + SOURCE_START in measured:
        return ""
    return R2_PERCENT.get(method.removesuffix(SOURCE_START), "")


def _by_data(name, title, lines):
    data, found = group(lines, "data"), group(lines, "method", "data")
    rows = [
        [method]
        + [summary(by_seed(found.get((method, d), []), "r2").values()) for d in data]
        for method in group(lines, "method")
    ]
    notes = [_seeds_note(lines), "R2 of decoded behaviour on held-out target trials."]
    return Table(name, f"{title}: all data", ["method", *data], rows, notes)


def _matrix(name, title, lines, settings):
    methods = group(lines, "method", "setting")
    names = list(dict.fromkeys(method for method, _ in methods))
    found = []
    for what, suffix, note in (
        ("r2", "", "R2 of held-out target trials in directions that were adapted to."),
        ("r2_absent", ", absent directions", "R2 in directions that were missing."),
    ):
        used = [s for s, mine in settings.items() if any(by_seed(mine, what))]
        used = [s for s in used if any(what in m["result"] for m in settings[s])]
        if not used:
            continue
        rows = [
            [setting]
            + [
                summary(by_seed(methods.get((n, setting), []), what).values())
                for n in names
            ]
            for setting in used
        ]
        of = name if what == "r2" else f"{name}-absent"
        notes = [_seeds_note(lines), note]
        found.append(Table(of, title + suffix, ["setting", *names], rows, notes))
    return found


def _cost(name, title, lines):
    header = ["method", "parameters", "KB", "ms an epoch", "s to adapt (most)"]
    header += ["step kept", "R2", "published: parameters, size, ms an epoch"]
    rows = []
    for method, mine in group(lines, "method").items():
        if method == "oracle":
            continue
        n = mine[0]["result"]["n_parameters_added"]
        epoch, adapt, steps, r2 = (
            list(by_seed(mine, what).values())
            for what in ("epoch_s", "adapt_s", "steps", "r2")
        )
        published = COST.get(method.removesuffix(SOURCE_START), ())
        rows.append(
            [
                method,
                f"{n / 1000:.1f}K",
                f"{4 * n / 1000:.0f}",
                f"{1000 * np.mean(epoch):.0f}" if any(epoch) else "",
                f"{np.mean(adapt):.1f} ({max(adapt):.1f})",
                f"{np.mean(steps):.0f}" if any(epoch) else "",
                summary(r2),
                ", ".join(published),
            ]
        )
    notes = [
        _seeds_note(lines),
        "Parameters that a method adds to the latent model, at four bytes each; an "
        "epoch is one pass through the target trials; adapting includes the search "
        "for the start. One thread, nothing else running by this command. The "
        "published figures were measured on other data and another machine.",
    ]
    return [Table(name, title, header, rows, notes)]


def _dynamics(name, title, lines):
    header = ["method", "NLL, nats a trial", "KL, nats a bin"]
    header += ["fixed points off by", "R2 of latents"]
    measures = ("nll", "kl", "fixed_points")
    rows = []
    for method, mine in group(lines, "method").items():
        row = [summary(by_seed(mine, w).values(), worst=max) for w in measures]
        rows.append([method, *row, summary(by_seed(mine, "r2").values())])
    true = [by_seed(lines, f"true_{what}").values() for what in measures]
    rows.append(["true latents", *(f"{np.mean(list(v)):.2f}" for v in true), "1"])
    notes = [
        _seeds_note(lines),
        "NLL: negative log-likelihood of decoded target trajectories under the true "
        "dynamics; KL: divergence of dynamics fitted to them from the true ones; "
        "then the mean distance from the true stable fixed points to those of the "
        "fitted dynamics, in a square with sides of 1. Lower is better for all three.",
    ]
    return [Table(name, title, header, rows, notes)]


def _published(name, title, lines):
    methods = group(lines, "method")
    r2 = {method: by_seed(mine, "r2") for method, mine in methods.items()}
    meaning = {
        "as published": "paired by index, best epoch by labels, adapted trials",
        "last epoch": "paired by index, last epoch, adapted trials",
        "sessions shuffled": "shuffled, best epoch by labels, adapted trials",
        "honest": "shuffled, last epoch, held-out trials",
    }
    rows = [
        [method, meaning[method], summary(r2[method].values())]
        + [
            difference(r2[method], r2["honest"])
            if "honest" in r2 and method != "honest"
            else ""
        ]
        for method in methods
    ]
    header = ["protocol", "what it does", "R2", "R2 less honest"]
    notes = [
        _seeds_note(lines),
        "ERDiff from the source's read-in, 500 epochs, with this package's latent "
        "model and prior. Only the last row keeps to the honest protocol.",
    ]
    return [Table(name, title, header, rows, notes)]


def _equal_time(name, title, lines):
    header = ["seed", "R2", "s", "published shape: R2 in that time", "best R2"]
    header += ["s", "as good", "time ratio"]
    rows = []
    for line in lines:
        r = line["result"]
        rows.append(
            [
                str(line["seed"]),
                f"{r['r2']:.3f}",
                f"{r['adapt_s']:.1f}",
                f"{r['published_r2_at_equal_time']:.3f}",
                f"{r['published_best_r2']:.3f}",
                f"{r['published_s']:.0f}",
                "yes" if r["reached"] else "no",
                f"{'' if r['reached'] else '> '}{r['ratio']:.0f}",
            ]
        )
    notes = [
        "ERDiffAligner against the published denoiser, objective, step size, batches "
        "and start, sessions shuffled, on the same trials in one run on one thread. "
        "The published shape is stopped when its R2 on held-out trials is within "
        "0.01, or after 25 times as long.",
    ]
    return [Table(name, title, header, rows, notes)]


KINDS = {
    "decoding": _decoding,
    "latents": _decoding,
    "cost": _cost,
    "dynamics": _dynamics,
    "published protocol": _published,
    "equal time": _equal_time,
}
