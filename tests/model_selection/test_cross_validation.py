"""Cross-validation and searches of scikit-learn over sessions."""

import numpy as np
import pytest
import sklearn
import sklearn.experimental.enable_halving_search_cv
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.model_selection import cross_val_predict as sklearn_cross_val_predict
from sklearn.pipeline import make_pipeline

from skerdiff import (
    DiffusionPrior,
    ERDiffAligner,
    GeometryAligner,
    IdentityAligner,
    PerBinRegressor,
    SequentialVAE,
    adapt,
)
from skerdiff.datasets import make_reaching_sessions
from skerdiff.exceptions import NewSessionWarning
from skerdiff.metrics import behaviour_r2_score, r2_scorer, rmse_scorer
from skerdiff.model_selection import (
    CalibrationSplit,
    LeaveOneSessionOut,
    TargetKFold,
    TransductiveSplit,
    cross_val_predict,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning"),
    pytest.mark.usefixtures("scores_search_little"),
]

VAE = SequentialVAE(max_iter=2, n_hidden=4, n_readin=4, n_components=3)
PRIOR = DiffusionPrior(max_iter=1, n_channels=4, n_blocks=1, n_heads=2)


@pytest.fixture(scope="module")
def data():
    return make_reaching_sessions(
        n_trials=20, n_neurons=[10, 12], n_bins=6, random_state=0
    )


@pytest.fixture
def pipe():
    aligner = ERDiffAligner(VAE, PRIOR, n_starts=1, max_steps=2, random_state=0)
    return make_pipeline(aligner, PerBinRegressor(Ridge()))


@pytest.fixture
def cheap():
    return make_pipeline(IdentityAligner(VAE, random_state=0), PerBinRegressor(Ridge()))


# -- cross-validation ------------------------------------------------------------------
def scores_by_hand(pipe, trials, y, cv):
    scores = []
    for train, test in cv.split(trials):
        fitted = clone(pipe)
        few, behaviour = trials[train], y[train]
        fitted.fit(few["day0"], behaviour[few.is_source])
        adapt(fitted, few["day1"], session="day1")
        scores.append(behaviour_r2_score(y[test], fitted.predict(trials[test]["day1"])))
    return scores


def test_cross_val_score_is_fit_adapt_predict_by_hand(data, pipe):
    cv = TargetKFold(2)
    expected = scores_by_hand(pipe, data.trials, data.y, cv)
    assert expected[0] != expected[1]
    for routing in (False, True):
        for n_jobs in (None, 2):
            with sklearn.config_context(enable_metadata_routing=routing):
                scores = cross_val_score(
                    pipe, data.trials, data.y, cv=cv, n_jobs=n_jobs, error_score="raise"
                )
            np.testing.assert_allclose(scores, expected, rtol=1e-4)
    # here, for the same workers: starting them takes seconds
    search = GridSearchCV(
        pipe, {"erdiffaligner__n_components": [1, 3]}, cv=cv, n_jobs=2
    ).fit(data.trials, data.y)
    np.testing.assert_allclose(
        [search.cv_results_[f"split{k}_test_score"][1] for k in range(2)],
        expected,
        rtol=1e-4,
    )


def test_cross_validate_with_several_scorers(data, pipe):
    result = cross_validate(
        pipe,
        data.trials,
        data.y,
        cv=TargetKFold(2),
        scoring={"r2": r2_scorer, "rmse": rmse_scorer},
        return_estimator=True,
        return_indices=True,
        return_train_score=True,
        error_score="raise",
    )
    for k, test in enumerate(result["indices"]["test"]):
        guess = result["estimator"][k].predict(data.trials[test])
        assert result["test_r2"][k] == behaviour_r2_score(data.y[test], guess)
        assert result["test_rmse"][k] < 0
    assert np.isfinite(result["train_r2"]).all()


def test_cross_val_predict_is_adapting_to_the_other_folds(data, pipe):
    cv = TargetKFold(2)
    with pytest.raises(ValueError, match="only works for partitions"):
        sklearn_cross_val_predict(pipe, data.trials, data.y, cv=cv)
    guess = cross_val_predict(pipe, data.trials, data.y, cv=cv)
    assert guess.shape == data.y.shape
    assert_array_equal(np.isnan(guess).all((1, 2)), data.trials.is_source)
    for train, test in cv.split(data.trials):
        fitted = clone(pipe).fit(data.trials[train], data.y[train])
        assert_array_equal(guess[test], fitted.predict(data.trials[test]))
    spoiled = np.where(data.trials.is_source[:, None, None], data.y, np.nan)
    again = cross_val_predict(pipe, data.trials, spoiled, cv=cv, n_jobs=1)
    assert_array_equal(again, guess)


def test_latents_of_trials_left_out(data, cheap):
    aligner = cheap[0]
    cv = TargetKFold(2)
    Z = cross_val_predict(aligner, data.trials, cv=cv, method="transform")
    train, test = next(cv.split(data.trials))
    fitted = clone(aligner).fit(data.trials[train])
    assert_array_equal(Z[test], fitted.transform(data.trials[test]).to_array())
    with pytest.raises(AttributeError, match="IdentityAligner has no predict.*decoder"):
        cross_val_predict(aligner, data.trials, cv=cv)


def test_cross_val_predict_refuses_trials_tested_twice(data, cheap):
    cv = CalibrationSplit(8, n_splits=2, shuffle=True)
    with pytest.raises(ValueError, match="tests some trials more than once"):
        cross_val_predict(cheap, data.trials, data.y, cv=cv)


SPLITTERS = [
    TargetKFold(2),
    CalibrationSplit(8),
    LeaveOneSessionOut(),
    TransductiveSplit(),
]


def searches(pipe, cv, n_jobs):
    grid = {"perbinregressor__estimator__alpha": [1.0, 1e6]}
    options = {"cv": cv, "n_jobs": n_jobs, "error_score": "raise"}
    return [
        GridSearchCV(pipe, grid, **options),
        RandomizedSearchCV(pipe, grid, n_iter=2, random_state=0, **options),
        HalvingGridSearchCV(pipe, grid, min_resources=30, random_state=0, **options),
    ]


@pytest.mark.filterwarnings("ignore::skerdiff.NewSessionWarning")
@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("cv", SPLITTERS, ids=lambda cv: type(cv).__name__)
def test_every_tool_of_scikit_learn_takes_every_splitter(data, cheap, cv, routing):
    trials, y = data.trials, data.y
    n_splits = cv.get_n_splits(trials)
    with sklearn.config_context(enable_metadata_routing=routing):
        found = cross_validate(cheap, trials, y, cv=cv, error_score="raise")
        assert np.isfinite(found["test_score"]).all()
        for search in searches(cheap, cv, None):
            search.fit(trials, y)
            scores = search.cv_results_["mean_test_score"]
            assert np.isfinite(scores).all()
            assert len(search.cv_results_["split0_test_score"]) == len(scores)
            assert search.n_splits_ == n_splits
            assert search.predict(trials).shape == y.shape
        guess = cross_val_predict(cheap, trials, y, cv=cv)
        spoiled = np.where(trials.is_source[:, None, None], y, np.nan)
        assert_array_equal(cross_val_predict(cheap, trials, spoiled, cv=cv), guess)
        tested = np.concatenate([test for _, test in cv.split(trials)])
        assert set(np.flatnonzero(~np.isnan(guess).any((1, 2)))) == set(tested)


@pytest.mark.filterwarnings("ignore::skerdiff.NewSessionWarning")
def test_workers_find_what_one_process_finds(data, cheap):
    # in one test: starting workers takes seconds
    trials, y = data.trials, data.y
    for cv in SPLITTERS:
        one, two = (
            cross_validate(cheap, trials, y, cv=cv, n_jobs=n_jobs)["test_score"]
            for n_jobs in (1, 2)
        )
        np.testing.assert_allclose(one, two, rtol=1e-4)
    for one, two in zip(
        searches(cheap, TargetKFold(2), 1),
        searches(cheap, TargetKFold(2), 2),
        strict=True,
    ):
        scores = [s.fit(trials, y).cv_results_["mean_test_score"] for s in (one, two)]
        np.testing.assert_allclose(*scores, rtol=1e-4)
    one, two = (
        cross_val_predict(cheap, trials, y, cv=TargetKFold(2), n_jobs=n_jobs)
        for n_jobs in (1, 2)
    )
    np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-3)


def test_learning_curve_over_target_trials(data, cheap):
    n_source = data.trials.is_source.sum()
    sizes, _, scores = learning_curve(
        cheap,
        data.trials,
        data.y,
        cv=TargetKFold(2),
        train_sizes=[n_source + 4, n_source + 10],
        error_score="raise",
    )
    assert_array_equal(sizes - n_source, [4, 10])
    assert scores.shape == (2, 2) and np.isfinite(scores).all()
    train, test = next(TargetKFold(2).split(data.trials))
    few = train[: n_source + 4]
    fitted = clone(cheap).fit(data.trials[few], data.y[few])
    assert scores[0, 0] == fitted.score(data.trials[test], data.y[test])


@pytest.mark.parametrize("routing", [False, True])
def test_directions_reach_the_folds(data, cheap, routing):
    cv = TargetKFold(2)
    expected = [test for _, test in cv.split(data.trials, groups=data.direction)]
    plain = [test for _, test in cv.split(data.trials)]
    assert any(list(a) != list(b) for a, b in zip(expected, plain, strict=True))
    with sklearn.config_context(enable_metadata_routing=routing):
        given = {"groups": data.direction}
        given = {"params": given} if routing else given
        found = cross_validate(
            cheap, data.trials, data.y, cv=cv, return_indices=True, **given
        )
        guess = cross_val_predict(cheap, data.trials, data.y, cv=cv, **given)
        search = GridSearchCV(cheap, {"identityaligner__n_components": [2]}, cv=cv)
        search.fit(data.trials, data.y, groups=data.direction)
    for a, b in zip(found["indices"]["test"], expected, strict=True):
        assert_array_equal(a, b)
    scores = [search.cv_results_[f"split{k}_test_score"][0] for k in range(2)]
    again = clone(cheap).set_params(identityaligner__n_components=2)
    for (train, test), score in zip(
        cv.split(data.trials, groups=data.direction), scores, strict=True
    ):
        fitted = clone(again).fit(data.trials[train], data.y[train])
        assert score == fitted.score(data.trials[test], data.y[test])
    assert np.isfinite(guess[~data.trials.is_source]).all()


def test_one_score_per_target_session(cheap):
    trials, y = make_reaching_sessions(
        3, 20, [10, 12, 9], n_bins=6, random_state=0, return_X_y=True
    )
    cv = LeaveOneSessionOut()
    scores = cross_val_score(cheap, trials, y, cv=cv, error_score="raise")
    for name, score, (train, test) in zip(
        ("day1", "day2"), scores, cv.split(trials), strict=True
    ):
        source = trials.is_source
        alone = clone(cheap).fit(trials["day0"], y[source])
        adapt(alone, trials[train][name], session=name)
        assert score == pytest.approx(alone.score(trials[test][name], y[test]))
    assert scores[0] != scores[1]


@pytest.mark.filterwarnings("error::skerdiff.NewSessionWarning")
def test_only_the_transductive_split_aligns_what_it_scores(data, cheap):
    for cv in SPLITTERS[:3]:
        cross_validate(cheap, data.trials, data.y, cv=cv, error_score="raise")
    with pytest.raises(NewSessionWarning, match="aligned among the 20 trials given"):
        cross_validate(
            cheap, data.trials, data.y, cv=TransductiveSplit(), error_score="raise"
        )


def test_a_target_session_absent_from_training_raises_where_asked(data, cheap):
    strict = clone(cheap).set_params(identityaligner__on_new_session="raise")
    with pytest.raises(ValueError, match="Session 'day1' is of a session not met"):
        cross_validate(
            strict, data.trials, data.y, cv=TransductiveSplit(), error_score="raise"
        )


# -- searches --------------------------------------------------------------------------
@pytest.mark.parametrize("routing", [False, True])
def test_search_over_a_parameter_of_the_aligner(data, pipe, routing):
    with sklearn.config_context(enable_metadata_routing=routing):
        search = GridSearchCV(
            pipe,
            {"erdiffaligner__n_components": [1, 3]},
            cv=TargetKFold(2),
            error_score="raise",
        ).fit(data.trials, data.y)
    scores = search.cv_results_["mean_test_score"]
    assert scores[0] != scores[1]
    best = search.best_params_["erdiffaligner__n_components"]
    assert search.best_estimator_[0].n_components_ == best == [1, 3][np.argmax(scores)]
    # refitted on all trials, and ready for both sessions
    assert list(search.best_estimator_[0].sessions_) == ["day0", "day1"]
    assert search.predict(data.trials).shape == data.y.shape
    target = data.trials["day1"]
    assert_array_equal(
        search.predict(target), search.predict(data.trials)[~data.trials.is_source]
    )
    assert adapt(search, target[:10], session="later") is search
    assert "later" in search.best_estimator_[0].sessions_


def test_search_over_the_aligner_itself(data, pipe, any_step_is_accepted):
    aligners = [
        ERDiffAligner(VAE, PRIOR, n_starts=1, max_steps=2, random_state=0),
        GeometryAligner(VAE, n_starts=1, random_state=0),
        IdentityAligner(VAE, random_state=0),
    ]
    search = GridSearchCV(
        pipe,
        {"erdiffaligner": aligners, "erdiffaligner__n_components": [3]},
        cv=TargetKFold(2),
        error_score="raise",
    ).fit(data.trials, data.y)
    scores = search.cv_results_["mean_test_score"]
    assert len(set(scores)) == 3
    assert type(search.best_estimator_[0]) is type(aligners[int(np.argmax(scores))])
    for aligner in aligners:
        assert not hasattr(aligner, "sessions_"), "the search fitted what it was given"


def test_search_without_labels(data):
    aligner = GeometryAligner(VAE, n_starts=1, random_state=0)
    search = GridSearchCV(
        aligner,
        {"n_components": [1, 3]},
        cv=TargetKFold(2),
        error_score="raise",
    ).fit(data.trials)
    by_hand = [
        np.mean(
            [
                clone(aligner)
                .set_params(n_components=n)
                .fit(data.trials[train])
                .score(data.trials[test])
                for train, test in TargetKFold(2).split(data.trials)
            ]
        )
        for n in (1, 3)
    ]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], by_hand)
    assert by_hand[0] != by_hand[1] and np.isfinite(by_hand).all()
    assert search.transform(data.trials).to_array().shape[0] == len(data.trials)
    assert search.score(data.trials) == search.best_estimator_.score(data.trials)
