"""Continuous Bernoulli dynamics."""

import numpy as np
import pytest

from skerdiff.datasets import make_bernoulli_dynamics
from skerdiff.datasets._bernoulli import BernoulliDynamics, find_fixed_points


@pytest.fixture(scope="module")
def data():
    return make_bernoulli_dynamics(
        n_trials=[30, 20], n_neurons=[12, 15], n_bins=9, random_state=0
    )


def test_shapes_and_ranges(data):
    assert data.trials["day0"].shape == (30, 9, 12)
    assert data.trials["day1"].shape == (20, 9, 15)
    assert data.y.shape == (50, 9, 2)
    assert data.y.min() >= 0 and data.y.max() <= 1
    counts = data.trials["day0"]
    assert (counts >= 0).all() and (counts == counts.round()).all()
    assert "continuous Bernoulli" in data.DESCR


def test_the_field_vanishes_at_the_fixed_points_and_three_are_stable():
    dynamics = BernoulliDynamics(step=0.2)
    points, stable = dynamics.fixed_points()
    assert stable.sum() == 3
    np.testing.assert_allclose(dynamics.velocity(points), 0, atol=1e-8)
    # from near a stable point the mean dynamics lead there, from near others away
    for point, kept in zip(points, stable):
        z = point + 1e-2
        for _ in range(400):
            z = z + dynamics.velocity(z)
        assert (np.abs(z - point).max() < 1e-4) == kept


def test_fixed_points_of_a_known_field():
    points, stable = find_fixed_points(lambda Z: np.array([0.3, 0.6]) - Z)
    np.testing.assert_allclose(points, [[0.3, 0.6]], atol=1e-8)
    assert stable.tolist() == [True]
    points, stable = find_fixed_points(lambda Z: (Z - 0.5) * np.array([1.0, -1.0]))
    assert stable.tolist() == [False]
    points, stable = find_fixed_points(lambda Z: np.ones(2) + 0 * Z)
    assert points.shape == (0, 2) and stable.shape == (0,)


def test_the_mean_step_is_the_velocity():
    dynamics = BernoulliDynamics(step=0.3)
    drawn = dynamics.sample(40000, 2, np.random.default_rng(0))
    error = drawn[:, 1] - drawn[:, 0] - dynamics.velocity(drawn[:, 0])
    # a draw has a standard deviation of at most 0.29
    np.testing.assert_allclose(error.mean(0), 0, atol=4 * 0.3 * 0.29 / 200)
    assert error.std() > 0.03


def test_neurons_fire_at_the_rate_that_the_notes_say():
    one = make_bernoulli_dynamics(
        n_sessions=1, n_trials=4000, n_neurons=20, n_bins=4, random_state=0
    )
    drive = 1 + (one.y - 0.5) @ one.loadings["day0"].T
    rate = np.logaddexp(0, drive)
    counts = one.trials["day0"]
    for i in np.flatnonzero(counts.any(axis=(0, 1))):
        fitted = counts[..., i].sum() / rate[..., i].sum()
        left = counts[..., i] - fitted * rate[..., i]
        assert abs(np.corrcoef(left.ravel(), rate[..., i].ravel())[0, 1]) < 0.03


def test_seeds_and_forms():
    X, y = make_bernoulli_dynamics(n_trials=5, random_state=3, return_X_y=True)
    again = make_bernoulli_dynamics(n_trials=5, random_state=3)
    np.testing.assert_array_equal(X["day1"], again.trials["day1"])
    np.testing.assert_array_equal(y, again.y)
    other = make_bernoulli_dynamics(n_trials=5, random_state=4)
    assert not np.array_equal(y, other.y)


@pytest.mark.parametrize("step", [0, 1.5])
def test_a_step_that_cannot_be(step):
    with pytest.raises(ValueError, match="step"):
        make_bernoulli_dynamics(step=step)


def test_sessions_that_do_not_fit():
    with pytest.raises(ValueError, match="has 3 entries for n_sessions=2"):
        make_bernoulli_dynamics(n_trials=[1, 2, 3])
