"""Figures of results. Need matplotlib, the extra ``skerdiff[plot]``.

They are made without pyplot, and so leave its backend and its figures alone.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ..datasets._bernoulli import STEP, BernoulliDynamics, find_fixed_points
from ._dynamics import fitted_velocity
from ._tables import by_seed, group, parts_of

FLOOR = -1.0  # R2 below is drawn here


def figures_of(experiment, lines):
    """Figures of one experiment.

    Parameters
    ----------
    experiment : str
        Its name.
    lines : list of dict
        Its results, all of one kind.

    Yields
    ------
    name : str
        Of its file.
    title : str
        What it shows.
    figure : Figure
        The figure.
    """
    draw = KINDS.get(lines[0]["kind"])
    if draw is None:
        return
    for name, title, mine in parts_of(experiment, lines):
        yield name, *draw(title, mine)


def _decoding(title, lines):
    if len(group(lines, "setting")) > 1:
        return _settings(title, lines)
    methods = group(lines, "method")
    fig = Figure(figsize=(7, 0.8 + 0.26 * len(methods)), layout="constrained")
    ax = fig.subplots()
    for i, mine in enumerate(methods.values()):
        r2 = np.array(list(by_seed(mine, "r2").values()))
        ax.plot(np.maximum(r2, FLOOR), np.full(len(r2), i), "o", ms=4, alpha=0.5)
        ax.plot(max(r2.mean(), FLOOR), i, "k|", ms=12, mew=2)
    ax.set_yticks(range(len(methods)), methods)
    ax.invert_yaxis()
    ax.axvline(0, color="0.8", zorder=0)
    ax.set_xlim(FLOOR - 0.05, 1.02)
    ax.set_xlabel(f"R2 of held-out target trials (below {FLOOR:g} drawn there)")
    ax.set_title(title, fontsize=10)
    return f"{title}. A dot per seed, a bar at the mean.", fig


def _settings(title, lines):
    settings = list(group(lines, "setting"))
    methods = group(lines, "method")
    fig = Figure(figsize=(2.5 + 0.75 * len(settings), 4.2), layout="constrained")
    ax = fig.subplots()
    places = np.arange(len(settings))
    for i, (method, mine) in enumerate(methods.items()):
        found = group(mine, "setting")
        r2 = [list(by_seed(found.get(s, []), "r2").values()) for s in settings]
        mean = [np.mean(v) if v else np.nan for v in r2]
        shift = 0.6 * ((i + 0.5) / len(methods) - 0.5)
        low = [np.mean(v) - min(v) if v else np.nan for v in r2]
        high = [max(v) - np.mean(v) if v else np.nan for v in r2]
        ax.errorbar(
            places + shift, mean, [low, high], fmt="o", ms=4, lw=1, label=method
        )
    ax.set_xticks(places, settings, rotation=35, ha="right", fontsize=8)
    ax.axhline(0, color="0.8", zorder=0)
    ax.set_ylim(max(FLOOR, ax.get_ylim()[0]), 1.02)
    ax.set_ylabel("R2 of held-out target trials")
    ax.set_title(title, fontsize=10)
    ax.legend(fontsize=7, ncols=2, loc="lower right")
    return f"{title}. Mean over seeds, and the range from worst to best.", fig


def _latents(title, lines):
    """Mean latents of each direction in three dims, of the first seed."""
    lines = [line for line in lines if line["seed"] == lines[0]["seed"]]
    sources = [line["result"]["source_paths"] for line in lines]
    panels = {"source": sources[0]}
    panels |= {line["method"]: line["result"]["target_paths"] for line in lines}
    fig = Figure(figsize=(3.1 * len(panels), 3.3), layout="constrained")
    colours = matplotlib.colormaps["hsv"]
    for i, (name, paths) in enumerate(panels.items()):
        ax = fig.add_subplot(1, len(panels), i + 1, projection="3d")
        for path in sources[i - 1].values() if i else ():
            ax.plot(*_three(path), color="0.85", lw=1, zorder=0)
        for direction, path in paths.items():
            axes = _three(path)
            colour = colours((int(direction) % 8) / 8)
            ax.plot(*axes, color=colour, lw=1.6)
            ax.plot(*axes[:, -1:], "o", color=colour, ms=4)
        ax.set_title(name, fontsize=10)
        for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
            axis.set_ticklabels([])
        if i == 0:
            limits = ax.get_xlim(), ax.get_ylim(), ax.get_zlim()
        ax.set(xlim=limits[0], ylim=limits[1], zlim=limits[2])
    caption = (
        f"{title}. Mean latents of each direction on the source's first three "
        "principal axes, the source's in grey behind; a dot marks the last bin. Where "
        "directions keep their place and colour, the source's decoder reads them."
    )
    return caption, fig


def _three(path):
    """Three axes (3, n_bins) of a path (n_bins, d)."""
    path = np.asarray(path)
    return np.pad(path, ((0, 0), (0, max(0, 3 - path.shape[1]))))[:, :3].T


def _dynamics(title, lines):
    """Vector fields and fixed points, of the first seed."""
    lines = [line for line in lines if line["seed"] == lines[0]["seed"]]
    dynamics = BernoulliDynamics(STEP)
    fields = {"true dynamics": dynamics.velocity}
    for line in lines:
        weights = np.array(line["result"]["weights"])
        fields[line["method"]] = lambda Z, w=weights: fitted_velocity(
            w, Z, dynamics.step
        )
    n_columns = min(3, len(fields))
    n_rows = -(-len(fields) // n_columns)
    fig = Figure(figsize=(2.9 * n_columns, 3.1 * n_rows), layout="constrained")
    axes = fig.subplots(n_rows, n_columns, squeeze=False).ravel()
    for ax in axes[len(fields) :]:
        ax.set_axis_off()
    grid = np.stack(np.meshgrid(*[np.linspace(0.04, 0.96, 14)] * 2), -1)
    for ax, (name, field) in zip(axes, fields.items()):
        arrows = field(grid)
        size = np.linalg.norm(arrows, axis=-1)
        ax.quiver(
            *np.moveaxis(grid, -1, 0), *np.moveaxis(arrows, -1, 0), size, cmap="viridis"
        )
        points, stable = find_fixed_points(field)
        ax.plot(*points[stable].T, "o", color="tab:blue", ms=7)
        ax.plot(*points[~stable].T, "o", mfc="none", mec="tab:red", ms=7)
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[0, 1], yticks=[0, 1])
        ax.set_title(name, fontsize=9)
    caption = (
        f"{title}. Mean change per bin of the true dynamics and of dynamics fitted to "
        "decoded target trajectories; stable fixed points filled, others open."
    )
    return caption, fig


KINDS = {"decoding": _decoding, "latents": _latents, "dynamics": _dynamics}
