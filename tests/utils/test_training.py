"""Training of modules that state their own loss."""

import numpy as np
import pytest
import torch
from torch import nn

from skerdiff.utils._training import train_module


class Line(nn.Module):
    """y = w x + b, with optional noise in the loss."""

    def __init__(self, noise=0.0, broken=False):
        super().__init__()
        self.line = nn.Linear(1, 1)
        self.noise = noise
        self.broken = broken
        self.batches = []

    def loss(self, x, y, *, generator):
        self.batches.append((self.training, x.flatten().tolist()))
        noise = torch.empty_like(y).normal_(generator=generator)
        loss = ((self.line(x) + self.noise * noise - y) ** 2).mean()
        return loss * float("nan") if self.broken else loss


class Interrupted(Line):
    def loss(self, x, y, *, generator):
        raise KeyboardInterrupt


X = torch.arange(10.0)[:, None]
Y = 2 * X - 1
VALID = (torch.arange(100.0, 103.0)[:, None], torch.zeros(3, 1))


def train(module_class=Line, params=None, valid=None, **kwargs):
    settings = {
        "seed": 0,
        "device": torch.device("cpu"),
        "max_iter": 5,
        "batch_size": 4,
        "learning_rate": 0.01,
    }
    return train_module(
        module_class, params or {}, (X, Y), valid, **(settings | kwargs)
    )


def state(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_module_is_trained_and_handed_over_ready():
    module, history = train(max_iter=300, learning_rate=0.05)
    torch.testing.assert_close(
        state(module), torch.tensor([2.0, -1.0]), atol=0.05, rtol=0
    )
    assert not module.training
    assert all(p.grad is None for p in module.parameters())
    assert len(history) == 300
    assert history[-1]["train_loss"] < 0.01 * history[0]["train_loss"]
    assert set(history[0]) == {"train_loss"}


def test_every_epoch_sees_every_trial_once_in_a_new_order():
    module, _ = train(max_iter=4)
    epochs = [sum((x for _, x in module.batches[i : i + 2]), []) for i in (0, 2, 4, 6)]
    assert len(module.batches) == 8
    assert all(sorted(epoch) == X.flatten().tolist() for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


@pytest.mark.parametrize("batch_size, sizes", [(4, [5, 5]), (3, [4, 3, 3]), (64, [10])])
def test_batches_are_of_nearly_equal_size(batch_size, sizes):
    module, _ = train(max_iter=1, batch_size=batch_size)
    assert [len(x) for _, x in module.batches] == sizes


def test_validation_trials_are_not_trained_on():
    module, history = train(valid=VALID)
    for training, x in module.batches:
        assert training == (max(x) < 100)
    assert set(history[0]) == {"train_loss", "valid_loss"}
    first, _ = train()
    assert torch.equal(state(first), state(module))


def test_validation_noise_is_the_same_in_every_epoch():
    _, history = train(params={"noise": 1.0}, valid=VALID, learning_rate=1e-12)
    assert len({row["valid_loss"] for row in history}) == 1
    assert len({row["train_loss"] for row in history}) > 1


def test_early_stopping_keeps_the_best_epoch():
    # training leads away from the validation trials, sooner or later
    valid = (X, 0.3 * Y)
    settings = {"valid": valid, "learning_rate": 0.05}
    module, history = train(max_iter=200, patience=3, **settings)
    losses = [row["valid_loss"] for row in history]
    best = int(np.argmin(losses))
    assert len(history) == best + 1 + 3 < 200
    cut, _ = train(max_iter=best + 1, **settings)
    assert torch.equal(state(module), state(cut))


def test_without_patience_every_epoch_is_run():
    valid = (X, 0.3 * Y)
    _, history = train(valid=valid, max_iter=30, learning_rate=0.05)
    assert len(history) == 30


def test_moving_average_of_the_weights():
    # one step per epoch; the weights after k steps are those of training for k epochs
    settings = {"batch_size": 64, "learning_rate": 0.1}
    path = [state(train(max_iter=k, **settings)[0]) for k in range(1, 6)]
    decay = 0.7
    expected = path[0]
    for weights in path[1:]:
        expected = decay * expected + (1 - decay) * weights
    module, history = train(max_iter=5, ema_decay=decay, **settings)
    torch.testing.assert_close(state(module), expected)
    assert not torch.allclose(state(module), path[-1])
    assert len(history) == 5


def test_validation_is_of_the_moving_average():
    settings = {"batch_size": 64, "learning_rate": 0.1, "valid": (X, Y)}
    module, history = train(ema_decay=0.9, **settings)
    error = float(((module.line(X) - Y) ** 2).mean().detach())
    assert history[-1]["valid_loss"] == pytest.approx(error, rel=1e-5)


def test_two_runs_agree_to_the_bit_and_leave_the_global_generators():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = (train(params={"noise": 1.0}) for _ in range(2))
    assert torch.equal(state(first[0]), state(second[0]))
    assert first[1] == second[1]
    other, _ = train(params={"noise": 1.0}, seed=1)
    assert not torch.equal(state(first[0]), state(other))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_global_generator_does_not_reach_training():
    torch.manual_seed(0)
    first, _ = train()
    torch.manual_seed(1)
    second, _ = train()
    assert torch.equal(state(first), state(second))


def test_loss_that_is_not_finite_raises():
    with pytest.raises(ValueError, match="training loss became nan in epoch 1"):
        train(params={"broken": True})


def test_interrupt_of_a_user_is_not_swallowed():
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted)


def test_large_gradients_are_clipped():
    # plain AdamW moves by about the learning rate whatever the gradient: the clip
    # shows in the moving averages it keeps, and so in how fast it recovers
    loose, _ = train(max_iter=1, clip=1e9, batch_size=2)
    tight, _ = train(max_iter=1, clip=1e-3, batch_size=2)
    assert not torch.equal(state(loose), state(tight))


def test_threads_are_given_back():
    before = torch.get_num_threads()
    train(n_threads=1)
    assert torch.get_num_threads() == before
