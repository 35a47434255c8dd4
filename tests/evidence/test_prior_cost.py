"""The comparison of cost with the published denoiser's shape."""

import numpy as np
import pytest
import torch

from benchmarks.prior_cost import (
    epoch_seconds,
    loss_at_published_times,
    prior_loss,
    scaling_table,
    trajectories,
)
from benchmarks.published_denoiser import (
    N_STEPS,
    PublishedDenoiser,
    alpha_bars,
    train_published,
)
from skerdiff import DiffusionPrior


def test_shape_is_the_published_one():
    with torch.random.fork_rng():
        net = PublishedDenoiser(14, 8)
    n_parameters = sum(p.numel() for p in net.parameters())
    # 2.85 million for the released network (16 dims; other odds and ends)
    assert n_parameters == pytest.approx(2.6e6, rel=0.1)
    z = torch.zeros(2, 14, 8)
    assert net(z, torch.tensor([3, 200])).shape == z.shape


def test_schedule_goes_from_data_to_noise():
    signal = alpha_bars()
    assert len(signal) == N_STEPS
    assert signal[0] > 0.999
    assert signal[-1] < 1e-4
    assert (signal.diff() < 0).all()


def test_published_network_learns():
    Z = torch.tensor(trajectories(32, 4, 2), dtype=torch.float32)
    state, losses = torch.get_rng_state(), []

    def report(epoch, net):
        def predict(z, step, share):
            return net(z, torch.full((len(z),), step))

        losses.append(loss_at_published_times(predict, Z, n_times=10))

    seconds = train_published(Z, 6, report=report)
    assert len(seconds) == len(losses) == 6
    assert losses[-1] < losses[0]
    assert torch.equal(torch.get_rng_state(), state)


def test_training_goes_on_where_it_was_interrupted(tmp_path):
    Z = torch.tensor(trajectories(20, 3, 2), dtype=torch.float32)
    states = []

    def report(epoch, net):
        states.append((epoch, [p.clone() for p in net.parameters()]))

    options = {"report": report, "report_every": 2}
    train_published(Z, 4, **options)
    options["checkpoint"] = tmp_path / "published.pt"
    train_published(Z, 3, **options)  # the third epoch is lost
    assert len(train_published(Z, 4, **options)) == 4
    assert [epoch for epoch, _ in states] == [2, 4, 2, 4]
    for whole, resumed in (states[0::2], states[1::2]):
        for a, b in zip(whole[1], resumed[1], strict=True):
            assert torch.equal(a, b)


def test_loss_of_a_prior_at_published_times():
    Z = trajectories(200, 4, 2)
    prior = DiffusionPrior(max_iter=0, random_state=0).fit(Z)
    silence = loss_at_published_times(
        lambda z, step, share: torch.zeros_like(z), torch.tensor(Z)
    )
    assert silence == pytest.approx(1, abs=0.05)
    assert prior_loss(prior, trajectories(200, 4, 2, seed=1)) < 0.5


def test_times_are_measured():
    Z = trajectories(20, 3, 2)
    assert np.corrcoef(Z[:, 0, 0], Z[:, 1, 0])[0, 1] > 0.8
    assert epoch_seconds(Z, n_epochs=60) > 0
    (row,) = scaling_table(sizes=[(20, 3, 2)], n_epochs=20).frame.to_numpy().tolist()
    assert row[:3] == ["20", "3", "2"] and row[4].endswith("%")
