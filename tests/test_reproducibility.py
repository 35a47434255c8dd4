"""Seeds, global state, and what transform and adapt leave as it was."""

import pickle
import random
from copy import deepcopy

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from skerdiff import (
    DiffusionPrior,
    ERDiffAligner,
    GeometryAligner,
    IdentityAligner,
    NewSessionWarning,
    PerBinRegressor,
    SequentialVAE,
    Trials,
    adapt,
)
from skerdiff.alignment import _erdiff
from skerdiff.datasets import make_reaching_sessions
from skerdiff.diffusion._denoiser import SpatioTemporalDenoiser
from skerdiff.latent._modules import SequentialVAEModule
from skerdiff.preprocessing import GaussianSmoother

pytestmark = [
    pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning"),
    pytest.mark.usefixtures("scores_search_little"),
]
# where what the gradient does must show in the result
steps_count = pytest.mark.usefixtures("any_step_is_accepted")

VAE = SequentialVAE(max_iter=3, n_hidden=4, n_readin=4, n_components=3)
PRIOR = DiffusionPrior(
    max_iter=2, n_channels=4, n_blocks=1, n_heads=2, n_steps=4, n_probes=2
)
ERDIFF = ERDiffAligner(
    VAE, PRIOR, n_starts=2, max_steps=4, check_every=1, random_state=0
)
ALIGNERS = [
    ERDIFF,
    GeometryAligner(VAE, n_starts=2, random_state=0),
    IdentityAligner(VAE, random_state=0),
]
MODELS = [*ALIGNERS, clone(VAE).set_params(random_state=0)]


def each(estimators):
    return pytest.mark.parametrize(
        "estimator", estimators, ids=lambda e: type(e).__name__
    )


@pytest.fixture(scope="module")
def data():
    return make_reaching_sessions(
        n_sessions=3, n_trials=20, n_neurons=[10, 12, 14], n_bins=6, random_state=0
    )


@pytest.fixture(scope="module")
def X(data):
    return data.trials["day0"]


@pytest.fixture(scope="module")
def y(data):
    return data.y[data.trials.is_source]


@pytest.fixture(scope="module")
def fitted(X, y):
    """Fitted aligners by type; tests copy before they change one."""
    return {type(a): clone(a).fit(X, y) for a in ALIGNERS}


def assert_same_session(a, b):
    for left, right in zip(a.readin, b.readin):
        assert_array_equal(left, right)


def state(estimator):
    return pickle.dumps(estimator)


# -- seeds -----------------------------------------------------------------------------
@each(MODELS)
def test_two_fits_with_one_seed_agree_to_the_bit(estimator, X, y):
    first, second = (clone(estimator).fit(X, y) for _ in range(2))
    assert_array_equal(first.transform(X), second.transform(X))
    other = clone(estimator).set_params(random_state=1).fit(X, y)
    assert not np.array_equal(first.transform(X), other.transform(X))


@each(MODELS)
def test_a_second_fit_of_one_object_starts_over(estimator, X, y):
    again = clone(estimator).fit(X[::2, :, :7]).fit(X, y)
    assert_array_equal(again.transform(X), clone(estimator).fit(X, y).transform(X))


def test_global_generators_do_not_change_the_result(X, y):
    results = []
    for seed in (1, 2):
        before = torch.get_rng_state(), np.random.get_state(), random.getstate()
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
        results.append(clone(ERDIFF).fit(X, y).transform(X))
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])
    assert_array_equal(*results)


def test_a_prior_repeats_its_draws_and_estimates(X):
    prior = clone(PRIOR).set_params(random_state=0).fit(X)
    again = clone(PRIOR).set_params(random_state=0).fit(X)
    assert_array_equal(prior.sample(4, n_steps=3), again.sample(4, n_steps=3))
    assert_array_equal(prior.score_samples(X), again.score_samples(X))
    assert_array_equal(prior.sample(4, n_steps=3), prior.sample(4, n_steps=3))
    drawn = [prior.sample(2, n_steps=3, random_state=seed) for seed in (5, 5, 6)]
    assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_without_a_seed_two_fits_differ(X):
    model = clone(VAE)
    assert model.random_state is None
    assert not np.array_equal(model.fit(X).transform(X), model.fit(X).transform(X))


# -- global state ----------------------------------------------------------------------
def global_state():
    return {
        "numpy": [str(part) for part in np.random.get_state()],
        "numpy keys": np.random.get_state()[1].tolist(),
        "torch": torch.get_rng_state().tolist(),
        "python": random.getstate(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@steps_count
@each(ALIGNERS)
def test_aligners_leave_the_global_state_alone(estimator, data, X, y, three_threads):
    before = global_state()
    assert before["threads"] == 3
    target = data.trials["day1"]
    aligner = clone(estimator).fit(X, y)
    assert global_state() == before
    aligner.adapt(target)
    assert global_state() == before
    aligner.transform(target)
    aligner.score(target)
    with pytest.warns(NewSessionWarning):
        aligner.transform(data.trials["day2"])
    assert global_state() == before


def test_models_leave_the_global_state_alone(X, y, three_threads):
    before = global_state()
    vae = clone(VAE).set_params(random_state=0).fit(X, y)
    Z = vae.transform(X)
    vae.inverse_transform(Z)
    vae.score(X)
    assert global_state() == before
    prior = clone(PRIOR).set_params(random_state=0).fit(Z)
    assert global_state() == before
    prior.sample(2, n_steps=2)
    prior.score_samples(Z)
    prior.denoising_error(Z)
    assert global_state() == before


# -- sessions --------------------------------------------------------------------------
@steps_count
@each(ALIGNERS)
def test_order_of_adapting_does_not_matter(estimator, data, fitted):
    one, two = (deepcopy(fitted[type(estimator)]) for _ in range(2))
    for name in ("day1", "day2"):
        one.adapt(data.trials[name], session=name)
    for name in ("day2", "day1"):
        two.adapt(data.trials[name], session=name)
    for name in ("day1", "day2"):
        assert_same_session(one.sessions_[name], two.sessions_[name])
    together = deepcopy(fitted[type(estimator)])
    together.adapt(Trials({name: data.trials[name] for name in ("day2", "day1")}))
    assert_same_session(one.sessions_["day1"], together.sessions_["day1"])


@steps_count
@each(ALIGNERS)
def test_adapting_keeps_the_other_sessions(estimator, data, fitted, X):
    aligner = deepcopy(fitted[type(estimator)])
    source = aligner.transform(X)
    target = data.trials["day1"]
    first = aligner.adapt(target, session="day1").transform(target)
    aligner.adapt(data.trials["day2"], session="day2")
    assert list(aligner.sessions_) == ["source", "day1", "day2"]
    assert_array_equal(aligner.transform(X), source)
    assert_array_equal(aligner.transform(target), first)
    assert_array_equal(aligner.transform(target, session="day1"), first)
    # one of the same name is replaced, and as if it were the first
    aligner.adapt(data.trials["day2"], session="day1")
    aligner.adapt(target, session="day1")
    assert list(aligner.sessions_) == ["source", "day2", "day1"]  # the last adapted
    assert_array_equal(aligner.transform(target, session="day1"), first)


@steps_count
@each(ALIGNERS)
def test_adapting_changes_neither_model_nor_decoder(estimator, data, fitted, X):
    aligner = deepcopy(fitted[type(estimator)])
    before = state(aligner.latent_model_), state(getattr(aligner, "prior_", None))
    aligner.adapt(data.trials["day1"])
    after = state(aligner.latent_model_), state(getattr(aligner, "prior_", None))
    assert after == before


@each(ALIGNERS)
def test_a_fit_forgets_earlier_sessions(estimator, data, X):
    aligner = clone(estimator).fit(X).adapt(data.trials["day1"]).fit(X)
    assert list(aligner.sessions_) == ["source"]
    assert aligner.alignment_report_ == {}


@each(ALIGNERS)
def test_an_array_of_the_source_width_is_the_last_session(estimator, data, fitted, X):
    aligner = deepcopy(fitted[type(estimator)])
    other = data.trials["day1"][:, :, : X.shape[2]]
    before = aligner.transform(X)
    aligner.adapt(other, session="same width")
    assert_array_equal(aligner.transform(X), aligner.transform(X, session="same width"))
    assert_array_equal(aligner.transform(X, session="source"), before)


# -- transform -------------------------------------------------------------------------
@steps_count
@each(ALIGNERS)
def test_transform_never_changes_the_estimator(estimator, data, fitted, X):
    aligner = deepcopy(fitted[type(estimator)]).adapt(data.trials["day1"])
    attributes, before = set(vars(aligner)), joblib.hash(aligner)
    aligner.transform(X)
    aligner.transform(data.trials["day1"])
    aligner.score(data.trials["day1"])
    with pytest.warns(NewSessionWarning):
        aligner.transform(data.trials["day2"])
    with pytest.warns(NewSessionWarning):
        aligner.transform(Trials({"day2": data.trials["day2"]}))
    assert set(vars(aligner)) == attributes
    assert list(aligner.sessions_) == ["source", "target"]
    assert joblib.hash(aligner) == before


def test_models_are_not_changed_by_use(X):
    vae = clone(VAE).set_params(random_state=0).fit(X)
    Z = vae.transform(X)
    prior = clone(PRIOR).set_params(random_state=0).fit(Z)
    before = joblib.hash(vae), joblib.hash(prior)
    vae.transform(X), vae.inverse_transform(Z), vae.score(X)
    prior.sample(2, n_steps=2), prior.score_samples(Z), prior.denoising_error(Z)
    assert (joblib.hash(vae), joblib.hash(prior)) == before


@steps_count
@each(ALIGNERS)
def test_a_session_not_met_is_aligned_as_adapt_would(estimator, data, fitted):
    target = data.trials["day1"]
    aligner = fitted[type(estimator)]
    kept = deepcopy(aligner).adapt(target).transform(target)
    with pytest.warns(NewSessionWarning, match="neurons: 12.*call adapt to store it"):
        assert_array_equal(aligner.transform(target), kept)
    named = deepcopy(aligner).adapt(target, session="day1").transform(target)
    with pytest.warns(NewSessionWarning, match="'day1'.*call adapt to store it"):
        out = aligner.transform(Trials({"day1": target}))
    assert_array_equal(out.to_array(), named)


@steps_count
def test_a_pipeline_aligns_on_the_fly_and_by_adapt(data, X, y):
    target = data.trials["day1"]
    pipe = make_pipeline(GaussianSmoother(), clone(ERDIFF), PerBinRegressor())
    pipe.fit(X, y)
    coefficients = pipe[-1].estimator_.coef_.copy()
    with pytest.warns(NewSessionWarning, match="adapt"):
        on_the_fly = pipe.predict(target)
    assert adapt(pipe, target) is pipe
    assert_array_equal(pipe.predict(target), on_the_fly)
    assert_array_equal(pipe[-1].estimator_.coef_, coefficients)
    by_hand = deepcopy(pipe[1]).transform(GaussianSmoother().fit_transform(target))
    assert_array_equal(pipe[-1].predict(by_hand), on_the_fly)
    np.testing.assert_allclose(pipe.predict(target[:3]), on_the_fly[:3], atol=1e-10)


# -- memory ----------------------------------------------------------------------------
def test_memory_trains_each_source_model_once(X, y, data, tmp_path, monkeypatch):
    calls = []
    for model in (SequentialVAE, DiffusionPrior):

        def fit(self, X, y=None, original=model.fit, name=model.__name__):
            calls.append(name)
            return original(self, X, y)

        monkeypatch.setattr(model, "fit", fit)
    plain = clone(ERDIFF).fit(X, y)
    assert calls == ["SequentialVAE", "DiffusionPrior"]
    calls.clear()
    cached = clone(ERDIFF).set_params(memory=str(tmp_path))
    for max_steps in (4, 0, 2):
        aligner = clone(cached).set_params(max_steps=max_steps).fit(X, y)
        aligner.adapt(data.trials["day1"])
    assert calls == ["SequentialVAE", "DiffusionPrior"]
    GeometryAligner(VAE, random_state=0, memory=str(tmp_path)).fit(X, y)
    assert calls == ["SequentialVAE", "DiffusionPrior"], "methods share the source"
    assert_array_equal(clone(cached).fit(X, y).transform(X), plain.transform(X))
    calls.clear()
    clone(cached).set_params(n_components=2).fit(X, y)
    assert calls == ["SequentialVAE", "DiffusionPrior"]
    calls.clear()
    clone(cached).fit(X, y + 1e-3 * np.arange(6)[:, None])
    assert calls == ["SequentialVAE", "DiffusionPrior"], "other behaviour"


# -- interrupts and divergence ---------------------------------------------------------
def failing(what, after):
    calls = []

    def loss(original):
        def wrapped(*args, **kwargs):
            calls.append(1)
            value = original(*args, **kwargs)
            if len(calls) > after:
                if isinstance(what, float):
                    return value * what
                raise what
            return value

        return wrapped

    return loss


@pytest.mark.parametrize("module", [SequentialVAEModule, SpatioTemporalDenoiser])
@pytest.mark.parametrize("after", [0, 2])
def test_an_interrupt_is_raised_and_nothing_stays_changed(
    module, after, X, monkeypatch, three_threads
):
    before = global_state()
    monkeypatch.setattr(
        module, "loss", failing(KeyboardInterrupt(), after)(module.loss)
    )
    model = VAE if module is SequentialVAEModule else PRIOR
    model = clone(model).set_params(max_iter=20, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert not hasattr(model, "module_"), "half-trained"
    assert global_state() == before


@pytest.mark.parametrize("module", [SequentialVAEModule, SpatioTemporalDenoiser])
def test_a_loss_that_is_not_a_number_raises(module, X, monkeypatch):
    monkeypatch.setattr(module, "loss", failing(np.nan, 3)(module.loss))
    model = VAE if module is SequentialVAEModule else PRIOR
    model = clone(model).set_params(max_iter=20, random_state=0)
    with pytest.raises(ValueError, match="loss became nan in epoch.*learning_rate"):
        model.fit(X)


@steps_count
@pytest.mark.parametrize("after", [0, 3])
def test_an_interrupted_adapt_keeps_the_sessions(after, data, fitted, monkeypatch):
    aligner = deepcopy(fitted[ERDiffAligner]).adapt(data.trials["day1"])
    before = joblib.hash(aligner)
    monkeypatch.setattr(
        _erdiff,
        "denoising_loss",
        failing(KeyboardInterrupt(), after)(_erdiff.denoising_loss),
    )
    with pytest.raises(KeyboardInterrupt):
        aligner.adapt(data.trials["day2"])
    assert joblib.hash(aligner) == before


@steps_count
@pytest.mark.parametrize("after", [0, 2])
def test_an_objective_that_is_not_a_number_is_not_kept(
    after, data, fitted, monkeypatch
):
    aligner = deepcopy(fitted[ERDiffAligner])
    before = joblib.hash(aligner)
    monkeypatch.setattr(
        _erdiff, "denoising_loss", failing(np.nan, after)(_erdiff.denoising_loss)
    )
    try:
        aligner.adapt(data.trials["day1"])
    except ValueError as error:
        assert "nan" in str(error)
        assert joblib.hash(aligner) == before
    else:
        for array in aligner.sessions_["target"].readin:
            assert np.isfinite(array).all()
