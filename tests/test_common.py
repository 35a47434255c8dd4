"""What scikit-learn asks of every estimator, and what every one of ours promises."""

import ast
import inspect
import io
import pickle
import re

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

from skerdiff import (
    alignment,
    decoding,
    diffusion,
    latent,
    preprocessing,
)
from skerdiff.utils import all_estimators
from tests.estimators import (
    ALIGNERS,
    ESTIMATORS,
    PRIOR,
    TRANSFORMERS,
    VAE,
    each,
    fit_small,
    name_of,
    small_data,
    use,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning"),
    pytest.mark.filterwarnings("ignore::skerdiff.OneBinTrialsWarning"),
    pytest.mark.usefixtures("scores_search_little"),
]


def test_every_public_estimator_is_checked():
    packages = (alignment, decoding, diffusion, latent, preprocessing)
    public = {
        getattr(package, name) for package in packages for name in package.__all__
    }
    concrete = {
        cls
        for cls in public
        if inspect.isclass(cls)
        and issubclass(cls, BaseEstimator)
        and not inspect.isabstract(cls)
    }
    assert concrete == {type(e) for e in ESTIMATORS}
    assert len(ESTIMATORS) == len(concrete)


def test_estimators_are_listed_by_type():
    aligners = dict(all_estimators("aligner"))
    assert aligners == {name_of(e): type(e) for e in ALIGNERS}
    assert [name for name, _ in all_estimators("density")] == ["DiffusionPrior"]
    assert [name for name, _ in all_estimators("regressor")] == ["PerBinRegressor"]
    assert set(aligners) < set(dict(all_estimators("transformer")))
    with pytest.raises(ValueError, match="type_filter"):
        all_estimators("classifier")


@each(ESTIMATORS)
def test_scikit_learn_checks_pass_in_full(estimator):
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    status = {
        what: [r["check_name"] for r in results if r["status"] == what]
        for what in ("passed", "failed", "skipped", "xfail")
    }
    assert not status["failed"] and not status["xfail"], [
        (r["check_name"], r["exception"]) for r in results if r["status"] == "failed"
    ]
    # needs SCIPY_ARRAY_API set before scikit-learn is imported
    assert set(status["skipped"]) <= {"check_array_api_input"}
    assert len(status["passed"]) >= 40
    assert sum(map(len, status.values())) == len(results)


EXTRA_CHECKS = [
    "check_param_validation",
    "check_dataframe_column_names_consistency",
    "check_inplace_ensure_writeable",
]
TRANSFORMER_CHECKS = [
    "check_set_output_transform",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]
PANDAS_CHECKS = [
    "check_set_output_transform_pandas",
    "check_global_output_transform_pandas",
]


@pytest.mark.parametrize("check", EXTRA_CHECKS)
@each(ESTIMATORS)
def test_extra_checks_of_scikit_learn_pass(estimator, check):
    getattr(estimator_checks, check)(name_of(estimator), estimator)


@pytest.mark.parametrize("check", TRANSFORMER_CHECKS)
@each(TRANSFORMERS)
def test_checks_of_transformers_pass(estimator, check):
    getattr(estimator_checks, check)(name_of(estimator), estimator)


# these checks fit on a data frame and transform an array on purpose, or the reverse
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.filterwarnings("ignore:X has feature names, but")
@pytest.mark.parametrize("check", PANDAS_CHECKS)
@each(TRANSFORMERS)
def test_checks_of_data_frame_output_pass(estimator, check):
    getattr(estimator_checks, check)(name_of(estimator), estimator)


@each(ESTIMATORS)
def test_the_tag_for_three_dimensions_is_as_it_behaves(estimator):
    fitted, X = fit_small(estimator)
    assert fitted.n_features_in_ == X.shape[2]
    assert len(use(fitted, X)) == len(X)


# -- documentation ---------------------------------------------------------------------
def documented(estimator, section):
    """Return name -> rest of the line, for a section of the class docstring."""
    doc = inspect.getdoc(type(estimator))
    match = re.search(rf"^{section}\n-+\n(.*?)(?=^\w[\w ]*\n-+$|\Z)", doc, re.S | re.M)
    assert match, f"{name_of(estimator)} documents no {section}"
    entries = re.findall(r"^(\w[\w, ]*?) : (.+)$", match[1], re.M)
    return {name: what for names, what in entries for name in names.split(", ")}


@each(ESTIMATORS)
def test_every_parameter_is_documented_in_order_with_its_default(estimator):
    signature = inspect.signature(type(estimator).__init__).parameters
    params = {name: p.default for name, p in signature.items() if name != "self"}
    docs = documented(estimator, "Parameters")
    assert list(docs) == list(params)
    for name, default in params.items():
        stated = re.search(r"default=(.+)$", docs[name])
        assert stated, f"no default of {name}"
        assert ast.literal_eval(stated[1]) == default, name


@each(ESTIMATORS)
def test_every_fitted_attribute_is_documented(estimator):
    X, y = small_data(n_bins=1)
    frame = pd.DataFrame(X[:, 0], columns=[f"neuron{i}" for i in range(X.shape[2])])
    fitted = clone(estimator).fit(frame, y[:, 0])
    properties = {
        name
        for cls in type(fitted).__mro__
        for name, value in vars(cls).items()
        if isinstance(value, property)
    }
    attributes = {
        name for name in {*vars(fitted), *properties} if re.match(r"[a-z]\w*_$", name)
    }
    assert attributes == set(documented(estimator, "Attributes"))


# -- parameters and persistence --------------------------------------------------------
@each(ESTIMATORS)
def test_parameters_survive_get_set_clone(estimator):
    params = estimator.get_params(deep=False)
    again = type(estimator)(**params)
    assert again.get_params(deep=False) == params
    for name, value in again.get_params(deep=False).items():
        assert value is params[name], f"{name} is not stored as it was given"
    reset = type(estimator)().set_params(**params)
    assert reset.get_params(deep=False) == params
    assert repr(clone(estimator)) == repr(estimator)


@each(ESTIMATORS)
def test_clone_of_a_fitted_estimator_is_unfitted(estimator):
    fitted, _ = fit_small(estimator)
    copy = clone(fitted)
    assert repr(copy) == repr(fitted)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        check_is_fitted(copy)


@pytest.mark.parametrize("way", ["pickle", "joblib", "deepcopy"])
@each(ESTIMATORS)
def test_a_stored_estimator_says_the_same_to_the_bit(estimator, way):
    fitted, X = fit_small(estimator)
    expected = use(fitted, X)
    if way == "pickle":
        again = pickle.loads(pickle.dumps(fitted))
    elif way == "joblib":
        buffer = io.BytesIO()
        joblib.dump(fitted, buffer)
        buffer.seek(0)
        again = joblib.load(buffer)
    else:
        from copy import deepcopy

        again = deepcopy(fitted)
    np.testing.assert_array_equal(use(again, X), expected)


@each(ALIGNERS)
def test_a_pickled_aligner_keeps_its_sessions(estimator):
    fitted, X = fit_small(estimator)
    target = small_data(n_neurons=8, seed=1)[0]
    fitted.adapt(target, session="day3")
    again = pickle.loads(pickle.dumps(fitted))
    assert list(again.sessions_) == ["source", "day3"]
    np.testing.assert_array_equal(again.transform(target), fitted.transform(target))
    np.testing.assert_array_equal(
        again.transform(X, session="source"), fitted.transform(X, session="source")
    )
    # the copy can go on where the original stands
    other = small_data(n_neurons=7, seed=2)[0]
    np.testing.assert_array_equal(
        again.adapt(other).transform(other), fitted.adapt(other).transform(other)
    )


@each([VAE, PRIOR])
def test_fitted_networks_lie_on_the_cpu_in_evaluation_mode(estimator):
    fitted, _ = fit_small(estimator)
    assert not fitted.module_.training
    assert {p.device for p in fitted.module_.parameters()} == {torch.device("cpu")}
    assert all(p.grad is None for p in fitted.module_.parameters())


# -- data frames -----------------------------------------------------------------------
@each(TRANSFORMERS)
def test_data_frame_output_of_trials_is_refused_with_advice(estimator):
    fitted, X = fit_small(estimator)
    fitted.set_output(transform="pandas")
    with pytest.raises(ValueError, match="takes 2-D input.*Pass 2-D X"):
        fitted.transform(X)
    with pytest.raises(ValueError, match="takes 2-D input.*Pass 2-D X"):
        clone(fitted).set_output(transform="pandas").fit_transform(X)
    with sklearn.config_context(transform_output="pandas"):
        unset = pickle.loads(pickle.dumps(fitted)).set_output(transform=None)
        with pytest.raises(ValueError, match="takes 2-D input"):
            unset.transform(X)
    fitted.set_output(transform="default")
    assert fitted.transform(X).shape[:2] == X.shape[:2]


@each(TRANSFORMERS)
def test_data_frame_output_of_rows_keeps_index_and_names(estimator):
    X, y = small_data()
    rows = pd.DataFrame(X.reshape(-1, X.shape[2]))
    rows.columns = [f"neuron{i}" for i in range(X.shape[2])]
    rows.index = rows.index[::-1]
    fitted = clone(estimator).set_params(trial_length=X.shape[1])
    if "random_state" in fitted.get_params():
        fitted.set_params(random_state=0)
    plain = clone(fitted).fit(rows).transform(rows)
    frame = fitted.set_output(transform="pandas").fit(rows).transform(rows)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == list(fitted.get_feature_names_out())
    assert list(frame.index) == list(rows.index)
    np.testing.assert_array_equal(frame.to_numpy(), plain)
