"""The contract of latent models: what it checks, and trials of unequal length."""

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError

from skerdiff import GeometryAligner, SequentialVAE
from skerdiff.alignment import MMDAligner
from skerdiff.datasets import make_reaching_sessions
from skerdiff.latent import LatentModel, LinearLatentModel
from skerdiff.latent._base import (
    by_length,
    check_fitted,
    check_lengths,
    is_within,
    without_padding,
)

N_TRIALS, N_BINS, N_NEURONS = 14, 8, 6
LENGTHS = np.r_[[3, 8, 5, 1], np.full(N_TRIALS - 4, N_BINS)]
BEHIND = np.arange(N_BINS) >= LENGTHS[:, None]
MODELS = [
    SequentialVAE(max_iter=3, n_hidden=5, n_readin=4, n_components=3, random_state=0),
    SequentialVAE(
        max_iter=3, n_hidden=5, n_readin=4, n_components=3, random_state=0, smoothing=0
    ),
    SequentialVAE(
        max_iter=3,
        n_hidden=5,
        n_readin=4,
        n_components=3,
        random_state=0,
        bidirectional=True,
    ),
    LinearLatentModel(n_components=3, n_readin=4, n_lags=3),
    LinearLatentModel(n_components=3, n_readin=4, n_lags=3, smoothing=0),
    LinearLatentModel(n_components=3, n_readin=4, n_lags=3, per_bin=False),
]
each = pytest.mark.parametrize(
    "model", MODELS, ids=lambda model: " ".join(str(model).split())
)


@pytest.fixture(scope="module")
def session():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((N_TRIALS, N_BINS, 2)).cumsum(1)
    X = rng.poisson(np.exp(0.5 + 0.5 * np.sin(y @ rng.standard_normal((2, N_NEURONS)))))
    return X.astype(float), y


def with_behind(A, fill):
    A = A.copy()
    A[BEHIND] = fill
    return A


# -- helpers ---------------------------------------------------------------------------
def test_by_length_gives_a_function_whole_trials_of_one_length():
    X = with_behind(np.ones((N_TRIALS, N_BINS, 2)), np.nan)
    shapes = []

    def total(trials):
        shapes.append(trials.shape)
        return np.repeat(trials.sum((1, 2), keepdims=True), trials.shape[1], axis=1)

    Z = by_length(total, X, LENGTHS)
    assert sorted(shapes) == [(1, 1, 2), (1, 3, 2), (1, 5, 2), (N_TRIALS - 3, 8, 2)]
    assert Z.shape == (N_TRIALS, N_BINS, 1)
    np.testing.assert_array_equal(Z[..., 0], np.where(BEHIND, 0, 2 * LENGTHS[:, None]))


def test_by_length_keeps_the_dtype_and_calls_once_without_lengths():
    X = np.ones((3, 4, 2), dtype=np.float32)
    assert by_length(np.copy, X, np.array([4, 2, 4])).dtype == np.float32
    assert by_length(lambda A: A, X, None) is X


@pytest.mark.parametrize(
    "lengths",
    [[1, 2], [0, 2, 4], [1, 2, 5], [1.0, 2.0, 3.0], [[1, 2, 3]], 3, ["1", "2", "3"]],
    ids=str,
)
def test_lengths_that_do_not_fit_are_refused(lengths):
    with pytest.raises(ValueError, match="from 1 to 4 for each of the 3 trials"):
        check_lengths(lengths, np.zeros((3, 4, 2)))


def test_lengths_are_an_array_or_none_if_no_trial_is_short():
    X = np.zeros((3, 4, 2))
    assert check_lengths(None, X) is None
    assert check_lengths([4, 4, 4], X) is None
    found = check_lengths([4, 1, 4], X)
    np.testing.assert_array_equal(found, [4, 1, 4])


def test_padding_is_what_is_not_within():
    X = np.full((N_TRIALS, N_BINS, 2), np.nan)
    np.testing.assert_array_equal(is_within(X, LENGTHS), ~BEHIND)
    assert is_within(X, None).all()
    clean = without_padding(X, LENGTHS)
    np.testing.assert_array_equal(clean == 0, np.repeat(BEHIND[..., None], 2, 2))
    assert np.isnan(X).all()


class Fitted:
    """What is there after fit."""

    def __init__(self, readin=None, n_bins=N_BINS):
        self.readin_, self.n_bins_ = readin, n_bins


@pytest.mark.parametrize(
    "readin",
    [
        None,
        (np.zeros((2, N_NEURONS)),),
        (np.zeros((N_NEURONS, 2)), np.zeros(2)),
        (np.zeros((2, N_NEURONS)), np.zeros(3)),
        (np.zeros((2, N_NEURONS)), np.zeros((2, 1))),
        (np.zeros((2, N_NEURONS)), 0.0),
    ],
)
def test_a_fitted_model_needs_a_read_in(readin):
    X = np.zeros((3, N_BINS, N_NEURONS))
    with pytest.raises(TypeError, match=r"Fitted has no usable readin_.*check_latent"):
        check_fitted(Fitted(readin), X)
    check_fitted(Fitted((np.zeros((2, N_NEURONS)), np.zeros(2))), X)


def test_a_fitted_model_needs_its_number_of_bins():
    X = np.zeros((3, N_BINS, N_NEURONS))
    readin = (np.zeros((2, N_NEURONS)), np.zeros(2))
    with pytest.raises(TypeError, match="n_bins_=7 after fit to trials of 8 bins"):
        check_fitted(Fitted(readin, 7), X)


# -- trials of unequal length ----------------------------------------------------------
def state_of(model):
    """All that was fitted, as one list of arrays."""
    if hasattr(model, "module_"):
        arrays = [tensor.numpy() for tensor in model.module_.state_dict().values()]
        arrays += [np.array(model.loss_curve_), np.array(model.validation_curve_)]
    else:
        arrays = [model.filter_, model.offset_, *model.readout_, model.noise_variance_]
    return [*arrays, *model.readin_, model.mean_activity_]


def assert_same_bits(first, second):
    for a, b in zip(state_of(first), state_of(second), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("fill", [np.nan, 1e6, -3.0])
@each
def test_padding_changes_not_one_bit_of_fit_and_encode(model, fill, session):
    X, y = session
    clean = clone(model).fit(
        with_behind(X, 0), with_behind(y, 0), conditions=np.arange(14), lengths=LENGTHS
    )
    other = clone(model).fit(
        with_behind(X, fill), with_behind(y, fill), lengths=LENGTHS
    )
    assert_same_bits(other, clean)
    features = clean.features(with_behind(X, fill), LENGTHS)
    np.testing.assert_array_equal(features, clean.features(X, LENGTHS))
    Z = clean.encode(with_behind(features, fill), lengths=LENGTHS)
    np.testing.assert_array_equal(Z, clean.encode(features, lengths=LENGTHS))
    assert (Z[BEHIND] == 0).all()
    assert Z[~BEHIND].all()


@each
def test_short_trials_are_read_as_when_they_are_alone(model, session):
    X, y = session
    fitted = clone(model).fit(X, y, lengths=LENGTHS)
    Z = fitted.encode(fitted.features(X, LENGTHS), lengths=LENGTHS)
    for trial, n in enumerate(LENGTHS[:4]):
        alone = fitted.encode(fitted.features(X[trial : trial + 1, :n]))
        np.testing.assert_allclose(Z[trial, :n], alone[0], atol=1e-12)


@each
def test_a_padded_fit_without_short_trials_is_the_plain_fit_to_the_bit(model, session):
    X, y = session
    padded = clone(model).fit(X, y, lengths=np.full(N_TRIALS, N_BINS))
    assert_same_bits(padded, clone(model).fit(X, y))


@each
def test_what_is_cut_off_by_lengths_is_not_learned(model, session):
    X, y = session
    short = clone(model).fit(X, y, lengths=LENGTHS)
    whole = clone(model).fit(X, y)
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(state_of(short), state_of(whole), strict=True)
    )
    np.testing.assert_allclose(short.mean_activity_, X[~BEHIND].mean(0), rtol=1e-6)


@each
def test_zeros_behind_trials_do_not_hide_that_they_are_silent(model):
    X = np.ones((N_TRIALS, N_BINS, 2))
    with pytest.raises(ValueError, match="X is silent"):
        clone(model).fit(X, lengths=LENGTHS)


@each
def test_lengths_need_an_array_of_trials(model, session):
    X, _ = session
    with pytest.raises(ValueError, match="lengths goes with X of shape"):
        clone(model).fit(X[:, 0], lengths=LENGTHS)
    with pytest.raises(ValueError, match="from 1 to 8"):
        clone(model).fit(X, lengths=LENGTHS + 1)


# -- bins as they come -----------------------------------------------------------------
@each
def test_step_gives_the_latents_of_transform_or_says_that_it_looks_ahead(
    model, session
):
    X, y = session
    fitted = clone(model).fit(X, y)
    if model.smoothing or getattr(model, "bidirectional", False):
        with pytest.raises(ValueError, match="looks ahead.*smoothing=0"):
            fitted.step(X[0, 0])
        return
    Z = fitted.transform(X[:2])
    for trial, expected in zip(X, Z):
        state = None
        for counts, z in zip(trial, expected):
            found, state = fitted.step(counts, state=state)
            np.testing.assert_allclose(found, z, atol=1e-12)


# -- what aligners take ----------------------------------------------------------------
class OnlyTransform(BaseEstimator):
    """What scikit-learn calls a transformer."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X


@pytest.mark.parametrize("aligner", [GeometryAligner, MMDAligner])
def test_an_object_with_fit_and_transform_alone_is_refused(aligner, session):
    with pytest.raises(ValueError, match="'latent_model'.*'features'"):
        aligner(OnlyTransform()).fit(session[0])


def test_a_model_on_the_contract_alone_works_without_gradients(duck_model):
    data = make_reaching_sessions(1, 60, 20, random_state=0)
    X = data.trials["day0"]
    aligner = GeometryAligner(duck_model, n_components=3, n_starts=50, random_state=0)
    aligner.fit(X[:30])
    assert aligner.transform(X[:30]).shape == (30, 20, 3)
    order = np.random.default_rng(0).permutation(20)
    aligner.adapt(X[:30, :, order], session="turned")
    Z = aligner.transform(X[30:], session="source")
    found = aligner.transform(X[30:, :, order], session="turned")
    np.testing.assert_allclose(found, Z, atol=1e-8)
    assert Z.std() > 0.1
    with pytest.raises(ValueError, match="'latent_model'.*'torch_encoder'"):
        MMDAligner(duck_model).fit(X[:30])


class Written(LatentModel):
    """What must be written, and no more."""

    def __init__(self, n_components=2):
        self.n_components = n_components

    def fit(self, X, y=None, *, conditions=None, lengths=None):
        self.n_bins_, self.n_features_in_ = X.shape[1:]
        self.readin_ = np.eye(self.n_components, X.shape[2]), np.zeros(2)
        return self

    def features(self, X, lengths=None):
        return X.astype(float)

    def encode(self, features, readin=None, lengths=None):
        return self.activations(features, readin)


def test_names_of_latents_need_nothing_to_be_written(session):
    with pytest.raises(NotFittedError):
        Written().get_feature_names_out()
    names = Written().fit(session[0]).get_feature_names_out()
    assert list(names) == ["written0", "written1"]


def test_a_model_need_not_declare_what_its_parameters_may_be(session):
    X = session[0]
    assert not hasattr(Written, "_parameter_constraints")
    np.testing.assert_array_equal(Written().fit(X).transform(X), X[:, :, :2])
    aligner = GeometryAligner(Written(), n_starts=1, random_state=0).fit(X)
    np.testing.assert_array_equal(aligner.transform(X), X[:, :, :2])


class NoReadIn(OnlyTransform):
    """Has the methods, but not what fit must leave."""

    features = activations = encode = OnlyTransform.transform


def test_what_fit_must_leave_is_asked_for(session):
    with pytest.raises(TypeError, match="NoReadIn has no usable readin_ after fit"):
        GeometryAligner(NoReadIn()).fit(session[0])


def test_the_base_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        LatentModel()


def test_encoders_are_frozen_copies_in_double_precision(session):
    X, y = session
    for model in MODELS:
        module = clone(model).fit(X, y).torch_encoder()
        tensors = [*module.parameters(), *module.buffers()]
        assert {tensor.dtype for tensor in tensors} == {torch.float64}
        assert not any(tensor.requires_grad for tensor in tensors)
        assert not module.training
