"""What every aligner must show, on sessions whose right alignment is known."""

import copy
from time import perf_counter

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import Ridge

from skerdiff import (
    DiffusionPrior,
    ERDiffAligner,
    IdentityAligner,
    PerBinRegressor,
    Trials,
)
from skerdiff.alignment import ADANAligner, JSDAligner, MMDAligner
from skerdiff.alignment._start import source_readin
from skerdiff.geometry._similarity import relative_residual
from skerdiff.utils import all_estimators
from skerdiff.utils._random import derive_seed, numpy_generator

# settings that keep the tests short
QUICK_SETTINGS = {
    "ERDiffAligner": {"prior": DiffusionPrior(max_iter=2, n_channels=16, n_clusters=2)},
    "GeometryAligner": {"n_starts": 40},
}
EVERY = {
    name: found(**QUICK_SETTINGS.get(name, {}))
    for name, found in all_estimators("aligner")
    if found is not IdentityAligner
}
TRAINED = {name: a for name, a in EVERY.items() if "learning_rate" in a.get_params()}
CLOSED = {name: a for name, a in EVERY.items() if name not in TRAINED}
TRAINED["JSDAligner per bin"] = JSDAligner(moments="per_bin")
TRAINED["MMDAligner recurrent"] = MMDAligner(recurrent=True)
# of the ERDiff paper at 8 latent dims and 37 bins; that of ERDiff is its prior
PARAMETERS = {
    "CycleGANAligner": 26_000,
    "JSDAligner": 0,
    "SASAAligner": 33_000,
    "MMDAligner recurrent": 65_000,
    "DAFAligner": 91_000,
}


def each(aligners):
    return pytest.mark.parametrize("aligner", aligners.values(), ids=list(aligners))


@pytest.fixture(scope="module")
def place(reaching, settings):
    """Source decoder, and a copy of the source day with 24 of its 60 neurons moved."""
    identity = IdentityAligner(**settings).fit(reaching.source, reaching.y_source)
    Z = identity.transform(reaching.source)
    decoder = PerBinRegressor(Ridge()).fit(Z, reaching.y_source)
    moved = np.random.default_rng(0).permutation(60)[:24]
    order = np.arange(60)
    order[moved] = np.roll(moved, 1)

    def score(aligner, X, y):
        return decoder.score(aligner.transform(X, session="target"), y)

    def lost(X, y):
        return decoder.score(identity.transform(X, session="source"), y)

    return order, score, lost


def from_source(aligner):
    """The aligner, from the source's read-in with more and larger steps."""
    aligner = clone(aligner).set_params(init="source", max_steps=300, patience=30)
    adversarial = aligner.adversary_learning_rate is not None
    return aligner.set_params(learning_rate=3e-4 if adversarial else 1e-3)


def fit(aligner, reaching, settings, **params):
    aligner = clone(aligner).set_params(**settings | params)
    return aligner.fit(reaching.source, reaching.y_source)


@pytest.mark.slow
@each(TRAINED)
def test_moved_neurons_are_made_up_for(aligner, place, reaching, settings):
    order, score, lost = place
    X, X_new = reaching.source[:, :, order], reaching.others[:, :, order]
    aligner = fit(from_source(aligner), reaching, settings).adapt(X)
    assert (
        score(aligner, X_new, reaching.y_others) > lost(X_new, reaching.y_others) + 0.2
    )
    report = aligner.alignment_report_["target"]
    assert report["init"] == "source"
    assert report["n_steps"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("init", ["source", "geometry"])
@each(TRAINED | {"CORALAligner": CLOSED["CORALAligner"]})
def test_source_as_its_own_target_stays(
    aligner, init, place, reaching, settings, any_step_is_accepted
):
    _, score, lost = place
    aligner = fit(aligner, reaching, settings, init=init).adapt(reaching.source)
    before = lost(reaching.others, reaching.y_others)
    assert score(aligner, reaching.others, reaching.y_others) > before - 0.02
    if hasattr(aligner, "loss_curve_"):  # it was tried to move it
        assert len(aligner.loss_curve_["target"]) > 10


@each(TRAINED)
def test_steps_are_recorded_and_the_best_is_accepted(
    aligner, reaching, settings, any_step_is_accepted
):
    short = {"max_steps": 6, "check_every": 2, "init": "source"}
    aligner = fit(aligner, reaching, settings, **short)
    begin = perf_counter()
    aligner.adapt(reaching.adapt)
    seconds = perf_counter() - begin
    assert len(aligner.loss_curve_["target"]) == 6
    names = {tuple(losses) for losses in aligner.loss_curve_["target"]}
    assert len(names) == 1
    # each step's losses are its own
    sums = [sum(losses.values()) for losses in aligner.loss_curve_["target"]]
    assert len(set(sums)) == 6
    curve = dict(aligner.alignment_report_["target"]["criterion_curve"])
    accepted = aligner.alignment_report_["target"]["n_steps"]
    assert list(curve) == [0, 2, 4, 6]
    assert curve[accepted] == min(curve.values())
    assert 6 / aligner.steps_per_second_["target"] < seconds
    objective = aligner._make_objective(torch.zeros(2, 20, 8))
    count = sum(p.numel() for p in objective.parameters())
    assert aligner.n_parameters_added_ == count


# a read-in alone, and a map behind the encoder
QUICK = (JSDAligner, ADANAligner)


@pytest.mark.parametrize(
    "aligner",
    [
        pytest.param(a, id=name, marks=() if isinstance(a, QUICK) else pytest.mark.slow)
        for name, a in TRAINED.items()
    ],
)
def test_what_is_accepted_is_what_decodes(
    aligner, reaching, settings, any_step_is_accepted
):
    short = {"max_steps": 4, "check_every": 2, "init": "source"}
    aligner = fit(aligner, reaching, settings, **short).adapt(reaching.adapt)
    report = aligner.alignment_report_["target"]
    start = source_readin(aligner.latent_model_.readin_, 50)[0]
    moved = np.abs(aligner.sessions_["target"].readin[0] - start).max() > 0
    assert moved == (report.n_steps > 0)
    if isinstance(aligner, QUICK):
        assert moved
    # the trials that chose the step, through what `transform` uses
    seed = derive_seed(derive_seed(aligner._seed, "session", "target"), "held out")
    chosen = numpy_generator(seed).permutation(100)[:20]
    source = aligner.transform(reaching.source, session="source")
    scale = source.std((0, 1))
    Z = aligner.transform(reaching.adapt[chosen], session="target")
    assert relative_residual(source / scale, Z / scale) == pytest.approx(
        dict(report["criterion_curve"])[report["n_steps"]], rel=1e-3
    )


@pytest.mark.slow
@each(TRAINED)
def test_two_adaptations_agree_to_the_bit(aligner, reaching, settings):
    aligner = fit(aligner, reaching, settings, max_steps=4, init="source")
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = (copy.deepcopy(aligner).adapt(reaching.adapt) for _ in range(2))
    np.testing.assert_array_equal(
        first.transform(reaching.test), second.transform(reaching.test)
    )
    assert first.loss_curve_ == second.loss_curve_
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.slow
@each(TRAINED | CLOSED)
def test_only_the_session_changes(aligner, reaching, settings):
    quick = {"max_steps": 3, "init": "source"}
    accepted = aligner.get_params(deep=False)
    quick = {name: value for name, value in quick.items() if name in accepted}
    aligner = fit(aligner, reaching, settings, **quick)
    before = aligner.transform(reaching.source, session="source")
    weights = copy.deepcopy(aligner.latent_model_.module_.state_dict())
    aligner.adapt(reaching.adapt)
    np.testing.assert_array_equal(
        aligner.transform(reaching.source, session="source"), before
    )
    module = aligner.latent_model_.module_
    assert all(torch.equal(v, weights[k]) for k, v in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


@each(TRAINED | CLOSED)
def test_target_labels_change_not_one_bit(aligner, reaching, settings):
    trials = Trials({"source": reaching.source, "target": reaching.adapt})
    y = np.full((len(trials), 20, 2), np.nan)
    y[trials.is_source] = reaching.y_source
    labelled = y.copy()
    labelled[~trials.is_source] = reaching.y_adapt
    quick = {"max_steps": 3, "check_every": 1, "init": "source"}
    accepted = aligner.get_params(deep=False)
    quick = {name: value for name, value in quick.items() if name in accepted}
    first, second = (
        clone(aligner).set_params(**settings | quick).fit(trials, labels)
        for labels in (y, labelled)
    )
    for Z, other in zip(*(a.transform(trials).items() for a in (first, second))):
        np.testing.assert_array_equal(Z[1], other[1])
    assert first.alignment_report_ == second.alignment_report_


@pytest.mark.parametrize("name", PARAMETERS)
def test_added_parameters_are_about_those_of_the_paper(name):
    source = torch.zeros(4, 37, 8)
    objective = TRAINED[name]._make_objective(source)
    count = sum(p.numel() for p in objective.parameters())
    assert abs(count - PARAMETERS[name]) <= 0.25 * PARAMETERS[name]


def test_ablations_of_the_prior_are_parameters(reaching, settings):
    prior = DiffusionPrior(max_iter=2, n_channels=8, spatial=False)
    aligner = ERDiffAligner(prior=prior, max_steps=2, **settings)
    aligner.fit(reaching.source, reaching.y_source).adapt(reaching.adapt)
    assert aligner.prior_.spatial is False
    # without attention over dims a dim's noise is guessed from that dim alone
    z = torch.randn(3, 20, 8, generator=torch.Generator().manual_seed(0))
    other = z.clone()
    other[..., 1:] += 1.0
    denoiser, t = aligner.prior_.denoiser().float(), torch.full((3,), 0.3)
    torch.testing.assert_close(denoiser(z, t)[..., 0], denoiser(other, t)[..., 0])
    assert not torch.allclose(denoiser(z, t)[..., 1], denoiser(other, t)[..., 1])
