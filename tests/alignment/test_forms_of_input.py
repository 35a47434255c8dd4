"""Names, columns, devices, precision and size: how sessions come to an aligner."""

import pickle
import subprocess
import sys
import time
import warnings
from enum import Enum

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skerdiff import AmbiguousAlignmentWarning, GeometryAligner, SequentialVAE
from skerdiff.alignment import MMDAligner
from skerdiff.latent import LinearLatentModel


class NeverFitted(LinearLatentModel):
    """A model whose fit must not be reached."""

    def fit(self, X, y=None, **params):
        raise AssertionError("it was fitted")


@pytest.fixture
def frames():
    rng = np.random.RandomState(0)
    source, target = (
        pd.DataFrame(
            rng.poisson(3.0, (60, n)).astype(float),
            columns=[f"{day}_{i}" for i in range(n)],
        )
        for day, n in (("monday", 6), ("tuesday", 5))
    )
    model = LinearLatentModel(n_components=2)
    aligner = GeometryAligner(model, n_starts=1, trial_length=5, random_state=0)
    return aligner.fit(source), target


@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
def test_columns_of_a_session_are_those_it_was_adapted_to(frames):
    aligner, target = frames
    aligner.adapt(target)
    assert list(aligner.sessions_["target"].feature_names) == list(target.columns)
    expected = aligner.transform(target)
    assert_array_equal(aligner.transform(target.to_numpy()), expected)
    with pytest.raises(ValueError, match="session 'target' .*their order is another"):
        aligner.transform(target[target.columns[::-1]])
    renamed = target.rename(columns={"tuesday_2": "wednesday_2"})
    message = "names are others .column 2 is 'wednesday_2', was 'tuesday_2'"
    with pytest.raises(ValueError, match=message):
        aligner.transform(renamed)


@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
def test_one_rule_for_names_of_sessions(frames):
    aligner, target = frames
    with pytest.raises(TypeError, match=r"the session's name \(str\), got int"):
        aligner.adapt(target, 1)
    with pytest.raises(TypeError, match=r"got ndarray of shape \(12, 2\).*Labels are"):
        aligner.adapt(target, np.zeros((12, 2)))
    for func in (aligner.transform, lambda X, session: aligner.forget(session)):
        with pytest.raises(TypeError, match=r"session must be a name .str., got int"):
            func(target, session=1)


@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
def test_a_start_is_of_the_same_columns(frames):
    """Of other neurons it was followed to a wrong alignment."""
    aligner, target = frames
    aligner.adapt(target, "tuesday")
    turned = target[target.columns[::-1]]
    with pytest.raises(ValueError, match="session 'tuesday' .*their order is another"):
        aligner.adapt(turned, "wednesday", start="tuesday")
    # the one before is not one of the same neurons, so there is none to start from
    aligner.adapt(turned, "wednesday", start="previous")
    assert "followed_start" not in aligner.alignment_report_["wednesday"]
    aligner.adapt(turned.iloc[::-1], "thursday", start="previous")
    aligner.adapt(target.to_numpy(), "friday", start="previous")
    for day in ("thursday", "friday"):
        assert "followed_start" in aligner.alignment_report_[day]


class Day(str, Enum):  # noqa: UP042, as users write it
    MON = "mon"


@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
def test_names_are_plain_text(frames):
    aligner, target = frames
    aligner.adapt(target, "mon")
    expected = aligner.transform(target)
    for name in (Day.MON, np.str_("mon")):
        aligner.forget("mon").adapt(target, name)
        assert type(list(aligner.sessions_)[-1]) is str
        assert_array_equal(aligner.transform(target, "mon"), expected)
        aligner.rename("mon", np.str_("tue")).rename("tue", "mon")
        assert [type(name) for name in aligner.sessions_] == [str, str]


@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
@pytest.mark.filterwarnings("ignore::skerdiff.NewSessionWarning")
@pytest.mark.parametrize(
    "params",
    [{"n_starts": 0}, {"n_starts": "a"}, {"on_new_session": "Raise"}, {"init": "zz"}]
    + [{"trial_length": "a"}],
)
def test_parameters_set_after_fit_are_checked_in_every_use(frames, params):
    aligner, target = frames
    aligner.adapt(target)
    (name,) = params
    if name not in aligner.get_params():
        aligner = MMDAligner(aligner.latent_model, trial_length=5, max_steps=1)
        aligner.fit(target)
    aligner.set_params(**params)
    for use in (aligner.adapt, aligner.transform, aligner.score, aligner.compare):
        with pytest.raises(ValueError, match=f"'{name}' parameter"):
            use(target)
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        aligner.adapt_back(target, target)


@pytest.mark.parametrize(
    "model", [LinearLatentModel(), SequentialVAE(max_iter=1)], ids=["linear", "vae"]
)
def test_smoothing_set_after_fit_counts_from_the_next(reaching, model):
    X = reaching.trials["day0"]
    expected = model.fit(X).transform(X)
    model.set_params(smoothing=5.0)
    assert_array_equal(model.transform(X), expected)
    assert np.abs(model.fit(X).transform(X) - expected).max() > 0
    with pytest.raises(ValueError, match="'smoothing' parameter"):
        model.set_params(smoothing="a").transform(X)


@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
def test_a_session_is_adapted_to_anew_with_other_bins(reaching):
    model = LinearLatentModel(n_components=2)
    aligner = GeometryAligner(model, n_starts=1, random_state=0)
    aligner.fit(reaching.trials["day0"]).adapt(reaching.trials["day1"], bin_size=0.02)
    assert aligner.adapt(reaching.trials["day1"], bin_size=0.05)
    with pytest.raises(ValueError, match="session 'target' has bins of 0.05 s"):
        aligner.adapt(reaching.trials["day1"], "other", bin_size=0.02)


class Spoiled(LinearLatentModel):
    """A model whose latents are no latents."""

    spoil = staticmethod(lambda Z: Z)

    def encode(self, features, readin=None, lengths=None):
        Z = super().encode(features, readin, lengths)
        return self.spoil(Z) if hasattr(self, "noise_variance_") else Z  # after fit


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda Z: np.full_like(Z, np.nan), "Spoiled.encode returned latents that are"),
        (lambda Z: Z[1:], r"encode returned ndarray of shape .*\(\d+, \d+, 'n_comp"),
        (lambda Z: Z[:, :, 0], "encode returned ndarray of shape"),
        (lambda Z: None, "encode returned NoneType; an array of finite numbers"),
    ],
)
def test_a_model_of_ones_own_that_gives_no_latents_is_named(reaching, spoil, message):
    X = reaching.trials["day0"]
    aligner = GeometryAligner(Spoiled(n_components=2), n_starts=1, random_state=0)
    fitted = clone(aligner).fit(X)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Spoiled, "spoil", staticmethod(spoil))
        with pytest.raises(ValueError, match=message):
            clone(aligner).fit(X)
        with pytest.raises(ValueError, match=message):
            fitted.adapt(reaching.trials["day1"])


@pytest.mark.parametrize("rounding", [0.0, 1e-13])
def test_a_source_of_equal_trials_has_nothing_to_align_by(reaching, rounding):
    rng = np.random.RandomState(0)
    X = np.repeat(reaching.source.mean(0, keepdims=True), 40, axis=0)
    X = X * (1 + rounding * rng.randn(*X.shape))
    aligner = GeometryAligner(LinearLatentModel(), n_starts=2, random_state=0).fit(X)
    with pytest.warns(AmbiguousAlignmentWarning):
        aligner.adapt(reaching.adapt)
    assert aligner.alignment_report_["target"].confidence < 1


@pytest.mark.parametrize("device", ["mps", "xpu", "meta", "cuda:99", "other"])
def test_devices_that_are_not_there_are_refused_before_training(device):
    aligner = GeometryAligner(SequentialVAE(), device=device)
    with pytest.raises(ValueError, match=f"device='{device}'"):
        aligner.fit(np.ones((5, 4, 3)) * np.arange(3))


def test_data_frames_of_trials_are_refused_before_training(reaching):
    never = GeometryAligner(NeverFitted())
    message = "takes 2-D input, one row per bin"
    with sklearn.config_context(transform_output="pandas"):
        with pytest.raises(ValueError, match=message):
            never.fit(reaching.source)
    with pytest.raises(ValueError, match=message):
        never.set_output(transform="pandas").fit(reaching.source)


def test_tensors_and_cells_are_taken_as_arrays(reaching):
    X = reaching.source[:20]
    cells = np.empty((20, 1), dtype=object)
    cells[:, 0] = list(X)
    expected = LinearLatentModel().fit(X).readin_[0]
    for form in (torch.tensor(X, requires_grad=True), cells, cells.T, list(X)):
        assert_array_equal(LinearLatentModel().fit(form).readin_[0], expected)
    half = torch.tensor(X, dtype=torch.bfloat16)
    assert np.isfinite(LinearLatentModel().fit(half).readin_[0]).all()


@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
def test_single_precision_stays_and_gives_nearly_the_same(reaching):
    X, target = reaching.source, reaching.adapt
    model = LinearLatentModel()
    double, single = (
        GeometryAligner(model, n_starts=8, random_state=0)
        .fit(X.astype(dtype))
        .adapt(target.astype(dtype))
        for dtype in (np.float64, np.float32)
    )
    assert single.latent_model_.features(X.astype(np.float32)).dtype == np.float32
    Z = single.transform(target.astype(np.float32))
    assert Z.dtype == np.float32
    assert_allclose(Z, double.transform(target), atol=1e-3)
    size, half = (len(pickle.dumps(a._source_trials)) for a in (double, single))
    assert half < 0.6 * size


@pytest.mark.slow
@pytest.mark.parametrize("model", [SequentialVAE(max_iter=1), LinearLatentModel()])
def test_fitting_takes_at_most_four_times_the_memory_of_the_recording(model):
    code = (
        "import sys, threading, time, warnings; warnings.simplefilter('ignore')\n"
        "import numpy as np, psutil\n"
        "from skerdiff import GeometryAligner, SequentialVAE\n"
        "from skerdiff.latent import LinearLatentModel\n"
        "rng = np.random.default_rng(0)\n"
        "X = rng.poisson(1.0, (1500, 50, 300)).astype(np.float32)\n"
        f"aligner = GeometryAligner({model!r}, n_starts=1, random_state=0)\n"
        "aligner.fit(X[:20])\n"
        "process, stop = psutil.Process(), threading.Event()\n"
        "begin = peak = process.memory_info().rss\n"
        "def watch():\n"
        "    global peak\n"
        "    while not stop.wait(0.002):\n"
        "        peak = max(peak, process.memory_info().rss)\n"
        "thread = threading.Thread(target=watch); thread.start()\n"
        "aligner.fit(X); stop.set(); thread.join()\n"
        "print((peak - begin) / X.nbytes)\n"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    assert float(found.stdout) < 4


@pytest.mark.slow
def test_adapting_to_many_neurons_is_nearly_linear():
    rng = np.random.RandomState(0)
    model = LinearLatentModel()
    latents = rng.randn(60, 20, 4)
    X = rng.poisson(np.exp(0.3 * latents @ rng.randn(4, 50)))
    aligner = GeometryAligner(model, n_starts=2, random_state=0).fit(X)
    seconds = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n in (1000, 10_000):
            target = rng.poisson(np.exp(0.3 * latents @ rng.randn(4, n)))
            begin = time.perf_counter()
            aligner.adapt(target)
            seconds.append(time.perf_counter() - begin)
    assert seconds[1] < 12 * seconds[0]
