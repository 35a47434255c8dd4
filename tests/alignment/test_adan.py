"""Alignment against an autoencoder of the source."""

import copy

import numpy as np
import torch
from torch import nn

from skerdiff.alignment._adan import ADANAligner, ADANObjective, Autoencoder


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def latents(n_trials, seed=0):
    """Latents whose three dims have one cause."""
    common, own = randn(n_trials, 6, 1, seed=seed), randn(n_trials, 6, 3, seed=seed + 9)
    return common + 0.2 * own


def batches(shift=0.0):
    """Source, and a target with the signs of the first dim turned, 12 and 9 trials."""
    return latents(12), latents(9, seed=1) * torch.tensor([-1.0, 1.0, 1.0]) + shift


def make(source=None, **kwargs):
    torch.manual_seed(0)
    source = latents(40, seed=2) if source is None else source
    objective = ADANObjective(source.shape[2], **{"n_pretraining": 20} | kwargs)
    objective.prepare(source)
    return objective


def moved(**kwargs):
    """An objective whose map is not the identity any more."""
    objective = make(**kwargs)
    with torch.no_grad():
        weight = objective.generator.out.weight
        weight += 0.3 * randn(*weight.shape)
    return objective


def train_adversary(objective, n_steps=60):
    """Loss of the autoencoder before and after steps on two batches."""
    optimizer = torch.optim.Adam(objective.groups()[1], lr=1e-3)
    values = []
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = objective.adversary(*batches(), None)
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    objective.zero_grad()
    return values[0], values[-1]


def mean_error(objective, z):
    with torch.no_grad():
        return objective.autoencoder.error(z).mean().item()


def test_map_is_the_identity_before_the_first_step():
    objective = make()
    z = randn(5, 6, 3)
    assert torch.equal(objective.map(z), z)
    objective.eval()
    assert torch.equal(objective.map(z), z)
    assert objective.map_network() is objective.generator
    assert not torch.equal(moved().map(z), z)


def test_widths_of_the_autoencoder():
    widths = [
        (layer.in_features, layer.out_features)
        for layer in Autoencoder(7, 64, 10, 0.5).layers
        if isinstance(layer, nn.Linear)
    ]
    outwards = [(10, 32), (32, 64), (64, 7)]
    assert widths == [(b, a) for a, b in outwards[::-1]] + outwards
    assert sum(p.numel() for p in make(randn(4, 5, 8)).parameters()) == 7066


def test_losses_by_hand():
    objective = moved(margin=0.4)
    source, target = batches()
    D = objective.autoencoder

    def error(z):
        return (D(z) - z).abs().mean(-1)

    mapped = objective.generator(target)
    assert error(mapped).min() < 0.4 < error(mapped).max()
    torch.testing.assert_close(
        objective.losses(source, target, 0.5, None),
        {"reconstruction": error(mapped).mean()},
    )
    lacking = (0.4 - error(mapped)).clamp(min=0)
    torch.testing.assert_close(
        objective.adversary(source, target, None), error(source).mean() + lacking.mean()
    )


def test_autoencoder_starts_from_the_source():
    fresh, trained = make(n_pretraining=0), make(n_pretraining=200)
    source, target = batches()
    assert mean_error(trained, source) < 0.5 * mean_error(fresh, source)
    assert mean_error(trained, target) > 1.3 * mean_error(trained, source)
    assert all(p.grad is None for p in trained.parameters())


def test_global_generator_gives_the_initial_weights_alone():
    states = []
    for n_pretraining in (0, 20):
        make(n_pretraining=n_pretraining)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
    first, again = make(), make()
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters())
    )


def test_autoencoder_learns_to_fail_on_the_target():
    objective = make()
    source, target = batches()
    before = mean_error(objective, target) - mean_error(objective, source)
    first, last = train_adversary(objective)
    assert last < first - 0.2
    after = mean_error(objective, target) - mean_error(objective, source)
    assert after > before + 0.3


def test_margin_ends_what_the_target_does_to_the_autoencoder():
    objective = make()
    source, far = batches(shift=50.0)
    assert objective.autoencoder.error(far).min() > objective.margin
    objective.adversary(source, far, None).backward()
    gradient = [p.grad.clone() for p in objective.autoencoder.parameters()]
    objective.zero_grad()
    objective.autoencoder.error(source).mean().backward()
    for p, g in zip(objective.autoencoder.parameters(), gradient):
        torch.testing.assert_close(g, p.grad)


def test_step_of_the_adversary_leaves_the_map_without_gradient():
    objective = moved()
    own, theirs = objective.groups()
    assert len(own) == 4
    assert len(theirs) == 12
    objective.adversary(*batches(), noise()).backward()
    assert all(p.grad is None for p in own)
    assert all(p.grad.any() for p in theirs)


def test_map_pushes_the_other_way():
    objective = make()
    train_adversary(objective)
    source, target = batches()
    own = objective.groups()[0]
    optimizer = torch.optim.Adam(own, lr=1e-3)

    def look():
        with torch.no_grad():
            adversary = objective.adversary(source, target, None).item()
            return mean_error(objective, objective.map(target)), adversary

    errors, adversaries = [], []
    for _ in range(3):
        for values, value in zip((errors, adversaries), look()):
            values.append(value)
        optimizer.zero_grad()
        objective.losses(source, target, 0.5, None)["reconstruction"].backward()
        optimizer.step()
    assert (np.diff(errors) < 0).all()
    assert (np.diff(adversaries) > 0).all()


def test_step_of_the_target_lowers_its_error():
    objective = make()
    train_adversary(objective)
    source, target = batches()
    target.requires_grad_()
    objective.losses(source, target, 0.5, None)["reconstruction"].backward()
    step = 0.1 * target.grad / target.grad.abs().max()
    assert mean_error(objective, target - step) < mean_error(objective, target)


def test_input_noise_is_for_training_with_a_generator_alone():
    torch.manual_seed(0)
    autoencoder = Autoencoder(3, 16, 4, 0.5)
    z = randn(5, 6, 3)
    plain = autoencoder(z)
    expected = autoencoder(z + 0.5 * randn(5, 6, 3, seed=7))
    assert torch.equal(autoencoder(z, noise(7)), expected)
    assert not torch.equal(expected, plain)
    # the error is that of the clean latents
    error = (expected - z).abs().mean(-1)
    torch.testing.assert_close(autoencoder.error(z, noise(7)), error)
    autoencoder.eval()
    assert torch.equal(autoencoder(z, noise(7)), plain)


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


def test_one_bin_and_one_dim():
    source, target = randn(4, 1, 1), randn(3, 1, 1, seed=1)
    objective = make(source, n_hidden=2, n_code=1)
    assert objective.adversary(source, target, noise()).isfinite()
    losses = objective.losses(source, target, 0.5, noise())
    assert losses["reconstruction"].isfinite()


def test_aligner(reaching, settings):
    aligner = ADANAligner(n_starts=40, max_steps=5, check_every=1, **settings)
    aligner.fit(reaching.source, reaching.y_source)
    again = copy.deepcopy(aligner).adapt(reaching.adapt)
    aligner.adapt(reaching.adapt)
    losses = aligner.loss_curve_["target"]
    assert [set(row) for row in losses] == [{"reconstruction"}] * 5
    assert aligner.n_parameters_added_ == 7066
    Z = aligner.transform(reaching.test)
    start = aligner.set_params(max_steps=0).adapt(reaching.adapt)
    moved = not np.array_equal(start.transform(reaching.test), Z)
    assert moved == (again.alignment_report_["target"].n_steps > 0)
    np.testing.assert_array_equal(again.transform(reaching.test), Z)
