"""Label-free scores of aligners and pipelines, and scorers in searches."""

from copy import deepcopy

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline

from skerdiff import (
    GeometryAligner,
    IdentityAligner,
    PerBinRegressor,
    Trials,
    adapt,
    metrics,
)
from skerdiff.alignment import CycleGANAligner
from skerdiff.metrics import (
    LabelFreeScorer,
    circular_scorer,
    margin_scorer,
    r2_scorer,
    relative_residual,
    rigid_scorer,
)
from skerdiff.model_selection import TargetKFold
from skerdiff.preprocessing import GaussianSmoother

pytestmark = pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")

SCORERS = {
    name: getattr(metrics, name)
    for name in metrics.__all__
    if isinstance(getattr(metrics, name), LabelFreeScorer)
}
# those that take a second and more
COSTLY = ("bits_per_spike_scorer", "circular_scorer")
every = pytest.mark.parametrize(
    "scorer",
    [
        pytest.param(scorer, id=name, marks=pytest.mark.slow if name in COSTLY else ())
        for name, scorer in SCORERS.items()
    ],
)


def given(scorer, source):
    """The scorer; the circular one with the source's activity, which it needs."""
    return scorer.with_source(source) if scorer is circular_scorer else scorer


@pytest.fixture(scope="module")
def aligned(reaching, settings):
    """A pipeline that is aligned, and one that is not."""
    aligners = [
        GeometryAligner(n_starts=40, **settings),
        IdentityAligner(**settings),
    ]
    pipes = [
        make_pipeline(aligner, PerBinRegressor(Ridge())).fit(
            reaching.source, reaching.y_source
        )
        for aligner in aligners
    ]
    return [adapt(pipe, reaching.adapt) for pipe in pipes]


def test_all_scorers_are_tested():
    assert len(SCORERS) == 8


@every
def test_a_right_alignment_scores_higher(scorer, aligned, reaching):
    score = given(scorer, reaching.source)
    right, wrong = (score(pipe, reaching.test) for pipe in aligned)
    assert np.isfinite([right, wrong]).all()
    # two that cannot tell: latents turned the wrong way hold as much of the activity,
    # and who has not moved comes back to where he was
    if scorer not in (metrics.bits_per_spike_scorer, circular_scorer):
        assert right > wrong


@every
def test_labels_are_never_read(scorer, aligned, reaching):
    class Unreadable:
        def __getattribute__(self, name):
            raise AssertionError("labels were read")

    pipe, scorer = aligned[0], given(scorer, reaching.source)
    expected = scorer(pipe, reaching.test)
    assert scorer(pipe, reaching.test, Unreadable()) == expected
    assert scorer(pipe, reaching.test, np.full(3, np.nan)) == expected


@every
def test_scoring_changes_nothing(scorer, aligned, reaching):
    pipe, scorer = deepcopy(aligned[0]), given(scorer, reaching.source)
    before = pipe.predict(reaching.test)
    sessions = dict(pipe[0].sessions_)
    first = scorer(pipe, reaching.test)
    assert scorer(pipe, reaching.test) == first
    assert_array_equal(pipe.predict(reaching.test), before)
    assert list(pipe[0].sessions_) == list(sessions)
    for name, session in sessions.items():
        assert pipe[0].sessions_[name] is session


@every
def test_sessions_count_by_their_trials(scorer, reaching, settings):
    aligner = GeometryAligner(n_starts=2, **settings)
    aligner.fit(reaching.source, reaching.y_source)
    aligner.adapt(reaching.adapt, session="day1").adapt(reaching.third, session="day2")
    scorer = given(scorer, reaching.source)
    parts = {"day1": reaching.test, "day2": reaching.third[:20]}
    both = scorer(aligner, Trials({"source": reaching.source[:3], **parts}, "source"))
    scores = [scorer(aligner, Trials({name: X})) for name, X in parts.items()]
    weights = [len(X) for X in parts.values()]
    assert both == pytest.approx(np.average(scores, weights=weights))


@every
def test_steps_before_the_aligner_are_run(scorer, reaching, settings):
    aligner = GeometryAligner(n_starts=2, **settings)
    smoother = GaussianSmoother(2.0)
    pipe = make_pipeline(smoother, clone(aligner)).fit(reaching.source)
    adapt(pipe, reaching.adapt)
    smooth = smoother.fit_transform
    alone = clone(aligner).fit(smooth(reaching.source)).adapt(smooth(reaching.adapt))
    scorer = given(scorer, smooth(reaching.source))
    expected = scorer(alone, smooth(reaching.test))
    assert scorer(pipe, reaching.test) == pytest.approx(expected)


def test_wrong_pipelines_raise(reaching, settings):
    with pytest.raises(NotFittedError):
        rigid_scorer(GeometryAligner(**settings), reaching.test)
    pipe = make_pipeline(GaussianSmoother(), PerBinRegressor())
    pipe.fit(reaching.source, reaching.y_source)
    with pytest.raises(ValueError, match="'rigid'.* exactly one .a step"):
        rigid_scorer(pipe, reaching.test)
    assert repr(rigid_scorer) == "LabelFreeScorer('rigid')"


# -- what they look at -----------------------------------------------------------------
def test_comparison_of_an_array_and_of_trials(aligned, reaching):
    aligner = aligned[0][0]
    (by_array,) = aligner.compare(reaching.test).values()
    assert_array_equal(by_array.Z, aligner.transform(reaching.source, session="source"))
    assert_array_equal(by_array.Z_target, aligner.transform(reaching.test))
    assert_array_equal(by_array.activity, reaching.test)
    assert by_array.coordinates.shape == (110, 20, 8)
    assert by_array.coordinates_target.shape == (30, 20, 8)
    margin = margin_scorer(aligner, reaching.test)
    assert by_array.report["margin"] == pytest.approx(margin)
    trials = Trials({"source": reaching.source, "target": reaching.test})
    by_trials = aligner.compare(trials)
    assert list(by_trials) == ["target"]
    assert_array_equal(by_trials["target"].Z_target, by_array.Z_target)
    own = aligner.compare(Trials({"source": reaching.source}))
    assert list(own) == ["source"]
    assert relative_residual(own["source"].Z, own["source"].Z_target) < 1e-12


def test_rows_are_compared_like_trials(reaching, settings):
    rows = [X.reshape(-1, X.shape[2]) for X in (reaching.source, reaching.test)]
    flat = IdentityAligner(trial_length=20, **settings).fit(rows[0])
    (comparison,) = flat.compare(rows[0]).values()
    assert comparison.Z_target.shape == (110, 20, 8)


@every
def test_rows_are_scored_like_trials(scorer, reaching, settings):
    trials = [reaching.source[:60], reaching.adapt[:60], reaching.test]
    rows = [X.reshape(-1, X.shape[2])[:, :45] for X in trials]
    y = reaching.y_source[:60]
    flat = make_pipeline(IdentityAligner(trial_length=20, **settings), Ridge())
    flat.fit(rows[0], y.reshape(-1, 2))
    adapt(flat, rows[1])
    pipe = make_pipeline(IdentityAligner(**settings), PerBinRegressor(Ridge()))
    pipe.fit(trials[0][..., :45], y)
    adapt(pipe, trials[1][..., :45])
    expected = given(scorer, trials[0][..., :45])(pipe, trials[2][..., :45])
    assert given(scorer, rows[0])(flat, rows[2]) == pytest.approx(expected)


# -- there and back --------------------------------------------------------------------
def test_a_right_alignment_leads_back(reaching, settings):
    # the same trials in another order, by neurons in another order
    rng = np.random.default_rng(0)
    X = reaching.source[rng.permutation(110)][..., rng.permutation(60)]
    aligner = GeometryAligner(n_starts=4, **settings)
    pipe = make_pipeline(aligner, PerBinRegressor(Ridge()))
    pipe.fit(reaching.source, reaching.y_source)
    adapt(pipe, X)
    Z = aligner.transform(reaching.source, session="source")
    assert np.mean((aligner.adapt_back(X, reaching.source) - Z) ** 2) / Z.var() < 0.05
    assert circular_scorer.with_source(reaching.source)(pipe, X) > 0.95
    lost = aligner.adapt_back(X[:, ::-1], reaching.source)
    assert np.mean((lost - Z) ** 2) / Z.var() > 0.5


# -- sessions that are not there -------------------------------------------------------
@pytest.mark.filterwarnings("ignore::skerdiff.NewSessionWarning")
@every
def test_sessions_are_scored_as_they_are_read(scorer, aligned, reaching):
    # a new one must not be taken for one that is there, whatever its name
    pipe, scorer = deepcopy(aligned[0]), given(scorer, reaching.source)
    on_the_fly = scorer(pipe, reaching.third[:40])
    adapted = deepcopy(pipe)
    adapted[0].adapt(reaching.third[:40], session="target")
    assert scorer(adapted, reaching.third[:40]) == pytest.approx(on_the_fly)
    trials = Trials({"day0": reaching.source[:5], "day2": reaching.third[:40]})
    # of the target alone
    alone = trials[trials.session == "day2"]
    assert scorer(pipe, trials) == pytest.approx(scorer(pipe, alone))
    # the source goes by another name there, and is still no target
    assert list(pipe[0].compare(trials)) == ["day2"]


def test_a_search_that_compared_nothing_has_no_margin(reaching, settings):
    aligner = GeometryAligner(n_starts=1, **settings).fit(reaching.source)
    aligner.adapt(reaching.adapt)
    reader = aligner.sessions_["target"].with_report(margin=np.inf)
    aligner.sessions_ = {**aligner.sessions_, "target": reader}
    assert margin_scorer(aligner, reaching.test) == 0


def test_units_of_the_outputs_do_not_count(reaching, settings):
    scores = []
    for unit in (1.0, 1e3):
        y = reaching.y_source * [1.0, unit]
        aligner = GeometryAligner(n_starts=2, **settings).fit(reaching.source)
        Z = aligner.transform(reaching.source)
        pipe = make_pipeline(aligner, PerBinRegressor(Ridge(1e-9)).fit(Z, y))
        adapt(pipe, reaching.adapt)
        scores.append(
            [
                s(pipe, reaching.test)
                for s in (
                    metrics.agreement_scorer,
                    circular_scorer.with_source(reaching.source),
                )
            ]
        )
    np.testing.assert_allclose(*scores, rtol=1e-5)


def test_a_transformer_behind_the_aligner(aligned, reaching, settings):
    aligner = GeometryAligner(n_starts=2, **settings)
    pipe = make_pipeline(aligner, GaussianSmoother(0.5)).fit(reaching.source)
    adapt(pipe, reaching.adapt)
    score = metrics.agreement_scorer(pipe, reaching.test)
    assert score == pytest.approx(aligner.score(reaching.test), abs=0.1)


def test_the_way_back_goes_through_latent_maps(reaching, settings):
    aligner = CycleGANAligner(n_starts=1, max_steps=2, check_every=1, **settings)
    aligner.fit(reaching.source, reaching.y_source).adapt(reaching.adapt)
    Z = aligner.adapt_back(reaching.test, reaching.source)
    before = aligner.transform(reaching.source, session="source")
    assert Z.shape == before.shape
    # the way there goes through a map, and so does the way back
    assert (aligner.sessions_["target"].latent_map is None) == (
        aligner.alignment_report_["target"].n_steps == 0
    )
    assert not np.array_equal(Z, before)


def test_there_is_no_way_back_from_where_nobody_went(aligned, reaching):
    with pytest.raises(ValueError, match="fits none of the sessions.*adapt"):
        aligned[0][0].adapt_back(reaching.third, reaching.source)
    with pytest.raises(NotFittedError):
        clone(aligned[0][0]).adapt_back(reaching.test, reaching.source)
    with pytest.raises(ValueError, match="at least 4 trials per session, got 3"):
        aligned[0][0].adapt_back(reaching.test[:3], reaching.source)


def test_the_way_back_needs_the_source(aligned, reaching):
    pipe = aligned[0]
    with pytest.raises(ValueError, match="hold the source's.*with_source"):
        circular_scorer(pipe, reaching.test)
    trials = Trials({"source": reaching.source, "target": reaching.test})
    expected = circular_scorer.with_source(reaching.source)(pipe, reaching.test)
    assert circular_scorer(pipe, trials) == expected
    with pytest.raises(ValueError, match="60"):
        circular_scorer.with_source(reaching.test[..., :9])(pipe, reaching.test)


# -- in searches -----------------------------------------------------------------------
@pytest.mark.slow
def test_search_refits_on_a_label_free_score_while_r2_is_reported(reaching, settings):
    trials = Trials({"day0": reaching.source, "day1": reaching.adapt})
    y = np.concatenate([reaching.y_source, reaching.y_adapt])
    pipe = make_pipeline(IdentityAligner(**settings), PerBinRegressor(Ridge()))
    grid = {
        "identityaligner": [
            IdentityAligner(**settings),
            GeometryAligner(n_starts=40, **settings),
        ]
    }
    options = {"cv": TargetKFold(2), "error_score": "raise"}
    scoring = {"rigid": rigid_scorer, "r2": r2_scorer}
    search = GridSearchCV(pipe, grid, scoring=scoring, refit="rigid", **options)
    search.fit(trials, y)
    assert isinstance(search.best_estimator_[0], GeometryAligner)
    found = search.cv_results_
    assert found["mean_test_r2"][1] > found["mean_test_r2"][0] + 0.3
    # labels of the target change what is reported, and nothing else
    spoiled = np.where(trials.is_source[:, None, None], y, 1e3)
    again = clone(search).fit(trials, spoiled)
    assert_array_equal(again.cv_results_["mean_test_rigid"], found["mean_test_rigid"])
    assert again.best_index_ == search.best_index_
    assert_array_equal(again.predict(trials), search.predict(trials))
    assert again.cv_results_["mean_test_r2"][1] < found["mean_test_r2"][1]
    two = cross_validate(pipe, trials, y, scoring=scoring, n_jobs=2, **options)
    one = cross_validate(pipe, trials, y, scoring=scoring, **options)
    np.testing.assert_allclose(two["test_rigid"], one["test_rigid"], rtol=1e-4)
