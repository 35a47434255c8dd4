"""Readers of sessions and their reports."""

import pickle
from copy import deepcopy
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import LinearRegression

from skerdiff import GeometryAligner, SequentialVAE, Trials
from skerdiff.alignment import CORALAligner
from skerdiff.datasets import make_reaching_sessions
from skerdiff.metrics import bits_per_spike
from skerdiff.sessions import (
    SessionReport,
    activity_report,
    held_out_bits_per_spike,
)

pytestmark = pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")

VAE = SequentialVAE(n_components=3, n_readin=5, n_hidden=4, max_iter=1)
SETTINGS = {"n_starts": 2, "random_state": 0}


@pytest.fixture(scope="module")
def days():
    return make_reaching_sessions(2, 40, [20, 17], n_bins=12, random_state=0).trials


@pytest.fixture
def aligner(days):
    aligner = CORALAligner(VAE, **SETTINGS).fit(days["day0"], bin_size=0.05)
    return aligner.adapt(days["day1"], session="day1", bin_size=0.05)


# -- readers ---------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float64, np.float32, int])
def test_a_reader_reads_as_its_aligner_does(aligner, days, dtype):
    X = days["day1"][:7].astype(dtype)
    Z = aligner.sessions_["day1"].transform(X)
    assert_array_equal(Z, aligner.transform(X, session="day1"))
    assert Z.dtype == (np.float32 if dtype == np.float32 else np.float64)


def test_a_reader_goes_through_the_map_behind_the_encoder(aligner, days):
    reader = aligner.sessions_["day1"]
    X = days["day1"][:5]
    bare = reader.latent_model.encode(reader.latent_model.features(X), reader.readin)
    Z = bare @ reader.latent_map.matrix.T + reader.latent_map.offset
    assert_array_equal(reader.transform(X), Z)
    assert np.abs(Z - bare).max() > 1e-3


def test_a_reader_is_pickled_by_itself_and_holds_no_trials(aligner, days):
    reader = aligner.sessions_["day1"]
    content = pickle.dumps(reader)
    X = days["day1"]
    again = pickle.loads(content)
    assert_array_equal(again.transform(X), reader.transform(X))
    assert again.report == reader.report and again.bin_size == 0.05
    few = make_reaching_sessions(2, [40, 400], [20, 17], n_bins=12, random_state=0)
    more = aligner.adapt(few.trials["day1"], session="day2").sessions_["day2"]
    assert abs(len(pickle.dumps(more)) - len(content)) < 2000  # residuals found


def test_a_fitted_aligner_holds_no_recording():
    """Twice as many neurons: as many numbers per trial as before."""
    sizes = []
    for n_neurons in (100, 200):
        trials = make_reaching_sessions(1, 200, n_neurons, random_state=0).trials
        aligner = GeometryAligner(VAE, **SETTINGS).fit(trials["day0"])
        sizes.append(len(pickle.dumps(aligner)))
        recording = trials["day0"].astype(float).nbytes
    assert sizes[1] - sizes[0] < 0.02 * recording
    assert sizes[1] < 0.25 * recording


def test_a_reader_cannot_be_changed(aligner):
    reader = aligner.sessions_["day1"]
    with pytest.raises(FrozenInstanceError):
        reader.readin = None
    with pytest.raises(FrozenInstanceError):
        reader.report.margin = 1.0
    changed = reader.with_report(margin=7.0)
    assert changed.report.margin == 7.0 != reader.report.margin
    for ours, theirs in zip(changed.readin, reader.readin):
        assert ours is theirs
    for same in (reader, deepcopy(reader), pickle.loads(pickle.dumps(reader))):
        with pytest.raises(ValueError, match="read-only"):
            same.readin[0][:] = 0.0


@pytest.mark.parametrize("shape", [(12, 17), (2, 11, 17), (2, 12, 20)])
def test_a_reader_refuses_other_shapes(aligner, shape):
    with pytest.raises(ValueError, match=r"shape \(n_trials, 12, 17\)"):
        aligner.sessions_["day1"].transform(np.zeros(shape))


def test_a_reader_refuses_what_is_not_finite(aligner, days):
    X = days["day1"][:3].astype(float)
    X[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        aligner.sessions_["day1"].transform(X)


# -- reports ---------------------------------------------------------------------------
def test_a_report_has_what_is_known():
    report = SessionReport(n_trials=3, margin=0.5)
    assert dict(report) == {"n_trials": 3, "margin": 0.5}
    assert report.margin == report["margin"] == 0.5
    assert len(report) == 2 and "confidence" not in report
    assert report.confidence is None and report.get("confidence", 1.0) == 1.0
    with pytest.raises(KeyError, match="'confidence' has no value"):
        report["confidence"]
    with pytest.raises(KeyError, match="'marign' is no entry"):
        report["marign"]


def test_reports_are_those_of_the_readers(aligner):
    assert list(aligner.alignment_report_) == ["day1"]
    report = aligner.alignment_report_["day1"]
    assert report is aligner.sessions_["day1"].report
    assert report.n_trials == 40 and report.n_neurons == 17
    assert report.init == "geometry" and report.n_steps is None


# -- names -----------------------------------------------------------------------------
def test_a_session_can_be_forgotten(aligner, days):
    before = aligner.transform(days["day1"])
    aligner.adapt(days["day1"][:20], session="day2")
    assert np.abs(aligner.transform(days["day1"]) - before).max() > 0
    assert aligner.forget("day2") is aligner
    assert list(aligner.sessions_) == ["source", "day1"]
    assert list(aligner.alignment_report_) == ["day1"]
    assert_array_equal(aligner.transform(days["day1"]), before)
    with pytest.raises(ValueError, match="'day2' has not been adapted to.*'day1'"):
        aligner.forget("day2")
    with pytest.raises(ValueError, match="'source' is a source"):
        aligner.forget("source")


def test_a_session_can_be_renamed(aligner, days):
    reader = aligner.sessions_["day1"]
    aligner.adapt(days["day1"][:20], session="day2").rename("day1", "monday")
    assert list(aligner.sessions_) == ["source", "monday", "day2"]
    assert aligner.sessions_["monday"] is reader
    assert list(aligner.alignment_report_) == ["monday", "day2"]
    aligner.rename("source", "day0")
    assert aligner.source_ == "day0" and aligner.sources_ == ["day0"]
    aligner.adapt(Trials({"day0": days["day0"], "new": days["day1"]}))
    assert list(aligner.sessions_) == ["day0", "monday", "day2", "new"]
    with pytest.raises(ValueError, match="'new' is the name of another session"):
        aligner.rename("day2", "new")
    with pytest.raises(TypeError, match="name must be a name"):
        aligner.rename("day2", 2)
    # as a start it stands for another session
    with pytest.raises(ValueError, match="name='previous' cannot be the name"):
        aligner.rename("day2", "previous")
    with pytest.raises(ValueError, match="session='previous' cannot be the name"):
        aligner.adapt(days["day1"], session="previous")
    assert "previous" not in aligner.sessions_
    assert list(aligner.rename("day2", "day2").sessions_)[2] == "day2"


# -- width of bins ---------------------------------------------------------------------
def test_sessions_of_other_bins_are_refused(aligner, days):
    X = days["day1"]
    assert aligner.bin_size_ == aligner.sessions_["day1"].bin_size == 0.05
    before = aligner.sessions_
    with pytest.raises(ValueError, match="bin_size=0.02 s, but .* bins of 0.05 s"):
        aligner.adapt(X, session="day2", bin_size=0.02)
    both = Trials({"source": days["day0"], "day2": X}, bin_size=0.02)
    for act in (aligner.adapt, aligner.transform):
        with pytest.raises(ValueError, match="bin_size=0.02 s, but"):
            act(both)
    assert aligner.sessions_ is before
    aligner.adapt(X, session="day2", bin_size=0.05 * (1 + 1e-9))
    aligner.adapt(X, session="day2")  # not given, not checked


def test_every_reader_has_the_width_of_its_bins(days):
    arrays = {"day0": days["day0"], "more": days["day1"], "day1": days["day1"]}
    trials = Trials(arrays, source=["day0", "more"], bin_size=0.05)
    fitted = CORALAligner(VAE, **SETTINGS).fit(trials)
    assert [r.bin_size for r in fitted.sessions_.values()] == 3 * [0.05]


def test_widths_are_compared_where_that_of_the_source_is_not_given(days):
    X = days["day1"]
    aligner = CORALAligner(VAE, **SETTINGS).fit(days["day0"])
    aligner.adapt(X, session="a", bin_size=0.02)
    with pytest.raises(ValueError, match="bin_size=0.05 s, but session 'a' has bins"):
        aligner.adapt(X, session="b", bin_size=0.05)
    aligner.adapt(X, session="b", bin_size=0.02)


def test_trials_bring_the_width_of_their_bins(days):
    arrays = {"day0": days["day0"], "day1": days["day1"]}
    trials = Trials(arrays, bin_size=0.05)
    for other in (
        trials[3:60],
        trials.map(lambda X: X),
        trials.with_source("day1"),
        pickle.loads(pickle.dumps(trials)),
    ):
        assert other.bin_size == 0.05
    aligner = GeometryAligner(VAE, **SETTINGS).fit(trials)
    assert aligner.bin_size_ == aligner.sessions_["day1"].bin_size == 0.05
    with pytest.raises(ValueError, match="Trials bring their own"):
        aligner.fit(trials, bin_size=0.05)


@pytest.mark.parametrize("bin_size", [0, -0.05, np.inf, np.nan, "50 ms"])
def test_a_width_is_a_number_of_seconds(days, bin_size):
    with pytest.raises(ValueError, match="positive number of seconds"):
        GeometryAligner(VAE, **SETTINGS).fit(days["day0"], bin_size=bin_size)
    with pytest.raises(ValueError, match="positive number of seconds"):
        Trials({"day0": days["day0"]}, bin_size=bin_size)


# -- bits per spike --------------------------------------------------------------------
def test_bits_are_those_of_a_regression_on_other_trials():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((23, 7, 3)) + 5.0
    X = rng.poisson(np.exp(Z[..., :2] - 5.0)).astype(float)
    held_out = np.arange(23) % 5 == 4
    readout = LinearRegression()
    readout.fit(Z[~held_out].reshape(-1, 3), X[~held_out].reshape(-1, 2))
    rates = readout.predict(Z[held_out].reshape(-1, 3)).reshape(4, 7, 2)
    rates = np.maximum(rates, 0.1 * X[~held_out].mean((0, 1)))
    expected = bits_per_spike(X[held_out], rates)
    assert expected > 0.1
    assert held_out_bits_per_spike(X, Z) == pytest.approx(expected)


def test_bits_do_not_depend_on_a_turn_of_the_latents():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((30, 5, 2))
    X = rng.poisson(np.exp(Z)).astype(float)
    turned = Z @ [[0.0, 2.0], [-2.0, 0.0]] + 3.0
    found = held_out_bits_per_spike(X, turned)
    assert found == pytest.approx(held_out_bits_per_spike(X, Z))


def test_bits_of_too_little():
    Z = np.random.default_rng(0).standard_normal((6, 5, 2))
    assert np.isnan(held_out_bits_per_spike(np.ones((1, 5, 2)), Z[:1]))
    assert np.isnan(held_out_bits_per_spike(np.zeros((6, 5, 2)), Z))
    assert "bits_per_spike" not in activity_report(-np.ones((6, 5, 2)), Z)
