"""Several source days, many target days, and yesterday as a start."""

import warnings
from copy import deepcopy

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge

from skerdiff import (
    AmbiguousAlignmentWarning,
    ERDiffAligner,
    GeometryAligner,
    IdentityAligner,
    PerBinRegressor,
    SequentialVAE,
    Trials,
    adapt,
)
from skerdiff.alignment import MMDAligner, _geometry, _start
from skerdiff.alignment._geometry import find_candidates
from skerdiff.datasets import make_reaching_sessions
from skerdiff.diffusion import DiffusionPrior
from skerdiff.metrics import circular_scorer
from skerdiff.model_selection import TransductiveSplit

VAE = SequentialVAE(n_hidden=32, max_iter=50, patience=20)


@pytest.fixture(scope="module")
def days():
    """Four days of other neurons; 130 trials each."""
    return make_reaching_sessions(4, 130, 50, random_state=0)


@pytest.fixture(scope="module")
def several(days):
    """Two source days, the first without two of the eight directions."""
    direction = days.direction
    first = days.trials.session == "day0"
    kept = ~first | (direction < 6)
    trials = days.trials[kept].with_source(["day0", "day1"])
    return trials, days.y[kept]


@pytest.fixture(scope="module")
def fitted(several):
    trials, y = several
    aligner = GeometryAligner(VAE, n_starts=40, random_state=0)
    known = trials[trials.is_source]
    return aligner.fit(known, y[trials.is_source])


def test_other_source_days_count_as_the_source(fitted, several, days):
    trials, _ = several
    assert fitted.source_ == "day0"
    assert fitted.sources_ == ["day0", "day1"]
    assert list(fitted.alignment_report_) == ["day1"]
    n = len(trials["day0"])
    assert n < 110
    assert len(fitted._coordinates) == len(fitted._latents) == n + 130
    assert len(fitted._activations) == n + 130
    Z = fitted.transform(trials[trials.is_source])
    np.testing.assert_allclose(fitted._latents[:n], Z["day0"])
    np.testing.assert_allclose(fitted._latents[n:], Z["day1"])


def test_a_second_source_day_brings_what_the_first_lacks(fitted, several, days):
    trials, y = several
    source = trials.is_source
    target, y_target = days.trials["day2"], days.y[days.trials.session == "day2"]
    alone = GeometryAligner(VAE, n_starts=40, random_state=0)
    first = trials.session == "day0"
    alone.fit(trials["day0"], y[first])
    scores = []
    for aligner, rows in ((alone, first), (fitted, source)):
        Z = [
            aligner.transform(trials[name], session=aligner.source_ if i == 0 else name)
            for i, name in enumerate(trials[rows].names)
        ]
        decoder = PerBinRegressor(Ridge()).fit(np.concatenate(Z), y[rows])
        Z = aligner.adapt(target[:100], session="day2").transform(target[100:])
        scores.append(decoder.score(Z, y_target[100:]))
    assert scores[1] > max(0.7, scores[0])


@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
@pytest.mark.parametrize(
    "aligner",
    [
        GeometryAligner(n_starts=2),
        IdentityAligner(),
        MMDAligner(n_starts=2, max_steps=2),
        ERDiffAligner(
            None, DiffusionPrior(max_iter=1, n_channels=8), n_starts=2, max_steps=2
        ),
    ],
)
def test_every_aligner_takes_several_source_days(aligner, several):
    trials, y = several
    model = SequentialVAE(n_components=3, n_hidden=4, n_readin=4, max_iter=1)
    aligner.set_params(latent_model=model, random_state=0)
    aligner.fit(trials, y)
    assert list(aligner.sessions_) == ["day0", "day1", "day2", "day3"]
    assert aligner.transform(trials).shape == trials.shape
    rows = trials[trials.session == "day1"]
    assert_array_equal(
        aligner.transform(rows)["day1"],
        aligner.transform(rows["day1"], session="day1"),
    )
    with pytest.raises(ValueError, match="is the source session"):
        aligner.adapt(trials["day1"], session="day1")
    with pytest.raises(ValueError, match="other than the source 'day0', 'day1'"):
        aligner.adapt(trials[trials.is_source])


@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
def test_labels_of_source_days_only_are_read(several):
    trials, y = several
    model = SequentialVAE(n_components=3, n_hidden=4, n_readin=4, max_iter=2)
    aligner = GeometryAligner(model, n_starts=2, random_state=0)
    Z = aligner.fit(trials, y).transform(trials)
    spoilt = np.where(trials.is_source[:, None, None], y, np.nan)
    again = aligner.fit(trials, spoilt).transform(trials)
    assert_array_equal(Z.to_array(), again.to_array())
    first = PerBinRegressor(Ridge()).fit(Z, y).predict(Z)
    second = PerBinRegressor(Ridge()).fit(Z, spoilt).predict(Z)
    assert_array_equal(first, second)
    # the decoder learns from both
    less = PerBinRegressor(Ridge()).fit(Z.with_source("day0"), y).predict(Z)
    assert not np.array_equal(first, less)


def test_splitters_leave_all_source_days_in_training(several):
    trials, _ = several
    train, test = next(TransductiveSplit().split(trials))
    assert set(trials.session[test]) == {"day2", "day3"}
    assert trials.is_source[train].sum() == trials.is_source.sum()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "source names no session"),
        (["day0", "day7"], "source names .'day7'., which are not among"),
        (["day0", "day0"], "names a session twice"),
        ("day7", "source='day7' is not among the sessions"),
    ],
)
def test_sources_that_are_none(source, message, days):
    with pytest.raises(ValueError, match=message):
        days.trials.with_source(source)
    with pytest.raises(ValueError, match=message):
        Trials(dict(days.trials.items()), source=source)


# -- yesterday -------------------------------------------------------------------
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
    monkeypatch.setattr(_geometry, "_FOLLOW", 100.0)  # follow whatever it costs
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


def test_a_followed_start_is_cached(drifting, tmp_path, monkeypatch):
    source, later, _ = drifting
    model = SequentialVAE(n_components=3, n_hidden=4, n_readin=4, max_iter=1)
    calls = []

    def counted(*args, **arguments):
        calls.append(arguments)
        return find_candidates(*args, **arguments)

    monkeypatch.setattr(_start, "find_candidates", counted)
    found = []
    for _ in range(2):
        aligner = MMDAligner(
            model, n_starts=4, max_steps=2, memory=str(tmp_path), random_state=0
        )
        aligner.fit(source).adapt(later[0]).adapt(later[1], start="target")
        found.append(aligner.sessions_["target"].readin[0])
    assert len(calls) == 2
    assert_array_equal(*found)


def test_a_source_that_cannot_be_aligned_leaves_nothing_half_fitted(days):
    model = SequentialVAE(n_components=3, n_hidden=4, n_readin=4, max_iter=1)
    first = days.trials["day0"]
    sessions = {"day0": first, "silent": np.zeros_like(first), "day2": first}
    trials = Trials(sessions, source=["day0", "silent"])
    aligner = GeometryAligner(model, n_starts=4, random_state=0)
    for fitted in (aligner, clone(aligner).fit(days.trials["day0"])):
        with pytest.raises(ValueError, match="'silent' is silent"):
            fitted.fit(trials)
        with pytest.raises(NotFittedError):
            fitted.transform(first)


def test_a_session_that_is_not_finite_leaves_the_others(days):
    model = SequentialVAE(n_components=3, n_hidden=4, n_readin=4, max_iter=1)
    bad = days.trials["day2"].astype(float)
    bad[3, 0, 0] = np.nan
    trials = Trials({"day0": days.trials["day0"], "bad": bad, "d": days.trials["day1"]})
    aligner = GeometryAligner(model, n_starts=4, random_state=0)
    for act in (aligner.fit, aligner.adapt):
        with pytest.raises(ValueError, match="1 of 2 .* 'bad' contains NaN.* kept"):
            act(trials)
        assert list(aligner.sessions_) == ["day0", "d"]
    with pytest.raises(ValueError, match="session 'bad' contains NaN"):
        aligner.transform(trials)


def test_arrays_are_of_the_session_adapted_last(days):
    model = SequentialVAE(n_components=3, n_hidden=4, n_readin=4, max_iter=1)
    aligner = GeometryAligner(model, n_starts=4, random_state=0)
    aligner.fit(days.trials["day0"])
    one, other = days.trials["day1"], days.trials["day2"]
    for X, name in ((one, "a"), (other, "b"), (one, "a"), (one[:, :, :45], "c")):
        aligner.adapt(X, session=name)
    assert_array_equal(aligner.transform(one), aligner.transform(one, session="a"))


def test_scores_take_several_sources(fitted, several, days):
    trials, _ = several
    names = ["day0", "day1", "day2"]
    scored = Trials({name: trials[name] for name in names}, trials.sources)
    fitted = deepcopy(fitted).adapt(days.trials["day2"], session="day2")
    # the first source lacks two of the directions that are led back to it
    right = circular_scorer(fitted, scored)
    assert right > 0.6
    rng = np.random.default_rng(0)
    X = days.trials["day2"]
    X = np.take_along_axis(X, rng.random(X.shape).argsort(0), 0)
    with pytest.warns(AmbiguousAlignmentWarning):
        fitted.adapt(X, session="day2")
    nothing = Trials({n: X if n == "day2" else trials[n] for n in names}, names[:2])
    assert circular_scorer(fitted, nothing) < right - 0.3


def test_warnings_point_to_the_callers_line(days):
    model = SequentialVAE(n_components=3, n_hidden=4, n_readin=4, max_iter=1)
    aligner = GeometryAligner(model, n_starts=4, random_state=0)
    one = days.trials["day1"][days.direction[days.trials.session == "day1"] == 0]
    trials = Trials({"day0": days.trials["day0"], "day1": one})
    aligner.fit(trials["day0"])
    for call in (
        lambda: aligner.adapt(one),
        lambda: aligner.adapt(trials),
        lambda: clone(aligner).fit(trials),
        lambda: adapt(aligner, one),
        lambda: aligner.fit(trials["day0"]).transform(one[:, :, :9], session=None),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        assert caught
        assert {w.filename for w in caught} == {__file__}


def test_the_source_is_no_start(drifting):
    source, later, _ = drifting
    model = SequentialVAE(n_components=3, n_hidden=4, n_readin=4, max_iter=1)
    aligner = GeometryAligner(model, n_starts=4, random_state=0).fit(source)
    free = aligner.adapt(later[0]).sessions_["target"].readin[0]
    aligner.fit(source).adapt(later[0], start="previous")
    assert_array_equal(aligner.sessions_["target"].readin[0], free)
