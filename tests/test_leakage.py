"""Target labels reach nothing."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline

from skerdiff import (
    DiffusionPrior,
    ERDiffAligner,
    GeometryAligner,
    IdentityAligner,
    PerBinRegressor,
    SequentialVAE,
)
from skerdiff.datasets import make_reaching_sessions
from skerdiff.metrics import behaviour_r2_score
from skerdiff.model_selection import TargetKFold

pytestmark = [
    pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning"),
    pytest.mark.usefixtures("scores_search_little"),
]
# where labels could reach the read-in by way of the gradient
steps_count = pytest.mark.usefixtures("any_step_is_accepted")

VAE = SequentialVAE(max_iter=3, n_hidden=4, n_readin=4, n_components=3)
PRIOR = DiffusionPrior(max_iter=1, n_channels=4, n_blocks=1, n_heads=2)
ALIGNERS = [
    ERDiffAligner(VAE, PRIOR, n_starts=1, max_steps=3, check_every=1, random_state=0),
    GeometryAligner(VAE, n_starts=1, random_state=0),
    IdentityAligner(VAE, random_state=0),
]


@pytest.fixture(scope="module")
def data():
    data = make_reaching_sessions(
        n_trials=20, n_neurons=[10, 12], n_bins=6, random_state=0
    )
    # source and target trials interleaved: no block of rows is safe by its place
    order = np.random.RandomState(0).permutation(len(data.trials))
    data.trials, data.y = data.trials[order], data.y[order]
    return data


def corrupt(y, target, how):
    spoiled = y.copy()
    rng = np.random.RandomState(0)
    if how == "nan":
        spoiled[target] = np.nan
    elif how == "noise":
        spoiled[target] = 1e3 * rng.randn(*spoiled[target].shape)
    elif how == "shuffled":
        spoiled[target] = spoiled[target][rng.permutation(target.sum())]
    elif how == "infinite":
        spoiled[target] = np.inf
    elif how == "absent":
        spoiled = spoiled.astype(object)
        spoiled[target] = None
    return spoiled


HOW = ["nan", "noise", "shuffled", "infinite", "absent"]


def read_ins(aligner):
    return {name: session.readin for name, session in aligner.sessions_.items()}


def assert_same_read_ins(a, b):
    a, b = read_ins(a), read_ins(b)
    assert list(a) == list(b) == ["day0", "day1"]
    for name in a:
        for left, right in zip(a[name], b[name]):
            assert_array_equal(left, right)


def fitted(aligner, trials, y):
    return make_pipeline(clone(aligner), PerBinRegressor(Ridge())).fit(trials, y)


@pytest.fixture(scope="module")
def clean(data, accepting_any_step):
    with accepting_any_step():
        return {type(a): fitted(a, data.trials, data.y) for a in ALIGNERS}


def test_steps_are_made_and_accepted(clean):
    # or the tests below say nothing of them
    aligner = clean[ERDiffAligner][0]
    assert len(aligner.loss_curve_["day1"]) == 3
    curve = dict(aligner.alignment_report_["day1"].criterion_curve)
    accepted = aligner.alignment_report_["day1"].n_steps
    assert accepted == min(curve, key=curve.get)


@steps_count
@pytest.mark.parametrize(
    "aligner, how",
    [(ALIGNERS[0], how) for how in HOW] + [(a, "nan") for a in ALIGNERS[1:]],
)
def test_target_labels_change_not_one_bit_of_fit_and_predict(data, clean, aligner, how):
    spoiled = fitted(aligner, data.trials, corrupt(data.y, ~data.trials.is_source, how))
    reference = clean[type(aligner)]
    assert_same_read_ins(spoiled[0], reference[0])
    assert_array_equal(spoiled.predict(data.trials), reference.predict(data.trials))
    assert_array_equal(spoiled[1].estimator_.coef_, reference[1].estimator_.coef_)


@pytest.mark.parametrize("aligner", ALIGNERS, ids=lambda a: type(a).__name__)
def test_source_labels_do_matter(data, clean, aligner):
    # the test above means something only if labels are used at all
    spoiled = fitted(
        aligner, data.trials, corrupt(data.y, data.trials.is_source, "noise")
    )
    reference = clean[type(aligner)]
    assert np.ptp(spoiled.predict(data.trials) - reference.predict(data.trials)) > 1
    assert np.any(
        spoiled[0].sessions_["day0"].readin[0]
        != reference[0].sessions_["day0"].readin[0]
    )


@steps_count
@pytest.mark.parametrize("how", ["nan", "shuffled"])
def test_target_labels_change_not_one_bit_in_cross_validation(data, how):
    pipe = make_pipeline(clone(ALIGNERS[0]), PerBinRegressor())
    guesses = []

    def scorer(fitted, trials, y):
        guesses.append(fitted.predict(trials))
        return 0.0

    results = [
        cross_validate(
            pipe,
            data.trials,
            y,
            cv=TargetKFold(2),
            scoring=scorer,
            return_estimator=True,
            error_score="raise",
        )
        for y in (data.y, corrupt(data.y, ~data.trials.is_source, how))
    ]
    assert len(guesses) == 4
    for k in range(2):
        assert_array_equal(guesses[k], guesses[k + 2])
        assert_same_read_ins(*(result["estimator"][k][0] for result in results))
    assert not np.array_equal(guesses[0], guesses[1])


def test_scores_in_cross_validation_are_those_of_held_out_labels(data):
    pipe = make_pipeline(clone(ALIGNERS[0]), PerBinRegressor())
    result = cross_validate(
        pipe,
        data.trials,
        data.y,
        cv=TargetKFold(2),
        return_estimator=True,
        return_indices=True,
    )
    for k, test in enumerate(result["indices"]["test"]):
        guess = result["estimator"][k].predict(data.trials[test])
        assert result["test_score"][k] == behaviour_r2_score(data.y[test], guess)


@steps_count
def test_held_out_trials_reach_no_fitted_aligner(data):
    train, test = next(TargetKFold(2).split(data.trials))
    other = data.trials.map(np.copy)
    for name, X in other.items():
        mine = np.flatnonzero(other.session == name)
        X[np.isin(mine, test)] = 50.0
        other._arrays[name][:] = X
    assert not np.array_equal(other[test]["day1"], data.trials[test]["day1"])
    aligner = ALIGNERS[0]
    assert_same_read_ins(
        clone(aligner).fit(data.trials[train], data.y[train]),
        clone(aligner).fit(other[train], data.y[train]),
    )


class Unreadable:
    """Labels that raise whatever is done with them."""

    def __getattribute__(self, name):
        raise AssertionError(f"labels were read: {name}")


@pytest.mark.parametrize("aligner", ALIGNERS, ids=lambda a: type(a).__name__)
def test_score_of_an_aligner_never_reads_labels(data, clean, aligner):
    fitted = clean[type(aligner)][0]
    expected = fitted.score(data.trials)
    assert fitted.score(data.trials, Unreadable()) == expected


def test_scores_of_the_models_never_read_labels(data):
    X = data.trials["day0"]
    vae = clone(VAE).set_params(random_state=0).fit(X)
    prior = clone(PRIOR).set_params(random_state=0, n_steps=4).fit(vae.transform(X))
    assert vae.score(X, Unreadable()) == vae.score(X)
    Z = vae.transform(X)
    assert prior.score(Z, Unreadable()) == prior.score(Z)


@pytest.mark.parametrize("aligner", ALIGNERS, ids=lambda a: type(a).__name__)
def test_adapting_takes_no_labels(data, clean, aligner):
    with pytest.raises(TypeError):
        clean[type(aligner)][0].adapt(data.trials, y=data.y)
