"""Bad input: an error that says what came, what was expected and what to do."""

from copy import deepcopy

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
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
from skerdiff.preprocessing import GaussianSmoother, SquareRoot
from skerdiff.utils import all_estimators

pytestmark = [
    pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning"),
    pytest.mark.filterwarnings("ignore::skerdiff.NewSessionWarning"),
    pytest.mark.usefixtures("scores_search_little"),
]

VAE = SequentialVAE(max_iter=2, n_hidden=4, n_readin=4, n_components=3, random_state=0)
PRIOR = DiffusionPrior(max_iter=1, n_channels=4, n_blocks=1, n_heads=2, random_state=0)
ALIGNERS = [
    IdentityAligner(VAE, random_state=0),
    GeometryAligner(VAE, n_starts=1, random_state=0),
    ERDiffAligner(VAE, PRIOR, n_starts=1, max_steps=2, random_state=0),
]
MODELS = [*ALIGNERS, VAE, PRIOR, PerBinRegressor()]
ESTIMATORS = [*MODELS, SquareRoot(), GaussianSmoother()]


def each(estimators):
    return pytest.mark.parametrize(
        "estimator", estimators, ids=lambda e: type(e).__name__
    )


@pytest.fixture(scope="module")
def data():
    return make_reaching_sessions(
        n_trials=16, n_neurons=[10, 12], n_bins=6, random_state=0
    )


@pytest.fixture(scope="module")
def X(data):
    return data.trials["day0"]


@pytest.fixture(scope="module")
def y(data):
    return data.y[data.trials.is_source]


@pytest.fixture(scope="module")
def target(data):
    return data.trials["day1"]


@pytest.fixture(scope="module")
def fitted(X, y):
    return {type(e): clone(e).fit(X, y) for e in ESTIMATORS}


def use(estimator, X):
    for method in ("transform", "predict", "score_samples"):
        if hasattr(estimator, method):
            return getattr(estimator, method)(X)


def rows_of(X):
    return X.reshape(-1, X.shape[-1])


def set_one(X, value):
    X = X.copy()
    X[1, 2, 3] = value
    return X


def ragged_list(X):
    return [X[0], X[1, :4], *X[2:]]


def objects(arrays):
    out = np.empty(len(arrays), dtype=object)
    out[:] = arrays
    return out


def ragged_array(X):
    return objects(ragged_list(X))


def test_all_other_aligners_check_their_input_where_these_do():
    for name, aligner in all_estimators(type_filter="aligner"):
        own = {"fit", "adapt", "transform", "fit_transform", "score"} & set(
            vars(aligner)
        )
        assert not own, f"{name} has its own {own}: add it to ALIGNERS"


# Inputs that no estimator takes, whatever it is asked to do with them.
BAD = {
    "nan": (
        lambda X: set_one(X, np.nan),
        r"Input [XZ] contains NaN, in 1 of 16 trials \(trial 1\).*padded.*warp_trials",
    ),
    "infinite": (lambda X: set_one(X, -np.inf), "Input [XZ] contains infinity, in 1"),
    "nan in rows": (lambda X: rows_of(set_one(X, np.nan)), r"1 of 96 rows \(row 8\)"),
    "nan in Trials": (lambda X: Trials({"source": set_one(X, np.nan)}), "contains NaN"),
    "ragged": (ragged_list, "X is ragged: .*warp_trials"),
    "ragged array": (ragged_array, "X is ragged: .*warp_trials"),
    "no trials": (lambda X: X[:0], r"0 sample\(s\) .* minimum of 1 is required"),
    "no trials in Trials": (
        lambda X: Trials({"source": X})[[]],
        r"0 trial\(s\) while a minimum of 1 is required",
    ),
    "no bins": (lambda X: X[:, :0], r"0 bin\(s\) .* minimum of 1 is required"),
    "no neurons": (
        lambda X: X[:, :, :0],
        r"0 feature\(s\) .* minimum of 1 is required",
    ),
    "one dimension": (lambda X: X[0, 0], "Expected 2D array, got 1D array instead"),
    "four dimensions": (lambda X: X[None], "X has 4 axes.*skerdiff.Trials"),
    "text": (lambda X: np.full(X.shape, "spike"), "X holds text .*numbers are needed"),
    "numbers as text": (lambda X: X.astype(str), "X holds text .*astype"),
    "numbers as bytes": (lambda X: X.astype("S"), "X holds byte strings"),
    "text among objects": (lambda X: set_one(X.astype(object), "1"), "X holds str "),
    "dates": (lambda X: X.astype("datetime64[s]"), "X holds dates .*datetime64"),
    "time differences": (lambda X: X.astype("timedelta64[s]"), "X holds time diff"),
    "masked": (lambda X: np.ma.masked_equal(X, X[0, 0, 0]), "X contains NaN"),
    "masked trials": (
        lambda X: [np.ma.masked_equal(x, X[0, 0, 0]) for x in X],
        "X contains NaN",
    ),
    "huge": (lambda X: set_one(X, 1e300), "X holds values of up to 1e.300.*units"),
    "list of sessions": (lambda X: [X, X], "X has 4 axes.*skerdiff.Trials"),
    "list of unequal sessions": (lambda X: [X, X[:, :, :4]], "list of 2.*Trials"),
    "array of sessions": (lambda X: objects([X, X[:4]]), "list of 2.*Trials"),
    "a mapping": (lambda X: {"day0": X}, "X is a dict.*skerdiff.Trials"),
}


@pytest.mark.parametrize("what", BAD)
@each(ESTIMATORS)
def test_bad_activity_cannot_be_fitted(estimator, what, X, y):
    spoil, message = BAD[what]
    bad = spoil(X)
    with pytest.raises((TypeError, ValueError), match=message):
        clone(estimator).fit(bad, y[: len(bad)])


@pytest.mark.parametrize("what", BAD)
@each(ESTIMATORS)
def test_bad_activity_cannot_be_used(estimator, what, X, fitted):
    spoil, message = BAD[what]
    with pytest.raises((TypeError, ValueError), match=message):
        use(fitted[type(estimator)], spoil(X))


@pytest.mark.parametrize("what", BAD)
@each(ALIGNERS)
def test_bad_activity_cannot_be_adapted_to(estimator, what, target, fitted):
    spoil, message = BAD[what]
    aligner = fitted[type(estimator)]
    before = joblib.hash(aligner)
    with pytest.raises((TypeError, ValueError), match=message):
        aligner.adapt(spoil(target))
    assert joblib.hash(aligner) == before


@each(MODELS)
def test_another_width_in_rows_raises(estimator, X, y):
    n_bins = X.shape[1]
    model = clone(estimator).set_params(trial_length=n_bins).fit(rows_of(X), rows_of(y))
    name = type(estimator).__name__
    with pytest.raises(
        ValueError, match=f"X has 9 features, but {name} is expecting 10 features"
    ):
        use(model, rows_of(X)[:, :9])


@each(ALIGNERS)
def test_another_width_raises_where_new_sessions_are_refused(estimator, X, target):
    aligner = clone(estimator).set_params(on_new_session="raise").fit(X)
    for new in (target, Trials({"day1": target})):
        with pytest.raises(
            ValueError,
            match=r"neurons: 12; met: {'source': 10}.*Call adapt\(X\) first",
        ):
            aligner.transform(new)
    assert aligner.adapt(target).transform(target).shape == (*target.shape[:2], 3)


@pytest.mark.parametrize("form", ["array", "trials"])
def test_another_width_raises_in_a_model(form, fitted, target):
    new = target if form == "array" else Trials({"day1": target})
    with pytest.raises(ValueError, match="12.*SequentialVAE.*10"):
        fitted[SequentialVAE].transform(new)


@each([e for e in MODELS if not isinstance(e, PerBinRegressor)])
def test_one_trial_cannot_be_fitted(estimator, X, y):
    with pytest.raises(ValueError, match=r"1 sample\(s\).* minimum of 2 is required"):
        clone(estimator).fit(X[:1], y[:1])
    with pytest.raises(ValueError, match=r"1 sample\(s\).* minimum of 2 is required"):
        clone(estimator).fit(Trials({"a": X[:1], "b": X}), np.concatenate([y[:1], y]))


@pytest.mark.parametrize("n_trials", [1, 3])
@each(ALIGNERS[1:])
def test_too_few_trials_for_the_warm_start_raise(estimator, n_trials, target, fitted):
    aligner = fitted[type(estimator)]
    message = rf"'target' has {n_trials} sample\(s\).*at least 4 are needed"
    before = joblib.hash(aligner)
    with pytest.raises((TypeError, ValueError), match=message):
        aligner.adapt(target[:n_trials])
    with pytest.raises(ValueError, match=message):
        aligner.transform(target[:n_trials])
    assert joblib.hash(aligner) == before


@each(ALIGNERS)
def test_a_silent_session_raises(estimator, X, target, fitted):
    aligner = fitted[type(estimator)]
    for silent in (np.zeros_like(target), np.full_like(target, 3.0)):
        with pytest.raises(ValueError, match="'day1' is silent.*Check the channel map"):
            aligner.adapt(silent, session="day1")
        with pytest.raises(ValueError, match="'target' is silent"):
            aligner.transform(silent)
        with pytest.raises(ValueError, match="'b' is silent"):
            clone(estimator).fit(Trials({"a": X, "b": silent}))
    assert list(aligner.sessions_) == ["source"]


@each(ALIGNERS)
def test_a_silent_source_raises(estimator, X):
    with pytest.raises(ValueError, match="silent"):
        clone(estimator).fit(np.zeros_like(X))


@each(ALIGNERS)
def test_another_number_of_bins_raises(estimator, X, target, fitted):
    aligner = fitted[type(estimator)]
    with pytest.raises(
        ValueError, match="'day1' has 5 bins.*source has 6.*warp_trials"
    ):
        aligner.adapt(target[:, :5], session="day1")
    with pytest.raises(ValueError, match="5 bins per trial.* 6"):
        aligner.transform(X[:, :5])


@each([VAE, PRIOR])
def test_another_number_of_bins_raises_in_a_model(estimator, X, fitted):
    with pytest.raises(ValueError, match="5 bins.*fitted on trials of 6 bins"):
        use(fitted[type(estimator)], X[:, :5])


@each(ALIGNERS)
def test_an_unknown_session_raises(estimator, X, fitted):
    with pytest.raises(
        ValueError,
        match=r"'day7' has not been adapted to; there are \['source'\].*Call adapt",
    ):
        fitted[type(estimator)].transform(X, session="day7")


@each(ALIGNERS)
def test_the_wrong_width_for_a_named_session_raises(estimator, X, target, fitted):
    with pytest.raises(ValueError, match="12 features.*10"):
        fitted[type(estimator)].transform(target, session="source")


@each(ALIGNERS)
def test_adapting_the_source_raises(estimator, X, data, fitted):
    aligner = fitted[type(estimator)]
    with pytest.raises(ValueError, match="'source' is the source session.*call fit"):
        aligner.adapt(X, session="source")
    with pytest.raises(ValueError, match="a session other than the source 'source'"):
        aligner.adapt(Trials({"source": X}))


@each(ESTIMATORS)
def test_use_before_fit_raises(estimator, X):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        use(clone(estimator), X)


@each(ALIGNERS)
def test_adapt_and_score_before_fit_raise(estimator, X):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        clone(estimator).adapt(X)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        clone(estimator).score(X)
    pipe = make_pipeline(clone(estimator), PerBinRegressor())
    with pytest.raises(NotFittedError, match="not fitted yet"):
        adapt(pipe, X)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda y: y[:-1], "X has 16 trials, y has shape"),
        (lambda y: y[:, :-1], r"shape \(16, 6, 'n_outputs'\), got \(16, 5, 2\)"),
        (lambda y: y[:, 0, 0], "single value per trial"),
        (lambda y: y[:, 0], "behaviour per bin"),
        (lambda y: y[None], "X has 16 trials, y has shape"),
        (lambda y: 3.0, "X has 16 trials"),
        (lambda y: set_one(np.concatenate([y, y], 2), np.nan), "Input y contains NaN"),
        (lambda y: set_one(np.concatenate([y, y], 2), np.inf), "Input y contains inf"),
        (ragged_list, "y is ragged.*warp_trials"),
    ],
)
@each([ALIGNERS[1], VAE, PerBinRegressor()])
def test_wrong_behaviour_raises(estimator, spoil, message, X, y):
    with pytest.raises(ValueError, match=message):
        clone(estimator).fit(X, spoil(y))


@each(ALIGNERS)
def test_trials_without_source_raise(estimator, data):
    some = data.trials[~data.trials.is_source]
    with pytest.raises(
        ValueError, match=r"no trial of 'day0', only of \['day1'\].*with_source"
    ):
        clone(estimator).fit(some)


@each([*ALIGNERS, VAE])
def test_a_source_with_negative_values_cannot_be_fitted_as_counts(estimator, X):
    message = "negative values.*-1.*Poisson.*likelihood='gaussian'"
    name = "likelihood" if estimator is VAE else "latent_model__likelihood"
    with pytest.raises(ValueError, match=message):
        clone(estimator).set_params(**{name: "poisson"}).fit(set_one(X, -1.0))


@each([*ALIGNERS, VAE])
def test_an_offset_of_a_session_asks_for_no_new_source_model(
    estimator, X, target, fitted
):
    model = fitted[type(estimator)]
    assert np.isfinite(model.transform(set_one(X, -1.0))).all()
    if hasattr(model, "adapt"):
        model = deepcopy(model).adapt(target - target.mean((0, 1)), "centred")
        report = model.alignment_report_["centred"]
        assert report.bits_per_spike is None  # these are no counts
        assert np.isfinite(model.transform(target - 1.0, "centred")).all()


@each(ESTIMATORS)
def test_a_trial_length_that_does_not_divide_raises(estimator, X, y):
    model = clone(estimator).set_params(trial_length=7)
    with pytest.raises(
        ValueError, match="96 rows .bins., .*trial_length=7.*whole trial"
    ):
        model.fit(rows_of(X), rows_of(y))


@pytest.mark.parametrize(
    "estimator, params, message",
    [
        (PRIOR, {"n_heads": 3}, "n_heads=3 must divide half of n_channels=4"),
        (PRIOR, {"noise_scale": 0.0}, "'noise_scale' parameter of DiffusionPrior"),
        (PRIOR, {"schedule": "sigmoid"}, "'schedule' parameter.*'cosine'"),
        (ALIGNERS[2], {"init": "procrustes"}, "'init' parameter.*'geometry'"),
        (ALIGNERS[2], {"anchor": "mmd"}, "'anchor' parameter.*'moments'"),
        (
            ALIGNERS[2],
            {"prior__n_heads": 3},
            "n_heads=3 must divide half of n_channels=4",
        ),
        (ALIGNERS[1], {"on_new_session": "ignore"}, "'on_new_session'.*'align'"),
        (ALIGNERS[1], {"n_components": 0}, "'n_components' parameter"),
        (ALIGNERS[1], {"latent_model": Ridge()}, "'latent_model' parameter"),
        (VAE, {"likelihood": "binomial"}, "'likelihood' parameter.*'poisson'"),
        (VAE, {"device": "abacus"}, "device='abacus' is no device.*'cpu'"),
        (ALIGNERS[1], {"device": "abacus"}, "device='abacus' is no device.*'cpu'"),
        (PerBinRegressor(), {"estimator": 3}, "'estimator' parameter"),
        (GaussianSmoother(), {"smoothing": -1.0}, "'smoothing' parameter"),
    ],
)
def test_a_wrong_parameter_raises_in_fit(estimator, params, message, X, y):
    model = clone(estimator).set_params(**params)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)


@each(ALIGNERS)
def test_a_session_that_fails_is_named_and_leaves_the_others(
    estimator, X, target, fitted
):
    alone = deepcopy(fitted[type(estimator)]).adapt(target, session="day2")
    aligner = deepcopy(fitted[type(estimator)]).adapt(target, session="day1")
    before = joblib.hash(aligner.sessions_["day1"])
    several = Trials(
        {"day1": np.zeros_like(target), "day2": target, "day3": np.zeros_like(target)}
    )
    with pytest.raises(ValueError, match="2 of 3 .*'day1' is silent.*'day3' is silent"):
        aligner.adapt(several)
    assert list(aligner.sessions_) == ["source", "day1", "day2"]
    assert joblib.hash(aligner.sessions_["day1"]) == before
    np.testing.assert_array_equal(aligner.transform(target), alone.transform(target))


@each(ALIGNERS)
def test_a_lone_session_that_fails_leaves_the_aligner_as_it_was(
    estimator, X, target, fitted
):
    aligner = deepcopy(fitted[type(estimator)]).adapt(target, session="day1")
    before = joblib.hash(aligner)
    with pytest.raises(ValueError, match="session 'day2' is silent"):
        aligner.adapt(Trials({"day2": np.zeros_like(target)}))
    assert joblib.hash(aligner) == before


@each(ALIGNERS)
def test_score_of_one_trial_raises(estimator, X, fitted):
    with pytest.raises(ValueError, match="at least 4 trials per session, got 1"):
        fitted[type(estimator)].score(X[:1])


@pytest.mark.parametrize("steps", [0, 2])
def test_adapting_a_pipeline_needs_exactly_one_aligner(steps, X, y):
    aligner = ALIGNERS[0]
    pipe = make_pipeline(GaussianSmoother(), *[aligner] * steps, PerBinRegressor())
    if steps < 2:
        pipe.fit(X, y)
        with pytest.raises(ValueError, match="with exactly one .a step.*found 0"):
            adapt(pipe, X)
    else:
        pipe.fit(X, y)
        with pytest.raises(ValueError, match="with exactly one .a step.*found 2"):
            adapt(pipe, X)


def test_what_has_no_aligner_in_it_is_named(X, y):
    search = GridSearchCV(ALIGNERS[0], {}, cv=2, refit=False)
    for estimator in (PerBinRegressor().fit(X, y), search.fit(X, y)):
        name = type(estimator).__name__
        message = f"found 0 in {name}. Pass the fitted pipeline itself, or a search"
        with pytest.raises(ValueError, match=message):
            adapt(estimator, X)


@pytest.mark.parametrize("value", [0, 2.5, "ten"])
def test_wrong_arguments_of_sample_raise(value, fitted):
    prior = fitted[DiffusionPrior]
    for name in ("n_samples", "n_steps"):
        with pytest.raises(ValueError, match=f"{name} must be a positive integer"):
            prior.sample(**{name: value})
    with pytest.raises(ValueError, match="t must be a diffusion time"):
        prior.denoising_error(np.zeros((2, 6, 10)), t=2.0)


@each([*ALIGNERS, VAE, PerBinRegressor()])
def test_unknown_behaviour_names_the_trials(estimator, data, X, y):
    unknown = y.copy()
    unknown[[3, 7], 2, 0] = np.nan
    message = r"Input y contains NaN, in 2 of 16 trials \(trials 3, 7\). Behaviour of"
    with pytest.raises(ValueError, match=message):
        clone(estimator).fit(X, unknown)
    # in the numbers of all trials, of which the first are a target's
    days = Trials({"day1": data.trials["day1"], "day0": X}, source="day0")
    both = np.concatenate([np.full_like(y, np.nan), unknown])
    with pytest.raises(ValueError, match=r"\(trials 19, 23\)"):
        clone(estimator).fit(days, both)
