"""Geometry alone, no adaptation, and what all aligners share."""

import copy
import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import Ridge

from skerdiff import (
    AmbiguousAlignmentWarning,
    DiffusionPrior,
    ERDiffAligner,
    GeometryAligner,
    IdentityAligner,
    NewSessionWarning,
    PerBinRegressor,
    SequentialVAE,
    Trials,
)
from skerdiff.latent import LinearLatentModel

LINEAR = LinearLatentModel(n_components=3)


@pytest.fixture(scope="module")
def geometry(reaching, settings):
    aligner = GeometryAligner(n_starts=40, **settings)
    return aligner.fit(reaching.source, reaching.y_source)


@pytest.fixture(scope="module")
def identity(reaching, settings):
    return IdentityAligner(**settings).fit(reaching.source, reaching.y_source)


@pytest.fixture(scope="module")
def decoder(geometry, reaching):
    Z = geometry.transform(reaching.source, session="source")
    return PerBinRegressor(Ridge()).fit(Z, reaching.y_source)


def fresh(fitted, **params):
    """A copy to adapt, so that the fixture stays as it is."""
    return copy.deepcopy(fitted).set_params(**params)


# for tests of bookkeeping, which must hold for good and bad alignments alike
quick = {"n_starts": 1}
may_be_ambiguous = pytest.mark.filterwarnings(
    "ignore::skerdiff.AmbiguousAlignmentWarning"
)


def test_source_latents_are_those_of_the_latent_model(geometry, reaching):
    np.testing.assert_array_equal(
        geometry.transform(reaching.source, session="source"),
        geometry.latent_model_.transform(reaching.source),
    )
    assert geometry.latent_model_.active_share_ == 1.0


def test_aligned_latents_decode_a_new_day(geometry, identity, decoder, reaching):
    moved = fresh(geometry).adapt(reaching.adapt)
    stayed = fresh(identity).adapt(reaching.adapt)
    aligned = decoder.score(moved.transform(reaching.test), reaching.y_test)
    lost = decoder.score(stayed.transform(reaching.test), reaching.y_test)
    oracle = SequentialVAE(n_hidden=32, max_iter=50, patience=20, random_state=0)
    oracle.fit(reaching.adapt, reaching.y_adapt)
    within = PerBinRegressor(Ridge())
    within.fit(oracle.transform(reaching.adapt), reaching.y_adapt)
    ceiling = within.score(oracle.transform(reaching.test), reaching.y_test)
    assert aligned > lost + 0.5
    assert aligned > ceiling - 0.12


def test_more_trials_of_the_source_day_stay_in_place(geometry, decoder, reaching):
    known = geometry.transform(reaching.others, session="source")
    moved = fresh(geometry).adapt(reaching.others).transform(reaching.others)
    scores = [decoder.score(Z, reaching.y_others) for Z in (known, moved)]
    assert scores[0] > 0.9
    assert abs(scores[1] - scores[0]) < 0.05
    for k in range(geometry.n_components_):
        assert np.corrcoef(known[..., k].ravel(), moved[..., k].ravel())[0, 1] > 0.9


def test_electrodes_that_stay_need_few_starts(geometry, decoder, reaching):
    # one random start each way: alone it finds the alignment seldom
    aligner = fresh(geometry, n_starts=1)
    X = reaching.others
    for name in "abcdef":
        Z = aligner.adapt(X, session=name).transform(X, session=name)
        assert decoder.score(Z, reaching.y_others) > 0.85


def test_permuted_neurons_are_recovered(geometry, identity, decoder, reaching):
    order = np.random.default_rng(0).permutation(60)
    X = reaching.others[:, :, order]
    moved = fresh(geometry).adapt(X).transform(X)
    assert decoder.score(moved, reaching.y_others) > 0.9
    lost = fresh(identity).adapt(X).transform(X)
    assert decoder.score(lost, reaching.y_others) < 0.5
    # the order of the neurons carries no information for geometry
    plain = fresh(geometry).adapt(reaching.others).transform(reaching.others)
    assert np.abs(moved - plain).max() < 1e-3


def test_order_of_trials_does_not_matter(geometry, decoder, reaching):
    order = np.random.default_rng(0).permutation(len(reaching.adapt))
    first = fresh(geometry).adapt(reaching.adapt).transform(reaching.test)
    second = fresh(geometry).adapt(reaching.adapt[order]).transform(reaching.test)
    for Z in (first, second):
        assert decoder.score(Z, reaching.y_test) > 0.85


def test_score_tells_a_right_alignment_from_none(geometry, identity, reaching):
    right = fresh(geometry).adapt(reaching.adapt)
    wrong = fresh(identity).adapt(reaching.adapt)
    assert right.score(reaching.test) > wrong.score(reaching.test) + 0.1
    assert geometry.score(reaching.source) == pytest.approx(1.0)
    assert right.score(reaching.test) < 1.0
    anything = np.full(len(reaching.test), np.nan)
    assert right.score(reaching.test, anything) == right.score(reaching.test)


def test_report_of_the_geometry(geometry, reaching):
    report = fresh(geometry).adapt(reaching.adapt).alignment_report_["target"]
    assert report["n_trials"] == 100
    assert report["n_neurons"] == 50
    assert 40 < report["n_active_neurons"] <= 50
    assert report["margin"] > 0.05
    assert 0 < report["residual"] < 1
    assert 0.3 < report["scale"] < 3
    assert report["n_candidates"] >= 2


def test_structureless_session_warns_that_it_is_ambiguous(geometry):
    X = np.random.default_rng(0).poisson(1.0, (60, 20, 40)).astype(float)
    with pytest.warns(AmbiguousAlignmentWarning, match="ambiguous"):
        adapted = fresh(geometry).adapt(X)
    assert adapted.alignment_report_["target"]["margin"] < 0.05


def test_clear_session_does_not_warn(geometry, reaching):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh(geometry).adapt(reaching.adapt)


@may_be_ambiguous
def test_order_of_sessions_does_not_matter(geometry, reaching):
    aligners = [fresh(geometry, **quick) for _ in range(2)]
    first = aligners[0].adapt(reaching.adapt, "a").adapt(reaching.third, "b")
    second = aligners[1].adapt(reaching.third, "b").adapt(reaching.adapt, "a")
    for name, X in {"a": reaching.test, "b": reaching.third}.items():
        np.testing.assert_array_equal(
            first.transform(X, session=name), second.transform(X, session=name)
        )


@may_be_ambiguous
def test_sessions_of_trials_are_those_adapted_one_by_one(geometry, reaching):
    trials = Trials(
        {"source": reaching.source, "a": reaching.adapt, "b": reaching.third}
    )
    y = np.full((len(trials), 20, 2), np.nan)
    y[trials.is_source] = reaching.y_source
    together = clone(geometry).set_params(**quick).fit(trials, y)
    assert list(together.sessions_) == ["source", "a", "b"]
    single = fresh(geometry, **quick).adapt(reaching.third, "b")
    single.adapt(reaching.adapt, "a")
    Z = together.transform(trials)
    assert isinstance(Z, Trials)
    for name in ("source", "a", "b"):
        expected = single.transform(trials[name], session=name)
        np.testing.assert_array_equal(Z[name], expected)


@may_be_ambiguous
def test_target_behaviour_is_never_read(geometry, reaching):
    trials = Trials({"source": reaching.source, "a": reaching.adapt})
    results = []
    for filler in (np.nan, 1e6):
        y = np.full((len(trials), 20, 2), filler)
        y[trials.is_source] = reaching.y_source
        aligner = clone(geometry).set_params(**quick).fit(trials, y)
        results.append(aligner.transform(trials).to_array())
    np.testing.assert_array_equal(*results)


@may_be_ambiguous
def test_new_session_is_aligned_on_the_fly(geometry, reaching):
    aligner = fresh(geometry, **quick)
    with pytest.warns(NewSessionWarning, match="adapt"):
        Z = aligner.transform(reaching.adapt)
    assert list(aligner.sessions_) == ["source"]
    expected = fresh(geometry, **quick).adapt(reaching.adapt).transform(reaching.adapt)
    np.testing.assert_array_equal(Z, expected)


@may_be_ambiguous
def test_adapting_again_replaces_the_session(geometry, reaching):
    aligner = fresh(geometry, **quick).adapt(reaching.third).adapt(reaching.adapt)
    expected = fresh(geometry, **quick).adapt(reaching.adapt).transform(reaching.test)
    assert list(aligner.sessions_) == ["source", "target"]
    np.testing.assert_array_equal(aligner.transform(reaching.test), expected)


@may_be_ambiguous
def test_source_is_read_the_same_after_adapting(geometry, reaching):
    aligner = fresh(geometry, **quick).adapt(reaching.adapt)
    np.testing.assert_array_equal(
        aligner.transform(reaching.source, session="source"),
        geometry.transform(reaching.source, session="source"),
    )


def test_without_adaptation_columns_keep_their_neuron(identity, reaching):
    X = reaching.others
    expected = identity.transform(X, session="source")
    same = fresh(identity).adapt(X).transform(X)
    np.testing.assert_allclose(same, expected, atol=1e-12)
    # missing neurons are silent ones, surplus ones are left out
    silent = np.concatenate([X[:, :, :40], np.zeros_like(X[:, :, 40:])], axis=2)
    narrow = fresh(identity).adapt(X[:, :, :40]).transform(X[:, :, :40])
    np.testing.assert_allclose(
        narrow, identity.transform(silent, session="source"), atol=1e-12
    )
    wide = np.concatenate([X, X[:, :, :7]], axis=2)
    np.testing.assert_allclose(
        fresh(identity).adapt(wide).transform(wide), expected, atol=1e-12
    )


@may_be_ambiguous
def test_failed_adapt_leaves_the_sessions_alone(geometry, reaching):
    aligner = fresh(geometry, **quick).adapt(reaching.adapt)
    before = aligner.transform(reaching.test)
    with pytest.raises(ValueError, match="silent"):
        aligner.adapt(np.zeros((20, 20, 50)))
    with pytest.raises(ValueError, match="too few"):
        aligner.adapt(reaching.adapt[:2])
    with pytest.raises(ValueError, match="bins"):
        aligner.adapt(reaching.adapt[:, :7])
    with pytest.raises(ValueError, match="source session"):
        aligner.adapt(reaching.adapt, session="source")
    np.testing.assert_array_equal(aligner.transform(reaching.test), before)


def test_memory_changes_no_result(geometry, reaching):
    aligner = clone(geometry).set_params(memory=None)
    aligner.fit(reaching.source, reaching.y_source)
    np.testing.assert_array_equal(
        aligner.transform(reaching.others), geometry.transform(reaching.others)
    )


# -- all or nothing --------------------------------------------------------------------
class FailingPrior(DiffusionPrior):
    """A prior whose fit fails."""

    def fit(self, Z, y=None):
        """Fail."""
        raise RuntimeError("no memory")


class PlainPrior(BaseEstimator):
    """A prior without parameters."""

    def fit(self, Z, y=None):
        """Learn nothing."""
        return self

    def denoiser(self):
        """Nothing to call."""


class FailingModel(LinearLatentModel):
    """A latent model whose fit fails after it has learned."""

    def fit(self, X, y=None, *, conditions=None, lengths=None):
        """Fail."""
        super().fit(X, y)
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "failing, error",
    [
        (ERDiffAligner(LINEAR, FailingPrior()), RuntimeError),
        (ERDiffAligner(FailingModel()), KeyboardInterrupt),
        (ERDiffAligner(LINEAR, noise_scale=2.0, prior=PlainPrior()), ValueError),
    ],
)
def test_a_fit_that_fails_leaves_the_aligner_as_it_was(reaching, failing, error):
    failing = clone(failing).set_params(n_starts=2, max_steps=0, random_state=0)
    before = dict(vars(failing))
    with pytest.raises(error):
        failing.fit(reaching.source)
    assert vars(failing) == before  # not fitted, and nothing kept
    # one that was fitted to other neurons still is
    fitted = GeometryAligner(LINEAR, n_starts=2, random_state=0).fit(reaching.adapt)
    fitted.latent_model = FailingModel()
    Z = fitted.transform(reaching.adapt)
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(reaching.source)
    assert fitted.n_features_in_ == 50
    np.testing.assert_array_equal(fitted.transform(reaching.adapt), Z)


def test_an_override_that_a_model_lacks_is_refused(reaching):
    aligner = ERDiffAligner(LINEAR, PlainPrior(), noise_scale=2.0)
    with pytest.raises(ValueError, match="noise_scale=2.0 .*PlainPrior.*Leave"):
        aligner.fit(reaching.source)


def test_a_message_names_what_was_called(reaching):
    aligner = GeometryAligner(LINEAR, n_starts=2, random_state=0).fit(reaching.source)
    aligner.adapt(reaching.adapt)
    with pytest.raises(ValueError, match="adapt_back needs at least 4 trials"):
        aligner.adapt_back(reaching.adapt[:3], reaching.source)
    with pytest.raises(ValueError, match="score needs at least 4 trials"):
        aligner.score(reaching.adapt[:3])
