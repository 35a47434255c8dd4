"""The gradient loop over a target read-in."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from skerdiff.alignment._loop import TrainableReadIn, adapt_readin
from skerdiff.alignment._objective import Objective

N_READIN, N_NEURONS = 3, 4


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_readin(unit=1.0):
    weights, bias = randn(N_READIN, N_NEURONS, seed=1), randn(N_READIN, seed=2)
    return TrainableReadIn(weights, bias, torch.tensor(unit))


class Plain(Objective):
    """One loss, a function of the target's latents and the generator."""

    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def losses(self, source, target, progress, generator):
        return {"loss": self.loss(target, generator)}


def size(z, generator=None):
    return (z**2).mean()


def sizes(z):
    return (z**2).mean((1, 2)).numpy()


def run(readin, objective, features=None, held_out=None, criterion=sizes, **kwargs):
    settings = {
        "max_steps": 40,
        "batch_size": 8,
        "learning_rate": 0.01,
        "check_every": 5,
        "patience": 3,
        "seed": 0,
    }
    if not isinstance(objective, Objective):
        objective = Plain(objective)
    features = randn(20, 6, N_NEURONS, seed=3) if features is None else features
    held_out = randn(5, 6, N_NEURONS, seed=4) if held_out is None else held_out
    source = kwargs.pop("source", randn(12, 6, N_READIN, seed=5))
    losses, curve, best = adapt_readin(
        readin,
        features,
        held_out,
        source,
        lambda activations: activations,
        objective,
        criterion,
        **(settings | kwargs),
    )
    assert len(losses) == curve[-1][0]  # one per step
    return curve, best


def criterion(readin):
    return float(size(readin(randn(5, 6, N_NEURONS, seed=4))).detach())


def same_as_start(readin):
    fresh = make_readin()
    return all(torch.equal(a, b) for a, b in zip(readin.current(), fresh.current()))


def test_readin_starts_where_it_is_told():
    weights, bias = randn(N_READIN, N_NEURONS, seed=1), randn(N_READIN, seed=2)
    readin = TrainableReadIn(weights, bias, torch.tensor(2.5))
    assert torch.equal(readin.current()[0], weights)
    assert torch.equal(readin.current()[1], bias)
    x = randn(2, 3, N_NEURONS)
    torch.testing.assert_close(readin(x), x @ weights.T + bias)


def test_loop_lowers_the_objective():
    readin = make_readin()
    start = criterion(readin)
    curve, best = run(readin, size)
    assert curve[0] == (0, pytest.approx(start))
    assert criterion(readin) < 0.95 * start
    assert best == 40
    assert [step for step, _ in curve] == list(range(0, 41, 5))


@pytest.mark.parametrize("learning_rate", [0.01, 0.3, 3.0, 100.0])
@pytest.mark.parametrize("seed", range(3))
def test_state_kept_is_the_best_met(learning_rate, seed):
    readin = make_readin()
    curve, best = run(readin, size, learning_rate=learning_rate, seed=seed)
    values = dict(curve)
    assert criterion(readin) == pytest.approx(min(values.values()))
    assert values[best] == min(values.values())
    assert criterion(readin) <= criterion(make_readin())


def test_start_is_returned_when_every_step_is_worse():
    readin = make_readin()
    curve, best = run(readin, size, learning_rate=1e6)
    assert best == 0
    assert same_as_start(readin)
    assert min(value for _, value in curve[1:]) > curve[0][1]


def test_start_is_returned_when_training_trials_mislead():
    # the gradient makes the latents grow, the criterion wants them small
    readin = make_readin()
    _, best = run(readin, lambda z, g: -size(z), learning_rate=0.1)
    assert best == 0
    assert same_as_start(readin)


@pytest.mark.parametrize(
    ("n_better", "kept"), [(5, True), (4, True), (3, False), (1, False)]
)
def test_steps_are_kept_only_if_they_help_beyond_chance(n_better, kept):
    # the mean falls by the same: t = 4.0 for four trials of five, 2.4 for three; at the
    # level of 0.05 with four degrees of freedom it takes 2.78
    gain = 4 * torch.arange(5).lt(n_better) / n_better
    seen = []

    def criterion(z):
        seen.append(z)
        return (10 - gain * (len(seen) > 1) + 0.01 * torch.arange(5)).numpy()

    readin = make_readin()
    curve, best = run(readin, size, criterion=criterion)
    assert curve[1][1] == pytest.approx(curve[0][1] - 0.8)
    assert best == (5 if kept else 0)
    assert same_as_start(readin) is not kept


def test_any_state_is_better_than_a_start_without_spread():
    first = []

    def criterion(z):
        first.append(z)
        return np.full(5, np.inf) if len(first) == 1 else sizes(z)

    readin = make_readin()
    curve, best = run(readin, size, criterion=criterion)
    assert curve[0][1] == np.inf
    assert best == min(curve, key=lambda look: look[1])[0]


def test_objective_that_breaks_raises():
    with pytest.raises(ValueError, match="became nan.*learning_rate"):
        run(make_readin(), lambda z, g: size(z) * math.nan)


def test_latents_that_break_are_not_kept():
    start = make_readin()(randn(5, 6, N_NEURONS, seed=4))

    class Breaking(Plain):
        def map(self, target):
            fine = len(target) != 5 or torch.equal(target, start)
            return target if fine else target * math.nan

    readin = make_readin()
    curve, best = run(readin, Breaking(size))
    assert best == 0 and same_as_start(readin)
    assert all(value == math.inf for _, value in curve[1:])


@pytest.mark.parametrize("patience", [1, 3])
def test_loop_stops_after_patience_looks(patience):
    readin = make_readin()
    curve, best = run(readin, size, criterion=lambda z: np.ones(5), patience=patience)
    assert best == 0
    assert [step for step, _ in curve] == list(range(0, 5 * patience + 1, 5))


def test_patience_counts_from_the_best_look():
    looks = iter([5.0, 4.0, 6.0, 3.0, 6.0, 6.0, 1.0])
    curve, best = run(
        make_readin(),
        size,
        criterion=lambda z: np.full(5, next(looks)),
        patience=2,
        max_steps=100,
    )
    assert [value for _, value in curve] == [5.0, 4.0, 6.0, 3.0, 6.0, 6.0]
    assert best == 15


def test_last_step_is_looked_at():
    curve, best = run(make_readin(), size, max_steps=12)
    assert [step for step, _ in curve] == [0, 5, 10, 12]
    assert best == 12


def test_every_step_sees_new_noise_and_its_progress():
    drawn, seen = [], []

    class Noisy(Plain):
        def losses(self, source, target, progress, generator):
            seen.append(progress)
            drawn.append(float(torch.empty(1).normal_(generator=generator)))
            return {"loss": size(target)}

    run(make_readin(), Noisy(size))
    assert len(set(drawn)) == 40
    assert seen == [(k + 1) / 40 for k in range(40)]


def marked(start, n, width):
    """Trials that can be told apart."""
    marks = torch.arange(start, start + n, dtype=torch.float32)
    return marks[:, None, None].expand(n, 6, width).clone()


def test_batches_are_drawn_independently_and_without_held_out_trials():
    readin = TrainableReadIn(
        torch.eye(N_NEURONS)[:1], torch.zeros(1), torch.tensor(1.0)
    )
    looks, sources, targets = [], [], []

    def marks(z):
        return z[:, 0, 0].round().int().tolist()

    class Watching(Plain):
        def losses(self, source, target, progress, generator):
            sources.append(marks(source))
            targets.append(marks(target))
            return {"loss": target.sum() * 0.0}

    run(
        readin,
        Watching(None),
        marked(0, 20, N_NEURONS),
        marked(100, 5, N_NEURONS),
        lambda z: looks.append(marks(z)) or np.ones(5),
        source=marked(0, 20, 1),
        patience=100,
    )
    assert all(look == [100, 101, 102, 103, 104] for look in looks)
    for batches in (sources, targets):
        assert all(len(set(batch)) == 8 for batch in batches)
        assert {mark for batch in batches for mark in batch} == set(range(20))
    # no row of one belongs to a row of the other
    pairs = [a == b for x, y in zip(sources, targets) for a, b in zip(x, y)]
    assert np.mean(pairs) < 0.15


class Duel(Objective):
    """A network of the method's own and an adversary, each with its own loss."""

    adversaries = ("opponent",)

    def __init__(self):
        super().__init__()
        self.own, self.opponent = nn.Linear(N_READIN, 1), nn.Linear(N_READIN, 1)
        self.changes = []

    def adversary(self, source, target, generator):
        assert not source.requires_grad and not target.requires_grad
        self.before = [p.detach().clone() for p in self.own.parameters()]
        return self.opponent(source).mean() - self.opponent(target).mean()

    def losses(self, source, target, progress, generator):
        assert all(
            torch.equal(a, b) for a, b in zip(self.before, self.own.parameters())
        )
        self.changes.append(self.opponent.weight.detach().clone())
        return {
            "own": self.own(target).square().mean(),
            "theirs": self.opponent(target).mean(),
        }


def test_adversary_and_method_each_train_their_own():
    readin, duel = make_readin(), Duel()
    start = duel.own.weight.detach().clone()
    steps = {"max_steps": 2, "check_every": 2}
    falling = iter([1.0, 0.0])
    steps |= {"learning_rate": 0.01, "adversary_learning_rate": 1e-3}
    run(readin, duel, criterion=lambda z: np.full(5, next(falling)), **steps)
    assert not same_as_start(readin)
    assert not torch.equal(duel.own.weight, start)
    # `losses` runs through the opponent too, but only `adversary` moves it: Adam takes
    # one step of the size it was given
    moved = (duel.changes[1] - duel.changes[0]).abs().max()
    assert 0 < moved <= 1.01e-3


def test_best_state_holds_the_networks_too():
    duel, kept = Duel(), {}
    values = iter([3.0, 1.0, 2.0])

    def criterion(z):
        value = next(values)
        kept[value] = {k: v.clone() for k, v in duel.state_dict().items()}
        return np.full(5, value)

    rates = {"adversary_learning_rate": 1e-3}
    run(make_readin(), duel, criterion=criterion, max_steps=10, **rates)
    assert all(torch.equal(v, kept[1.0][k]) for k, v in duel.state_dict().items())
    assert not torch.equal(kept[1.0]["own.weight"], kept[2.0]["own.weight"])


def test_loop_is_determined_by_its_seed():
    def noisy(activations, generator):
        noise = torch.empty_like(activations).normal_(generator=generator)
        return ((activations + noise) ** 2).mean()

    def result(seed):
        readin = make_readin()
        run(readin, noisy, seed=seed)
        return readin.current()[0]

    before = torch.get_rng_state()
    assert torch.equal(result(0), result(0))
    assert not torch.equal(result(0), result(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_units_of_features_do_not_matter():
    features, held_out = randn(20, 6, N_NEURONS), randn(5, 6, N_NEURONS, seed=4)
    small, large = make_readin(), make_readin(8.0)
    large.weights /= 8.0
    first, _ = run(small, size, features, held_out)
    second, _ = run(large, size, 8 * features, 8 * held_out)
    np.testing.assert_allclose([v for _, v in first], [v for _, v in second], rtol=1e-4)


def test_no_steps_is_one_look():
    readin = make_readin()
    curve, best = run(readin, size, max_steps=0)
    assert [step for step, _ in curve] == [0]
    assert best == 0
    assert same_as_start(readin)


def test_progress_is_reported():
    steps = []
    run(make_readin(), size, max_steps=7, progress=steps.append)
    assert steps == list(range(1, 8))
