"""Inversion, bounds and conditions of a fitted prior."""

import copy

import numpy as np
import pytest
import torch

from skerdiff import DiffusionPrior, Trials
from skerdiff.diffusion._closed_form import MixtureDenoiser

N_BINS, D = 8, 3


def smooth(n, seed=0):
    """Smooth trajectories in two clusters, and the behaviour that drives them."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((n, N_BINS, 2)).cumsum(1) / 2
    label = rng.choice(["left", "right"], n)
    mixing = np.array([[1.0, 0.3, -0.5], [0.2, -0.8, 0.6]])
    Z = y @ mixing + 0.3 * rng.standard_normal((n, N_BINS, D)).cumsum(1)
    Z[label == "left"] += np.linspace(0, 3, N_BINS)[:, None]
    return Z, y, label


def make_prior(**kwargs):
    settings = {
        "max_iter": 3,
        "n_channels": 8,
        "n_heads": 2,
        "batch_size": 16,
        "n_steps": 12,
        "n_probes": 2,
        "learning_rate": 0.01,
        "validation_fraction": 0.0,
        "random_state": 0,
    }
    return DiffusionPrior(**(settings | kwargs))


@pytest.fixture(scope="module")
def plain():
    return make_prior().fit(smooth(120)[0])


@pytest.fixture(scope="module")
def concat():
    Z, y, _ = smooth(120)
    return make_prior(condition="concat").fit(Z, y)


@pytest.fixture(scope="module")
def label():
    Z, _, label = smooth(120)
    return make_prior(condition="label").fit(Z, label)


@pytest.mark.parametrize("solver", ["ddim", "heun", "dpm2"])
def test_decode_undoes_invert(solver, plain):
    Z, *_ = smooth(20, 1)

    def error(n_steps):
        there = plain.invert(Z, solver=solver, n_steps=n_steps)
        back = plain.decode(there, solver=solver, n_steps=n_steps)
        return np.sqrt((((back - Z) / plain.scale_) ** 2).mean())

    coarse, fine = error(50), error(200)
    assert coarse < (0.15 if solver == "ddim" else 0.02)
    assert fine < (0.6 if solver == "ddim" else 0.3) * coarse


def test_inverted_trajectories_are_standard_normal(plain):
    Z, *_ = smooth(300, 1)
    noise = plain.invert(Z)
    assert noise.shape == Z.shape
    assert abs(noise.mean()) < 0.1
    assert noise.std() == pytest.approx(1, abs=0.1)
    assert np.abs(np.corrcoef(noise.reshape(300, -1).T) - np.eye(24)).max() < 0.35


def test_shallow_inversion_stays_near(plain):
    Z, *_ = smooth(20, 1)
    near = plain.invert(Z, t_stop=0.02) - (Z - plain.mean_) / plain.scale_
    far = plain.invert(Z, t_stop=0.9) - (Z - plain.mean_) / plain.scale_
    assert np.abs(near).max() < 0.1
    assert np.abs(far).max() > 0.5
    back = plain.decode(plain.invert(Z, t_stop=0.3), t_start=0.3)
    np.testing.assert_allclose(back, Z, atol=0.02 * plain.scale_.max())


def test_rows_come_back_as_rows():
    Z, *_ = smooth(60)
    rows = Z.reshape(-1, D)
    flat = make_prior(trial_length=N_BINS).fit(rows)
    cube = make_prior().fit(Z)
    noise = flat.invert(rows, n_steps=5)
    np.testing.assert_allclose(noise, cube.invert(Z, n_steps=5).reshape(rows.shape))
    back = flat.decode(noise, n_steps=5)
    expected = cube.decode(noise.reshape(Z.shape), n_steps=5)
    np.testing.assert_allclose(back, expected.reshape(rows.shape))


@pytest.mark.parametrize("solver", ["ddim", "ancestral", "dpm2", "heun"])
def test_every_sampler_draws_from_the_prior(solver, plain):
    Z, *_ = smooth(2000, 1)
    drawn = plain.sample(500, solver=solver, n_steps=40)
    error = np.sqrt((drawn.var(0) + Z.var(0)) / 120)  # the prior saw 120 trials
    assert (np.abs(drawn.mean(0) - Z.mean(0)) / error).max() < 4
    ratio = drawn.std(0) / Z.std(0)
    assert 0.7 < ratio.min() < ratio.max() < 1.3


def test_adaptive_integrator_agrees_with_the_fixed_steps(plain):
    Z, *_ = smooth(4, 1)
    fixed = make_prior(n_steps=64, max_iter=0).fit(smooth(120)[0])
    adaptive = make_prior(integrator="adaptive", max_iter=0).fit(smooth(120)[0])
    scores, near = fixed.score_samples(Z), adaptive.score_samples(Z)
    far = adaptive.set_params(tolerance=0.1).score_samples(Z)
    assert np.abs(near - scores).max() < 0.005 * N_BINS * D
    # the tolerance says how near
    assert 0 < np.abs(near - scores).max() < 0.1 * np.abs(far - scores).max()


@pytest.mark.slow
def test_bound_lies_below_the_likelihood(plain):
    Z, *_ = smooth(80, 1)
    closed = make_prior(max_iter=0, n_steps=32).fit(smooth(120)[0])
    gap = (closed.score_samples(Z) - closed.evidence_bound(Z, n_times=2000)).mean()
    # the closed form is the score of a density: only the decoder's noise separates them
    assert -0.3 < gap < 0.1 * N_BINS * D  # the estimate's standard error is about 0.2
    shifted = closed.evidence_bound(Z + 2.0, n_times=200).mean()
    assert shifted < closed.evidence_bound(Z, n_times=200).mean() - 5


def test_bound_is_in_the_units_of_the_latents():
    Z, *_ = smooth(60)
    units = np.array([4.0, 0.5, 16.0])
    prior, other = make_prior().fit(Z), make_prior().fit(Z * units)
    np.testing.assert_allclose(
        other.evidence_bound(Z * units, n_times=5),
        prior.evidence_bound(Z, n_times=5) - N_BINS * np.log(units).sum(),
        rtol=1e-9,
    )


@pytest.mark.parametrize("kind", ["concat", "label"])
def test_shuffled_conditions_raise_the_loss(kind, concat, label):
    Z, y, labels = smooth(200, 1)
    prior, given = (concat, y) if kind == "concat" else (label, labels)
    order = np.random.default_rng(0).permutation(200)
    real = prior.denoising_error(Z, y=given)
    assert prior.denoising_error(Z, y=given[order]).mean() > 1.03 * real.mean()
    assert prior.denoising_error(Z).mean() > 1.01 * real.mean()
    scores = [prior.score(Z[:40], y) for y in (given[:40], None, given[order][:40])]
    assert scores[0] > scores[1] > scores[2]


def test_samples_follow_the_behaviour(concat):
    _, y, _ = smooth(200, 1)
    mixing = np.array([[1.0, 0.3, -0.5], [0.2, -0.8, 0.6]])
    drawn = concat.sample(200, y, n_steps=20)
    free = concat.sample(200, n_steps=20)
    expected = (y @ mixing)[:, -1]

    def correlation(Z):
        return np.corrcoef(Z[:, -1, 1], expected[:, 1])[0, 1]

    assert correlation(drawn) > 0.4
    assert abs(correlation(free)) < 0.25


def test_guidance_exaggerates_the_label(label):
    def side(guidance):
        drawn = label.sample(200, ["left"] * 200, guidance=guidance, n_steps=20)
        return drawn[:, -1].mean()

    right = label.sample(200, ["right"] * 200, n_steps=20)[:, -1].mean()
    assert side(1.0) - right > 2
    assert side(2.0) > side(1.0) > side(0.0)
    np.testing.assert_allclose(
        label.sample(3, ["left"] * 3, guidance=0.0), label.sample(3)
    )


def test_labels_may_be_given_per_row():
    Z, _, labels = smooth(60)
    flat = make_prior(condition="label", trial_length=N_BINS)
    flat.fit(Z.reshape(-1, D), np.repeat(labels, N_BINS))
    cube = make_prior(condition="label").fit(Z, labels)
    assert flat.classes_.tolist() == ["left", "right"]
    np.testing.assert_allclose(
        flat.score_samples(Z.reshape(-1, D), np.repeat(labels, N_BINS)),
        cube.score_samples(Z, labels),
    )


def test_unconditional_prior_reads_no_y():
    Z, y, _ = smooth(40)
    with_y, without = make_prior().fit(Z, np.full_like(y, np.nan)), make_prior().fit(Z)
    assert with_y.loss_curve_ == without.loss_curve_
    assert np.array_equal(with_y.score_samples(Z, y), without.score_samples(Z))


def test_only_source_behaviour_is_read():
    Z, y, _ = smooth(60)
    trials = Trials({"day0": Z[:40], "day1": Z[40:]})
    corrupted = y.copy()
    corrupted[40:] = np.nan
    prior = make_prior(condition="concat").fit(trials, corrupted)
    alone = make_prior(condition="concat").fit(Z[:40], y[:40])
    assert prior.loss_curve_ == alone.loss_curve_


def test_network_sees_conditions_beyond_the_closed_form():
    Z, y, _ = smooth(120)
    prior = make_prior(condition="concat", n_clusters=0, max_iter=20).fit(Z, y)
    net = prior.module_
    assert not isinstance(net.closed_form.marginal, MixtureDenoiser)
    z = torch.tensor(Z[:2])
    t = torch.full((2,), 0.3, dtype=torch.float64)
    one = torch.ones(2, N_BINS, 2, dtype=torch.float64)
    added = [net.parts(z, t, condition)[1] for condition in (one, -one)]
    assert (added[0] - added[1]).abs().max() > 1e-3


def test_invalid_use_says_what_is_wrong(plain, concat, label):
    Z, y, labels = smooth(6, 1)
    with pytest.raises(ValueError, match="condition='concat' needs y in fit, got None"):
        make_prior(condition="concat").fit(Z)
    with pytest.raises(ValueError, match="y must hold behaviour per bin"):
        make_prior(condition="concat").fit(Z, labels)
    with pytest.raises(ValueError, match=r"one label per trial, y of shape \(6,\)"):
        make_prior(condition="label").fit(Z, y)
    mixed = np.array(["left", None, 3] * 2, dtype=object)
    with pytest.raises(ValueError, match=r"different types .NoneType, int, str."):
        make_prior(condition="label").fit(Z, mixed)
    with pytest.raises(ValueError, match="Labels \\['up'\\] were not seen in fit"):
        label.score_samples(Z, ["up"] * 6)
    with pytest.raises(ValueError, match="y has 1 outputs per bin.*fitted on 2"):
        concat.score_samples(Z, y[..., :1])
    with pytest.raises(ValueError, match="solver must be one of.*got 'euler'"):
        plain.sample(2, solver="euler")
    with pytest.raises(ValueError, match="solver must be one of.*got 'ancestral'"):
        plain.invert(Z, solver="ancestral")
    with pytest.raises(
        ValueError, match=r"t_stop must be a diffusion time in \[0, 1\]"
    ):
        plain.invert(Z, t_stop=1.2)
    with pytest.raises(ValueError, match=r"t_start must be a diffusion time"):
        plain.decode(Z, t_start=-0.1)
    with pytest.raises(ValueError, match="guidance must be a finite number"):
        label.sample(2, ["left"] * 2, guidance=np.nan)
    with pytest.raises(ValueError, match="fitted on trials of 8 bins"):
        plain.decode(Z[:, :4])
    with pytest.raises(ValueError, match=r"each of n_samples=2 traj.*shape \(3,\)"):
        label.sample(2, ["left"] * 3)
    with pytest.raises(ValueError, match="guidance=2 weighs a condition"):
        label.sample(2, guidance=2)
    with pytest.raises(ValueError, match="guidance=2 weighs a condition"):
        plain.invert(Z, labels, guidance=2)
    with pytest.raises(ValueError, match="n_channels=9 must be even"):
        make_prior(n_channels=9, n_heads=3).fit(Z)
    with pytest.raises(ValueError, match="n_clusters=50 is more than the"):
        make_prior(n_clusters=50).fit(np.repeat(Z, 5, 0))
    with pytest.raises(ValueError, match="t holds no diffusion time"):
        plain.denoising_error(Z, t=[])
    for wrong in ({"n_steps": 0}, {"integrator": "euler"}, {"n_probes": -1}):
        changed = copy.deepcopy(plain).set_params(**wrong)
        with pytest.raises(ValueError, match=next(iter(wrong))):
            changed.score_samples(Z)
    with pytest.raises(ValueError, match="n_times must be a positive integer"):
        plain.evidence_bound(Z, n_times=0)
