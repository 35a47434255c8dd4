"""Tables of results: statistics over seeds, and how a table is written."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import html
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import bootstrap, rankdata


@dataclass
class Table:
    """Texts in rows and columns, with a title and notes.

    Parameters
    ----------
    name, title : str
        Name of its file, and title.
    frame : DataFrame or list of dict
        The texts.
    notes : list of str
        Sentences below the table.
    results : DataFrame or None
        What the table was made from.
    """

    name: str
    title: str
    frame: pd.DataFrame
    notes: list = field(default_factory=list)
    results: pd.DataFrame | None = None

    def __post_init__(self):
        self.frame = pd.DataFrame(self.frame).astype(object).fillna("").astype(str)

    def earlier_code(self):
        """Say how many of the results earlier code made; empty if none did."""
        results = self.results
        if results is None or "earlier" not in results or not results["earlier"].any():
            return ""
        earlier = results[results["earlier"]]
        revisions = ", ".join(sorted(set(earlier["revision"])))
        some = f"{len(earlier)} of {len(results)} results are made"
        some = "Made" if len(earlier) == len(results) else some
        return f"{some} by earlier code, revision {revisions}."

    def rst(self):
        """Write as a simple table of reStructuredText, without its title."""
        rows = [list(self.frame.columns), *self.frame.to_numpy().tolist()]
        widths = [max(map(len, column)) for column in zip(*rows)]
        rule = "  ".join("=" * width for width in widths)
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths)) for row in rows]
        lines = [line.rstrip() for line in lines]
        return "\n".join([rule, lines[0], rule, *lines[1:], rule]) + "\n"

    def csv(self):
        """Write as comma-separated values."""
        return self.frame.to_csv(index=False, lineterminator="\n")

    def html(self):
        """Write as a table of HTML, with its title and notes."""
        notes = [note for note in (*self.notes, self.earlier_code()) if note]
        return (
            f"<h3>{html.escape(self.title)}</h3>\n"
            + self.frame.to_html(index=False, border=0)
            + "".join(f"\n<p>{html.escape(note)}</p>" for note in notes)
        )


def group(results, *keys):
    """Group rows by columns, in order of appearance."""
    return results.groupby(keys[0] if len(keys) == 1 else list(keys), sort=False)


def by_seed(results, what="r2", across="method"):
    """Lay out one measure: seeds down, methods (or settings) across; NaN is missing."""
    names = results[across].unique()
    if what not in results:
        return pd.DataFrame(columns=names, dtype=float)
    values = results.groupby(["seed", across])[what].last().unstack()
    return values.reindex(columns=names).astype(float)


def summary(values, digits=2, worst=min, wanted=0):
    """Write mean, standard deviation and, in brackets, the worst of some values.

    NaN counts as missing. Of fewer values than are wanted the number is said too.
    """
    values = np.array(values, dtype=float)
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return ""
    text = f"{values.mean():.{digits}f}"
    if len(values) > 1:
        text += f" ± {values.std(ddof=1):.{digits}f} [{worst(values):.{digits}f}]"
    if len(values) < wanted:
        text += f" ({len(values)} of {wanted} seeds)"
    return text


def paired_difference(values, others):
    """Mean of paired differences, and the ends of its 95 % bootstrap interval.

    Pairs, of two Series, are those of the same index, a seed for example; what cannot
    be computed is NaN. The interval speaks of other seeds on the same recording, not of
    other recordings.
    """
    found = (values - others).dropna().sort_index().to_numpy()
    if len(found) == 0:
        return np.nan, np.nan, np.nan
    if len(found) == 1 or np.ptp(found) == 0:
        return float(found.mean()), *([np.nan if len(found) == 1 else found[0]] * 2)
    interval = bootstrap(
        (found,), np.mean, method="percentile", random_state=np.random.default_rng(0)
    ).confidence_interval
    return float(found.mean()), float(interval.low), float(interval.high)


def difference(values, others, digits=3):
    """Write the mean of paired differences of two Series, and its 95 % interval."""
    mean, low, high = paired_difference(values, others)
    if np.isnan(mean):
        return ""
    if np.isnan(low):
        return f"{mean:+.{digits}f}"
    return f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def mean_ranks(values):
    """Mean rank of each column over seeds that all have; 1 is the highest value."""
    shared = values.dropna()
    ranks = rankdata(-shared.to_numpy(), axis=1).reshape(shared.shape)
    means = ranks.mean(0) if len(shared) else np.full(shared.shape[1], np.nan)
    return pd.Series(means, index=values.columns)


def seeds_note(results):
    """Say what is written of several seeds."""
    n = results["seed"].nunique()
    if n == 1:
        return "One seed."
    return (
        f"{n} seeds: mean ± standard deviation and, in brackets, the worst seed. "
        "Differences are paired by seed, with a 95 % bootstrap interval over seeds: it "
        "speaks of other seeds on these sessions, not of other recordings."
    )


def reference_of(results):
    """Name the method that others are compared with."""
    methods = list(results["method"])
    asked = results["reference"].iloc[0]
    return next(m for m in (asked, "geometry only", methods[0]) if m in methods)


def slug(*texts):
    """Make a name for a file."""
    text = "".join(c if c.isalnum() else "-" for c in " ".join(texts).lower())
    return "-".join(part for part in text.split("-") if part)
