"""What the base of all aligners hands on, to whom, and what it says when it refuses."""

from copy import deepcopy

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skerdiff import (
    AmbiguousAlignmentWarning,
    GeometryAligner,
    IdentityAligner,
    NewSessionWarning,
    Trials,
)
from skerdiff.alignment import MMDAligner, _base
from skerdiff.datasets import make_reaching_sessions
from skerdiff.latent import LinearLatentModel
from skerdiff.utils._random import derive_seed

LINEAR = LinearLatentModel(n_components=3, n_readin=5)
SETTINGS = {"n_starts": 3, "random_state": 0}

pytestmark = pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")


@pytest.fixture(scope="module")
def days():
    return make_reaching_sessions(3, 40, [20, 17, 20], n_bins=12, random_state=0).trials


@pytest.fixture
def searched(monkeypatch):
    """Arguments of the searches that were made."""
    found, search = [], _base.find_candidates

    def find_candidates(**arguments):
        found.append(arguments)
        return search(**arguments)

    monkeypatch.setattr(_base, "find_candidates", find_candidates)
    return found


class Recording(LinearLatentModel):
    """Keeps the conditions that it was given."""

    def fit(self, X, y=None, *, conditions=None, lengths=None):
        """Learn, and remember the conditions."""
        self.conditions_ = conditions
        return super().fit(X, y)


def test_conditions_of_the_source_reach_the_model(days):
    trials = Trials({"day0": days["day0"], "day1": days["day1"]})
    conditions = np.arange(80)
    fitted = IdentityAligner(Recording(3, n_readin=5), random_state=0)
    fitted.fit(trials, conditions=conditions)
    assert_array_equal(fitted.latent_model_.conditions_, np.arange(40))
    assert fitted.fit(trials).latent_model_.conditions_ is None


@pytest.mark.parametrize("init", ["geometry", "source"])
def test_another_source_day_is_read_as_a_target_of_its_name(days, init):
    """By the geometry, whatever `init` is: its electrodes are other ones."""
    aligner = MMDAligner(LINEAR, init=init, max_steps=0, **SETTINGS)
    both = Trials({"day0": days["day0"], "day1": days["day1"]}, ["day0", "day1"])
    fitted = deepcopy(aligner).fit(both)
    alone = GeometryAligner(LINEAR, **SETTINGS).fit(days["day0"])
    alone.adapt(days["day1"], session="day1")
    reader, expected = (a.sessions_["day1"] for a in (fitted, alone))
    for ours, theirs in zip(reader.readin, expected.readin):
        assert_array_equal(ours, theirs)
    assert reader.report.init == "geometry" and reader.report.n_trials == 40
    model = fitted.latent_model_
    features = model.features(days["day1"])
    activations = model.activations(features, reader.readin)
    assert_array_equal(fitted._activations[40:], activations)
    assert_array_equal(fitted._latents[40:], reader.encode(features))
    assert_array_equal(fitted._coordinates[40:], reader.geometry(features))


@pytest.mark.parametrize("cls", [GeometryAligner, MMDAligner])
def test_a_search_has_the_seed_of_its_session_and_a_guess_by_column(
    cls, days, searched
):
    aligner = cls(LINEAR, **SETTINGS).fit(days["day0"])
    for name in ("day1", "day2"):
        aligner.adapt(days[name], session=name)
    narrow, wide = searched
    assert narrow["seed"] == derive_seed(aligner._seed, "session", "day1")
    assert wide["seed"] == derive_seed(aligner._seed, "session", "day2")
    assert narrow["guess"] is None and wide["guess"].shape == wide["B"].shape
    assert narrow["start"] is None and narrow["n_starts"] == 3
    aligner.adapt(days["day1"], session="again", start="day1")
    features = aligner.latent_model_.features(days["day1"])
    assert_array_equal(
        searched[-1]["start"], aligner.sessions_["day1"].geometry(features)
    )


def test_an_ambiguous_alignment_is_announced_with_its_reasons(days):
    X = days["day1"]
    rng = np.random.default_rng(0)
    X = np.take_along_axis(X, rng.random(X.shape).argsort(0), 0)
    aligner = GeometryAligner(LINEAR, **SETTINGS).fit(days["day0"])
    with pytest.warns(AmbiguousAlignmentWarning, match="'noise' is ambiguous: .*Add"):
        aligner.adapt(X, session="noise")


def test_reading_changes_nothing(days):
    aligner = GeometryAligner(LINEAR, **SETTINGS).fit(days["day0"])
    aligner.adapt(days["day1"])
    before = dict(vars(aligner))
    Z = aligner.transform(days["day1"])
    assert_array_equal(aligner.transform(days["day1"].tolist()), Z)
    aligner.transform(days["day0"], session="source")
    assert vars(aligner) == before
    assert GeometryAligner().verbose is False


def test_a_session_that_was_not_met_is_aligned_on_the_fly(days):
    aligner = GeometryAligner(LINEAR, **SETTINGS).fit(days["day0"])
    message = "^An array is of a session not met .* call adapt to store it.$"
    with pytest.warns(NewSessionWarning, match=message):
        aligner.transform(days["day1"])
    trials = Trials({"day0": days["day0"], "new": days["day1"]})
    with pytest.warns(NewSessionWarning, match="^Session 'new' is of a session not"):
        aligner.rename("source", "day0").transform(trials)
    assert list(aligner.sessions_) == ["day0"]


def test_messages_say_what_was_given_and_expected(days):
    aligner = GeometryAligner(LINEAR, **SETTINGS).fit(days["day0"])
    with pytest.raises(TypeError, match=r"the session's name \(str\), got int"):
        aligner.adapt(days["day1"], session=3)
    with pytest.raises(ValueError, match="'d' has 9 bins per trial, the source has 12"):
        aligner.adapt(days["day1"][:, :9], session="d")
    with pytest.raises(ValueError, match="has 9 bins per trial, but GeometryAligner"):
        aligner.transform(days["day0"][:, :9], session="source")


def test_sessions_that_fail_are_named_and_the_others_stored(days):
    silent = np.zeros_like(days["day1"])
    aligner = GeometryAligner(LINEAR, **SETTINGS)
    both = {"day0": days["day0"], "bad": silent}
    with pytest.raises(ValueError, match="^session 'bad' is silent"):
        aligner.fit(Trials(both))  # alone, it is the error itself
    message = "^1 of 2 sessions could not be aligned: session 'bad' .*: \\['good'\\].$"
    with pytest.raises(ValueError, match=message):
        aligner.fit(Trials(both | {"good": days["day1"]}))
    assert list(aligner.sessions_) == ["day0", "good"]
