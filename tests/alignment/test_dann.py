"""Alignment by gradient reversal."""

import copy
import math
from itertools import count

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from skerdiff.alignment._dann import (
    DANNAligner,
    DANNObjective,
    ramp,
    reverse_gradient,
)
from skerdiff.alignment._loop import TrainableReadIn, adapt_readin

KINDS = pytest.mark.parametrize("recurrent", [True, False])


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batches(shift=1.5):
    """Latents of two sessions, 12 and 9 trials, that differ by a shift."""
    return randn(12, 6, 3), randn(9, 6, 3, seed=1) + shift


def make(recurrent=True, n_components=3, **kwargs):
    torch.manual_seed(0)
    return DANNObjective(n_components, recurrent=recurrent, **kwargs)


def train(objective, n_steps=60):
    """Loss of the classifier before and after steps on two batches."""
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    values = []
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = objective.adversary(*batches(), None)
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    return values[0], values[-1]


@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
def test_reversal_is_the_identity_whose_gradient_is_turned(strength):
    x = randn(4, 3).requires_grad_()
    weights = randn(4, 3, seed=1)
    y = reverse_gradient(x, strength)
    assert torch.equal(y, x)
    (weights * y).sum().backward()
    torch.testing.assert_close(x.grad, -strength * weights)


def test_ramp():
    assert ramp(0.0) == 0.0
    assert ramp(0.5) == pytest.approx(0.9866143)
    assert ramp(1.0) == pytest.approx(0.9999092)
    for progress in np.linspace(0, 1, 5):
        assert ramp(progress) == pytest.approx(math.tanh(5 * progress))


@KINDS
def test_both_losses_are_the_cross_entropy_of_the_sessions(recurrent):
    source, target = batches()
    objective = make(recurrent)
    p_source = objective.classifier(source).sigmoid()
    p_target = objective.classifier(target).sigmoid()
    assert p_source.shape == (12, 6)
    expected = F.binary_cross_entropy(p_source, torch.ones(12, 6))
    expected = expected + F.binary_cross_entropy(p_target, torch.zeros(9, 6))
    torch.testing.assert_close(objective.adversary(source, target, None), expected)
    losses = objective.losses(source, target, 0.3, None)
    torch.testing.assert_close(losses, {"domain": expected})


@KINDS
@pytest.mark.parametrize("strength, progress", [(1.0, 1.0), (0.5, 0.1), (1.0, 0.0)])
def test_target_gets_the_reversed_gradient(recurrent, strength, progress):
    objective = make(recurrent, strength=strength)
    source, target = batches()
    target.requires_grad_()
    (plain,) = torch.autograd.grad(objective.adversary(source, target, None), target)
    losses = objective.losses(source, target, progress, None)
    (turned,) = torch.autograd.grad(losses["domain"], target)
    assert plain.abs().max() > 1e-4
    torch.testing.assert_close(turned, -strength * math.tanh(5 * progress) * plain)


@KINDS
def test_classifier_learns_to_tell_the_sessions(recurrent):
    first, last = train(make(recurrent))
    assert first == pytest.approx(2 * math.log(2), abs=0.3)
    assert last < 0.5


@KINDS
def test_step_of_the_target_misleads_the_classifier(recurrent):
    objective = make(recurrent)
    train(objective)
    source, target = batches()
    target.requires_grad_()
    objective.losses(source, target, 1.0, None)["domain"].backward()
    with torch.no_grad():
        moved = target - 0.1 * target.grad / target.grad.abs().max()
        before, after = (
            objective.adversary(source, z, None).item() for z in (target, moved)
        )
        logits = [objective.classifier(z).mean().item() for z in (target, moved)]
    assert after > before
    assert logits[1] > logits[0]


def test_recurrent_classifier_sees_the_bins_before():
    z = randn(4, 6, 3)
    changed = z.clone()
    changed[:, 2] += 1.0
    for recurrent, last in [(True, 6), (False, 3)]:
        classifier = make(recurrent).classifier
        moved = (classifier(z) - classifier(changed)).abs().amax(0) > 1e-6
        assert moved.tolist() == [2 <= k < last for k in range(6)]


def test_classifier_alone_is_trained_as_adversary():
    objective = make()
    own, theirs = objective.groups()
    assert own == []
    assert len(theirs) == len(list(objective.classifier.parameters()))
    assert objective.map_network() is None
    assert sum(p.numel() for p in make(n_components=8).parameters()) == 18433
    assert sum(p.numel() for p in make(False, n_components=8).parameters()) == 4801


class Sealed(DANNObjective):
    """The same, but the gradients of `losses` go into a copy of the classifier."""

    def losses(self, source, target, progress, generator):
        classifier, self.classifier = self.classifier, copy.deepcopy(self.classifier)
        parts = super().losses(source, target, progress, generator)
        self.classifier = classifier
        return parts


def run_loop(kind):
    torch.manual_seed(0)
    objective = kind(3, n_hidden=8)
    source, target = batches()
    readin = TrainableReadIn(torch.eye(3), torch.zeros(3), torch.tensor(1.0))
    looks = count()
    adapt_readin(
        readin,
        target,
        target[:2],
        source,
        lambda activations: activations,
        objective,
        lambda z: np.full(2, -next(looks)),  # the last state is the one that is kept
        max_steps=6,
        batch_size=5,
        learning_rate=0.01,
        adversary_learning_rate=0.01,
        check_every=2,
        patience=2,
        seed=0,
    )
    return readin, objective


def test_gradients_that_leak_into_the_classifier_do_not_train_it():
    readin, objective = run_loop(DANNObjective)
    sealed_readin, sealed = run_loop(Sealed)
    start = make(n_hidden=8).parameters()
    for ours, theirs, first in zip(objective.parameters(), sealed.parameters(), start):
        assert torch.equal(ours, theirs)
        assert not torch.equal(ours, first)
        assert not torch.equal(ours.grad, theirs.grad)  # they do leak
    assert torch.equal(readin.change, sealed_readin.change)
    assert readin.change.any()


@KINDS
def test_order_of_trials_does_not_count(recurrent):
    objective = make(recurrent)
    source, target = batches()
    shuffled = objective.losses(source.flip(0), target.roll(2, 0), 0.5, None)
    losses = objective.losses(source, target, 0.5, None)
    torch.testing.assert_close(shuffled, losses)


@KINDS
def test_one_bin_and_one_dim(recurrent):
    objective = make(recurrent, n_components=1)
    source, target = randn(4, 1, 1), randn(3, 1, 1, seed=1)
    assert objective.adversary(source, target, None).isfinite()
    assert objective.losses(source, target, 0.5, None)["domain"].isfinite()


def test_global_generator_is_left_alone():
    objective = make()
    state = torch.get_rng_state()
    generator = torch.Generator().manual_seed(0)
    objective.adversary(*batches(), generator)
    objective.losses(*batches(), 0.5, generator)
    assert torch.equal(torch.get_rng_state(), state)


def test_aligner(reaching, settings, any_step_is_accepted):
    aligner = DANNAligner(n_starts=40, max_steps=5, check_every=1, **settings)
    aligner.fit(reaching.source, reaching.y_source)
    again = copy.deepcopy(aligner).adapt(reaching.adapt)
    aligner.adapt(reaching.adapt)
    losses = aligner.loss_curve_["target"]
    assert [set(row) for row in losses] == [{"domain"}] * 5
    assert aligner.n_parameters_added_ == 18433
    assert aligner.alignment_report_["target"]["n_steps"] > 0
    assert aligner.sessions_["target"].latent_map is None
    Z = aligner.transform(reaching.test)
    start = aligner.set_params(max_steps=0).adapt(reaching.adapt)
    moved = not np.array_equal(start.transform(reaching.test), Z)
    assert moved == (again.alignment_report_["target"].n_steps > 0)
    np.testing.assert_array_equal(again.transform(reaching.test), Z)
