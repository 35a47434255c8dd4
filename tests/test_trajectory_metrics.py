"""Distances between sets of latent trajectories."""

import numpy as np
import pytest
from scipy.stats import wasserstein_distance
from sklearn.linear_model import LogisticRegression

from skerdiff.metrics import (
    cross_correlation_distance,
    nearest_neighbour_ratio,
    two_sample_auc,
    value_distance,
)

PAIRWISE = [value_distance, cross_correlation_distance]
pairwise = pytest.mark.parametrize("distance", PAIRWISE, ids=lambda f: f.__name__)


def walks(n, seed=0, d=3, step=1.0):
    return step * np.random.default_rng(seed).standard_normal((n, 12, d)).cumsum(1)


def noise(n, seed=0, d=3):
    return np.random.default_rng(seed).standard_normal((n, 12, d))


@pairwise
def test_distance_to_itself_is_zero(distance):
    Z = walks(20)
    assert distance(Z, Z) == 0
    assert distance(Z, Z[::-1]) == pytest.approx(0, abs=1e-12)


@pairwise
def test_two_draws_of_one_kind_are_nearer_than_two_kinds(distance):
    same = distance(walks(100, 0), walks(100, 1))
    assert 0 < same < 0.5 * distance(walks(100, 0), noise(100, 1) + 0.1)


def test_value_distance_by_hand():
    Z = np.array([[[0.0], [2.0]]])  # standard deviation one
    assert value_distance(Z, np.array([[[1.0], [3.0]]])) == pytest.approx(1)
    assert value_distance(Z, np.array([[[1.0], [1.0]]])) == pytest.approx(1)


def test_value_distance_does_not_depend_on_the_units_or_the_order_of_bins():
    Z, other = walks(30), noise(40, 1)
    expected = value_distance(Z, other)
    units = np.array([1.0, 100.0, 0.01])
    assert value_distance(Z * units + 5, other * units + 5) == pytest.approx(expected)
    assert value_distance(Z, other[:, ::-1]) == pytest.approx(expected)


def test_value_distance_bears_a_constant_dim():
    Z = walks(10)
    Z[..., 1] = 2.0
    assert value_distance(Z, Z) == 0


@pytest.mark.parametrize("max_lag", [0, 2])
def test_cross_correlations_are_those_of_numpy(max_lag):
    Z, other = walks(6, d=2), noise(5, d=2)

    def correlations(trial):
        found = []
        for lag in range(max_lag + 1):
            early, late = trial[: 12 - lag], trial[lag:]
            c = np.corrcoef(early.T, late.T)[:2, 2:]
            found += [c[0, 1]] if lag == 0 else [c[0, 1], c[1, 0], c[0, 0], c[1, 1]]
        return found

    ours, theirs = (np.array([correlations(a) for a in A]).T for A in (Z, other))
    expected = np.mean([wasserstein_distance(a, b) for a, b in zip(ours, theirs)])
    found = cross_correlation_distance(Z, other, max_lag=max_lag)
    assert found == pytest.approx(expected)


def test_cross_correlation_distance_sees_only_how_dims_move_together():
    Z = walks(30)
    assert cross_correlation_distance(Z, 3 * Z + 7) == pytest.approx(0, abs=1e-9)
    mixed = Z @ np.linalg.qr(noise(1)[0, :3])[0]
    assert cross_correlation_distance(Z, mixed) > 0.02


def test_trials_that_do_not_move_correlate_with_nothing():
    still = np.zeros((5, 12, 2))
    assert cross_correlation_distance(still, still) == 0
    assert np.isfinite(cross_correlation_distance(walks(5, d=2), still))


def test_auc_is_one_half_for_one_kind_and_one_for_two():
    areas = [two_sample_auc(walks(60, s), walks(60, s + 10)) for s in range(4)]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.08)
    # the means are equal: only the covariance tells them apart
    assert two_sample_auc(walks(60, 0), 3 * noise(60, 1), random_state=0) > 0.95


def test_auc_scores_each_fold_by_its_own_classifier():
    # a generator that moves on with every split must not mix up the folds
    Z, other = noise(40), noise(40, 1) + 0.4
    rng = np.random.RandomState(0)
    seeded = [two_sample_auc(Z, other, random_state=s) for s in range(6)]
    moving = [two_sample_auc(Z, other, random_state=rng) for _ in range(6)]
    assert np.mean(moving) == pytest.approx(np.mean(seeded), abs=0.03)


def test_auc_takes_any_classifier():
    Z, other = noise(40), noise(40, 1) + 0.5
    linear = LogisticRegression(C=0.01)
    assert two_sample_auc(Z, other, classifier=linear, random_state=0) > 0.9
    first = two_sample_auc(Z, other, classifier=linear, random_state=0)
    assert first == two_sample_auc(Z, other, classifier=linear, random_state=0)


def test_nearest_neighbour_ratio_tells_copies_from_draws():
    train, held_out = noise(200, 0), noise(50, 1)
    copies = train[:50] + 1e-3 * noise(50, 2)
    assert nearest_neighbour_ratio(train, held_out, copies) < 0.01
    assert nearest_neighbour_ratio(train, held_out, noise(50, 3)) == pytest.approx(
        1, abs=0.05
    )
    assert nearest_neighbour_ratio(train, held_out, 3 * noise(50, 3)) > 1.5


def test_nearest_neighbour_ratio_does_not_depend_on_the_units():
    sets = walks(40, 0), walks(20, 1), walks(20, 2)
    units = np.array([1.0, 50.0, 0.1])
    assert nearest_neighbour_ratio(*(a * units for a in sets)) == pytest.approx(
        nearest_neighbour_ratio(*sets)
    )


@pytest.mark.parametrize("metric", [*PAIRWISE, two_sample_auc])
def test_invalid_trajectories_raise(metric):
    Z = walks(10)
    with pytest.raises(ValueError, match="same bins and latent dims"):
        metric(Z, Z[:, :5])
    with pytest.raises(ValueError, match=r"Z_other must hold trajectories of shape"):
        metric(Z, Z[0])
    bad = Z.copy()
    bad[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="Z contains NaN"):
        metric(bad, Z)


def test_invalid_settings_raise():
    Z = walks(10)
    with pytest.raises(ValueError, match="max_lag=11 must be an integer between"):
        cross_correlation_distance(Z, Z, max_lag=11)
    with pytest.raises(ValueError, match="single latent dim"):
        cross_correlation_distance(Z[..., :1], Z[..., :1], max_lag=0)
    with pytest.raises(ValueError, match="number of trials .3 in the smaller"):
        two_sample_auc(Z, Z[:3])
    with pytest.raises(ValueError, match="Z_held_out holds copies"):
        nearest_neighbour_ratio(Z, Z, Z)
