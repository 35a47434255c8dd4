"""Figures of decoding. Need matplotlib, the extra ``skerdiff[plot]``.

They are made without pyplot, and so leave its backend and its figures alone.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from matplotlib.figure import Figure

from ._over_settings import FLOOR
from ._tables import by_seed, group


def draw_methods(title, results):
    """Draw R2 by method; give caption and figure."""
    r2 = by_seed(results)
    fig = Figure(figsize=(7, 0.8 + 0.26 * r2.shape[1]), layout="constrained")
    ax = fig.subplots()
    for i, values in enumerate(r2.to_numpy().T):
        ax.plot(
            np.maximum(values, FLOOR), np.full(len(values), i), "o", ms=4, alpha=0.5
        )
        ax.plot(max(np.nanmean(values), FLOOR), i, "k|", ms=12, mew=2)
    ax.set_yticks(range(r2.shape[1]), r2.columns)
    ax.invert_yaxis()
    ax.axvline(0, color="0.8", zorder=0)
    ax.set_xlim(FLOOR - 0.05, 1.02)
    ax.set_xlabel(f"R2 of held-out target trials (below {FLOOR:g} drawn there)")
    ax.set_title(title, fontsize=10)
    return f"{title}. A dot per seed, a bar at the mean.", fig


def draw_settings(title, results):
    """Draw R2 by setting and method; give caption and figure."""
    settings, n_methods = results["setting"].unique(), results["method"].nunique()
    fig = Figure(figsize=(2.5 + 0.75 * len(settings), 4.2), layout="constrained")
    ax = fig.subplots()
    places = np.arange(len(settings))
    for i, (method, mine) in enumerate(group(results, "method")):
        r2 = by_seed(mine, across="setting").reindex(columns=settings)
        mean = r2.mean()
        ranges = [mean - r2.min(), r2.max() - mean]
        shift = 0.6 * ((i + 0.5) / n_methods - 0.5)
        ax.errorbar(places + shift, mean, ranges, fmt="o", ms=4, lw=1, label=method)
    ax.set_xticks(places, settings, rotation=35, ha="right", fontsize=8)
    ax.axhline(0, color="0.8", zorder=0)
    ax.set_ylim(max(FLOOR, ax.get_ylim()[0]), 1.02)
    ax.set_ylabel("R2 of held-out target trials")
    ax.set_title(title, fontsize=10)
    ax.legend(fontsize=7, ncols=2, loc="lower right")
    return f"{title}. Mean over seeds, and the range from worst to best.", fig
