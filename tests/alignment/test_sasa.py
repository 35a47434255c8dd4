"""Alignment of sparse associative structure."""

import copy

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from skerdiff import SequentialVAE
from skerdiff.alignment._sasa import (
    SASAAligner,
    SASAObjective,
    SegmentLSTMs,
    segment_lengths,
    sparsemax,
)


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def objective(d=4, n_hidden=5, weight=1.0, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SASAObjective(d, n_hidden, weight).double()


def losses(method, source, target):
    return method.losses(source, target, 0.5, None)


# -- sparsemax -------------------------------------------------------------------------
@pytest.mark.parametrize(
    "scores, expected",
    [
        ([0.5, 0.2, -1.0], [0.65, 0.35, 0.0]),
        ([0.0, 3.0, 1.0], [0.0, 1.0, 0.0]),
        ([2.0, 2.0, 2.0, 2.0], [0.25, 0.25, 0.25, 0.25]),
        ([1.0, 0.6, 0.8], [0.2 + 1 / 3, 1 / 3 - 0.2, 1 / 3]),
        ([-7.0], [1.0]),
    ],
)
def test_sparsemax_by_hand(scores, expected):
    found = sparsemax(torch.tensor(scores, dtype=torch.float64))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_sparsemax_is_the_nearest_point_of_the_simplex(seed):
    scores = (0.7 * randn(5, seed=seed)).numpy()
    nearest = minimize(
        lambda p: ((p - scores) ** 2).sum(),
        np.full(5, 0.2),
        jac=lambda p: 2 * (p - scores),
        bounds=[(0, 1)] * 5,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-14},
    )
    found = sparsemax(torch.from_numpy(scores)).numpy()
    np.testing.assert_allclose(found, nearest.x, atol=1e-6)


def test_sparsemax_is_sparse_and_sums_to_one():
    weights = sparsemax(randn(50, 8))
    np.testing.assert_allclose(weights.sum(-1).numpy(), 1)
    assert (weights >= 0).all()
    assert 0.2 < (weights == 0).double().mean() < 0.9


def test_sparsemax_of_large_and_infinite_scores():
    scores = torch.tensor([0.5, 0.25, -1.0])
    torch.testing.assert_close(sparsemax(scores + 2.0**20), sparsemax(scores))
    masked = torch.tensor([0.5, -torch.inf, 0.25, -torch.inf]).requires_grad_()
    weights = sparsemax(masked)
    torch.testing.assert_close(weights, torch.tensor([0.625, 0.0, 0.375, 0.0]))
    (weights * torch.arange(4.0)).sum().backward()
    torch.testing.assert_close(masked.grad, torch.tensor([-1.0, 0.0, 1.0, 0.0]))


def test_gradient_of_sparsemax():
    scores = randn(6, 5).requires_grad_()
    assert torch.autograd.gradcheck(sparsemax, scores)


# -- segments --------------------------------------------------------------------------
def test_lengths_of_segments():
    assert segment_lengths(36) == [36, 30, 24, 18, 12, 6]
    assert segment_lengths(2) == [2, 1]
    for n_bins in range(1, 60):
        lengths = segment_lengths(n_bins)
        assert lengths[0] == n_bins
        assert 1 <= lengths[-1] <= n_bins / 6 + 1
        assert lengths == sorted(set(lengths), reverse=True)
        assert len(lengths) == min(n_bins, 6)


@pytest.mark.parametrize("n_bins", [1, 2, 9])
def test_last_states_are_those_of_one_lstm_per_variable_and_segment(n_bins):
    d, n_hidden = 3, 4
    z = randn(5, n_bins, d)
    encoder = SegmentLSTMs(d, n_hidden).double()
    states = encoder(z)
    lengths = segment_lengths(n_bins)
    assert states.shape == (5, d, len(lengths), n_hidden)
    for i in range(d):
        reference = nn.LSTM(1, n_hidden, batch_first=True).double()
        # torch's gates: input, forget, cell, output
        parts = (encoder.input[i, 0].T, encoder.recurrent[i].T, encoder.bias[i, 0, 0])
        parts = [
            torch.cat([a[: 2 * n_hidden], a[-n_hidden:], a[2 * n_hidden : -n_hidden]])
            for a in parts
        ]
        with torch.no_grad():
            for name, part in zip(
                ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"), parts
            ):
                getattr(reference, name).copy_(part)
            reference.bias_hh_l0.zero_()
        for n, length in enumerate(lengths):
            expected = reference(z[:, n_bins - length :, i : i + 1])[1][0][0]
            torch.testing.assert_close(states[:, i, n], expected)


# -- objective -------------------------------------------------------------------------
def test_attention_is_in_the_simplex_and_not_on_the_own_segments():
    alpha, beta, features = objective().structure(randn(7, 9, 4))
    assert alpha.shape == (7, 4, 6)
    assert beta.shape == (7, 4, 24)
    assert features.shape == (7, 4 * 2 * 5)
    for weights in (alpha, beta):
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(-1), torch.ones(7, 4).double())
    for i in range(4):
        assert (beta[:, i, 6 * i : 6 * (i + 1)] == 0).all()
    assert (beta > 0).any(0).sum() > 4


def test_features_are_what_the_attention_reads():
    method = objective()
    z = randn(3, 9, 4)
    h, (alpha, _, features) = method.encoder(z), method.structure(z)
    features = features.unflatten(-1, (4, -1))
    q, k, v = (torch.einsum("nish,ihg->nisg", h, m) for m in method.maps)
    scores = torch.einsum("niqh,nish->niqs", q, k) / np.sqrt(5)
    torch.testing.assert_close(alpha, sparsemax(scores.mean(2)))
    within = torch.einsum("nis,nish->nih", alpha, v)
    torch.testing.assert_close(features[..., :5], within)
    for i in range(4):
        others = torch.cat([h[:, j] for j in range(4) if j != i], 1)
        cosines = torch.cosine_similarity(within[:, i, None], others, dim=-1)
        weights = sparsemax(cosines)
        expected = torch.einsum("ns,nsh->nh", weights, others)
        torch.testing.assert_close(features[:, i, 5:], expected, atol=1e-5, rtol=1e-4)


def test_alignment_is_zero_only_for_equal_batches():
    method = objective()
    source = randn(12, 9, 4)
    same = losses(method, source, source.clone())["alignment"]
    assert same.item() == pytest.approx(0, abs=1e-9)
    for changed in (source.flip(1), source.flip(2), source + 0.5, 0.5 * source):
        assert losses(method, source, changed)["alignment"] > 1e-3


def test_alignment_by_hand():
    method = objective(weight=2.0)
    sessions = randn(12, 9, 4), randn(10, 9, 4, seed=1)
    expected = 0.0
    for weights in zip(*(method.structure(z[:, :-1])[:2] for z in sessions)):
        source, target = (a.mean(0).detach().numpy() for a in weights)
        for i in range(4):
            expected += 2 * np.sqrt(((source[i] - target[i]) ** 2).sum())
    found = losses(method, *sessions)["alignment"]
    assert found.item() == pytest.approx(expected)


def test_order_of_trials_does_not_count():
    method = objective()
    source, target = randn(12, 9, 4), randn(10, 9, 4, seed=1)
    found = losses(method, source, target)
    again = losses(method, source.flip(0), target.roll(3, 0))
    for name in found:
        torch.testing.assert_close(again[name], found[name])


def test_alignment_has_a_gradient_into_the_target():
    method = objective(d=3, n_hidden=3)
    source, target = randn(5, 5, 3), randn(4, 5, 3, seed=1).requires_grad_()
    (gradient,) = torch.autograd.grad(
        losses(method, source, target)["alignment"], target
    )
    assert (gradient[:, :-1].abs().amax((0, 2)) > 1e-6).all()
    assert torch.autograd.gradcheck(
        lambda z: losses(method, source, z)["alignment"], target, atol=1e-6
    )


def test_gradient_is_finite_where_the_distance_is_zero():
    # one segment each, and one other variable: no weight can differ
    method = objective(d=2)
    target = randn(5, 2, 2, seed=1).requires_grad_()
    alignment = losses(method, randn(6, 2, 2), target)["alignment"]
    alignment.backward()
    assert alignment == 0
    assert (target.grad == 0).all()


def test_forecast_is_of_the_last_bin_of_the_source():
    method = objective()
    source = randn(12, 9, 4)
    one, other = (
        losses(method, source, randn(10, 9, 4, seed=seed))["forecast"]
        for seed in (1, 2)
    )
    torch.testing.assert_close(one, other)
    with torch.no_grad():
        method.head.weight.zero_()
        method.head.bias.copy_(torch.tensor([1.0, 0.0, -1.0, 2.0]))
    error = losses(method, source, source)["forecast"]
    torch.testing.assert_close(error, ((source[:, -1] - method.head.bias) ** 2).mean())


def test_last_bin_does_not_enter_the_features():
    method = objective()
    source, target = randn(12, 9, 4), randn(10, 9, 4, seed=1)
    changed = target.clone()
    changed[:, -1] += 1.0
    found, again = (losses(method, source, z)["alignment"] for z in (target, changed))
    torch.testing.assert_close(again, found)


def test_weight_scales_the_alignment_alone():
    source, target = randn(12, 9, 4), randn(10, 9, 4, seed=1)
    one, three = (losses(objective(weight=w), source, target) for w in (1.0, 3.0))
    torch.testing.assert_close(three["alignment"], 3 * one["alignment"])
    torch.testing.assert_close(three["forecast"], one["forecast"])


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("n_bins", [1, 2, 3, 4, 7])
def test_short_trials_and_single_precision(n_bins, d):
    method = objective(d=d).float()
    source, target = randn(4, n_bins, d).float(), randn(3, n_bins, d, seed=1).float()
    target.requires_grad_()
    parts = losses(method, source, target)
    assert all(part.dtype == torch.float32 for part in parts.values())
    sum(parts.values()).backward()
    assert torch.isfinite(target.grad).all()
    assert (target.grad != 0).any() == (n_bins > 2 or d > 2)


def train(method, source, shift, trained, learning_rate, n_steps):
    optimizer = torch.optim.Adam(trained, lr=learning_rate)
    curve = []
    for _ in range(n_steps):
        parts = losses(method, source, source + shift)
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
        curve.append({name: part.item() for name, part in parts.items()})
    return curve


def test_alignment_finds_a_shift_of_the_target():
    shift = torch.ones(4).double().requires_grad_()
    train(objective(), randn(16, 6, 4), shift, [shift], 0.1, 40)
    assert (shift.abs() < 0.5).all()


def test_networks_learn_to_forecast():
    method, shift = objective(), torch.ones(4).double()
    curve = train(method, randn(16, 6, 4), shift, method.parameters(), 0.03, 30)
    assert curve[-1]["forecast"] < 0.85 * curve[0]["forecast"]
    assert curve[-1]["alignment"] < 0.2 * curve[0]["alignment"]


# -- aligner ---------------------------------------------------------------------------
def test_number_of_parameters_added():
    method = SASAAligner()._make_objective(torch.zeros(4, 37, 8))
    n_parameters = sum(p.numel() for p in method.parameters())
    assert n_parameters == pytest.approx(33_000, rel=0.25)
    assert len(method.groups()[0]) == len(list(method.parameters()))


@pytest.mark.parametrize("params", [{"n_hidden": 0}, {"weight": -1.0}])
def test_bad_parameters(params):
    X = np.ones((6, 5, 4))
    with pytest.raises(ValueError, match=f"'{next(iter(params))}' parameter"):
        SASAAligner(SequentialVAE(max_iter=1), **params).fit(X)


def test_aligner_records_its_losses_and_repeats_them(reaching, settings):
    aligner = SASAAligner(n_hidden=6, max_steps=5, init="source", **settings)
    aligner.fit(reaching.source, reaching.y_source)
    again = copy.deepcopy(aligner).adapt(reaching.adapt)
    aligner.adapt(reaching.adapt)
    curve = aligner.loss_curve_["target"]
    assert [set(step) for step in curve] == 5 * [{"forecast", "alignment"}]
    assert curve == again.loss_curve_["target"]
    assert aligner.n_parameters_added_ == sum(
        p.numel() for p in SASAObjective(8, 6, 1.0).parameters()
    )
    assert aligner.transform(reaching.test).shape == (30, 20, 8)
