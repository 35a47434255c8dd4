"""The three forms of X: one session, several sessions, rows."""

from contextlib import ExitStack

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from skerdiff import (
    DiffusionPrior,
    ERDiffAligner,
    GeometryAligner,
    IdentityAligner,
    OneBinTrialsWarning,
    PerBinRegressor,
    SequentialVAE,
    Trials,
)
from skerdiff.base import TrialEstimator
from skerdiff.datasets import make_reaching_sessions
from skerdiff.preprocessing import GaussianSmoother, SquareRoot

VAE = SequentialVAE(max_iter=3, n_hidden=6, n_readin=5, n_components=3, random_state=0)
PRIOR = DiffusionPrior(
    max_iter=2,
    n_channels=4,
    n_blocks=1,
    n_heads=2,
    n_steps=4,
    n_probes=2,
    random_state=0,
)
ESTIMATORS = [
    SquareRoot(),
    GaussianSmoother(1.5),
    PerBinRegressor(),
    VAE,
    PRIOR,
    IdentityAligner(VAE, random_state=0),
    GeometryAligner(VAE, n_starts=1, random_state=0),
    ERDiffAligner(VAE, PRIOR, n_starts=1, max_steps=2, random_state=0),
]
TRANSFORMERS = [e for e in ESTIMATORS if hasattr(e, "transform")]
ALIGNERS = [e for e in ESTIMATORS if hasattr(e, "adapt")]

pytestmark = [
    pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning"),
    pytest.mark.usefixtures("scores_search_little"),
]


def each(estimators):
    return pytest.mark.parametrize(
        "estimator", estimators, ids=lambda e: type(e).__name__
    )


@pytest.fixture(scope="module")
def data():
    return make_reaching_sessions(
        n_trials=24, n_neurons=[12, 15], n_bins=6, random_state=0
    )


@pytest.fixture(scope="module")
def X(data):
    return data.trials["day0"]


@pytest.fixture(scope="module")
def y(data):
    return data.y[data.trials.is_source]


def use(estimator, X):
    for method in ("transform", "predict", "score_samples"):
        if hasattr(estimator, method):
            return getattr(estimator, method)(X)


def rows_of(A):
    return A.reshape(-1, A.shape[-1])


def plain(out):
    return out.to_array() if isinstance(out, Trials) else out


@each(ESTIMATORS)
def test_three_forms_give_the_same(estimator, X, y):
    of_array = use(clone(estimator).fit(X, y), X)
    trials = Trials({"source": X})
    of_trials = use(clone(estimator).fit(trials, y), trials)
    of_rows = use(
        clone(estimator)
        .set_params(trial_length=X.shape[1])
        .fit(rows_of(X), rows_of(y)),
        rows_of(X),
    )
    assert np.ptp(of_array) > 0
    np.testing.assert_allclose(plain(of_trials), of_array, atol=1e-10, rtol=0)
    np.testing.assert_allclose(
        of_rows.reshape(of_array.shape), of_array, atol=1e-10, rtol=0
    )


@each(TRANSFORMERS)
def test_form_of_output_follows_form_of_input(estimator, X, y):
    fitted = clone(estimator).set_params(trial_length=X.shape[1]).fit(X, y)
    out = fitted.transform(X)
    assert out.shape[:2] == X.shape[:2]
    trials = Trials({"source": X})
    of_trials = fitted.transform(trials)
    assert isinstance(of_trials, Trials) and of_trials.source == "source"
    np.testing.assert_array_equal(of_trials.to_array(), out)
    np.testing.assert_array_equal(fitted.transform(rows_of(X)), rows_of(out))


@each(ESTIMATORS)
def test_a_fit_on_any_form_takes_every_form_later(estimator, X, y):
    expected = use(clone(estimator).fit(X, y), X)
    fitted = clone(estimator).set_params(trial_length=X.shape[1])
    fitted.fit(rows_of(X), rows_of(y))
    np.testing.assert_allclose(use(fitted, X), expected, atol=1e-10, rtol=0)
    by_name = clone(estimator).fit(Trials({"source": X}), y)
    np.testing.assert_allclose(use(by_name, X), expected, atol=1e-10, rtol=0)


@each(ESTIMATORS)
def test_n_features_in_is_the_number_of_neurons(estimator, X, y):
    n_trials, n_bins, n_neurons = X.shape
    assert n_neurons not in (n_bins, n_trials)
    assert clone(estimator).fit(X, y).n_features_in_ == n_neurons
    assert clone(estimator).fit(Trials({"a": X}), y).n_features_in_ == n_neurons
    fitted = clone(estimator).set_params(trial_length=n_bins)
    assert fitted.fit(rows_of(X), rows_of(y)).n_features_in_ == n_neurons


@each([e for e in ESTIMATORS if not isinstance(e, DiffusionPrior)])
def test_of_several_sessions_the_source_is_fitted(estimator, data, X, y):
    behaviour = data.y.copy()
    behaviour[~data.trials.is_source] = np.nan
    fitted = clone(estimator).fit(data.trials, behaviour)
    assert fitted.n_features_in_ == X.shape[2]
    alone = clone(estimator).fit(Trials({"day0": X}), y)
    source = data.trials[data.trials.is_source]
    np.testing.assert_array_equal(plain(use(fitted, source)), plain(use(alone, source)))


@each(ESTIMATORS)
def test_order_of_trials_does_not_matter(estimator, X, y):
    fitted = clone(estimator).fit(X, y)
    order = np.random.RandomState(0).permutation(len(X))
    np.testing.assert_allclose(
        use(fitted, X[order]), use(fitted, X)[order], atol=1e-10, rtol=0
    )


@each(ESTIMATORS)
def test_a_trial_does_not_depend_on_those_beside_it(estimator, X, y):
    fitted = clone(estimator).fit(X, y)
    whole = use(fitted, X)
    for few in (slice(0, 1), slice(3, 8), [5, 5, 2]):
        np.testing.assert_allclose(use(fitted, X[few]), whole[few], atol=1e-10, rtol=0)


@each(TRANSFORMERS)
def test_float32_in_float32_out(estimator, X, y):
    for dtype in (np.float32, np.float64):
        fitted = clone(estimator).fit(X.astype(dtype), y)
        out = fitted.transform(X.astype(dtype))
        assert out.dtype == dtype
        trials = Trials({"source": X.astype(dtype)})
        assert fitted.transform(trials).to_array().dtype == dtype
    counts = X.astype(int)
    out = clone(estimator).fit(counts, y).transform(counts)
    assert out.dtype == np.float64
    np.testing.assert_array_equal(out, clone(estimator).fit(X, y).transform(X))


@each(ESTIMATORS)
def test_memory_layout_does_not_matter(estimator, X, y):
    expected = use(clone(estimator).fit(X, y), X)
    frozen = X.copy()
    frozen.setflags(write=False)
    backwards = X[:, :, ::-1].copy()[:, :, ::-1]
    assert backwards.strides[2] < 0
    for variant in (frozen, backwards, np.asfortranarray(X), X.tolist()):
        fitted = clone(estimator).fit(variant, y)
        np.testing.assert_array_equal(use(fitted, variant), expected)


@each(ESTIMATORS)
def test_input_is_never_changed(estimator, X, y):
    X_before, y_before = X.copy(), y.copy()
    use(clone(estimator).fit(X, y), X)
    np.testing.assert_array_equal(X, X_before)
    np.testing.assert_array_equal(y, y_before)


@each(ESTIMATORS)
def test_a_data_frame_of_rows_gives_names_and_the_same_numbers(estimator, X, y):
    names = [f"electrode {i}" for i in range(X.shape[2])]
    frame = pd.DataFrame(rows_of(X), columns=names)
    model = clone(estimator).set_params(trial_length=X.shape[1])
    fitted = clone(model).fit(frame, rows_of(y))
    assert list(fitted.feature_names_in_) == names
    expected = use(clone(model).fit(rows_of(X), rows_of(y)), rows_of(X))
    np.testing.assert_array_equal(use(fitted, frame), expected)
    with pytest.raises(ValueError, match="feature names"):
        use(fitted, frame[names[::-1]])


@each(ESTIMATORS)
def test_without_trial_length_each_row_is_a_trial(estimator, X, y):
    single, behaviour = X[:, :1], y[:, :1]
    message = f"{len(X)} rows counts as a trial of one bin.*set trial_length"
    with ExitStack() as stack:
        if not estimator._row_by_row:
            stack.enter_context(pytest.warns(OneBinTrialsWarning, match=message))
        fitted = clone(estimator).fit(single[:, 0], behaviour[:, 0])
    of_rows = use(fitted, single[:, 0])  # it is said once
    of_array = use(clone(estimator).fit(single, behaviour), single)
    np.testing.assert_allclose(
        of_rows.reshape(of_array.shape), of_array, atol=1e-10, rtol=0
    )


@each(ESTIMATORS)
def test_one_bin_trials_that_were_asked_for_are_no_news(estimator, X, y):
    clone(estimator).set_params(trial_length=1).fit(X[:, 0], y[:, 0])


@each(ALIGNERS)
def test_three_forms_of_a_new_session_give_the_same(estimator, data, X):
    target = data.trials["day1"]
    fitted = clone(estimator).set_params(trial_length=X.shape[1]).fit(X)
    expected = fitted.adapt(target, session="day1").transform(target)
    by_rows = clone(fitted).fit(X).adapt(rows_of(target), session="day1")
    np.testing.assert_allclose(
        by_rows.transform(rows_of(target)).reshape(expected.shape),
        expected,
        atol=1e-10,
        rtol=0,
    )
    at_once = clone(estimator).fit(data.trials)
    np.testing.assert_allclose(
        at_once.transform(data.trials)["day1"], expected, atol=1e-10, rtol=0
    )
    later = clone(estimator).fit(Trials({"day0": X})).adapt(data.trials)
    np.testing.assert_allclose(
        later.transform(data.trials)["day1"], expected, atol=1e-10, rtol=0
    )


def test_three_forms_give_the_same_predictions(data, X, y):
    def pipeline(**params):
        return make_pipeline(
            clone(ALIGNERS[-1]).set_params(**params), PerBinRegressor(**params)
        )

    expected = pipeline().fit(X, y).predict(X)
    rows = pipeline(trial_length=X.shape[1]).fit(rows_of(X), rows_of(y))
    np.testing.assert_allclose(
        rows.predict(rows_of(X)), rows_of(expected), atol=1e-10, rtol=0
    )
    trials = Trials({"source": X})
    np.testing.assert_allclose(
        pipeline().fit(trials, y).predict(trials), expected, atol=1e-10, rtol=0
    )


def test_nested_lists_of_another_width_pass_an_elementwise_step(data, X):
    target = data.trials["day1"]
    for step in (SquareRoot(), GaussianSmoother()):
        fitted = step.fit(X)
        np.testing.assert_array_equal(
            fitted.transform(target.tolist()), fitted.transform(target)
        )


class Recorder(TrialEstimator):
    """Gives back the behaviour that it was allowed to see."""

    def fit(self, X, y=None):
        X, form = self._check_X(X, reset=True)
        used = X.is_source if isinstance(X, Trials) else np.ones(len(X), dtype=bool)
        self.y_ = self._check_y(y, X, form, used)
        return self


@pytest.mark.parametrize("junk", [np.nan, np.inf, None, "north"])
def test_behaviour_of_target_trials_may_hold_anything(data, y, junk):
    behaviour = data.y.astype(object)
    behaviour[~data.trials.is_source] = junk
    seen = Recorder().fit(data.trials, behaviour).y_
    np.testing.assert_array_equal(seen, y)
    assert seen.dtype == np.float64


def test_behaviour_of_one_output_may_leave_out_its_axis(X, y):
    np.testing.assert_array_equal(Recorder().fit(X, y[..., 0]).y_, y[..., :1])


def test_another_source_can_be_named(data):
    swapped = data.trials.with_source("day1")
    fitted = Recorder().fit(swapped, data.y)
    assert fitted.n_features_in_ == data.trials["day1"].shape[2]
    np.testing.assert_array_equal(fitted.y_, data.y[~data.trials.is_source])
