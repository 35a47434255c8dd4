"""Tables of results: what each kind of experiment shows, and how it is written."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import csv
import html
import io
from dataclasses import dataclass, field

import numpy as np

from ._statistics import paired_difference, spread


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


def parts_of(experiment, lines):
    """Yield name, title and lines of what gets a table and a figure of its own.

    That is the results on one pair of sessions; of kinds that do not show settings side
    by side, in one setting.
    """
    kind, settings = lines[0]["kind"], group(lines, "setting")
    apart = kind not in ("decoding", "criteria") and len(settings) > 1
    for data, of_data in group(lines, "data").items():
        name, title = slug(experiment, data), f"{experiment}: {data}"
        if not apart:
            yield name, title, of_data
            continue
        for setting, mine in group(of_data, "setting").items():
            yield f"{name}-{slug(setting)}", f"{title}, {setting}", mine


def slug(*texts):
    """Make a name for a file."""
    text = "".join(c if c.isalnum() else "-" for c in " ".join(texts).lower())
    return "-".join(part for part in text.split("-") if part)


def summary(values, digits=2, worst=min, wanted=0):
    """Write mean, standard deviation and, in brackets, the worst.

    Of fewer values than are wanted the number is said too.
    """
    values = list(values)
    if not values:
        return ""
    text = f"{np.mean(values):.{digits}f}"
    if len(values) > 1:
        text += f" ± {spread(values):.{digits}f} [{worst(values):.{digits}f}]"
    if len(values) < wanted:
        text += f" ({len(values)} of {wanted} seeds)"
    return text


def difference(mine, reference, digits=3):
    """Write the mean of paired differences and its interval."""
    mean, low, high = paired_difference(mine, reference)
    if np.isnan(mean):
        return ""
    if np.isnan(low):
        return f"{mean:+.{digits}f}"
    return f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def n_seeds(lines):
    """Count the seeds."""
    return len({line["seed"] for line in lines})


def seeds_note(lines):
    """Say what is written of several seeds."""
    n = n_seeds(lines)
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
