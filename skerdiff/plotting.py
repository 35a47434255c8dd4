"""Pictures of latents. Needs matplotlib, the extra ``skerdiff[plot]``."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.decomposition import PCA
from sklearn.utils import check_random_state

__all__ = [
    "plot_denoising_strip",
    "plot_latents_by_direction",
    "plot_trajectories",
]


def _pyplot():
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Plotting needs matplotlib. Install it with: pip install 'skerdiff[plot]'"
        ) from error
    return plt


def plot_latents_by_direction(panels, *, reference=None, fig=None):
    """Draw the mean latent trajectory of each direction, one panel a set of latents.

    All panels share two axes, the principal axes of the reference's direction means,
    so that panels of aligned sessions look alike and others do not. Directions are
    coloured around the colour circle; a dot marks the last bin.

    Parameters
    ----------
    panels : dict of str to tuple
        Title of each panel and its latents, an ndarray of shape (n_trials, n_bins,
        n_components), with the direction of each trial, an ndarray of shape
        (n_trials,).
    reference : str, default=None
        Title of the panel that gives the axes, by default the first. Its mean
        trajectories are drawn in grey in all others.
    fig : matplotlib.figure.Figure, default=None
        Figure to draw into; by default a new one.

    Returns
    -------
    fig : matplotlib.figure.Figure
        The figure.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is no panel, if `reference` is not among them, or if latents and
        directions do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.plotting import plot_latents_by_direction
    >>> Z = np.random.RandomState(0).randn(16, 10, 3).cumsum(axis=1)
    >>> fig = plot_latents_by_direction({"day 0": (Z, np.arange(16) % 8)})
    >>> len(fig.axes)
    1
    """
    if not panels:
        raise ValueError("plot_latents_by_direction needs a panel, got none.")
    reference = next(iter(panels)) if reference is None else reference
    if reference not in panels:
        raise ValueError(
            f"reference={reference!r} is not among the panels {list(panels)}."
        )
    means = {title: _direction_means(title, *panel) for title, panel in panels.items()}
    plt = _pyplot()
    if fig is None:
        fig = plt.figure(figsize=(3.4 * len(panels), 3.6), layout="constrained")
    rows = np.concatenate(list(means[reference].values()))
    axes = PCA(2).fit(rows)
    colours = plt.get_cmap("hsv")
    for i, (title, trajectories) in enumerate(means.items()):
        ax = fig.add_subplot(1, len(panels), i + 1)
        if title != reference:
            for path in means[reference].values():
                ax.plot(*axes.transform(path).T, color="0.8", lw=3, zorder=0)
        for direction, path in trajectories.items():
            xy = axes.transform(path).T
            colour = colours((direction % 8) / 8)
            ax.plot(*xy, color=colour, lw=1.6)
            ax.plot(*xy[:, -1:], "o", color=colour, ms=4)
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("latent axis 1")
        ax.set_ylabel("latent axis 2" if i == 0 else "")
    _share_limits(fig.axes[-len(panels) :], axes.transform(rows))
    return fig


def _direction_means(title, Z, direction):
    Z, direction = np.asarray(Z), np.asarray(direction)
    if Z.ndim != 3 or direction.shape != Z.shape[:1]:
        raise ValueError(
            f"panel {title!r} needs latents (n_trials, n_bins, n_components) and one "
            f"direction per trial, got shapes {Z.shape} and {direction.shape}."
        )
    return {int(k): Z[direction == k].mean(0) for k in np.unique(direction)}


def _share_limits(axes, rows):
    """Show the same square in all panels, a little larger than the reference."""
    centre = (rows.max(0) + rows.min(0)) / 2
    reach = (rows.max(0) - rows.min(0)).max() * 0.6
    for ax in axes:
        ax.set_xlim(centre[0] - reach, centre[0] + reach)
        ax.set_ylim(centre[1] - reach, centre[1] + reach)
        ax.set_aspect("equal")


def plot_trajectories(panels, *, fig=None):
    """Draw single trajectories of sets of latents side by side, on shared axes.

    Parameters
    ----------
    panels : dict of str to ndarray of shape (n_trials, n_bins, n_components)
        Title of each panel and its latents. The principal axes of the first panel's
        values are the axes of all.
    fig : matplotlib.figure.Figure, default=None
        Figure to draw into; by default a new one.

    Returns
    -------
    fig : matplotlib.figure.Figure
        The figure.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is no panel, or if latents are not of one width and three-dimensional.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.plotting import plot_trajectories
    >>> Z = np.random.RandomState(0).randn(16, 10, 3).cumsum(axis=1)
    >>> len(plot_trajectories({"held out": Z[:8], "sampled": Z[8:]}).axes)
    2
    """
    if not panels:
        raise ValueError("plot_trajectories needs a panel, got none.")
    panels = {title: np.asarray(Z) for title, Z in panels.items()}
    first = next(iter(panels.values()))
    for title, Z in panels.items():
        if Z.ndim == 3 and Z.shape[2] < 2:
            raise ValueError(
                f"panel {title!r} needs two latent dims or more to draw, got one."
            )
        if Z.ndim != 3 or Z.shape[2] != first.shape[-1]:
            raise ValueError(
                f"panel {title!r} needs latents of shape (n_trials, n_bins, "
                f"{first.shape[-1]}), got {Z.shape}."
            )
    plt = _pyplot()
    if fig is None:
        fig = plt.figure(figsize=(3.2 * len(panels), 3.4), layout="constrained")
    return _draw_panels(fig, panels, first)


def _draw_panels(fig, panels, reference):
    """Draw trajectories on the principal axes of the reference's values."""
    rows = reference.reshape(-1, reference.shape[2])
    axes = PCA(2).fit(rows)
    colours = _pyplot().get_cmap("hsv")
    for i, (title, Z) in enumerate(panels.items()):
        ax = fig.add_subplot(1, len(panels), i + 1)
        for path in Z:
            xy = axes.transform(path).T
            # coloured by where they end, the same in all panels
            angle = np.arctan2(xy[1, -1], xy[0, -1]) / (2 * np.pi) % 1
            ax.plot(*xy, color=colours(angle), lw=0.9, alpha=0.8)
            ax.plot(*xy[:, -1:], ".", color=colours(angle), ms=4)
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("latent axis 1")
        ax.set_ylabel("latent axis 2" if i == 0 else "")
    _share_limits(fig.axes[-len(panels) :], axes.transform(rows))
    return fig


def plot_denoising_strip(
    prior, n_samples=30, *, times=(1.0, 0.7, 0.5, 0.3, 0.15, 0.0), random_state=None
):
    """Draw how noise becomes trajectories along the probability flow of a prior.

    Parameters
    ----------
    prior : DiffusionPrior
        Fitted prior.
    n_samples : int, default=30
        Number of trajectories.
    times : sequence of float, default=(1.0, 0.7, 0.5, 0.3, 0.15, 0.0)
        Falling diffusion times, one panel each.
    random_state : int, RandomState instance or None, default=None
        Determines the noise.

    Returns
    -------
    fig : matplotlib.figure.Figure
        The figure, on the principal axes of the last panel's values.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If times do not fall or lie outside [0, 1].
    """
    times = list(times)
    if not times:
        raise ValueError("times holds no diffusion time.")
    if any(late >= early for early, late in zip(times, times[1:])):
        raise ValueError(f"times must fall, got {times}.")
    rng = check_random_state(random_state)
    noise = rng.standard_normal((n_samples, prior.n_bins_, prior.n_features_in_))
    clean = prior.decode(noise)
    panels = {f"t = {t}": prior.invert(clean, t_stop=t) for t in times}
    fig = _pyplot().figure(figsize=(2.1 * len(times), 2.6), layout="constrained")
    _draw_panels(fig, panels, panels[f"t = {times[-1]}"])
    for ax in fig.axes:
        ax.set(xlabel="", ylabel="", xticks=[], yticks=[])
    return fig
