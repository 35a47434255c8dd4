"""What goes into the gradient loop, and what becomes of its result.

The loop itself is tested in ``test_loop.py``; here it is replaced by one that notes
what it is given and says what was accepted.
"""

from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from skerdiff.alignment import GradientAligner, Objective, _gradient, aligner, parameter
from skerdiff.datasets import make_reaching_sessions
from skerdiff.geometry import relative_distances
from skerdiff.latent import LinearLatentModel

N = 20


class Mapped(Objective):
    """A map of latents that is the identity before the first step, and no loss."""

    def __init__(self, with_map):
        super().__init__()
        self.net = nn.Linear(3, 3) if with_map else None
        self.prepared = None
        if with_map:
            nn.init.eye_(self.net.weight)
            nn.init.zeros_(self.net.bias)
            self.drawn = nn.Parameter(torch.rand(1), requires_grad=False)

    def prepare(self, source):
        assert self.training
        self.prepared = source

    def map_network(self):
        return self.net

    def losses(self, source, target, progress, generator):
        return {"loss": target.square().mean()}


@aligner
class MappedAligner(GradientAligner):
    """Steps that are made up."""

    with_map: bool = parameter(True, ["boolean"])

    def _make_objective(self, source):
        return Mapped(self.with_map)


@pytest.fixture(scope="module")
def days():
    trials, y = make_reaching_sessions(
        n_trials=[24, N], n_neurons=[10, 12], n_bins=6, random_state=0, return_X_y=True
    )
    return trials["day0"], y[trials.is_source], trials["day1"]


def make(days, **params):
    model = LinearLatentModel(n_components=3, n_readin=5)
    settings = {"init": "source", "random_state": 0, "n_starts": 1}
    return MappedAligner(model, **settings | params).fit(*days[:2])


@pytest.fixture
def loop(monkeypatch):
    """Note what the loop is given, move the read-in, and say what is accepted."""
    notes = SimpleNamespace(accepted=3, calls=0)

    def replaced(
        readin, features, held_out, source, encode, objective, criterion, **rest
    ):
        notes.calls += 1
        notes.readin, notes.features, notes.held_out = (
            deepcopy(readin),
            features,
            held_out,
        )
        notes.source, notes.encode, notes.objective = source, encode, objective
        notes.criterion, notes.settings = criterion, rest
        notes.threads = torch.get_num_threads()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in (*readin.parameters(), *objective.parameters()):
                p.add_(0.1 * torch.randn(p.shape, generator=generator))
        notes.moved = [a.detach().double().numpy() for a in readin.current()]
        return [{"loss": 1.0}] * 4, [(0, 2.0), (4, 1.0)], notes.accepted

    monkeypatch.setattr(_gradient, "adapt_readin", replaced)
    return notes


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_read_in_accepted_is_what_reads_the_session(days, loop):
    fitted = make(days, with_map=False)
    start = deepcopy(fitted).set_params(max_steps=0).adapt(days[2])
    adapted = fitted.adapt(days[2])
    reader = adapted.sessions_["target"]
    assert same(reader.readin, loop.moved)
    assert not same(reader.readin, start.sessions_["target"].readin)
    assert reader.readin[0].dtype == np.float64
    assert reader.latent_map is None
    model = adapted.latent_model_
    expected = model.encode(model.features(days[2]), reader.readin)
    np.testing.assert_allclose(adapted.transform(days[2]), expected)


def test_the_map_accepted_is_applied_to_latents_in_units_of_the_source(days, loop):
    adapted = make(days).adapt(days[2])
    model, reader = adapted.latent_model_, adapted.sessions_["target"]
    Z = model.encode(model.features(days[2]), reader.readin)
    source = model.transform(days[0])
    mean, scale = source.mean((0, 1)), source.std((0, 1))
    weight, bias = (
        p.detach().double().numpy()
        for p in (loop.objective.net.weight, loop.objective.net.bias)
    )
    expected = (((Z - mean) / scale) @ weight.T + bias) * scale + mean
    np.testing.assert_allclose(adapted.transform(days[2]), expected, atol=1e-6)
    assert np.abs(expected - Z).max() > 0.05
    # a network of its own: frozen, in double precision, not the objective's
    network = reader.latent_map.network
    assert network is not loop.objective.net and not network.training
    assert {(p.dtype, p.requires_grad) for p in network.parameters()} == {
        (torch.float64, False)
    }
    assert loop.objective.net.weight.dtype == torch.float32


def test_nothing_accepted_is_the_start_without_a_map(days, loop):
    loop.accepted = 0
    adapted = make(days).adapt(days[2])
    start = make(days, max_steps=0).adapt(days[2])
    reader = adapted.sessions_["target"]
    assert loop.calls == 1
    assert same(reader.readin, start.sessions_["target"].readin)
    assert reader.latent_map is None
    assert reader.report.n_steps == 0
    assert reader.report.criterion_curve == [(0, 2.0), (4, 1.0)]


def test_the_report_is_that_of_the_loop(days, loop):
    adapted = make(days).adapt(days[2], session="day1")
    report = adapted.alignment_report_["day1"]
    assert report.n_steps == 3
    assert report.criterion_curve == [(0, 2.0), (4, 1.0)]
    assert report.init == "source"
    # of target sessions alone
    assert adapted.loss_curve_ == {"day1": [{"loss": 1.0}] * 4}
    assert list(adapted.steps_per_second_) == ["day1"]
    adapted.set_params(max_steps=0).adapt(days[2], session="day2")
    assert adapted.loss_curve_["day2"] == []
    assert adapted.steps_per_second_["day2"] == 0.0


def test_the_speed_is_steps_over_seconds(days, loop, monkeypatch):
    ticks = iter([10.0, 12.0])
    monkeypatch.setattr(_gradient, "perf_counter", lambda: next(ticks))
    assert make(days).adapt(days[2]).steps_per_second_ == {"target": 2.0}


@pytest.mark.parametrize(
    ("share", "n_held_out"), [(0.2, 4), (0.26, 5), (0.01, 2), (0.99, N - 2)]
)
def test_trials_are_held_out_at_random_by_their_share(days, loop, share, n_held_out):
    adapted = make(days, held_out=share).adapt(days[2])
    features = torch.as_tensor(adapted.latent_model_.features(days[2])).float()
    parts = loop.features, loop.held_out
    assert [len(part) for part in parts] == [N - n_held_out, n_held_out]

    def places(trials):
        return [int((features == x).flatten(1).all(1).nonzero()) for x in trials]

    found = places(loop.held_out)
    assert sorted(found + places(loop.features)) == list(range(N))
    assert sorted(found) != list(range(n_held_out))
    # and by the session
    adapted.adapt(days[2], session="other")
    assert places(loop.held_out) != found


def test_the_loop_starts_from_the_reader_and_reads_as_the_model(days, loop):
    adapted = make(days).adapt(days[2])
    model = adapted.latent_model_
    start = make(days, max_steps=0).adapt(days[2]).sessions_["target"]
    for found, expected in zip(loop.readin.current(), start.readin, strict=True):
        np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-6)
    features = model.features(days[2])
    assert float(loop.readin.unit) == pytest.approx(
        np.sqrt(np.mean(features.var((0, 1)))), rel=1e-5
    )
    source = model.transform(days[0])
    mean, scale = source.mean((0, 1)), source.std((0, 1))
    np.testing.assert_allclose(loop.source, (source - mean) / scale, atol=1e-4)
    assert loop.objective.prepared is loop.source
    with torch.no_grad():
        Z = loop.encode(loop.readin(torch.as_tensor(features).float())).numpy()
    expected = (model.encode(features, start.readin) - mean) / scale
    np.testing.assert_allclose(Z, expected, atol=1e-4)
    # the criterion is the residual of each trial, among all of the source's
    np.testing.assert_allclose(
        loop.criterion(torch.as_tensor(Z)),
        relative_distances((source - mean) / scale, Z.astype(float)),
    )


def test_the_loop_gets_the_settings(days, loop):
    given = {"max_steps": 7, "batch_size": 5, "learning_rate": 0.2}
    given |= {"check_every": 3, "patience": 4}
    adapted = make(days, **given).adapt(days[2])
    found = {name: loop.settings[name] for name in given}
    assert found == given
    assert loop.settings["adversary_learning_rate"] is None
    first = loop.settings["seed"]
    adapted.adapt(days[2], session="other")
    assert loop.settings["seed"] != first


def test_networks_are_drawn_from_the_seed_of_the_session(days, loop):
    before = torch.get_rng_state()
    drawn = []
    for name in ("target", "target", "other"):
        make(days).adapt(days[2], session=name)
        drawn.append(float(loop.objective.drawn))
    assert drawn[0] == drawn[1] != drawn[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_the_loop_runs_on_two_threads_at_most(days, loop):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        make(days).adapt(days[2])
        assert loop.threads <= 2
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
def test_no_steps_are_made_from_an_ambiguous_geometry(days, loop, monkeypatch):
    for ambiguous in (True, False):
        monkeypatch.setattr(_gradient, "is_ambiguous", lambda _, is_it=ambiguous: is_it)
        adapted = make(days, init="geometry").adapt(days[2])
        assert loop.calls == (0 if ambiguous else 1)
        assert adapted.alignment_report_["target"].init == "geometry"


def test_no_steps_are_made_where_none_are_asked_for(days, loop):
    make(days, max_steps=0).adapt(days[2])
    assert loop.calls == 0


def test_parameters_of_the_method_are_counted(days):
    # also those that are not trained
    assert make(days).n_parameters_added_ == 3 * 3 + 3 + 1
    assert make(days, with_map=False).n_parameters_added_ == 0


def test_dims_without_variance_are_left_as_they_are(days, loop, monkeypatch):
    encode = LinearLatentModel.encode

    def constant(self, *args, **kwargs):
        Z = encode(self, *args, **kwargs)
        Z[..., 2] = 5.0
        return Z

    monkeypatch.setattr(LinearLatentModel, "encode", constant)
    make(days).adapt(days[2])
    assert torch.isfinite(loop.source).all()
    assert not loop.source[..., 2].any()
    assert loop.source[..., 0].std(correction=0) == pytest.approx(1.0)
