"""Alignment by shared attention, under an adversary."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from skerdiff import SequentialVAE
from skerdiff.alignment._daf import (
    DAFAligner,
    DAFObjective,
    Patterns,
    relative_error,
)


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def objective(d=3, n_hidden=8, n_heads=2, adversarial_weight=1.0, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        method = DAFObjective(d, n_hidden, n_heads, adversarial_weight)
    return method.double()


def losses(method, source, target):
    return method.losses(source, target, 0.5, None)


def predict(method, z, domain=0):
    patterns = method.patterns(z)
    return method.predict(z, method.query(patterns), method.key(patterns), domain)


def reach(function, z):
    """Which input bins the bins of an output depend on, (n_outputs, n_bins)."""
    jacobian = torch.autograd.functional.jacobian(function, z)  # 1, k, c, 1, t, d
    return (jacobian.abs().amax((0, 2, 3, 5)) > 1e-9).numpy()


def train_discriminator(method, source, target, n_steps=60):
    optimizer = torch.optim.Adam(method.groups()[1], lr=0.01)
    curve = []
    for _ in range(n_steps):
        loss = method.adversary(source, target, None)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return curve


# -- what a prediction may see ---------------------------------------------------------
@pytest.mark.parametrize("n_bins", [2, 3, 9])
@pytest.mark.parametrize("domain", [0, 1])
def test_forecast_depends_on_all_earlier_bins_alone(n_bins, domain):
    method, z = objective(), randn(1, n_bins, 3)
    found = reach(lambda a: predict(method, a, domain)[0], z)
    np.testing.assert_array_equal(found, np.tri(n_bins, k=-1, dtype=bool)[1:])


@pytest.mark.parametrize("n_bins", [2, 3, 9])
@pytest.mark.parametrize("domain", [0, 1])
def test_interpolation_depends_on_all_other_bins_alone(n_bins, domain):
    method, z = objective(), randn(1, n_bins, 3)
    found = reach(lambda a: predict(method, a, domain)[1], z)
    np.testing.assert_array_equal(found, ~np.eye(n_bins, dtype=bool))


@pytest.mark.parametrize("after", [False, True])
def test_patterns_span_their_windows(after):
    patterns, z = Patterns(3, 8, after).double(), randn(1, 12, 3)
    lag = np.arange(12) - np.arange(12)[:, None]
    lag = lag if after else -lag
    for channels, window in ((slice(4), 3), (slice(4, None), 5)):
        found = reach(lambda a, c=channels: patterns(a)[..., c], z)
        np.testing.assert_array_equal(found, (lag >= 1) & (lag <= window))


def test_predictions_are_those_of_the_attention_written_out():
    method, z = objective(), randn(2, 6, 3)
    q, k = method.query(method.patterns(z)), method.key(method.patterns(z))
    v = method.values[1](z)
    forecast, interpolation = predict(method, z, 1)
    for bin in range(6):
        read = torch.zeros(2, 2, 8).double()
        for head in (slice(0, 4), slice(4, 8)):
            kernel = [
                (q[:, side, bin, head] * k[:, side, t, head]).sum(-1).div(2).exp()
                for t in range(6)
                for side in [int(t > bin)]
            ]
            keys = [range(bin), [t for t in range(6) if t != bin]]
            for use, known in enumerate(keys):
                total = sum(kernel[t] for t in known)
                for t in known:
                    weight = kernel[t] / total
                    read[use, :, head] += weight[:, None] * v[:, t, head]
        expected = method.heads[1](read)
        torch.testing.assert_close(interpolation[:, bin], expected[1])
        if bin > 0:
            torch.testing.assert_close(forecast[:, bin - 1], expected[0])


def test_values_and_heads_are_private_and_the_attention_is_shared():
    for domain in (0, 1):
        method = objective()
        sum(part.sum() for part in predict(method, randn(4, 6, 3), domain)).backward()
        own, other = (
            [*method.values[i].parameters(), *method.heads[i].parameters()]
            for i in (domain, 1 - domain)
        )
        shared = (method.query, method.key, method.before, method.after)
        assert all(p.grad is not None for p in own)
        assert all(p.grad is None for p in other)
        assert all(p.grad is not None for m in shared for p in m.parameters())


# -- losses ----------------------------------------------------------------------------
def test_sequence_loss_is_the_error_of_both_predictions_in_both_sessions():
    method, sessions = objective(), (randn(7, 6, 3), randn(5, 6, 3, seed=1))
    expected = 0.0
    for domain, z in enumerate(sessions):
        forecast, interpolation = predict(method, z, domain)
        for prediction, real in ((forecast, z[:, 1:]), (interpolation, z)):
            error = ((prediction - real) ** 2).mean((0, 1))
            expected += (error / (real.var((0, 1), correction=0) + 1e-3)).mean()
    torch.testing.assert_close(losses(method, *sessions)["sequence"], expected)


def test_contraction_does_not_pay():
    # the mean of each dim predicts as badly as it ever did
    z = randn(200, 6, 3)
    for scale in (1.0, 0.2):
        error = relative_error(torch.zeros_like(z), scale * (z - z.mean((0, 1))))
        assert float(error) == pytest.approx(1.0, abs=0.03)


def test_loss_of_the_discriminator_by_hand():
    method = objective()
    sessions = randn(7, 6, 3), randn(5, 6, 3, seed=1)
    with torch.no_grad():
        method.discriminator[-1].weight.zero_()
        method.discriminator[-1].bias.fill_(math.log(3))  # source with probability 3/4
    expected = -math.log(3 / 4) - math.log(1 / 4)
    assert method.adversary(*sessions, None).item() == pytest.approx(expected)
    adversarial = losses(method, *sessions)["adversarial"]
    assert adversarial.item() == pytest.approx(-expected)


def test_generator_gets_what_the_discriminator_loses():
    method, other = objective(), objective(adversarial_weight=3.0)
    sessions = randn(7, 6, 3), randn(5, 6, 3, seed=1) + 1.0
    theirs = method.adversary(*sessions, None)
    ours = losses(method, *sessions)
    torch.testing.assert_close(ours["adversarial"], -theirs)
    threefold = losses(other, *sessions)
    torch.testing.assert_close(threefold["adversarial"], -3 * theirs)
    torch.testing.assert_close(threefold["sequence"], ours["sequence"])


def test_discriminator_learns_to_tell_sessions_apart():
    method, source = objective(), randn(16, 10, 3)
    alike = train_discriminator(copy.deepcopy(method), source, source)
    apart = train_discriminator(method, source, source + 3.0)
    assert apart[-1] < 0.8 * apart[0]
    assert min(alike) > 2 * math.log(2) - 1e-3


def test_adversarial_step_moves_the_target_towards_the_source():
    method, source = objective(), randn(32, 6, 3)
    target = (randn(32, 6, 3, seed=1) + 1.0).requires_grad_()
    train_discriminator(method, source, target.detach())
    before = method.adversary(source, target, None)
    losses(method, source, target)["adversarial"].backward()
    with torch.no_grad():
        moved = target - 0.5 * target.grad / target.grad.abs().amax()
    assert method.adversary(source, moved, None) > before + 1e-3
    assert moved.mean() < target.mean()


def test_adversary_step_leaves_target_and_generator_alone():
    method = objective()
    target = randn(5, 6, 3, seed=1).requires_grad_()
    method.adversary(randn(7, 6, 3), target, None).backward()
    own, theirs = method.groups()
    assert target.grad is None
    assert all(p.grad is None for p in own)
    assert all(p.grad is not None for p in theirs)
    assert {id(p) for p in theirs} == {id(p) for p in method.discriminator.parameters()}
    assert len(own) + len(theirs) == len(list(method.parameters()))


@pytest.mark.parametrize("name", ["sequence", "adversarial"])
def test_both_losses_have_a_gradient_into_the_target(name):
    method = objective()
    source, target = randn(3, 4, 3), randn(2, 4, 3, seed=1).requires_grad_()
    (gradient,) = torch.autograd.grad(losses(method, source, target)[name], target)
    assert (gradient.abs().amax((0, 2)) > 1e-7).all()
    assert torch.autograd.gradcheck(lambda z: losses(method, source, z)[name], target)


def test_order_of_trials_does_not_count():
    method = objective()
    source, target = randn(7, 6, 3), randn(5, 6, 3, seed=1)
    found = losses(method, source, target)
    again = losses(method, source.flip(0), target.roll(2, 0))
    for name in found:
        torch.testing.assert_close(again[name], found[name])
    torch.testing.assert_close(
        method.adversary(source.flip(0), target.roll(2, 0), None),
        method.adversary(source, target, None),
    )


@pytest.mark.parametrize("n_bins", [1, 2, 3, 4])
def test_short_trials_and_single_precision(n_bins):
    method = objective().float()
    source, target = randn(4, n_bins, 3).float(), randn(3, n_bins, 3, seed=1).float()
    target.requires_grad_()
    parts = losses(method, source, target)
    assert all(part.dtype == torch.float32 for part in parts.values())
    sum(parts.values()).backward()
    gradients = [target.grad, *(p.grad for p in method.parameters())]
    assert all(torch.isfinite(g).all() for g in gradients if g is not None)
    assert (target.grad != 0).all()
    forecast, interpolation = predict(method, target)
    assert forecast.shape == (3, max(1, n_bins - 1), 3)
    assert interpolation.shape == (3, n_bins, 3)


def test_gradient_steps_learn_to_predict():
    # a rotation by 60 degrees per bin, from any start
    time = torch.arange(9) * math.pi / 3
    phase = randn(16, 1) * math.pi
    z = torch.stack([torch.cos(time + phase), torch.sin(time + phase)], -1)
    method = objective(d=2, n_hidden=16)
    optimizer = torch.optim.Adam(method.groups()[0], lr=0.01)
    for _ in range(150):
        loss = losses(method, z, z)["sequence"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    forecast, _ = predict(method, z)
    assert F.mse_loss(forecast[:, 2:], z[:, 3:]) < 0.1 * z.var()


# -- aligner ---------------------------------------------------------------------------
def test_number_of_parameters_added():
    method = DAFAligner()._make_objective(torch.zeros(4, 37, 8))
    n_parameters = sum(p.numel() for p in method.parameters())
    assert n_parameters == pytest.approx(91_000, rel=0.25)


@pytest.mark.parametrize(
    "params, message",
    [
        ({"n_hidden": 1}, "'n_hidden' parameter"),
        ({"n_heads": 0}, "'n_heads' parameter"),
        ({"adversarial_weight": -1.0}, "'adversarial_weight' parameter"),
        ({"adversary_learning_rate": 0.0}, "'adversary_learning_rate' parameter"),
        ({"n_hidden": 10, "n_heads": 4}, "n_hidden=10 .* n_heads=4"),
    ],
)
def test_bad_parameters(params, message):
    X = np.random.default_rng(0).poisson(3.0, (8, 5, 6))
    model = SequentialVAE(max_iter=1, n_hidden=4, n_readin=4, n_components=2)
    with pytest.raises(ValueError, match=message):
        DAFAligner(model, **params).fit(X)


def test_odd_width_and_one_head():
    method = DAFAligner(n_hidden=7, n_heads=1)._make_objective(torch.zeros(4, 6, 2))
    parts = losses(method, *torch.zeros(2, 4, 6, 2))
    assert all(torch.isfinite(part) for part in parts.values())


def test_aligner_trains_in_turns_and_repeats(reaching, settings):
    aligner = DAFAligner(n_hidden=16, max_steps=5, init="source", **settings)
    aligner.fit(reaching.source, reaching.y_source)
    again, tamer = copy.deepcopy(aligner), copy.deepcopy(aligner)
    tamer.set_params(adversary_learning_rate=1e-9).adapt(reaching.adapt)
    again.adapt(reaching.adapt)
    aligner.adapt(reaching.adapt)
    curve = aligner.loss_curve_["target"]
    assert [set(step) for step in curve] == 5 * [{"sequence", "adversarial"}]
    assert curve == again.loss_curve_["target"]
    assert curve != tamer.loss_curve_["target"]
    assert aligner.n_parameters_added_ == sum(
        p.numel() for p in DAFObjective(8, 16, 4, 1.0).parameters()
    )
    assert aligner.transform(reaching.test).shape == (30, 20, 8)
