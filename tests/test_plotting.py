"""Pictures of latents."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from skerdiff import DiffusionPrior
from skerdiff.plotting import (
    plot_denoising_strip,
    plot_latents_by_direction,
    plot_trajectories,
)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def Z():
    return np.random.default_rng(0).standard_normal((20, 6, 3)).cumsum(1)


def test_every_trajectory_is_drawn_on_shared_axes(Z):
    fig = plot_trajectories({"real": Z, "sampled": Z[:5] * 2})
    assert [ax.get_title() for ax in fig.axes] == ["real", "sampled"]
    # a line and a dot each
    assert [len(ax.lines) for ax in fig.axes] == [40, 10]
    assert fig.axes[0].get_xlim() == fig.axes[1].get_xlim()
    one, two = (ax.lines[0].get_xydata() for ax in fig.axes)
    # a linear map, so that twice the latents are drawn twice as far from the origin's
    moved, double = np.diff(one, axis=0), np.diff(two, axis=0)
    np.testing.assert_allclose(double, 2 * moved)


def test_strip_has_a_panel_per_time_and_ends_clean(Z):
    prior = DiffusionPrior(max_iter=0, random_state=0).fit(Z)
    fig = plot_denoising_strip(prior, 4, times=(1.0, 0.3, 0.0), random_state=0)
    assert [ax.get_title() for ax in fig.axes] == ["t = 1.0", "t = 0.3", "t = 0.0"]
    assert all(len(ax.lines) == 8 for ax in fig.axes)
    again = plot_denoising_strip(prior, 4, times=(1.0, 0.0), random_state=0)
    np.testing.assert_array_equal(
        fig.axes[2].lines[0].get_xydata(), again.axes[1].lines[0].get_xydata()
    )


def test_direction_means_are_drawn(Z):
    direction = np.arange(20) % 4
    fig = plot_latents_by_direction({"a": (Z, direction), "b": (Z, direction)})
    assert [len(ax.lines) for ax in fig.axes] == [8, 12]


def test_invalid_panels_raise(Z):
    with pytest.raises(ValueError, match="needs a panel, got none"):
        plot_trajectories({})
    with pytest.raises(ValueError, match=r"panel 'b' needs latents of shape"):
        plot_trajectories({"a": Z, "b": Z[..., :2]})
    with pytest.raises(ValueError, match="panel 'a' needs two latent dims"):
        plot_trajectories({"a": Z[..., :1]})
    with pytest.raises(ValueError, match="times must fall"):
        plot_denoising_strip(None, times=(0.1, 0.5))
    with pytest.raises(ValueError, match="reference='c' is not among"):
        plot_latents_by_direction({"a": (Z, np.zeros(20))}, reference="c")
    with pytest.raises(ValueError, match="one direction per trial"):
        plot_latents_by_direction({"a": (Z, np.zeros(3))})
