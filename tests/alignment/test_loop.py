"""The gradient loop over a target read-in."""

import math

import numpy as np
import pytest
import torch

from skerdiff.alignment._loop import ReadIn, adapt_readin

N_READIN, N_NEURONS = 3, 4


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_readin(unit=1.0):
    weights, bias = randn(N_READIN, N_NEURONS, seed=1), randn(N_READIN, seed=2)
    return ReadIn(weights, bias, torch.tensor(unit))


def run(readin, objective, features=None, held_out=None, **kwargs):
    settings = {
        "max_steps": 40,
        "batch_size": 8,
        "learning_rate": 0.01,
        "check_every": 5,
        "patience": 3,
        "seed": 0,
    }
    features = randn(20, 6, N_NEURONS, seed=3) if features is None else features
    held_out = randn(5, 6, N_NEURONS, seed=4) if held_out is None else held_out
    return adapt_readin(readin, features, held_out, objective, **(settings | kwargs))


def size(activations, generator):
    return (activations**2).mean()


def criterion(readin, objective=size):
    return float(objective(readin(randn(5, 6, N_NEURONS, seed=4)), None).detach())


def same_as_start(readin):
    fresh = make_readin()
    return all(torch.equal(a, b) for a, b in zip(readin.current(), fresh.current()))


def test_readin_starts_where_it_is_told():
    weights, bias = randn(N_READIN, N_NEURONS, seed=1), randn(N_READIN, seed=2)
    readin = ReadIn(weights, bias, torch.tensor(2.5))
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
    # on the trials of the gradient growth pays, on the held-out ones it does not
    def objective(activations, generator):
        value = (activations**2).mean()
        return -value if len(activations) == 8 else value

    readin = make_readin()
    _, best = run(readin, objective, learning_rate=0.1)
    assert best == 0
    assert same_as_start(readin)


def test_objective_that_breaks_raises():
    start = make_readin()(randn(5, 6, N_NEURONS, seed=4))

    def objective(activations, generator):
        held_out = len(activations) == 5
        if held_out and not torch.equal(activations, start):
            return torch.tensor(math.nan)
        return (activations**2).mean()

    with pytest.raises(ValueError, match="became nan.*learning_rate"):
        run(make_readin(), objective)


@pytest.mark.parametrize("patience", [1, 3])
def test_loop_stops_after_patience_looks(patience):
    readin = make_readin()
    curve, best = run(
        readin, lambda a, g: (a - a.detach()).sum() + 1.0, patience=patience
    )
    assert best == 0
    assert [step for step, _ in curve] == list(range(0, 5 * patience + 1, 5))


def test_patience_counts_from_the_best_look():
    looks = iter([5.0, 4.0, 6.0, 3.0, 6.0, 6.0, 1.0])

    def objective(activations, generator):
        value = next(looks) if len(activations) == 5 else 0.0
        return activations.sum() * 0.0 + value

    curve, best = run(make_readin(), objective, patience=2, max_steps=100)
    assert [value for _, value in curve] == [5.0, 4.0, 6.0, 3.0, 6.0, 6.0]
    assert best == 15


def test_last_step_is_looked_at():
    curve, best = run(make_readin(), size, max_steps=12)
    assert [step for step, _ in curve] == [0, 5, 10, 12]
    assert best == 12


def test_looks_see_the_same_noise_and_batches_new_noise():
    drawn = {5: [], 8: []}

    def objective(activations, generator):
        noise = torch.empty(3).normal_(generator=generator)
        drawn[len(activations)].append(tuple(noise.tolist()))
        return (activations**2).mean()

    run(make_readin(), objective)
    assert len(drawn[5]) == 9
    assert len(set(drawn[5])) == 1
    assert len(set(drawn[8])) == 40


def test_batches_are_drawn_without_held_out_trials():
    # features tell the trials apart
    def marked(start, n):
        marks = torch.arange(start, start + n, dtype=torch.float32)
        return marks[:, None, None].expand(n, 6, N_NEURONS).clone()

    readin = ReadIn(torch.eye(N_NEURONS)[:1], torch.zeros(1), torch.tensor(1.0))
    seen = {5: [], 8: []}

    def objective(activations, generator):
        marks = activations[:, 0, 0].round().int().tolist()
        seen[len(marks)].append(sorted(marks))
        return activations.sum() * 0.0

    run(readin, objective, marked(0, 20), marked(100, 5), patience=100)
    assert all(marks == [100, 101, 102, 103, 104] for marks in seen[5])
    assert all(len(set(marks)) == 8 and max(marks) < 20 for marks in seen[8])
    assert {mark for marks in seen[8] for mark in marks} == set(range(20))


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
