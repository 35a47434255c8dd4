"""Several source days and many target days."""

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
from skerdiff.alignment import MMDAligner
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


def test_a_source_that_cannot_be_aligned_leaves_nothing_half_fitted(days):
    model = SequentialVAE(n_components=3, n_hidden=4, n_readin=4, max_iter=1)
    first = days.trials["day0"]
    sessions = {"day0": first, "silent": np.zeros_like(first), "day2": first}
    trials = Trials(sessions, source=["day0", "silent"])
    aligner = GeometryAligner(model, n_starts=4, random_state=0)
    with pytest.raises(ValueError, match="'silent' is silent"):
        aligner.fit(trials)
    with pytest.raises(NotFittedError):
        aligner.transform(first)
    assert vars(aligner) == aligner.get_params(deep=False)
    # what was fitted before stays
    Z = aligner.fit(first).transform(first)
    with pytest.raises(ValueError, match="'silent' is silent"):
        aligner.fit(trials)
    assert list(aligner.sessions_) == ["source"]
    assert_array_equal(aligner.transform(first), Z)


def test_a_session_that_is_not_finite_leaves_the_others(days):
    model = SequentialVAE(n_components=3, n_hidden=4, n_readin=4, max_iter=1)
    bad = days.trials["day2"].astype(float)
    bad[3, 0, 0] = np.nan
    trials = Trials({"day0": days.trials["day0"], "bad": bad, "d": days.trials["day1"]})
    aligner = GeometryAligner(model, n_starts=4, random_state=0)
    for act in (aligner.fit, aligner.adapt):
        with pytest.raises(ValueError, match="1 of 2 .* 'bad' contains NaN.* stored"):
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


@pytest.mark.slow
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
