"""The linear latent model."""

import numpy as np
import pytest
import torch
from scipy.linalg import block_diag
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline

from skerdiff import (
    DiffusionPrior,
    ERDiffAligner,
    GeometryAligner,
    PerBinRegressor,
    SequentialVAE,
    Trials,
)
from skerdiff.datasets import make_reaching_sessions
from skerdiff.latent import LinearLatentModel
from skerdiff.latent._objectives import bits_per_spike
from skerdiff.model_selection import TargetKFold
from skerdiff.utils import all_estimators

N_TRAIN = 96


@pytest.fixture(scope="module")
def data():
    return make_reaching_sessions(1, 128, 40, random_state=0)


@pytest.fixture(scope="module")
def X(data):
    return data.trials["day0"]


@pytest.fixture(scope="module")
def supervised(X, data):
    return LinearLatentModel().fit(X[:N_TRAIN], data.y[:N_TRAIN])


@pytest.fixture(scope="module")
def unsupervised(X):
    return LinearLatentModel().fit(X[:N_TRAIN])


def rows(A):
    return A.reshape(-1, A.shape[-1])


def share_explained(target, Z, n_train=N_TRAIN):
    """R2 on held-out trials of a linear regression on Z."""
    model = LinearRegression().fit(rows(Z[:n_train]), rows(target[:n_train]))
    return model.score(rows(Z[n_train:]), rows(target[n_train:]))


def lagged(A, n_lags):
    padded = np.pad(A, ((0, 0), (n_lags - 1, 0), (0, 0)))
    shifts = [padded[:, lag : lag + A.shape[1]] for lag in range(n_lags)]
    return np.concatenate(shifts, axis=2)


# -- what it computes ------------------------------------------------------------------
def linear_system(noise, n_neurons=12, seed=0):
    """Latents of a linear dynamical system, and activity that is linear in them."""
    rng = np.random.default_rng(seed)
    turn = [
        0.97 * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        for a in (0.3, 0.8)
    ]
    A = block_diag(*turn)
    z = [rng.standard_normal((80, 4))]
    for _ in range(14):
        z.append(z[-1] @ A.T + 0.2 * rng.standard_normal((80, 4)))
    z = np.stack(z, axis=1)
    X = 3 + z @ rng.standard_normal((4, n_neurons))
    return z, X + noise * rng.standard_normal(X.shape)


@pytest.mark.parametrize("with_behaviour", [False, True])
def test_latents_of_a_linear_system_are_recovered_up_to_an_affine_map(with_behaviour):
    z, X = linear_system(noise=1e-3)
    y = z[:, :, :2] @ np.array([[1.0, 2.0], [0.0, 1.0]]) if with_behaviour else None
    model = LinearLatentModel(4, likelihood="gaussian", smoothing=0).fit(X, y)
    Z = model.transform(X)
    assert share_explained(z, Z, 40) > 0.9999
    assert share_explained(Z, z, 40) > 0.9999


def test_noise_of_a_linear_system_is_left_over():
    _, X = linear_system(noise=0.1, seed=1)
    model = LinearLatentModel(4, likelihood="gaussian", smoothing=0).fit(X)
    # of 12 dims of noise the latents take up four
    assert model.noise_variance_.mean() == pytest.approx(0.1**2 * 8 / 12, rel=0.1)
    error = X - model.inverse_transform(model.transform(X))
    np.testing.assert_allclose(error.var((0, 1)), model.noise_variance_, rtol=1e-6)


def test_without_behaviour_latents_are_principal_components_of_features(
    unsupervised, X
):
    features = rows(unsupervised.features(X[:N_TRAIN]))
    expected = PCA(8).fit(features)
    Z = rows(unsupervised.transform(X))
    scores = expected.transform(rows(unsupervised.features(X)))
    scores /= np.sqrt(expected.explained_variance_[0])
    np.testing.assert_allclose(
        Z * np.sign(np.sum(Z * scores, axis=0)), scores, atol=1e-8
    )
    assert unsupervised.penalty_ is None
    assert unsupervised.filter_.shape[0] == 1
    assert not unsupervised.filter_[:, :, 1:].any()


def test_behaviour_of_weight_zero_does_not_matter(unsupervised, X, data):
    model = LinearLatentModel(behaviour_weight=0).fit(X[:N_TRAIN], data.y[:N_TRAIN])
    Z, expected = model.transform(X), unsupervised.transform(X)
    turn = np.sign(np.sum(Z * expected, axis=(0, 1)))
    np.testing.assert_allclose(Z * turn, expected, atol=1e-8)


@pytest.mark.parametrize("n_lags", [1, 4, 8])
def test_behaviour_is_predicted_as_well_as_by_a_wiener_filter(n_lags, X, data):
    y = data.y
    model = LinearLatentModel(n_lags=n_lags, per_bin=False)
    Z = model.fit(X[:N_TRAIN], y[:N_TRAIN]).transform(X)
    past = lagged(model.activations(model.features(X)), n_lags)
    wiener = RidgeCV(np.logspace(0, 5, 11)).fit(rows(past[:N_TRAIN]), rows(y[:N_TRAIN]))
    expected = wiener.score(rows(past[N_TRAIN:]), rows(y[N_TRAIN:]))
    assert expected > 0.5
    assert share_explained(y, Z) > expected - 0.01
    assert model.filter_.shape == (1, 8, n_lags, 16)
    assert model.penalty_.shape == (1,)


def test_a_filter_for_each_bin_decodes_better_where_trials_start_at_an_event(
    supervised, X, data
):
    one = LinearLatentModel(per_bin=False).fit(X[:N_TRAIN], data.y[:N_TRAIN])
    same, own = (share_explained(data.y, m.transform(X)) for m in (one, supervised))
    assert own > same + 0.05
    assert own > 0.9
    assert supervised.filter_.shape == (20, 8, 8, 16)
    assert supervised.penalty_.shape == (20,)


def test_behaviour_shapes_the_latents(supervised, unsupervised, X, data):
    with_y, without = (
        share_explained(data.y, m.transform(X)) for m in (supervised, unsupervised)
    )
    assert with_y > without + 0.1


@pytest.mark.parametrize("shortest", [20, 6])
def test_the_filter_of_a_bin_is_ridge_regression_by_trials_that_reach_it(
    shortest, X, data
):
    lengths = np.full(40, 20)
    lengths[::2] = shortest
    within = np.arange(20) < lengths[:, None]
    X, y = X[:40], data.y[:40]
    model = LinearLatentModel(n_components=2, n_lags=3, behaviour_weight=1e6)
    features = model.fit(X, y, lengths=lengths).features(X, lengths)
    Z = model.encode(features, lengths=lengths)
    past = lagged(model.activations(features), 3)
    y = (y - y[within].mean(0)) / y[within].std(0)
    guess = np.zeros_like(y)
    for t, rows in enumerate(within.T):
        ridge = RidgeCV(np.logspace(-1, 6, 15)).fit(past[rows, t], y[rows, t])
        assert model.penalty_[t] == ridge.alpha_
        guess[rows, t] = ridge.predict(past[rows, t])
    Z, guess = Z[within], guess[within]
    assert LinearRegression().fit(Z, guess).score(Z, guess) > 1 - 1e-8
    # predictions of unit variance, times the weight
    assert Z.var(0).sum() == pytest.approx(2 * 1e12)
    np.testing.assert_allclose(Z.mean(0), 0, atol=1e-8 * 1e6)


def test_one_filter_has_the_penalty_of_least_error_on_held_out_trials(X, data):
    model = LinearLatentModel(n_lags=2, per_bin=False)
    model.fit(X[:N_TRAIN], data.y[:N_TRAIN])
    past = rows(lagged(model.activations(model.features(X[:N_TRAIN])), 2))
    y = data.y[:N_TRAIN]
    y = rows((y - y.mean((0, 1))) / y.std((0, 1)))
    trial = np.repeat(np.arange(N_TRAIN), 20)
    folds = list(GroupKFold(5).split(past, groups=trial))
    search = RidgeCV(
        np.logspace(-1, 6, 15), cv=folds, scoring="neg_mean_squared_error"
    ).fit(past, y)
    assert model.penalty_ == pytest.approx([search.alpha_])


def test_bins_that_few_trials_reach_have_the_filter_of_the_bin_before(X, data):
    lengths = np.full(30, 20)
    lengths[4:] = 12
    model = LinearLatentModel().fit(X[:30], data.y[:30], lengths=lengths)
    assert model.filter_.shape[0] == 12
    past = lagged(model.activations(model.features(X[:30])), 8)
    last = model.filter_[-1][:, ::-1].reshape(8, -1)
    expected = past[:, 12:] @ last.T + model.offset_[-1]
    np.testing.assert_allclose(model.transform(X[:30])[:, 12:], expected, atol=1e-10)


def test_latents_do_not_look_ahead_and_see_as_many_bins_as_asked(X, data):
    model = LinearLatentModel(n_lags=3, smoothing=0).fit(X[:40], data.y[:40])
    other = X[:4].copy()
    other[:, 10] += 3
    changed = (model.transform(other) != model.transform(X[:4])).any(axis=(0, 2))
    np.testing.assert_array_equal(np.flatnonzero(changed), [10, 11, 12])


def test_dims_beyond_the_rank_are_zero(X, data):
    few = X[:20, :, np.argsort(X.sum((0, 1)))[-3:]]
    model = LinearLatentModel(8, n_readin=4, n_lags=1, per_bin=False)
    model.fit(few, data.y[:20])
    assert model.readin_[0].shape == (4, 3)
    variance = model.transform(few).var((0, 1))
    assert (variance[:3] > 1e-3).all()
    assert (variance[3:] == 0).all()


def test_units_of_behaviour_and_activity_do_not_matter(X, data):
    A = X[:40] - 1.0
    first = LinearLatentModel().fit(A, data.y[:40]).transform(A)
    units = np.array([1024.0, 1 / 64])
    other = LinearLatentModel().fit(A, 5 + data.y[:40] * units).transform(A)
    np.testing.assert_allclose(other, first, atol=1e-8)
    other = LinearLatentModel().fit(8 * A + 3, data.y[:40]).transform(8 * A + 3)
    np.testing.assert_allclose(other, first, atol=1e-8)


def test_constant_behaviour_is_accepted(X):
    model = LinearLatentModel().fit(X[:20], np.ones((20, 20, 2)))
    unsupervised = LinearLatentModel().fit(X[:20])
    Z, expected = model.transform(X), unsupervised.transform(X)
    turn = np.sign(np.sum(Z * expected, axis=(0, 1)))
    np.testing.assert_allclose(Z * turn, expected, atol=1e-8)


# -- expected activity -----------------------------------------------------------------
def test_held_out_bits_per_spike(unsupervised, X):
    held_out = X[N_TRAIN:]
    score = unsupervised.score(held_out)
    assert score > 0.02
    rates = unsupervised.inverse_transform(unsupervised.transform(held_out))
    expected = bits_per_spike(rates, held_out, X[:N_TRAIN].mean((0, 1)))
    assert score == pytest.approx(expected)
    rng = np.random.default_rng(0)
    scrambled = X[:N_TRAIN].copy()
    for i in range(X.shape[2]):  # neurons no longer know of each other
        scrambled[:, :, i] = scrambled[rng.permutation(N_TRAIN), :, i]
    assert LinearLatentModel().fit(scrambled).score(held_out) < score - 0.02


def test_gaussian_score_beats_a_constant():
    _, X = linear_system(noise=0.5)
    model = LinearLatentModel(4, likelihood="gaussian", smoothing=0).fit(X[:40])
    variance = X[:40].var((0, 1))
    error = (X[40:] - X[:40].mean((0, 1))) ** 2
    constant = -0.5 * (np.log(2 * np.pi * variance) + error / variance)
    assert model.score(X[40:]) > constant.mean() + 0.5


@pytest.mark.parametrize("likelihood", ["poisson", "gaussian"])
def test_silent_neurons_are_accepted(likelihood, X, data):
    A = X[:20].copy()
    A[:, :, [0, 5]] = 0
    model = LinearLatentModel(likelihood=likelihood).fit(A, data.y[:20])
    rates = model.inverse_transform(model.transform(A))
    assert np.abs(rates[..., [0, 5]]).max() < 1e-10
    assert np.isfinite(model.score(A))


# -- forms and types -------------------------------------------------------------------
def test_single_precision_stays(supervised, X):
    Z = supervised.transform(X.astype(np.float32))
    assert Z.dtype == np.float32
    np.testing.assert_allclose(Z, supervised.transform(X), atol=1e-5)


def test_trials_are_fitted_on_their_source(X, data):
    trials = Trials({"a": X[:20], "b": 10 * X[20:40]})
    y = np.full((40, 20, 2), np.nan)
    y[:20] = data.y[:20]
    model = LinearLatentModel().fit(trials, y)
    expected = LinearLatentModel().fit(X[:20], data.y[:20])
    np.testing.assert_array_equal(model.transform(X), expected.transform(X))
    assert isinstance(model.transform(trials), Trials)
    assert isinstance(model.inverse_transform(model.transform(trials)), Trials)


def test_two_fits_agree_to_the_bit_and_draw_nothing(X, data):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = (
        LinearLatentModel().fit(X[:20], data.y[:20]).transform(X) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.parametrize("n_bins", [1, 3])
def test_trials_may_be_shorter_than_the_lags(n_bins, X, data):
    model = LinearLatentModel(smoothing=0).fit(X[:30, :n_bins], data.y[:30, :n_bins])
    assert model.filter_.shape[2] == n_bins
    Z = model.transform(X[:2, :n_bins])
    state = None
    for counts, expected in zip(X[0], Z[0]):
        z, state = model.step(counts, state=state)
        np.testing.assert_allclose(z, expected, atol=1e-12)


def test_a_stream_may_go_on_behind_the_last_bin(X, data):
    model = LinearLatentModel(smoothing=0).fit(X[:40], data.y[:40])
    long = np.concatenate([X[0], X[1]])
    expected = model.encode(model.features(long[None]))[0]
    module = model.torch_encoder()
    activations = torch.tensor(model.activations(model.features(long[None])))
    np.testing.assert_allclose(module(activations)[0].numpy(), expected, atol=1e-12)
    state = None
    for counts, z in zip(long, expected):
        found, state = model.step(counts, state=state)
        np.testing.assert_allclose(found, z, atol=1e-12)


# -- in aligners -----------------------------------------------------------------------
SMALL = {"n_starts": 4, "max_steps": 2, "n_pretraining": 2, "batch_size": 8}


@pytest.fixture(scope="module")
def two_days():
    return make_reaching_sessions(2, 40, 20, turnover=0.1, random_state=0)


def quick(aligner, **params):
    known = aligner().get_params(deep=False)
    return aligner(
        LinearLatentModel(4),
        random_state=0,
        **{k: v for k, v in (SMALL | params).items() if k in known},
    )


@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
@pytest.mark.usefixtures("any_step_is_accepted")
@pytest.mark.parametrize("name, aligner", all_estimators("aligner"))
def test_it_works_in_every_aligner(name, aligner, two_days):
    prior = DiffusionPrior(max_iter=1, n_channels=4, n_blocks=1, n_heads=2, n_steps=4)
    X, y, target = two_days.trials["day0"], two_days.y[:40], two_days.trials["day1"]
    fitted = quick(aligner, prior=prior).fit(X, y)
    assert isinstance(fitted.latent_model_, LinearLatentModel)
    alone = LinearLatentModel(4).fit(X, y).transform(X)
    np.testing.assert_array_equal(fitted.transform(X, session="source"), alone)
    Z = fitted.adapt(target).transform(target)
    assert Z.shape == (40, 20, 4)
    assert np.isfinite(Z).all() and Z.std() > 1e-3
    if "max_steps" in fitted.get_params(deep=False):
        assert len(fitted.loss_curve_["target"]) == 2


def test_a_permuted_session_is_aligned_by_its_geometry(two_days):
    X, y = two_days.trials["day0"], two_days.y[:40]
    aligner = quick(GeometryAligner, n_starts=50).fit(X, y)
    order = np.random.default_rng(0).permutation(X.shape[2])
    aligner.adapt(X[:, :, order])
    Z = aligner.transform(X, session="source")
    found = aligner.transform(X[:, :, order], session="target")
    np.testing.assert_allclose(found, Z, atol=0.01 * Z.std())


@pytest.mark.usefixtures("any_step_is_accepted")
@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
def test_gradient_steps_of_erdiff_move_the_read_in_and_not_the_model(two_days):
    X, y, target = two_days.trials["day0"], two_days.y[:40], two_days.trials["day1"]
    prior = DiffusionPrior(max_iter=3, n_channels=4, n_blocks=1, n_heads=2, n_steps=4)
    aligner = quick(
        ERDiffAligner, prior=prior, max_steps=30, learning_rate=3e-3, init="random"
    )
    aligner.fit(X, y)
    model = aligner.latent_model_
    before = model.filter_.copy(), model.offset_.copy(), model.readin_[0].copy()
    aligner.adapt(target)
    assert aligner.alignment_report_["target"].n_steps > 0
    start = clone(aligner).set_params(max_steps=0).fit(X, y).adapt(target)
    moved, unmoved = (a.sessions_["target"].readin[0] for a in (aligner, start))
    assert np.abs(moved - unmoved).max() > 1e-4
    after = model.filter_, model.offset_, model.readin_[0]
    for a, b in zip(before, after):
        np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
def test_it_stands_in_a_grid_beside_the_network(two_days):
    pipe = make_pipeline(
        GeometryAligner(n_starts=4, random_state=0), PerBinRegressor(LinearRegression())
    )
    grid = GridSearchCV(
        pipe,
        {
            "geometryaligner__latent_model": [
                LinearLatentModel(),
                SequentialVAE(max_iter=1, n_hidden=4),
            ],
            "geometryaligner__n_components": [2, 4],
        },
        cv=TargetKFold(2),
    )
    grid.fit(two_days.trials, two_days.y)
    scores = grid.cv_results_["mean_test_score"].reshape(2, 2)
    assert np.isfinite(scores).all()
    assert (scores[0] > scores[1]).all(), "one epoch is not enough for the network"
    best = grid.best_estimator_[0].latent_model_
    assert isinstance(best, LinearLatentModel)
    assert best.n_components == grid.best_params_["geometryaligner__n_components"]
