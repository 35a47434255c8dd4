"""TargetKFold, and scikit-learn's cross-validation and searches over sessions."""

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline

from skerdiff import (
    DiffusionPrior,
    ERDiffAligner,
    GeometryAligner,
    IdentityAligner,
    PerBinRegressor,
    SequentialVAE,
    Trials,
    adapt,
)
from skerdiff.datasets import make_reaching_sessions
from skerdiff.metrics import behaviour_r2_score, r2_scorer, rmse_scorer
from skerdiff.model_selection import TargetKFold

pytestmark = pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")

VAE = SequentialVAE(max_iter=2, n_hidden=4, n_readin=4, n_components=3)
PRIOR = DiffusionPrior(max_iter=1, n_channels=4, n_blocks=1, n_heads=2)


@pytest.fixture
def sessions():
    return Trials(
        {"a": np.zeros((6, 2, 3)), "b": np.ones((9, 2, 4)), "c": np.ones((7, 2, 2))}
    )


@pytest.fixture(scope="module")
def data():
    return make_reaching_sessions(
        n_trials=20, n_neurons=[10, 12], n_bins=6, random_state=0
    )


@pytest.fixture
def pipe():
    aligner = ERDiffAligner(VAE, PRIOR, n_starts=1, max_steps=2, random_state=0)
    return make_pipeline(aligner, PerBinRegressor(Ridge()))


# -- folds -----------------------------------------------------------------------------
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("n_splits", [2, 3, 7])
def test_folds_partition_the_target_and_train_on_all_of_the_source(
    sessions, n_splits, shuffle
):
    mixed = sessions[np.random.RandomState(0).permutation(len(sessions))]
    cv = TargetKFold(n_splits, shuffle=shuffle)
    source = set(np.flatnonzero(mixed.is_source))
    folds = list(cv.split(mixed))
    assert len(folds) == n_splits == cv.get_n_splits(mixed)
    tested = np.concatenate([test for _, test in folds])
    assert_array_equal(np.sort(tested), np.flatnonzero(~mixed.is_source))
    for train, test in folds:
        assert source <= set(train)
        assert not set(train) & set(test)
        assert set(train) | set(test) == set(range(len(mixed)))
        assert not mixed[test].is_source.any()
        # each session is split by itself
        for name, size in {"b": 9, "c": 7}.items():
            share = (mixed.session[test] == name).sum()
            assert share in (size // n_splits, size // n_splits + 1)


def test_an_integer_seed_repeats_the_folds(sessions):
    cv = TargetKFold(3, random_state=4)
    first, second = ([test for _, test in cv.split(sessions)] for _ in range(2))
    for a, b in zip(first, second):
        assert_array_equal(a, b)
    other = [test for _, test in TargetKFold(3, random_state=5).split(sessions)]
    assert any(list(a) != list(b) for a, b in zip(first, other))
    default = [[test for _, test in TargetKFold(3).split(sessions)] for _ in range(2)]
    assert_array_equal(default[0][0], default[1][0])


def test_the_global_generator_is_left_alone(sessions):
    before = np.random.get_state()[1].copy()
    list(TargetKFold(3).split(sessions))
    assert_array_equal(np.random.get_state()[1], before)


def test_folds_never_read_labels(sessions):
    class Unreadable:
        def __getattribute__(self, name):
            raise AssertionError("labels were read")

    assert len(list(TargetKFold(3).split(sessions, Unreadable()))) == 3


@pytest.mark.parametrize("n_splits", [1, 0, 2.5, "3"])
def test_a_wrong_number_of_folds_raises(n_splits):
    with pytest.raises(ValueError, match="n_splits must be an integer of at least 2"):
        TargetKFold(n_splits)


def test_wrong_input_raises(sessions):
    with pytest.raises(TypeError, match="splits skerdiff.Trials.*got ndarray"):
        next(TargetKFold(2).split(np.zeros((4, 2, 3))))
    with pytest.raises(ValueError, match="a session other than the source 'a'"):
        next(TargetKFold(2).split(sessions[sessions.is_source]))
    with pytest.raises(ValueError, match="n_splits=8 is more than the 7.*'c'"):
        next(TargetKFold(8).split(sessions))


def test_repr_shows_the_settings():
    assert repr(TargetKFold(3)) == (
        "TargetKFold(n_splits=3, random_state=0, shuffle=True)"
    )


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


def test_cross_val_predict_is_refused_by_scikit_learn(data, pipe):
    # source trials are never in a test fold
    with pytest.raises(ValueError, match="only works for partitions"):
        cross_val_predict(pipe, data.trials, data.y, cv=TargetKFold(2))


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


def test_search_over_the_aligner_itself(data, pipe):
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
