"""The diffusion prior of latent trajectories."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from skerdiff import DiffusionPrior
from skerdiff.diffusion._denoiser import SpatioTemporalDenoiser
from skerdiff.diffusion._sde import DiffusionSDE

N_BINS, D = 14, 4


def process(n, seed, n_bins=N_BINS, d=D):
    """Gaussian process: mean, covariance over (bin, dim) and n trajectories."""
    rng = np.random.default_rng(0)
    k = np.arange(n_bins)
    in_time = np.exp(-0.5 * ((k[:, None] - k) / 2.5) ** 2) + 0.1 * np.eye(n_bins)
    A = rng.standard_normal((d, d))
    across = A @ A.T / d + 0.3 * np.eye(d)
    covariance = np.kron(in_time, across)
    mean = np.sin(k[:, None] / 3 + rng.uniform(0, 6, d)).ravel()
    rows = np.random.default_rng(seed).multivariate_normal(mean, covariance, n)
    return mean, covariance, rows.reshape(n, n_bins, d)


def make_prior(**kwargs):
    settings = {
        "max_iter": 2,
        "n_channels": 8,
        "n_blocks": 1,
        "n_heads": 2,
        "batch_size": 64,
        "n_steps": 8,
        "n_probes": 2,
        "random_state": 0,
    }
    return DiffusionPrior(**(settings | kwargs))


@pytest.fixture(scope="module")
def fitted():
    *_, Z = process(400, 1)
    return make_prior().fit(Z), Z


def per_dim_gap(prior, n_test=30):
    mean, covariance, Z = process(n_test, 2)
    truth = multivariate_normal(mean, covariance).logpdf(Z.reshape(n_test, -1))
    return (prior.score_samples(Z) - truth).mean() / (N_BINS * D)


def test_log_likelihood_of_a_gaussian_process():
    *_, Z = process(1500, 1)
    prior = make_prior(n_probes=6).fit(Z)
    assert abs(per_dim_gap(prior)) < 0.05


@pytest.mark.slow
def test_network_alone_learns_a_gaussian_process():
    *_, Z = process(1500, 1)
    prior = make_prior(
        n_clusters=0, n_channels=32, n_blocks=2, n_heads=4, max_iter=40, batch_size=32
    )
    assert abs(per_dim_gap(prior.fit(Z))) < 0.15


def two_clusters(n, seed):
    """Trajectories around +m or -m, and their log-density."""
    rng = np.random.default_rng(seed)
    m = np.outer(np.sin(np.linspace(0, 2, 5)), [1.0, -0.6])
    sign = rng.choice([-1.0, 1.0], n)
    Z = sign[:, None, None] * m + 0.25 * rng.standard_normal((n, 5, 2))
    parts = [
        multivariate_normal(s * m.ravel(), 0.25**2).logpdf(Z.reshape(n, -1))
        for s in (-1, 1)
    ]
    return Z, logsumexp(parts, axis=0) - np.log(2)


@pytest.mark.slow
def test_network_learns_what_a_gaussian_cannot():
    Z, _ = two_clusters(4000, 0)
    test, truth = two_clusters(200, 1)
    prior = make_prior(
        n_clusters=1, n_channels=32, max_iter=20, batch_size=32, n_steps=16, n_probes=0
    ).fit(Z)
    rows = Z.reshape(len(Z), -1)
    best = multivariate_normal(rows.mean(0), np.cov(rows.T))
    gaussian = best.logpdf(test.reshape(len(test), -1)).mean()
    learned = prior.score(test)
    assert gaussian < learned - 0.2 * (truth.mean() - gaussian)
    assert learned < truth.mean() + 0.1
    # both clusters are drawn, and hardly anything between
    m = np.outer(np.sin(np.linspace(0, 2, 5)), [1.0, -0.6])
    side = np.tensordot(prior.sample(200), m, 2) / (m**2).sum()
    assert 0.3 < np.mean(side > 0) < 0.7
    assert np.mean(np.abs(side) < 0.3) < 0.15


def test_mixture_finds_two_clusters_without_training():
    Z, _ = two_clusters(300, 0)
    test, truth = two_clusters(200, 1)
    prior = make_prior(max_iter=0, n_steps=16).fit(Z)
    assert prior.n_clusters_ == 2
    assert prior.score(test) > truth.mean() - 0.2
    assert prior.loss_curve_ == prior.validation_curve_ == []
    assert prior.n_iter_ == 0


@pytest.mark.slow
@pytest.mark.parametrize("n_clusters", [1, "auto"])
def test_training_does_not_end_below_the_closed_form(n_clusters):
    # as many trials as a long session has, and the default training
    Z, _ = two_clusters(300, 0)
    test, _ = two_clusters(200, 1)
    settings = {"n_steps": 16, "n_probes": 0, "n_clusters": n_clusters}
    start = make_prior(max_iter=0, **settings).fit(Z)
    trained = DiffusionPrior(random_state=0, **settings).fit(Z)
    assert trained.module_.out.any()  # the network has been trained
    assert trained.score(test) > start.score(test) - 0.02


def test_weights_are_those_of_the_best_epoch_on_validation_trials():
    Z, _ = two_clusters(60, 0)
    # steps so large that the loss goes up and down
    rash = {"learning_rate": 0.05, "batch_size": 8, "n_clusters": 1, "ema_decay": 0.0}
    rash |= {"validation_fraction": 0.2, "patience": 20}
    prior = make_prior(max_iter=20, **rash).fit(Z)
    assert len(prior.validation_curve_) == 20
    best = int(np.argmin(prior.validation_curve_)) + 1
    assert 1 < best < 20
    until = make_prior(max_iter=best, **rash).fit(Z)
    np.testing.assert_array_equal(prior.denoising_error(Z), until.denoising_error(Z))
    last = make_prior(max_iter=20, **rash | {"validation_fraction": 0.0}).fit(Z)
    assert last.validation_curve_ == []


def test_score_is_the_mean_log_likelihood(fitted):
    prior, Z = fitted
    assert prior.score(Z[:5]) == pytest.approx(prior.score_samples(Z[:5]).mean())


def test_change_of_units_shifts_the_log_likelihood_by_its_jacobian():
    *_, Z = process(60, 1)
    units = np.array([4.0, 0.5, 1.0, 16.0])  # powers of two: standardised the same
    prior = make_prior().fit(Z)
    other = make_prior().fit(Z * units)
    np.testing.assert_allclose(
        other.score_samples(Z[:6] * units),
        prior.score_samples(Z[:6]) - N_BINS * np.log(units).sum(),
        rtol=1e-9,
    )
    np.testing.assert_allclose(other.sample(3), prior.sample(3) * units, rtol=1e-9)


def test_shift_changes_no_log_likelihood():
    *_, Z = process(60, 1)
    Z = np.round(Z * 2**10) / 2**10
    shift = np.array([8.0, -2.0, 0.0, 64.0])
    expected = make_prior().fit(Z).score_samples(Z[:6])
    out = make_prior().fit(Z + shift).score_samples(Z[:6] + shift)
    np.testing.assert_allclose(out, expected, rtol=1e-4)


def test_log_likelihood_of_a_trial_does_not_depend_on_the_batch(fitted):
    prior, Z = fitted
    together = prior.score_samples(Z[:70])  # more than one batch inside
    for i in (0, 33, 69):
        np.testing.assert_allclose(prior.score_samples(Z[[i]]), together[i], rtol=1e-9)


def eager(**kwargs):
    """A prior whose network has moved away from the closed form."""
    settings = {"learning_rate": 0.03, "batch_size": 16, "validation_fraction": 0.0}
    return make_prior(**(settings | kwargs))


@pytest.mark.slow
def test_random_probes_estimate_the_exact_divergence():
    *_, Z = process(100, 1, 4, 2)
    few, many, exact = (
        eager(n_probes=n).fit(Z).score_samples(Z[:5]) for n in (1, 64, 0)
    )
    assert np.abs(many - exact).max() < 0.05 * 8
    assert np.abs(few - exact).max() > 2 * np.abs(many - exact).max()
    gaussian = eager(n_probes=64, probes="gaussian").fit(Z).score_samples(Z[:5])
    assert np.abs(gaussian - exact).max() < 0.1 * 8
    assert not np.allclose(gaussian, many, rtol=1e-6)


def test_log_likelihood_falls_away_from_the_data(fitted):
    prior, Z = fitted
    real = prior.score_samples(Z[:20])
    mean = Z.mean(0)
    assert (prior.score_samples(mean + 2 * (Z[:20] - mean)) < real).all()
    assert prior.score_samples(mean[None])[0] > real.max()


def test_samples_have_the_moments_of_the_data(fitted):
    prior, Z = fitted
    drawn = prior.sample(400)
    assert drawn.shape == (400, N_BINS, D)
    # the largest of 56 standardised differences of two means of 400
    error = np.sqrt((drawn.var(0) + Z.var(0)) / 400)
    assert (np.abs(drawn.mean(0) - Z.mean(0)) / error).max() < 4
    # variances along the leading axes; the ratio of two has a standard error of 0.1
    _, covariance, _ = process(1, 0)
    axes = np.linalg.eigh(covariance)[1][:, -8:]
    ours, theirs = (A.reshape(400, -1) @ axes for A in (drawn, Z))
    ratio = ours.var(0) / theirs.var(0)
    assert ratio.min() > 0.65
    assert ratio.max() < 1.5
    assert np.abs(np.corrcoef(ours.T) - np.eye(8)).max() < 0.25


@pytest.mark.parametrize("spatial, temporal", [(True, False), (False, True)])
def test_ablations_draw_independent_dims_or_bins(spatial, temporal):
    mean, covariance, Z = process(400, 1)
    prior = make_prior(spatial=spatial, temporal=temporal).fit(Z)
    drawn = prior.sample(500, n_steps=10)
    centred = drawn - drawn.mean(0)
    within_bin = np.corrcoef(centred.reshape(-1, D).T)[np.triu_indices(D, 1)]
    lag = np.mean(centred[:, 1:] * centred[:, :-1]) / np.mean(centred**2)
    if spatial:
        assert np.abs(within_bin).max() > 0.3
    else:
        assert np.abs(within_bin).max() < 0.1
    if temporal:
        assert lag > 0.6
    else:
        assert abs(lag) < 0.05


def test_draws_are_determined_by_random_state(fitted):
    prior, _ = fitted
    assert np.array_equal(prior.sample(2), prior.sample(2))
    assert np.array_equal(
        prior.sample(2, random_state=3), prior.sample(2, random_state=3)
    )
    assert not np.allclose(prior.sample(2, random_state=3), prior.sample(2))


def test_two_fits_agree_to_the_bit():
    *_, Z = process(60, 1)
    first, second = (make_prior().fit(Z) for _ in range(2))
    assert np.array_equal(first.score_samples(Z[:3]), second.score_samples(Z[:3]))
    assert first.loss_curve_ == second.loss_curve_
    other = make_prior(random_state=1).fit(Z)
    assert other.loss_curve_ != first.loss_curve_


def test_global_generators_are_left_alone():
    *_, Z = process(60, 1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    prior = make_prior(random_state=3).fit(Z)
    prior.sample(2)
    prior.score_samples(Z[:2])
    prior.denoising_error(Z[:2])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_denoising_error_is_higher_for_shuffled_bins(fitted):
    prior, _ = fitted
    *_, Z = process(60, 5)
    rng = np.random.default_rng(0)
    shuffled = np.stack([trial[rng.permutation(N_BINS)] for trial in Z])
    real, mixed = prior.denoising_error(Z), prior.denoising_error(shuffled)
    assert real.shape == (60,)
    assert mixed.mean() > 1.5 * real.mean()
    assert np.mean(mixed > real) > 0.95


def test_denoising_error_is_reproducible_and_grows_at_small_times(fitted):
    prior, Z = fitted
    assert np.array_equal(prior.denoising_error(Z[:4]), prior.denoising_error(Z[:4]))
    # little noise in much signal is hard to see
    small = prior.denoising_error(Z[:40], t=[0.03, 0.06, 0.1]).mean()
    assert small > 1.5 * prior.denoising_error(Z[:40]).mean()
    assert prior.denoising_error(Z[:3], t=0.9).shape == (3,)


def test_training_lowers_the_loss():
    Z, _ = two_clusters(200, 0)
    prior = make_prior(
        max_iter=25, batch_size=16, n_clusters=0, learning_rate=0.01
    ).fit(Z)
    assert len(prior.loss_curve_) == prior.n_iter_ == 25
    assert np.mean(prior.loss_curve_[-5:]) < 0.7 * prior.loss_curve_[0]


def test_fitted_weights_are_the_moving_average():
    Z, _ = two_clusters(60, 0)
    settings = {"batch_size": 8, "max_iter": 6, "validation_fraction": 0.0}
    slow = make_prior(ema_decay=0.999, **settings).fit(Z)
    fast = make_prior(ema_decay=0.0, **settings).fit(Z)
    # nearly where training began, where the network is still zero
    assert slow.module_.out.abs().max() < 0.5 * fast.module_.out.abs().max()
    assert slow.loss_curve_ == fast.loss_curve_


@pytest.mark.parametrize("schedule", ["linear", "cosine", "quadratic"])
@pytest.mark.parametrize("noise_scale, sde", [(0.7, "vp"), (1.5, "vp"), (1, "sub-vp")])
def test_every_diffusion_gives_the_same_likelihood(schedule, noise_scale, sde):
    mean, covariance, Z = process(300, 1, 4, 2)
    settings = {"schedule": schedule, "noise_scale": noise_scale, "sde": sde}
    prior = make_prior(max_iter=1, n_probes=0, n_steps=16, **settings)
    prior.fit(Z)
    assert prior.module_.sde == DiffusionSDE(schedule, noise_scale, sde)
    truth = multivariate_normal(mean, covariance).logpdf(Z[:40].reshape(40, -1))
    assert abs(prior.score_samples(Z[:40]) - truth).mean() < 0.1 * 8


def test_constant_latent_dim():
    *_, Z = process(40, 1)
    Z[..., 2] = 3.0
    prior = make_prior().fit(Z)
    assert np.isfinite(prior.score_samples(Z[:2])).all()
    assert prior.sample(100, n_steps=10)[..., 2].mean() == pytest.approx(3.0, abs=0.2)


def test_invalid_use_says_what_is_wrong(fitted):
    prior, Z = fitted
    with pytest.raises(ValueError, match="n_heads=3 must divide half of n_channels=8"):
        make_prior(n_heads=3).fit(Z)
    with pytest.raises(ValueError, match="fitted on trials of 14 bins"):
        prior.score_samples(Z[:, :7])
    with pytest.raises(ValueError, match="n_samples must be a positive integer"):
        prior.sample(0)
    with pytest.raises(ValueError, match="n_steps must be a positive integer"):
        prior.sample(n_steps=2.5)
    for t in (-0.1, 1.5, [0.2, np.nan], "early"):
        with pytest.raises(ValueError, match=r"t must be a diffusion time in \[0, 1\]"):
            prior.denoising_error(Z, t=t)


def test_every_validation_trial_is_seen_at_all_times(monkeypatch):
    seen = []

    def keep(self, z, fold, *, generator):
        seen.append(z)
        return z.mean() + self.out.sum()

    monkeypatch.setattr(SpatioTemporalDenoiser, "loss", keep)
    *_, Z = process(60, 1)
    make_prior(max_iter=1, validation_fraction=0.1).fit(Z)
    held_out = max(seen, key=len)
    n_trials = 6
    # copies follow each other: row i and row i + n_trials are the same trial
    assert torch.equal(held_out[:n_trials], held_out[n_trials : 2 * n_trials])
    assert len(held_out) >= 100
