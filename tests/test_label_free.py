"""Scores of alignment that read no labels."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import ortho_group, poisson
from sklearn.svm import SVC

from skerdiff.metrics import (
    bits_per_spike,
    geometric_agreement,
    latent_bits_per_spike,
    relative_residual,
    rigid_residual,
    seed_consistency,
    sliced_wasserstein_distance,
    two_sample_auc,
    whiten,
)
from skerdiff.metrics._label_free import coupled_distance


def trajectories(n_trials=40, n_bins=6, d=3, seed=0):
    """Smooth trajectories of eight kinds, two dims of them large."""
    rng = np.random.default_rng(seed)
    kinds = np.cumsum(np.random.default_rng(7).standard_normal((8, n_bins, d)), axis=1)
    kind = np.arange(n_trials) % 8
    return kinds[kind] + 0.3 * rng.standard_normal((n_trials, n_bins, d))


def affine(d, seed=0, stretch=1.5):
    """An affine map of another basis, scale and centre."""
    rng = np.random.default_rng(seed)
    turn = ortho_group.rvs(d, random_state=seed)
    matrix = turn * rng.uniform(1 / stretch, stretch, d) * 10.0 ** rng.uniform(-3, 3)
    return lambda Z: Z @ matrix + rng.standard_normal(d)


Z, Z_TARGET = trajectories(), trajectories(24, seed=1)


# -- whitening, and what follows from it -----------------------------------------------
def test_whitened_latents_have_unit_covariance():
    white, same = whiten(Z, Z)
    rows = white.reshape(-1, 3)
    assert_allclose(rows.mean(0), 0, atol=1e-12)
    assert_allclose(np.cov(rows.T, bias=True), np.eye(3), atol=1e-9)
    assert_array_equal(white, same)


def test_directions_that_do_not_vary_stay_small():
    flat = np.concatenate([Z, np.ones((*Z.shape[:2], 1))], axis=2)
    white, _ = whiten(flat, flat)
    assert_allclose(sorted(white.reshape(-1, 4).std(0)), [0, 1, 1, 1], atol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e-300, 3.0, 1e9 / 3])
def test_a_source_that_does_not_vary_gives_no_units(size):
    """Rounding was blown up to unit variance, and distances became NaN."""
    Z = np.full((4, 5, 3), size)
    target = Z + np.random.RandomState(0).randn(*Z.shape)
    white, white_target = whiten(Z, target)
    np.testing.assert_allclose(white, 0, atol=1e-6)
    np.testing.assert_allclose(white_target.std(), target.std(), rtol=0.1)
    assert 0 < sliced_wasserstein_distance(Z, target, random_state=0) < 10


PARTNERS = np.eye(40)[:, np.arange(24)] + 0.5 * np.eye(40)[:, np.arange(24) + 8]

SCORES = {
    "geometric_agreement": lambda a, b: -geometric_agreement(a, b, PARTNERS),
    "relative_residual": relative_residual,
    "rigid_residual": lambda a, b: rigid_residual(a, b, Z, Z_TARGET),
    "sliced_wasserstein": lambda a, b: sliced_wasserstein_distance(
        a, b, n_projections=3000, random_state=0
    ),
    "two_sample_auc": lambda a, b: max(
        0.5, two_sample_auc(*whiten(a, b), classifier=SVC(), random_state=0)
    ),
    "bits_per_spike": lambda a, b: latent_bits_per_spike(
        b, np.random.default_rng(0).poisson(np.exp(Z_TARGET / 2)), random_state=0
    ),
}
every = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)


@every
def test_units_and_axes_of_the_latents_do_not_count(score):
    both = np.concatenate([Z, Z_TARGET])
    for seed in range(3):
        # the agreement weighs dims by their variance: rotation and scale alone
        stretch = 1 if score is SCORES["geometric_agreement"] else 1.5
        moved = affine(3, seed, stretch)(both)
        value = score(moved[: len(Z)], moved[len(Z) :])
        assert value == pytest.approx(score(Z, Z_TARGET), rel=0.08, abs=1e-6)


@every
def test_more_latent_dims_count_for_nothing(score):
    # the same trajectories in a space of three times as many dims, with noise there
    both = np.concatenate([Z, Z_TARGET]) @ ortho_group.rvs(9, random_state=0)[:3]
    for size in (1e-9, 1e-4, 3e-3):
        noise = size * both.std() * np.random.default_rng(0).standard_normal(both.shape)
        more = both + noise
        value = score(more[: len(Z)], more[len(Z) :])
        assert value == pytest.approx(score(Z, Z_TARGET), rel=0.1, abs=1e-3)


@every
def test_wrong_latents_are_worse(score):
    wrong = 3.0 * np.random.default_rng(3).standard_normal(Z_TARGET.shape)
    worse = score(Z, wrong)
    if score is SCORES["bits_per_spike"]:
        worse = -worse
        assert -score(Z, Z_TARGET) < worse
    else:
        assert score(Z, Z_TARGET) < worse


@every
def test_order_of_trials_does_not_count(score):
    if score not in (
        SCORES["relative_residual"],
        SCORES["sliced_wasserstein"],
        SCORES["two_sample_auc"],
    ):
        return  # the others are told which trial is which
    rng = np.random.default_rng(0)
    shuffled = score(Z[rng.permutation(len(Z))], Z_TARGET)
    assert shuffled == pytest.approx(score(Z, Z_TARGET), rel=0.1)


# -- rigid residual --------------------------------------------------------------------
def test_rigid_residual_of_right_and_wrong_partners():
    A, B = trajectories(40, d=5, seed=2), trajectories(40, d=5, seed=3)
    turned = 4 * B @ ortho_group.rvs(5, random_state=0) + 1
    right = rigid_residual(A, B, A, turned)
    assert right == pytest.approx(rigid_residual(A, B, A, B))
    # latents that match as a set, but trial by trial are another direction's
    wrong = rigid_residual(A, np.roll(B, 3, axis=0), A, turned)
    assert relative_residual(A, np.roll(B, 3, axis=0)) == relative_residual(A, B)
    assert right < 0.1 < 0.5 < wrong


def test_rigid_residual_needs_no_equal_shares_of_directions():
    A = trajectories(48, d=5, seed=2)
    B = trajectories(40, d=5, seed=3)
    skewed = np.concatenate([B[0::8], B[1::8], B[2::8], B[3::8]])
    assert rigid_residual(A, skewed, A, skewed) < 0.1
    assert rigid_residual(A, skewed, A, skewed, share=1) > 0.2


def test_rigid_residual_cannot_be_bought_by_collapse():
    A, B = trajectories(40, d=5, seed=2), trajectories(40, d=5, seed=3)
    honest = rigid_residual(A, B, A, B)
    for share in (0.5, 0.1, 1e-3):
        centre = B.mean(0)
        assert rigid_residual(A, centre + share * (B - centre), A, B) >= honest * 0.99


def test_coupled_distance_by_its_definition():
    rng = np.random.default_rng(0)
    A, B, P = (
        rng.standard_normal((4, 3, 2)),
        rng.standard_normal((5, 3, 2)),
        rng.uniform(size=(4, 5)),
    )
    by_hand = sum(
        P[i, j] * np.sum((A[i] - B[j]) ** 2) for i in range(4) for j in range(5)
    )
    assert coupled_distance(A, B, P) == pytest.approx(by_hand / P.sum())


# -- agreement with the geometry -------------------------------------------------------
def test_agreement_against_values_by_hand():
    A = np.array([-1.0, 1.0]).reshape(2, 1, 1)
    same = np.eye(2)
    assert geometric_agreement(A, A, same) == pytest.approx(1)
    assert geometric_agreement(A, 0 * A, same) == pytest.approx(0)
    assert geometric_agreement(A, -A, same) == pytest.approx(-3)
    assert geometric_agreement(A, -A, same[::-1]) == pytest.approx(1)
    # masses are shares of each target trial
    coupling = np.array([[0.3, 0.01], [0.1, 0.0]])
    expected = 1 - ((-0.5 + 1) ** 2 + (-1 - 1) ** 2) / (2 * 0.25**2)
    assert geometric_agreement(A, A, coupling) == pytest.approx(expected)
    assert geometric_agreement(A, A, np.ones((2, 2))) == -np.inf


# -- sliced Wasserstein ----------------------------------------------------------------
def test_sliced_wasserstein_of_a_shift_by_hand():
    # one bin and one dim: the distance of a shift is the shift, in deviations
    A = np.random.default_rng(0).standard_normal((50, 1, 1))
    distance = sliced_wasserstein_distance(A, A + 3 * A.std(), random_state=0)
    assert distance == pytest.approx(3)


def test_sliced_wasserstein_grows_with_a_shift():
    distances = [
        sliced_wasserstein_distance(Z, Z + shift, random_state=0)
        for shift in (0, 0.5, 1, 2)
    ]
    assert distances[0] == pytest.approx(0, abs=1e-9)
    assert (np.diff(distances) > 0).all()


# -- bits per spike --------------------------------------------------------------------
def test_bits_per_spike_is_the_poisson_likelihood():
    rng = np.random.default_rng(0)
    rates = rng.uniform(0.1, 3, (20, 5, 4))
    counts = rng.poisson(rates)
    mean = np.broadcast_to(counts.mean((0, 1)), rates.shape)
    gain = poisson.logpmf(counts, rates).sum() - poisson.logpmf(counts, mean).sum()
    expected = gain / counts.sum() / np.log(2)
    assert bits_per_spike(counts, rates) == pytest.approx(expected)
    assert bits_per_spike(counts, mean) == pytest.approx(0)


def test_bits_of_latents_that_drive_the_neurons_and_of_others():
    counts = np.random.default_rng(0).poisson(np.exp(Z / 2))
    counts = np.concatenate([counts, np.zeros((*Z.shape[:2], 1))], axis=2)
    own = latent_bits_per_spike(Z, counts, random_state=0)
    other = latent_bits_per_spike(Z[::-1], counts, random_state=0)
    assert own > other + 0.1
    again = latent_bits_per_spike(affine(3, stretch=100)(Z), counts, random_state=0)
    assert again == pytest.approx(own, abs=1e-3)


# -- consistency across seeds ----------------------------------------------------------
def test_seed_consistency_against_values_by_hand():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((30, 5, 2))
    assert_allclose(seed_consistency([y, y, y]), 1)
    # opposite ones differ by four variances
    assert_allclose(seed_consistency([y - y.mean((0, 1)), y.mean((0, 1)) - y]), -3)
    noisy = y + 0.1 * y.std() * rng.standard_normal((3, *y.shape))
    found = seed_consistency([*noisy, rng.permutation(y)])
    assert (found[:3] > 0.3).all() and found[3] < 0
    assert_allclose(seed_consistency(np.zeros((2, 3, 4, 1))), 0)


# -- wrong input -----------------------------------------------------------------------
def test_wrong_input_raises():
    with pytest.raises(ValueError, match="same bins and latent dims"):
        relative_residual(Z, Z_TARGET[..., :2])
    with pytest.raises(ValueError, match="two target trials are needed, got 1"):
        relative_residual(Z, Z_TARGET[:1])
    with pytest.raises(ValueError, match="coordinates has 39 trials, the latents 40"):
        rigid_residual(Z, Z_TARGET, Z[:-1], Z_TARGET)
    for wrong in (np.ones((40, 23)), np.eye(40)[:, :24] * (np.arange(24) > 0)):
        with pytest.raises(ValueError, match="a partner for each target trial"):
            geometric_agreement(Z, Z_TARGET, wrong)
    with pytest.raises(ValueError, match="share must be a number of at least 1"):
        rigid_residual(Z, Z_TARGET, Z, Z_TARGET, share=0.5)
    with pytest.raises(ValueError, match="must both be of shape"):
        bits_per_spike(np.ones((2, 3, 4)), np.ones((2, 3, 5)))
    with pytest.raises(ValueError, match="must not be negative"):
        bits_per_spike(-np.ones((2, 3, 4)), np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match="no spike"):
        bits_per_spike(np.zeros((2, 3, 4)), np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match="of the same trials and bins"):
        latent_bits_per_spike(Z, np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match="counts holds no spike"):
        latent_bits_per_spike(Z, np.zeros((*Z.shape[:2], 4)))
    with pytest.raises(ValueError, match="n_projections must be an integer"):
        sliced_wasserstein_distance(Z, Z_TARGET, n_projections=0)
    with pytest.raises(ValueError, match="at least two seeds"):
        seed_consistency([Z])
    with pytest.raises(ValueError, match="bits per spike are for spike counts"):
        latent_bits_per_spike(Z, Z)
