"""PerBinRegressor: any regressor, bin by bin."""

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVR

from skerdiff import PerBinRegressor, Trials

N_TRIALS, N_BINS, WIDTH = 20, 6, 4


@pytest.fixture
def Z():
    return np.random.RandomState(0).randn(N_TRIALS, N_BINS, WIDTH)


@pytest.fixture
def y(Z):
    rng = np.random.RandomState(1)
    noise = 0.3 * rng.randn(N_TRIALS, N_BINS, 2)
    return Z @ rng.randn(WIDTH, 2) + noise + np.array([5.0, -3.0])


def fold(A):
    return A.reshape(-1, A.shape[-1])


@pytest.mark.parametrize(
    "regressor",
    [
        Ridge(0.7),
        KNeighborsRegressor(3),
        TransformedTargetRegressor(Ridge(1.0), transformer=StandardScaler()),
        make_pipeline(StandardScaler(), Ridge()),
    ],
    ids=lambda r: type(r).__name__,
)
def test_equals_folding_by_hand(Z, y, regressor):
    expected = clone(regressor).fit(fold(Z), fold(y)).predict(fold(Z))
    decoder = PerBinRegressor(regressor).fit(Z, y)
    assert_array_equal(decoder.predict(Z), expected.reshape(y.shape))
    assert_allclose(decoder.score(Z, y), r2_score(fold(y), expected))
    assert not hasattr(regressor, "n_features_in_"), "the regressor given was fitted"


def test_default_is_ridge(Z, y):
    assert_array_equal(
        PerBinRegressor().fit(Z, y).predict(Z),
        PerBinRegressor(Ridge()).fit(Z, y).predict(Z),
    )
    assert PerBinRegressor().estimator is None


def test_one_output_keeps_the_shape_that_it_came_in(Z, y):
    single = y[..., 0]
    with_axis = PerBinRegressor().fit(Z, y[..., :1])
    without = PerBinRegressor().fit(Z, single)
    assert with_axis.predict(Z).shape == (N_TRIALS, N_BINS, 1)
    assert without.predict(Z).shape == (N_TRIALS, N_BINS)
    assert_allclose(without.predict(Z), with_axis.predict(Z)[..., 0])
    rows = PerBinRegressor().fit(fold(Z), single.ravel())
    assert rows.predict(fold(Z)).shape == (N_TRIALS * N_BINS,)
    assert_allclose(rows.predict(fold(Z)), without.predict(Z).ravel())


def test_a_regressor_of_one_output_gets_one_dimension(Z, y):
    # would warn, hence fail, on a column
    decoder = PerBinRegressor(LinearSVR(random_state=0, max_iter=10000))
    assert decoder.fit(Z, y[..., 0]).predict(Z).shape == (N_TRIALS, N_BINS)


def test_score_of_one_output_is_pooled_over_bins_too(Z, y):
    single = y[..., 0] + 10 * np.arange(N_BINS)  # bins differ in their means
    decoder = PerBinRegressor().fit(Z, single)
    pooled = r2_score(single.ravel(), decoder.predict(Z).ravel())
    assert_allclose(decoder.score(Z, single), pooled)
    with_axis = PerBinRegressor().fit(Z, single[..., None])
    assert_allclose(with_axis.score(Z, single[..., None]), pooled)
    rows = PerBinRegressor().fit(fold(Z), single.ravel())
    assert_allclose(rows.score(fold(Z), single.ravel()), pooled)
    assert abs(pooled - r2_score(single, decoder.predict(Z))) > 0.1


def test_score_takes_weights_of_trials(Z, y):
    decoder = PerBinRegressor().fit(Z[:10], y[:10])
    weight = np.random.RandomState(0).rand(N_TRIALS)
    prediction = fold(decoder.predict(Z))
    expected = r2_score(fold(y), prediction, sample_weight=np.repeat(weight, N_BINS))
    assert_allclose(decoder.score(Z, y, sample_weight=weight), expected)
    assert abs(expected - decoder.score(Z, y)) > 1e-6
    first_half = np.r_[np.ones(10), np.zeros(10)]
    assert_allclose(
        decoder.score(Z, y, sample_weight=first_half), decoder.score(Z[:10], y[:10])
    )
    single = PerBinRegressor().fit(Z, y[..., 0])
    assert_allclose(
        single.score(Z, y[..., 0], sample_weight=first_half),
        single.score(Z[:10], y[:10, :, 0]),
    )


def test_score_takes_weights_of_rows(Z, y):
    decoder = PerBinRegressor().fit(fold(Z), fold(y))
    weight = np.random.RandomState(0).rand(N_TRIALS * N_BINS)
    assert_allclose(
        decoder.score(fold(Z), fold(y), sample_weight=weight),
        r2_score(fold(y), decoder.predict(fold(Z)), sample_weight=weight),
    )


def test_on_trials_only_source_rows_are_fitted(Z, y):
    trials = Trials({"source": Z[:12], "target": Z[12:]})[np.r_[12:20, 0:12]]
    behaviour = np.concatenate([y[12:], y[:12]])
    expected = PerBinRegressor().fit(Z[:12], y[:12])
    for junk in (np.nan, np.inf, 1e12, None):
        spoiled = behaviour.astype(object if junk is None else float)
        spoiled[:8] = junk
        decoder = PerBinRegressor().fit(trials, spoiled)
        assert_array_equal(decoder.estimator_.coef_, expected.estimator_.coef_)
        assert_array_equal(
            decoder.predict(trials), expected.predict(np.concatenate([Z[12:], Z[:12]]))
        )


def test_prediction_of_trials_is_in_their_order(Z, y):
    decoder = PerBinRegressor().fit(Z, y)
    trials = Trials({"a": Z[:12], "b": Z[12:]})
    order = np.random.RandomState(0).permutation(N_TRIALS)
    assert_array_equal(decoder.predict(trials[order]), decoder.predict(Z[order]))
    assert_allclose(decoder.score(trials[order], y[order]), decoder.score(Z, y))


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_works_in_cross_validation(Z, y, n_jobs):
    cv = KFold(4, shuffle=True, random_state=0)
    # threads start at once; test_model_selection uses processes
    with joblib.parallel_backend("threading"):
        scores = cross_val_score(PerBinRegressor(), Z, y, cv=cv, n_jobs=n_jobs)
        guess = cross_val_predict(PerBinRegressor(), Z, y, cv=cv, n_jobs=n_jobs)
    by_hand = [
        r2_score(
            fold(y[test]),
            Ridge().fit(fold(Z[train]), fold(y[train])).predict(fold(Z[test])),
        )
        for train, test in cv.split(Z)
    ]
    assert_allclose(scores, by_hand)
    assert guess.shape == y.shape


def test_parameters_of_the_regressor_can_be_searched(Z, y):
    search = GridSearchCV(
        PerBinRegressor(Ridge()), {"estimator__alpha": [1e-3, 1e6]}, cv=3
    ).fit(Z, y)
    assert search.best_params_ == {"estimator__alpha": 1e-3}
    others = GridSearchCV(
        PerBinRegressor(), {"estimator": [Ridge(1e6), LinearRegression()]}, cv=3
    ).fit(Z, y)
    assert isinstance(others.best_estimator_.estimator_, LinearRegression)


def test_a_bin_is_decoded_by_itself(Z, y):
    decoder = PerBinRegressor(KNeighborsRegressor(2)).fit(Z, y)
    shuffled = Z[:, ::-1]
    assert_array_equal(decoder.predict(shuffled), decoder.predict(Z)[:, ::-1])


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda Z, y: (Z, y[:-1]), "inconsistent numbers of samples.*20 trials"),
        (
            lambda Z, y: (Z, y[:, :-1]),
            r"shape \(20, 6, 'n_outputs'\), got \(20, 5, 2\)",
        ),
        (lambda Z, y: (Z, y[:, 0, 0]), "single value per trial"),
        (lambda Z, y: (Z, y[..., :0]), "behaviour per bin"),
        (lambda Z, y: (Z, np.where(y > 5, np.nan, y)), "Input y contains NaN"),
        (lambda Z, y: (np.where(Z > 1, np.inf, Z), y), "Input X contains infinity"),
        (lambda Z, y: (Z, [y[0], y[1, :3], *y[2:]]), "y is ragged.*warp_trials"),
        (lambda Z, y: (Z, None), "requires y to be passed"),
        (lambda Z, y: (fold(Z), fold(y)[:-1]), "X has 120 rows, y has shape"),
    ],
)
def test_wrong_input_raises(Z, y, spoil, message):
    with pytest.raises(ValueError, match=message):
        PerBinRegressor().fit(*spoil(Z, y))


@pytest.mark.parametrize("form", ["array", "trials", "rows"])
def test_another_width_raises(Z, y, form):
    decoder = PerBinRegressor().fit(Z, y)
    wide = np.concatenate([Z, Z], axis=2)
    X = {"array": wide, "trials": Trials({"a": wide}), "rows": fold(wide)}[form]
    with pytest.raises(
        ValueError, match="X has 8 features, but PerBinRegressor is expecting 4"
    ):
        decoder.predict(X)


# -- weights ---------------------------------------------------------------------------
def test_weights_of_trials_are_weights_of_their_bins():
    rng = np.random.RandomState(0)
    Z, y = rng.randn(12, 4, 3), rng.randn(12, 4, 2)
    weight = rng.randint(0, 3, 12)
    weighted = PerBinRegressor(Ridge()).fit(Z, y, sample_weight=weight)
    repeated = PerBinRegressor(Ridge()).fit(
        np.repeat(Z, weight, axis=0), np.repeat(y, weight, axis=0)
    )
    np.testing.assert_allclose(weighted.predict(Z), repeated.predict(Z), atol=1e-9)
    rows = PerBinRegressor(Ridge()).fit(
        Z.reshape(-1, 3), y.reshape(-1, 2), sample_weight=np.repeat(weight, 4)
    )
    np.testing.assert_allclose(
        rows.predict(Z.reshape(-1, 3)).reshape(y.shape), weighted.predict(Z), atol=1e-9
    )


def test_weights_of_target_trials_are_not_read():
    rng = np.random.RandomState(0)
    Z, y = rng.randn(12, 4, 3), rng.randn(12, 4, 2)
    trials = Trials({"a": Z[:6], "b": Z[6:]})
    weight = np.ones(12)
    expected = PerBinRegressor(Ridge()).fit(trials, y, weight).predict(Z)
    weight[6:] = 1e6
    found = PerBinRegressor(Ridge()).fit(trials, y, weight).predict(Z)
    np.testing.assert_array_equal(found, expected)


def test_weights_that_cannot_be_used_are_refused():
    Z, y = np.ones((5, 2, 1)), np.ones((5, 2, 1))
    with pytest.raises(
        ValueError, match=r"one weight for each of the 5 trials.*\(4,\)"
    ):
        PerBinRegressor(Ridge()).fit(Z, y, np.ones(4))
    for weights in (-np.ones(5), np.zeros(5)):
        with pytest.raises(ValueError, match="not be negative, nor zero everywhere"):
            PerBinRegressor(Ridge()).fit(Z, y, weights)
    with pytest.raises(ValueError, match="KNeighborsRegressor.fit takes none"):
        PerBinRegressor(KNeighborsRegressor()).fit(Z, y, np.ones(5))


class ListRidge(Ridge):
    """A regressor whose predictions are a list."""

    def predict(self, X):
        return super().predict(X).tolist()


def test_predictions_may_come_as_a_list(Z, y):
    expected = PerBinRegressor(Ridge()).fit(Z, y).predict(Z)
    assert_array_equal(PerBinRegressor(ListRidge()).fit(Z, y).predict(Z), expected)
