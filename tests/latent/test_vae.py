"""The sequential variational autoencoder."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from skerdiff import PerBinRegressor, SequentialVAE, Trials
from skerdiff.datasets import make_reaching_sessions
from skerdiff.latent._modules import SequentialVAEModule
from skerdiff.latent._objectives import bits_per_spike

N_TRAIN = 96


@pytest.fixture(scope="module")
def data():
    return make_reaching_sessions(1, 128, 40, random_state=0)


@pytest.fixture(scope="module")
def X(data):
    return data.trials["day0"]


def make_vae(**kwargs):
    settings = {"n_hidden": 32, "max_iter": 40, "patience": 40, "random_state": 0}
    return SequentialVAE(**(settings | kwargs))


def tiny(**kwargs):
    settings = {"n_hidden": 8, "n_readin": 6, "n_components": 3, "max_iter": 2}
    return make_vae(**(settings | kwargs))


@pytest.fixture(scope="module")
def unsupervised(X):
    return make_vae().fit(X[:N_TRAIN])


@pytest.fixture(scope="module")
def supervised(X, data):
    return make_vae().fit(X[:N_TRAIN], data.y[:N_TRAIN])


def decoding(model, X, y):
    decoder = PerBinRegressor(Ridge()).fit(model.transform(X[:N_TRAIN]), y[:N_TRAIN])
    return decoder.score(model.transform(X[N_TRAIN:]), y[N_TRAIN:])


def test_latents_do_not_collapse(supervised, unsupervised):
    assert supervised.active_share_ == 1.0
    assert unsupervised.active_share_ >= 0.75


def test_huge_weight_of_the_divergence_collapses_latents(X, supervised):
    model = make_vae(kl_weight=1000.0, max_iter=15).fit(X[:N_TRAIN])
    assert model.latent_variance_.max() < 1e-3 * supervised.latent_variance_.max()
    assert model.active_share_ < 0.5


def test_active_share_compares_the_variance_of_posterior_means(unsupervised, X):
    variance = unsupervised.transform(X[:N_TRAIN]).var((0, 1))
    np.testing.assert_allclose(unsupervised.latent_variance_, variance)
    share = np.mean(variance > 0.1 * variance.max())
    assert unsupervised.active_share_ == pytest.approx(share)


def test_held_out_bits_per_spike(unsupervised, X):
    held_out = X[N_TRAIN:]
    score = unsupervised.score(held_out)
    assert score > 0.02
    rng = np.random.default_rng(0)
    scrambled = X[:N_TRAIN].copy()
    for i in range(X.shape[2]):  # neurons no longer know of each other
        scrambled[:, :, i] = scrambled[rng.permutation(N_TRAIN), :, i]
    assert make_vae().fit(scrambled).score(held_out) < score - 0.02


def test_score_is_in_bits_per_spike_over_the_mean_rate(unsupervised, X):
    rates = unsupervised.inverse_transform(unsupervised.transform(X))
    expected = bits_per_spike(rates, X, X[:N_TRAIN].mean((0, 1)))
    assert unsupervised.score(X) == pytest.approx(expected)


def test_behaviour_shapes_the_latents(supervised, unsupervised, X, data):
    with_y, without = (decoding(m, X, data.y) for m in (supervised, unsupervised))
    assert with_y > 0.9
    assert with_y > without + 0.01


def test_expected_activity_follows_the_true_rates(unsupervised, X, data):
    drive = np.logaddexp(0, 1 + data.latents @ data.loadings["day0"].T)
    rates = unsupervised.inverse_transform(unsupervised.transform(X))
    assert rates.shape == X.shape
    assert (rates >= 0).all()
    held_out = slice(N_TRAIN, None)
    correlation = [
        np.corrcoef(rates[held_out, :, i].ravel(), drive[held_out, :, i].ravel())[0, 1]
        for i in np.argsort(X.sum((0, 1)))[-20:]
    ]
    assert np.median(correlation) > 0.7
    np.testing.assert_allclose(rates.mean((0, 1)), X.mean((0, 1)), atol=0.15)


def changed_bins(model, X, k):
    """Bins of the latents that move when bin k of X does."""
    other = X.copy()
    other[:, k] += 3.0
    return (model.transform(other) != model.transform(X)).any(axis=(0, 2))


@pytest.mark.parametrize("k", [1, 10, 19])
def test_causal_encoder_does_not_look_ahead(X, k):
    model = tiny(smoothing=0).fit(X[:20])
    changed = changed_bins(model, X[:4], k)
    assert not changed[:k].any()
    assert changed[k:].all()


def test_bidirectional_encoder_looks_ahead(X):
    model = tiny(smoothing=0, bidirectional=True).fit(X[:20])
    assert changed_bins(model, X[:4], 10).all()


def test_smoothing_reaches_as_far_as_its_kernel(X):
    model = tiny(smoothing=0.5).fit(X[:20])
    changed = changed_bins(model, X[:4], 10)
    assert changed[8:].all()
    assert not changed[:8].any()


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda X: X, "poisson"),
        (lambda X: X / 13, "poisson"),
        (lambda X: X - 0.5, "gaussian"),
    ],
    ids=["counts", "fractional", "negative"],
)
def test_likelihood_follows_the_input(X, change, expected):
    A = change(X[:20])
    model = tiny().fit(A)
    assert model.likelihood_ == expected
    assert np.isfinite(model.transform(A)).all()
    assert np.isfinite(model.score(A))
    assert (model.inverse_transform(model.transform(A)) >= 0).all() == (
        expected == "poisson"
    )


def test_likelihood_can_be_chosen(X):
    model = tiny(likelihood="gaussian").fit(X[:20])
    assert model.likelihood_ == "gaussian"
    np.testing.assert_array_equal(
        tiny(likelihood="gaussian", smoothing=0).fit(X[:20]).features(X[:20]), X[:20]
    )
    with pytest.raises(ValueError, match="negative"):
        tiny(likelihood="poisson").fit(X[:20] - 1)
    with_offset = tiny(smoothing=0).fit(X[:20]).features(X[:20] - 1)
    np.testing.assert_allclose(np.sign(with_offset) * with_offset**2, X[:20] - 1)


def test_gaussian_score_beats_a_constant(X):
    A = np.sqrt(X[:N_TRAIN]) - 1
    model = make_vae(max_iter=15).fit(A)
    held_out = np.sqrt(X[N_TRAIN:]) - 1
    noise = held_out - A.mean((0, 1))
    variance = np.maximum(A.var((0, 1)), 1e-2)
    constant = -0.5 * (np.log(2 * np.pi * variance) + noise**2 / variance)
    active = A.std((0, 1)) > 0.1
    assert model.score(held_out) > constant[..., active].mean() - 1.0
    rates = model.inverse_transform(model.transform(held_out))
    error = np.mean((rates - held_out) ** 2)
    assert error < np.mean(noise**2)


def test_features_are_square_roots_smoothed(X):
    model = tiny(smoothing=0).fit(X[:20])
    np.testing.assert_allclose(model.features(X[:3]), np.sqrt(X[:3]))
    smooth = tiny(smoothing=2.0).fit(X[:20]).features(X[:3])
    assert np.abs(np.diff(smooth, axis=1)).max() < np.sqrt(X[:3]).max() / 3


def test_readin_acts_on_features_as_the_network_does(X):
    model = tiny().fit(X[:20])
    features = model.features(X[:20])
    scale = np.sqrt(features.var((0, 1)).mean())
    standard = (features - features.mean((0, 1))) / scale
    with torch.no_grad():
        expected = model.module_.read_in(torch.tensor(standard)).numpy()
    np.testing.assert_allclose(model.activations(features), expected, atol=1e-6)


def test_nothing_random_is_left_after_training(X):
    model = tiny(dropout=0.9, readin_noise=5.0).fit(X[:20])
    assert not model.module_.training
    first = model.transform(X)
    np.testing.assert_array_equal(model.transform(X), first)
    np.testing.assert_allclose(model.transform(X[3:4]), first[3:4], atol=1e-12)
    clean = model.module_.encode(torch.tensor(model.activations(model.features(X))))[0]
    np.testing.assert_allclose(clean.detach().numpy(), first)


def test_dropout_and_noise_act_in_training(X):
    curves = {
        name: tiny(**{"dropout": 0.0, "readin_noise": 0.0} | params)
        .fit(X[:20])
        .loss_curve_
        for name, params in {
            "none": {},
            "dropout": {"dropout": 0.5},
            "noise": {"readin_noise": 2.0},
        }.items()
    }
    assert curves["dropout"] != curves["none"]
    assert curves["noise"] != curves["none"]


def test_early_stopping_keeps_the_best_epoch(X):
    settings = {"learning_rate": 0.05, "patience": 4, "max_iter": 60, "kl_weight": 0}
    model = tiny(**settings).fit(X[:24])
    curve = model.validation_curve_
    best = int(np.argmin(curve))
    assert model.n_iter_ == len(curve) == len(model.loss_curve_) < 60
    assert model.n_iter_ == best + 1 + 4
    # training ends in the same state if it may go no further than the best epoch
    cut = tiny(**settings | {"max_iter": best + 1}).fit(X[:24])
    np.testing.assert_array_equal(cut.transform(X), model.transform(X))


def test_without_validation_trials_every_epoch_is_run(X):
    model = tiny(validation_fraction=0, patience=1, max_iter=6).fit(X[:20])
    assert model.n_iter_ == len(model.loss_curve_) == 6
    assert model.validation_curve_ == []


def test_training_lowers_the_loss(unsupervised):
    curve = unsupervised.loss_curve_
    assert np.mean(curve[-3:]) < curve[0]
    assert min(unsupervised.validation_curve_) < unsupervised.validation_curve_[0]


def test_silent_neurons_are_accepted(X):
    A = X[:20].copy()
    A[:, :, [0, 5]] = 0
    model = tiny(max_iter=5).fit(A)
    rates = model.inverse_transform(model.transform(A))
    assert np.isfinite(rates).all()
    assert rates[..., [0, 5]].max() < 0.1


def test_units_of_behaviour_do_not_matter(X, data):
    y = data.y[:20]
    first = tiny().fit(X[:20], y).transform(X)
    units = np.array([1024.0, 1 / 64])
    np.testing.assert_allclose(
        tiny().fit(X[:20], y * units).transform(X), first, atol=1e-6
    )
    np.testing.assert_array_equal(
        tiny(behaviour_weight=0.0).fit(X[:20], y).transform(X).shape, first.shape
    )


def test_constant_behaviour_is_accepted(X):
    model = tiny().fit(X[:20], np.ones((20, 20, 2)))
    assert np.isfinite(model.transform(X)).all()


def test_two_fits_agree_to_the_bit(X, data):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = (tiny().fit(X[:20], data.y[:20]).transform(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(tiny(random_state=1).fit(X[:20]).transform(X), first)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_trials_are_fitted_on_their_source(X, data):
    trials = Trials({"a": X[:20], "b": 10 * X[20:40]})
    y = np.full((40, 20, 2), np.nan)
    y[:20] = data.y[:20]
    model = tiny().fit(trials, y)
    expected = tiny().fit(X[:20], data.y[:20])
    np.testing.assert_array_equal(model.transform(X), expected.transform(X))
    assert isinstance(model.transform(trials), Trials)
    assert isinstance(model.inverse_transform(model.transform(trials)), Trials)


def test_input_is_left_as_it_is(X, data):
    A, y = X[:20].copy(), data.y[:20].copy()
    tiny().fit(A, y).score(A)
    np.testing.assert_array_equal(A, X[:20])
    np.testing.assert_array_equal(y, data.y[:20])


def test_invalid_input_says_what_is_wrong(X):
    model = tiny().fit(X[:20])
    with pytest.raises(ValueError, match="7 bins per trial"):
        model.transform(X[:, :7])
    with pytest.raises(ValueError, match="5 latent dims"):
        model.inverse_transform(np.zeros((2, 20, 5)))
    with pytest.raises(ValueError, match="Use an aligner"):
        model.transform(Trials({"a": X[:4], "b": X[:4, :, :9]}))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_loss_reads_nothing_behind_trials(bidirectional):
    rng = torch.Generator().manual_seed(0)
    module = SequentialVAEModule(
        torch.randn(3, 5, generator=rng), torch.ones(5), 2, 4, 2, bidirectional
    )
    within = torch.arange(6) < torch.tensor([6, 2, 4])[:, None]
    inside = [torch.rand(3, 6, d, generator=rng) for d in (5, 5, 2)]

    def loss(fill, mask=within):
        filled = [torch.where(within[..., None], A, fill) for A in inside]
        generator = torch.Generator().manual_seed(1)
        return module.loss(*filled, mask, generator=generator).item()

    assert loss(0.0) == loss(7.0)
    assert loss(0.0, None) != loss(7.0, None)
