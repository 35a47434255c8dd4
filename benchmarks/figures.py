"""Figures of latents and of dynamics. Need matplotlib.

They are made without pyplot, and so leave its backend and its figures alone.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from functools import partial

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from skerdiff.datasets import find_fixed_points, make_bernoulli_dynamics

from .dynamics import fitted_velocity


def draw_latents(title, results):
    """Mean latents of each direction in three dims, of the first seed."""
    results = results[results["seed"] == results["seed"].iloc[0]]
    sources = list(results["source_paths"])
    panels = {"source": sources[0]}
    panels |= dict(zip(results["method"], results["target_paths"]))
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


def _fitted(weights, step, Z):
    return fitted_velocity(weights, Z, step)


def draw_dynamics(title, results):
    """Vector fields and fixed points, of the first seed."""
    results = results[results["seed"] == results["seed"].iloc[0]]
    dynamics = make_bernoulli_dynamics(1, 2, 2, random_state=0).dynamics
    fields = {"true dynamics": dynamics.velocity}
    for method, weights in zip(results["method"], results["weights"]):
        fields[method] = partial(_fitted, np.array(weights), dynamics.step)
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
