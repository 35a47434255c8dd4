"""Alignment under a diffusion prior."""

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from skerdiff import (
    ERDiffAligner,
    GeometryAligner,
    IdentityAligner,
    PerBinRegressor,
    Trials,
    adapt,
)
from skerdiff.alignment._erdiff import ERDiffObjective
from skerdiff.datasets import load_motor_cortex
from skerdiff.diffusion._sde import DiffusionSDE


@pytest.fixture(scope="module")
def fitted(reaching, erdiff_settings):
    aligner = ERDiffAligner(**erdiff_settings)
    return aligner.fit(reaching.source, reaching.y_source)


@pytest.fixture(scope="module")
def adapted(fitted, reaching):
    return copy.deepcopy(fitted).adapt(reaching.adapt)


@pytest.fixture(scope="module")
def decoder(fitted, reaching):
    Z = fitted.transform(reaching.source, session="source")
    return PerBinRegressor(Ridge()).fit(Z, reaching.y_source)


def variant(fitted, **params):
    """The fitted aligner with other parameters of `adapt`."""
    return copy.deepcopy(fitted).set_params(**params)


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_only_the_readin_moves(fitted, reaching):
    aligner = copy.deepcopy(fitted)
    models = aligner.latent_model_.module_, aligner.prior_.module_
    before = [weights(model) for model in models]
    latents = aligner.transform(reaching.source, session="source")
    aligner.adapt(reaching.adapt)
    assert aligner.alignment_report_["target"]["n_steps"] > 0
    for model, old in zip(models, before):
        new = model.state_dict()
        assert all(torch.equal(new[name], old[name]) for name in old)
        assert all(parameter.grad is None for parameter in model.parameters())
        assert all(p.dtype == torch.float64 for p in model.parameters())
    np.testing.assert_array_equal(
        aligner.transform(reaching.source, session="source"), latents
    )


def test_decoder_of_a_pipeline_stays_as_it_is(reaching, erdiff_settings):
    pipe = make_pipeline(ERDiffAligner(**erdiff_settings), PerBinRegressor(Ridge()))
    pipe.fit(reaching.source, reaching.y_source)
    coefficients = pipe[-1].estimator_.coef_.copy()
    adapt(pipe, reaching.adapt)
    np.testing.assert_array_equal(pipe[-1].estimator_.coef_, coefficients)
    assert pipe.score(reaching.test, reaching.y_test) > 0.8


def test_aligned_latents_decode_a_new_day(adapted, decoder, reaching, settings):
    identity = IdentityAligner(**settings).fit(reaching.source, reaching.y_source)
    lost = identity.adapt(reaching.adapt).transform(reaching.test)
    aligned = adapted.transform(reaching.test)
    score = decoder.score(aligned, reaching.y_test)
    assert score > decoder.score(lost, reaching.y_test) + 0.5
    assert score > 0.85


def test_report_keeps_the_best_step(adapted):
    report = adapted.alignment_report_["target"]
    values = dict(report["criterion_curve"])
    assert report["init"] == "geometry"
    assert report["n_steps"] == min(values, key=values.get) > 0
    assert list(values)[0] == 0
    assert {"residual", "margin", "scale", "n_trials"} <= set(report)


def test_no_steps_is_the_geometry_alone(fitted, reaching, settings):
    geometry = GeometryAligner(n_starts=40, **settings)
    geometry.fit(reaching.source, reaching.y_source).adapt(reaching.adapt)
    aligner = variant(fitted, max_steps=0).adapt(reaching.adapt)
    np.testing.assert_array_equal(
        aligner.transform(reaching.test), geometry.transform(reaching.test)
    )
    for ours, theirs in zip(
        aligner.sessions_["target"].readin, geometry.sessions_["target"].readin
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
def test_an_alignment_in_doubt_is_left_as_the_geometry_found_it(fitted, reaching):
    rng = np.random.default_rng(0)
    X = np.take_along_axis(
        reaching.adapt, rng.random(reaching.adapt.shape).argsort(0), 0
    )
    aligner = variant(fitted).adapt(X)
    report = aligner.alignment_report_["target"]
    assert report["confidence"] < 1 and "n_steps" not in report
    assert aligner.loss_curve_["target"] == []
    start = variant(fitted, max_steps=0).adapt(X)
    np.testing.assert_array_equal(aligner.transform(X), start.transform(X))


def test_steps_that_only_harm_leave_the_start(fitted, reaching):
    start = variant(fitted, max_steps=0).adapt(reaching.adapt)
    harmed = variant(fitted, learning_rate=1e6).adapt(reaching.adapt)
    assert harmed.alignment_report_["target"]["n_steps"] == 0
    np.testing.assert_array_equal(
        harmed.transform(reaching.test), start.transform(reaching.test)
    )


def test_more_trials_of_the_source_day_stay_in_place(fitted, decoder, reaching):
    known = fitted.transform(reaching.others, session="source")
    moved = copy.deepcopy(fitted).adapt(reaching.others).transform(reaching.others)
    scores = [decoder.score(Z, reaching.y_others) for Z in (known, moved)]
    assert scores[1] == pytest.approx(scores[0], abs=0.02)


def test_source_as_its_own_target_stays_in_place(fitted, decoder, reaching):
    known = fitted.transform(reaching.source, session="source")
    aligner = copy.deepcopy(fitted).adapt(reaching.source)
    moved = aligner.transform(reaching.source)
    scores = [decoder.score(Z, reaching.y_source) for Z in (known, moved)]
    assert scores[1] == pytest.approx(scores[0], abs=0.02)
    assert aligner.alignment_report_["target"]["residual"] < 1e-6


def test_permuted_neurons_are_recovered(fitted, decoder, reaching):
    order = np.random.default_rng(0).permutation(60)
    X = reaching.others[:, :, order]
    known = fitted.transform(reaching.others, session="source")
    lost = fitted.transform(X, session="source")
    found = copy.deepcopy(fitted).adapt(X).transform(X)
    score = decoder.score(known, reaching.y_others)
    assert decoder.score(lost, reaching.y_others) < score - 0.5
    assert decoder.score(found, reaching.y_others) > score - 0.04


@pytest.mark.parametrize("init", ["source", "random"])
def test_published_starts_run_and_report(fitted, reaching, init, any_step_is_accepted):
    aligner = variant(fitted, init=init, max_steps=10).adapt(reaching.adapt)
    report = aligner.alignment_report_["target"]
    assert report["init"] == init
    assert "margin" not in report
    values = dict(report["criterion_curve"])
    assert report["n_steps"] == min(values, key=values.get)
    assert len(aligner.loss_curve_["target"]) == 10


def test_source_start_is_the_source_readin(fitted, reaching):
    aligner = variant(fitted, init="source", max_steps=0).adapt(reaching.adapt)
    loadings, bias = aligner.sessions_["target"].readin
    source, source_bias = fitted.sessions_["source"].readin
    np.testing.assert_array_equal(loadings, source[:, :50])
    np.testing.assert_array_equal(bias, source_bias)


def test_random_start_centres_the_activations(fitted, reaching):
    aligner = variant(fitted, init="random", max_steps=0).adapt(reaching.adapt)
    model = aligner.latent_model_
    features = model.features(reaching.adapt)
    activations = model.activations(features, aligner.sessions_["target"].readin)
    np.testing.assert_allclose(activations.mean((0, 1)), 0, atol=1e-9)


@pytest.mark.parametrize("anchor", ["moments", "transport", None])
def test_every_anchor_lowers_the_criterion(
    fitted, decoder, reaching, anchor, any_step_is_accepted
):
    aligner = variant(fitted, anchor=anchor).adapt(reaching.adapt)
    report = aligner.alignment_report_["target"]
    values = dict(report["criterion_curve"])
    assert values[report["n_steps"]] < values[0]
    parts = {"score_matching"} if anchor is None else {"score_matching", "anchor"}
    assert all(set(losses) == parts for losses in aligner.loss_curve_["target"])
    Z = aligner.transform(reaching.test)
    assert decoder.score(Z, reaching.y_test) > 0.7


@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
def test_anchor_weight_counts(fitted, reaching):
    first = {
        (anchor, weight): variant(
            fitted, anchor=anchor, anchor_weight=weight, max_steps=1, n_starts=1
        )
        .adapt(reaching.adapt)
        .loss_curve_["target"][0]
        for anchor, weight in [
            (None, 1.0),
            ("moments", 0.0),
            ("moments", 1.0),
            ("moments", 2.0),
        ]
    }
    assert set(first[None, 1.0]) == {"score_matching"}
    assert first["moments", 0.0]["anchor"] == 0.0
    assert first["moments", 1.0]["anchor"] > 0.0
    twice = 2 * first["moments", 1.0]["anchor"]
    assert first["moments", 2.0]["anchor"] == pytest.approx(twice, rel=1e-4)
    assert len({losses["score_matching"] for losses in first.values()}) == 1


def test_score_tells_a_right_from_a_wrong_alignment(fitted, adapted, reaching):
    wrong = variant(fitted, init="random", max_steps=0).adapt(reaching.adapt)
    assert adapted.score(reaching.test) > wrong.score(reaching.test) + 0.1


@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
def test_three_sessions_in_one_container(fitted, adapted, reaching):
    trials = Trials(
        {"source": reaching.source, "target": reaching.adapt, "c": reaching.third}
    )
    y = np.full((len(trials), 20, 2), np.nan)
    y[trials.is_source] = reaching.y_source
    aligner = clone(fitted).fit(trials, y)
    Z = aligner.transform(trials)
    assert list(aligner.alignment_report_) == ["target", "c"]
    np.testing.assert_array_equal(Z["target"], adapted.transform(reaching.adapt))
    assert Z["c"].shape == (100, 20, 8)


def test_two_adaptations_agree_to_the_bit(fitted, adapted, reaching):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    again = copy.deepcopy(fitted).adapt(reaching.adapt)
    np.testing.assert_array_equal(
        again.transform(reaching.test), adapted.transform(reaching.test)
    )
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_n_components_and_noise_scale_override_their_models(reaching, erdiff_settings):
    # clones: other tests share these models
    aligner = clone(ERDiffAligner(**erdiff_settings | {"memory": None}))
    aligner.set_params(
        n_components=3,
        noise_scale=2.0,
        latent_model__max_iter=1,
        prior__max_iter=1,
    )
    aligner.fit(reaching.source[:20], reaching.y_source[:20])
    assert aligner.transform(reaching.source[:5]).shape == (5, 20, 3)
    assert aligner.prior_.noise_scale == 2.0
    assert aligner.prior_.module_.sde.noise_scale == 2.0
    assert aligner.latent_model.n_components == 8


def protocol(home, name, behaviour, source, seed):
    """Decoding of held-out target trials: aligned and not, with the source model."""
    trials, y = load_motor_cortex(
        name,
        behaviour=behaviour,
        data_home=home,
        download_if_missing=False,
        return_X_y=True,
        random_state=seed,
    )
    (target,) = set(trials.names) - {source}
    y_source, y_target = (y[trials.session == s] for s in (source, target))
    X, X_target = trials[source], trials[target]
    n = round(0.8 * len(X_target))
    aligner = ERDiffAligner(random_state=seed).fit(X, y_source)
    decoder = PerBinRegressor(Ridge()).fit(aligner.transform(X), y_source)
    aligner.adapt(X_target[:n])
    aligned = decoder.score(aligner.transform(X_target[n:]), y_target[n:])
    identity = IdentityAligner(random_state=seed).fit(X, y_source)
    identity.adapt(X_target[:n])
    lost = decoder.score(identity.transform(X_target[n:]), y_target[n:])
    print(f"{name} {source} seed {seed}: aligned {aligned:.3f}, not {lost:.3f}")
    return aligned, lost, aligner.latent_model_.active_share_


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, behaviour, source, least",
    [
        ("mihi", "position", "day0", 0.85),
        ("jango", "velocity", "day0", 0.72),
        ("jango", "velocity", "day16", 0.72),
    ],
)
def test_decoding_across_days_of_recordings(
    motor_cortex_home, name, behaviour, source, least, seed=0
):
    aligned, lost, active = protocol(motor_cortex_home, name, behaviour, source, seed)
    assert aligned >= least
    assert lost < aligned - 0.15
    assert active == 1.0


def test_a_denoiser_with_dropout_stays_in_evaluation_mode():
    """The loop trains objectives, but the prior is frozen."""

    class Noisy(torch.nn.Module):
        sde = DiffusionSDE()

        def __init__(self):
            super().__init__()
            self.dropout = torch.nn.Dropout(0.9)

        def forward(self, z_t, t):
            return self.dropout(z_t)

    source = torch.randn(6, 5, 2, generator=torch.Generator().manual_seed(0))
    objective = ERDiffObjective(source, Noisy().eval(), None, 1.0, 0.5).train()
    assert objective.training and not objective.denoiser.dropout.training
    first, second = (
        objective.losses(source, source, 0.0, torch.Generator().manual_seed(1))
        for _ in range(2)
    )
    assert first["score_matching"] == second["score_matching"]
