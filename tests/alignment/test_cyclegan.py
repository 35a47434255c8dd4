"""Alignment by cycle-consistent adversarial maps."""

import copy

import numpy as np
import pytest
import torch

from skerdiff.alignment._cyclegan import (
    CycleGANAligner,
    CycleGANObjective,
    Perceptron,
    drop,
)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def batches(shift=1.5):
    """Latents of two sessions, 12 and 9 trials, that differ by a shift."""
    return randn(12, 6, 3), randn(9, 6, 3, seed=1) + shift


def make(n_components=3, **kwargs):
    torch.manual_seed(0)
    return CycleGANObjective(n_components, **kwargs)


def moved(**kwargs):
    """An objective whose maps are not the identity any more."""
    objective = make(**kwargs)
    for k, network in enumerate((objective.to_source, objective.to_target)):
        with torch.no_grad():
            network.out.weight += 0.3 * randn(*network.out.weight.shape, seed=k)
            network.out.bias += 0.3
    return objective


def train_adversaries(objective, generator=None, n_steps=60):
    """Loss of the discriminators before and after steps on two batches."""
    optimizer = torch.optim.Adam(objective.groups()[1], lr=1e-2)
    values = []
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = objective.adversary(*batches(), generator)
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    objective.zero_grad()
    return values[0], values[-1]


def test_maps_are_the_identity_before_the_first_step():
    objective = make()
    z = randn(5, 6, 3)
    for network in (objective.to_source, objective.to_target):
        assert torch.equal(network(z), z)
        assert torch.equal(network(z, noise()), z)
    assert objective.map_network() is objective.to_source
    objective.eval()
    assert torch.equal(objective.map(z), z)
    assert not torch.equal(moved().map(z), z)


def test_cycle_and_identity_terms_are_zero_for_identity_maps():
    source, target = batches()
    losses = make().losses(source, target, 0.5, noise())
    assert set(losses) == {"adversarial", "cycle", "identity"}
    assert losses["cycle"] == 0.0
    assert losses["identity"] == 0.0
    assert losses["adversarial"] > 0.1


def test_losses_by_hand():
    objective = moved(cycle_weight=2.0, identity_weight=3.0)
    G, F = objective.to_source, objective.to_target
    D_s, D_t = objective.judge_source, objective.judge_target
    zs, zt = batches()

    def l1(a, b):
        return (a - b).abs().mean()

    expected = {
        "adversarial": ((D_s(G(zt)) - 1) ** 2).mean() + ((D_t(F(zs)) - 1) ** 2).mean(),
        "cycle": 2.0 * (l1(F(G(zt)), zt) + l1(G(F(zs)), zs)),
        "identity": 3.0 * (l1(G(zs), zs) + l1(F(zt), zt)),
    }
    assert all(value > 0.1 for value in expected.values())
    torch.testing.assert_close(objective.losses(zs, zt, 0.5, None), expected)


def test_adversaries_loss_by_hand():
    objective = moved()
    D_s, D_t = objective.judge_source, objective.judge_target
    zs, zt = batches()
    expected = 0.5 * (
        ((D_s(zs) - 1) ** 2).mean()
        + (D_s(objective.to_source(zt)) ** 2).mean()
        + ((D_t(zt) - 1) ** 2).mean()
        + (D_t(objective.to_target(zs)) ** 2).mean()
    )
    torch.testing.assert_close(objective.adversary(zs, zt, None), expected)


def test_step_of_the_adversaries_leaves_the_maps_without_gradient():
    objective = moved()
    own, theirs = objective.groups()
    assert len(own) == len(theirs) == 12
    objective.adversary(*batches(), noise()).backward()
    assert all(p.grad is None for p in own)
    assert all(p.grad.any() for p in theirs)


@pytest.mark.parametrize("generator", [None, noise()], ids=["plain", "dropout"])
def test_discriminators_learn_to_tell_the_sessions(generator):
    objective = make()
    first, last = train_adversaries(objective, generator)
    assert first > 0.5
    assert last < 0.3
    source, target = batches()
    for judge, real, fake in [
        (objective.judge_source, source, target),
        (objective.judge_target, target, source),
    ]:
        assert judge(real).mean() > judge(fake).mean() + 0.5


def test_maps_push_the_other_way():
    objective = make(cycle_weight=0.0, identity_weight=0.0)
    train_adversaries(objective)
    source, target = batches()
    optimizer = torch.optim.Adam(objective.groups()[0], lr=1e-3)
    seen = []
    for _ in range(3):
        with torch.no_grad():
            verdicts = (
                objective.judge_source(objective.to_source(target)).mean(),
                objective.judge_target(objective.to_target(source)).mean(),
                objective.adversary(source, target, None),
            )
        seen.append([float(verdict) for verdict in verdicts])
        optimizer.zero_grad()
        sum(objective.losses(source, target, 0.5, None).values()).backward()
        optimizer.step()
    assert (np.diff(seen, axis=0) > 0).all()


def test_step_of_the_target_raises_the_verdict_of_the_source():
    objective = make()
    train_adversaries(objective)
    source, target = batches()
    target.requires_grad_()
    losses = objective.losses(source, target, 0.5, None)
    sum(losses.values()).backward()
    with torch.no_grad():
        step = 0.1 * target.grad / target.grad.abs().max()
        before, after = (
            objective.judge_source(z).mean().item() for z in (target, target - step)
        )
    assert after > before


def test_dropout_takes_its_mask_from_the_generator():
    x = torch.ones(200, 100)
    dropped = drop(x, 0.2, noise())
    assert dropped.unique().tolist() == [0.0, 1.25]
    assert (dropped == 0).float().mean() == pytest.approx(0.2, abs=0.02)
    assert torch.equal(dropped, drop(x, 0.2, noise()))
    assert not torch.equal(dropped, drop(x, 0.2, noise(1)))
    assert drop(x, 0.2, None) is x
    assert drop(x, 0.0, noise()) is x


def test_dropout_is_for_training_with_a_generator_alone():
    torch.manual_seed(0)
    network = Perceptron(3, 16, 2, 0.5)
    z = randn(5, 6, 3)
    plain = network(z)
    assert not torch.equal(network(z, noise()), plain)
    network.eval()
    assert torch.equal(network(z, noise()), plain)


def test_generator_determines_the_losses_and_no_other_does():
    objective = moved()
    state = torch.get_rng_state()

    def values(seed):
        generator = noise(seed)
        losses = objective.losses(*batches(), 0.5, generator)
        return [*losses.values(), objective.adversary(*batches(), generator)]

    first, again, other = values(0), values(0), values(1)
    assert first == again
    assert all(a != b for a, b in zip(first, other))
    assert torch.equal(torch.get_rng_state(), state)


def test_order_of_trials_does_not_count():
    objective = moved()
    source, target = batches()
    shuffled = source.flip(0), target.roll(2, 0)
    torch.testing.assert_close(
        objective.losses(*shuffled, 0.5, None),
        objective.losses(source, target, 0.5, None),
    )
    torch.testing.assert_close(
        objective.adversary(*shuffled, None), objective.adversary(source, target, None)
    )


def test_number_of_parameters_is_about_that_of_the_published_table():
    n_parameters = sum(p.numel() for p in make(8).parameters())
    assert n_parameters == 24930
    assert n_parameters == pytest.approx(26_000, rel=0.25)


def test_one_bin_and_one_dim():
    objective = moved(n_components=1)
    source, target = randn(4, 1, 1), randn(3, 1, 1, seed=1)
    assert objective.adversary(source, target, noise()).isfinite()
    losses = objective.losses(source, target, 0.5, noise())
    assert all(value.isfinite() for value in losses.values())


def test_aligner(reaching, settings):
    aligner = CycleGANAligner(n_starts=40, max_steps=5, check_every=1, **settings)
    aligner.fit(reaching.source, reaching.y_source)
    again = copy.deepcopy(aligner).adapt(reaching.adapt)
    aligner.adapt(reaching.adapt)
    losses = aligner.loss_curve_["target"]
    assert [set(row) for row in losses] == [{"adversarial", "cycle", "identity"}] * 5
    assert losses[0]["cycle"] == losses[0]["identity"] == 0.0
    assert losses[-1]["cycle"] > 0.0
    assert aligner.n_parameters_added_ == 24930
    Z = aligner.transform(reaching.test)
    start = aligner.set_params(max_steps=0).adapt(reaching.adapt)
    moved = not np.array_equal(start.transform(reaching.test), Z)
    assert moved == (again.alignment_report_["target"].n_steps > 0)
    np.testing.assert_array_equal(again.transform(reaching.test), Z)
