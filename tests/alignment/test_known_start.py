"""Yesterday's alignment as a start of today's."""

import warnings
from copy import deepcopy

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import Ridge

from skerdiff import (
    AmbiguousAlignmentWarning,
    GeometryAligner,
    IdentityAligner,
    PerBinRegressor,
    SequentialVAE,
    Trials,
    adapt,
)
from skerdiff.alignment import MMDAligner
from skerdiff.datasets import make_reaching_sessions
from skerdiff.geometry import _search

VAE = SequentialVAE(n_hidden=32, max_iter=50, patience=20)


@pytest.fixture(scope="module")
def drifting():
    """A source day and three days on, each with a tenth of its neurons replaced."""
    data = make_reaching_sessions(2, 130, 50, random_state=1)
    rng = np.random.default_rng(0)
    later = [data.trials["day1"]]
    for _k in (2, 3):
        X = later[-1].copy()
        lost = rng.permutation(50)[:5]
        X[:, :, lost] = rng.poisson(X[:, :, lost].mean(), X[:, :, lost].shape)
        later.append(X)
    y = data.y[data.trials.is_source], data.y[~data.trials.is_source]
    return data.trials["day0"], later, y


@pytest.fixture(scope="module")
def yesterday(drifting):
    aligner = GeometryAligner(VAE, n_starts=40, random_state=0)
    source, later, y = drifting
    aligner.fit(source, y[0]).adapt(later[0], session="day1")
    return lambda: deepcopy(aligner)


# so few trials may look more like something else by chance, which is announced
@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
def test_a_few_trials_suffice_after_yesterday(yesterday, drifting):
    source, later, y = drifting
    yesterday = yesterday()
    decoder = PerBinRegressor(Ridge())
    decoder.fit(yesterday.transform(source, session="source"), y[0])
    whole = decoder.score(yesterday.transform(later[0], session="day1"), y[1])
    for k in (1, 2):
        name = f"day{k + 1}"
        yesterday.adapt(later[k][:6], session=name, start="previous")
        found = yesterday.transform(later[k], session=name)
        assert yesterday.alignment_report_[name]["followed_start"]
        assert decoder.score(found, y[1]) > whole - 0.15


def test_a_start_of_other_neurons_does_no_harm(yesterday, drifting):
    source, later, y = drifting
    yesterday = yesterday()
    decoder = PerBinRegressor(Ridge())
    decoder.fit(yesterday.transform(source, session="source"), y[0])
    rng = np.random.default_rng(0)
    for n_trials in (20, 40, 40, 40):
        X = later[1][:, :, rng.permutation(later[1].shape[2])]
        yesterday.adapt(X[:n_trials], session="other", start="day1")
        assert decoder.score(yesterday.transform(X, session="other"), y[1]) > 0.75


def test_following_a_wrong_start_is_announced(yesterday, drifting, monkeypatch):
    source, later, y = drifting
    yesterday = yesterday()
    decoder = PerBinRegressor(Ridge())
    decoder.fit(yesterday.transform(source, session="source"), y[0])
    monkeypatch.setattr(_search, "_FOLLOW", 100.0)  # follow whatever it costs
    wrong = 0
    for draw in range(4):
        order = np.random.default_rng(draw).permutation(later[1].shape[2])
        X = later[1][:, :, order]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", AmbiguousAlignmentWarning)
            yesterday.adapt(X[:20], session="other", start="day1")
        assert yesterday.alignment_report_["other"]["followed_start"]
        if decoder.score(yesterday.transform(X, session="other"), y[1]) < 0.5:
            wrong += 1
            assert "follows the given start" in str(caught[0].message)
            assert yesterday.alignment_report_["other"]["margin"] < 0
    assert wrong


def test_each_of_several_days_starts_from_the_one_before(yesterday, drifting):
    _, later, _ = drifting
    yesterday = yesterday()
    days = Trials({"day2": later[1][:40], "day3": later[2][:40]})
    yesterday.adapt(days, start="previous")
    assert all(yesterday.alignment_report_[k]["followed_start"] for k in days.names)
    both = [yesterday.sessions_[name].readin[0] for name in days.names]
    yesterday.adapt(later[0], session="day1")
    for name, readin in zip(days.names, both):
        yesterday.adapt(days[name], session=name, start="previous")
        assert_array_equal(yesterday.sessions_[name].readin[0], readin)
        free = deepcopy(yesterday).adapt(days[name], session=name)
        assert np.abs(free.sessions_[name].readin[0] - readin).max() > 1e-3


def test_the_previous_one_has_the_same_neurons(yesterday, drifting):
    _, later, _ = drifting
    yesterday = yesterday()
    days = {"a": later[1][:40], "b": later[1][:40, :, :49], "c": later[2][:40]}
    yesterday.adapt(Trials(days), start="previous")
    after_b = yesterday.sessions_["c"].readin[0]
    assert "followed_start" not in yesterday.alignment_report_["b"]
    yesterday.adapt(days["c"], session="c", start="a")
    assert_array_equal(yesterday.sessions_["c"].readin[0], after_b)


def test_following_a_start_does_not_silence_warnings(yesterday, drifting):
    _, later, _ = drifting
    yesterday = yesterday()
    followed = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X = later[1][rng.permutation(len(later[1]))[:6]]
        X = np.take_along_axis(X, rng.random(X.shape).argsort(0), 0)
        with pytest.warns(AmbiguousAlignmentWarning, match="hardly differ"):
            yesterday.adapt(X, session="none", start="day1")
        report = yesterday.alignment_report_["none"]
        assert report["confidence"] < 1
        assert np.isfinite(report["margin"])
        followed += report["followed_start"]
    assert followed


@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        ("day9", ValueError, r"start='day9' is no session whose .* \['day1'\]"),
        ("source", ValueError, r"start='source' is no session .* \['day1'\]"),
        (["day1"], TypeError, r"must be the name of a session .* got \['day1'\]"),
    ],
)
def test_a_start_that_cannot_be_is_refused(yesterday, drifting, start, error, message):
    _, later, _ = drifting
    yesterday = yesterday()
    with pytest.raises(error, match=message):
        yesterday.adapt(later[1], session="day2", start=start)
    with pytest.raises(error, match=message):
        adapt(yesterday, later[1], session="day2", start=start)
    assert list(yesterday.sessions_) == ["source", "day1"]


def test_a_start_of_other_neurons_is_refused(yesterday, drifting):
    _, later, _ = drifting
    with pytest.raises(ValueError, match="start='day1': .* 50 neurons, X has 49"):
        yesterday().adapt(later[1][:, :, :49], session="day2", start="day1")


@pytest.mark.parametrize(
    ("aligner", "advice"),
    [
        (IdentityAligner(), "Leave it out"),
        (MMDAligner(init="source"), "Set init='geometry'"),
    ],
)
def test_a_start_needs_a_search(aligner, advice, drifting):
    source, later, _ = drifting
    model = SequentialVAE(n_components=3, n_hidden=4, n_readin=4, max_iter=1)
    aligner = aligner.set_params(latent_model=model, random_state=0).fit(source)
    with pytest.raises(ValueError, match=f"searches no geometry. {advice}"):
        aligner.adapt(later[0], start="previous")


def test_a_followed_start_is_cached(drifting, tmp_path, computed):
    source, later, _ = drifting
    model = SequentialVAE(n_components=3, n_hidden=4, n_readin=4, max_iter=1)
    found = []
    for _ in range(2):
        aligner = MMDAligner(
            model, n_starts=4, max_steps=2, memory=str(tmp_path), random_state=0
        )
        aligner.fit(source).adapt(later[0]).adapt(later[1], start="target")
        found.append(aligner.sessions_["target"].readin[0])
    assert computed == ["fit_model"] + ["find_candidates"] * 2
    assert_array_equal(*found)


def test_the_source_is_no_start(drifting):
    source, later, _ = drifting
    model = SequentialVAE(n_components=3, n_hidden=4, n_readin=4, max_iter=1)
    aligner = GeometryAligner(model, n_starts=4, random_state=0).fit(source)
    free = aligner.adapt(later[0]).sessions_["target"].readin[0]
    aligner.fit(source).adapt(later[0], start="previous")
    assert_array_equal(aligner.sessions_["target"].readin[0], free)
