"""The attention network on top of the closed form."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from skerdiff.diffusion._closed_form import (
    ConditionalDenoiser,
    MixtureDenoiser,
    StandardDenoiser,
)
from skerdiff.diffusion._denoiser import SpatioTemporalDenoiser
from skerdiff.diffusion._divergence import exact_divergence, hutchinson_divergence
from skerdiff.diffusion._mixture import Clustering
from skerdiff.diffusion._objectives import WEIGHTINGS, time_weights
from skerdiff.diffusion._sde import SCHEDULES, SDES, DiffusionSDE

N_BINS, D, N_INPUTS = 5, 3, 2
SIZE = N_BINS * D
FLAGS = [(True, True), (True, False), (False, True), (False, False)]
flags = pytest.mark.parametrize(
    "spatial, temporal", FLAGS, ids=["both", "no time", "no space", "neither"]
)
conditions = pytest.mark.parametrize("condition", ["none", "concat", "label"])


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def trajectories(n=60, seed=0):
    """Trajectories whose bins and dims all covary, in two groups."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((SIZE, SIZE)) / SIZE**0.5
    rows = rng.standard_normal((n, SIZE)) @ A + 2.0 * (np.arange(n) % 2)[:, None]
    return rows.reshape(n, N_BINS, D)


def closed_form(spatial=True, temporal=True, condition="none", seed=0):
    """Mixture of two, and given a condition another one around a linear map."""
    marginal, residual = (
        MixtureDenoiser(Clustering(Z, 2, spatial, temporal, 0).mixture(0.3))
        for Z in (trajectories(seed=seed), 0.5 * trajectories(seed=seed + 1))
    )
    if condition == "none":
        return ConditionalDenoiser(marginal)
    n_inputs = N_INPUTS * (N_BINS if condition == "concat" else 1)
    weights, offset = randn(n_inputs, SIZE), randn(N_BINS, D, seed=1)
    return ConditionalDenoiser(marginal, residual, weights.float(), offset.float())


def make_denoiser(perturb=True, seed=0, condition="none", **kwargs):
    """A small denoiser whose zero-initialised weights have been moved."""
    n_inputs = 0 if condition == "none" else N_INPUTS
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = SpatioTemporalDenoiser(
            N_BINS,
            D,
            n_channels=8,
            n_heads=2,
            condition=condition,
            n_inputs=n_inputs,
            **kwargs,
        )
        if perturb:
            for parameter in module.parameters():
                parameter.data += 0.3 * torch.randn_like(parameter)
    return module.double()


def full_denoiser(condition="none", **kwargs):
    form = closed_form(condition=condition)
    return make_denoiser(condition=condition, closed_form=form, **kwargs)


def given(condition, n=4, seed=7):
    """The arguments of n trials' conditions."""
    if condition == "none":
        return ()
    if condition == "concat":
        return (randn(n, N_BINS, N_INPUTS, seed=seed),)
    return (torch.eye(N_INPUTS, dtype=torch.float64)[torch.arange(n) % N_INPUTS],)


def inputs(n=4):
    return randn(n, N_BINS, D), torch.linspace(0.1, 0.9, n, dtype=torch.float64)


def jacobian(function, t=0.4, *rest):
    """d eps[k, i] / d z[l, j] as an array (n_bins, d, n_bins, d)."""
    time = torch.tensor([t], dtype=torch.float64)
    z = randn(N_BINS, D, seed=2)
    return torch.func.jacrev(lambda z: function(z[None], time, *rest)[0])(z).detach()


@conditions
@pytest.mark.parametrize("with_mixture", [False, True], ids=["standard", "mixture"])
@flags
def test_which_bins_and_dims_interact(spatial, temporal, with_mixture, condition):
    form = None
    if with_mixture:
        form = closed_form(spatial, temporal, condition)
    elif condition != "none":
        form = ConditionalDenoiser(
            StandardDenoiser(),
            StandardDenoiser(),
            *closed_form(condition=condition).buffers(recurse=False),
        )
    module = make_denoiser(
        spatial=spatial,
        temporal=temporal,
        closed_form=form,
        condition=condition,
        n_blocks=2,  # one block mixes dims or bins, two mix both
    )
    same_bin = torch.eye(N_BINS, dtype=bool)[:, None, :, None]
    same_dim = torch.eye(D, dtype=bool)[None, :, None, :]
    allowed = (same_bin | torch.tensor(temporal)) & (same_dim | torch.tensor(spatial))
    allowed = allowed.expand(N_BINS, D, N_BINS, D)
    for rest in [(), given(condition, 1)]:
        J = jacobian(module, 0.4, *rest).abs()
        assert (J[~allowed] == 0).all()
        assert (J[allowed] > 1e-7).all()


def test_no_bins_or_dims_interact_before_training_without_mixture():
    module = make_denoiser(perturb=False)
    J = jacobian(module).reshape(SIZE, -1)
    _, sigma = module.sde.marginal(torch.tensor(0.4, dtype=torch.float64))
    torch.testing.assert_close(J, sigma * torch.eye(SIZE, dtype=torch.float64))


@conditions
@flags
def test_network_of_zero_output_leaves_the_closed_form(spatial, temporal, condition):
    form = closed_form(spatial, temporal, condition)
    module = make_denoiser(
        spatial=spatial, temporal=temporal, closed_form=form, condition=condition
    )
    module.out.data.zero_()
    z, t = inputs()
    rest = given(condition)
    alpha, sigma = (a[:, None, None] for a in module.sde.marginal(t))
    expected = form(z, alpha, sigma, *rest)[0]
    torch.testing.assert_close(module(z, t, *rest), expected)

    def unused(field, z):
        raise AssertionError("nothing to differentiate")

    noise, trace = module.noise_and_trace(z, t, unused, *rest)
    torch.testing.assert_close(noise, expected)
    torch.testing.assert_close(trace, form.trace(z, alpha, sigma, *rest))


def test_network_starts_at_zero():
    assert not make_denoiser(perturb=False).out.any()


@conditions
def test_parts_sum_to_the_prediction(condition):
    module = full_denoiser(condition)
    z, t = inputs()
    rest = given(condition)
    start, change = module.parts(z, t, *rest)
    alpha, sigma = (a[:, None, None] for a in module.sde.marginal(t))
    torch.testing.assert_close(
        start, module.closed_form(z, alpha, sigma, *rest)[0], rtol=0, atol=0
    )
    torch.testing.assert_close(start + change, module(z, t, *rest), rtol=0, atol=0)
    assert change.abs().amax((1, 2)).min() > 1e-4


@conditions
@pytest.mark.parametrize("kind", SDES)
def test_noise_and_trace_are_the_prediction_and_the_trace_of_its_jacobian(
    condition, kind
):
    module = full_denoiser(condition, sde=DiffusionSDE("cosine", 0.7, kind))
    z, t = inputs()
    rest = given(condition)
    noise, trace = module.noise_and_trace(z, t, exact_divergence, *rest)
    torch.testing.assert_close(noise, module(z, t, *rest))
    assert not noise.requires_grad
    assert not trace.requires_grad
    for i in range(len(z)):
        at = t[[i]], *(a[[i]] for a in rest)
        J = torch.func.jacrev(lambda one, at=at: module(one[None], *at)[0])(z[i])
        torch.testing.assert_close(trace[i], J.view(SIZE, SIZE).trace().detach())


def test_probes_meet_the_network_only():
    # the closed form's part is exact: the error is that of the network's part
    module = full_denoiser()
    z, t = inputs()
    probes = randn(1, N_BINS, D, seed=4).sign()
    hutchinson = partial(hutchinson_divergence, probes=probes)
    _, estimate = module.noise_and_trace(z, t, hutchinson)
    _, exact = module.noise_and_trace(z, t, exact_divergence)
    network = [
        divergence(lambda z: module.parts(z, t)[1], z)[1]
        for divergence in (hutchinson, exact_divergence)
    ]
    torch.testing.assert_close(estimate - exact, network[0] - network[1])
    assert (estimate - exact).abs().min() > 1e-6


def test_closed_form_is_not_trained():
    module = full_denoiser("concat", folds=[closed_form(condition="concat")])
    names = {name for name, _ in module.named_parameters()}
    assert not any(name.startswith(("closed_form", "folds")) for name in names)
    assert "closed_form.marginal.centres" in module.state_dict()
    assert "closed_form.weights" in module.state_dict()


@conditions
def test_output_of_a_trial_does_not_depend_on_the_batch(condition):
    module = full_denoiser(condition)
    z, t = inputs()
    rest = given(condition)
    together = module(z, t, *rest)
    for i in range(4):
        alone = module(z[[i]], t[[i]], *(a[[i]] for a in rest))
        torch.testing.assert_close(together[[i]], alone)


@pytest.mark.parametrize("condition", ["concat", "label"])
def test_network_reads_its_condition(condition):
    # the closed form does not: the network cannot learn of the condition through it
    weights, offset = closed_form(condition=condition).buffers(recurse=False)
    parts = StandardDenoiser(), StandardDenoiser(), 0 * weights, 0 * offset
    module = make_denoiser(condition=condition, closed_form=ConditionalDenoiser(*parts))
    z, t = inputs()
    (rest,) = given(condition)
    change = module.parts(z, t, rest)[1] - module.parts(z, t, rest.flip(0))[1]
    assert change.abs().amax((1, 2)).min() > 1e-5


@pytest.mark.parametrize("condition", ["concat", "label"])
def test_dropped_conditions_leave_the_unconditional_prediction(condition):
    module = full_denoiser(condition)
    z, t = inputs()
    (rest,) = given(condition)
    keep = torch.tensor([True, False, False, True])
    out, with_it, without = module(z, t, rest, keep), module(z, t, rest), module(z, t)
    torch.testing.assert_close(out[keep], with_it[keep])
    torch.testing.assert_close(out[~keep], without[~keep])
    assert (with_it - without).abs().amax((1, 2)).min() > 1e-4


def test_output_depends_on_the_diffusion_time():
    module = make_denoiser()
    z = torch.ones(2, N_BINS, D, dtype=torch.float64)
    t = torch.tensor([0.2, 0.25], dtype=torch.float64)
    out = module(z, t)
    alpha, sigma = (a[:, None, None] for a in module.sde.marginal(t))
    network = (out - sigma * z) / alpha  # the network's part, with its weight removed
    assert (network[0] - network[1]).abs().max() > 1e-3


def test_bins_are_told_apart_by_their_codes_only():
    module = make_denoiser()
    z = randn(2, N_BINS, D)
    t = torch.full((2,), 0.3, dtype=torch.float64)
    order = torch.tensor([3, 0, 4, 1, 2])
    out = module(z, t)
    assert (module(z[:, order], t) - out[:, order]).abs().max() > 1e-3
    module.bin.data = module.bin.data[order]
    torch.testing.assert_close(module(z[:, order], t), out[:, order])


def test_dims_are_told_apart_by_their_codes_only():
    module = make_denoiser()
    z = randn(2, N_BINS, D)
    t = torch.full((2,), 0.3, dtype=torch.float64)
    order = torch.tensor([2, 0, 1])
    out = module(z, t)
    module.value.data = module.value.data[:, order]
    for codes in (module.component, module.out):
        codes.data = codes.data[order]
    torch.testing.assert_close(module(z[..., order], t), out[..., order])


def fold_numbers(n, n_folds=1):
    return torch.arange(n) % n_folds


def test_loss_is_the_mean_denoising_loss():
    # at the optimum of standard normal data, sigma z, it is the mean of alpha^2 over t
    module = make_denoiser(perturb=False)
    z = randn(4000, N_BINS, D)
    generator = torch.Generator().manual_seed(1)
    loss = float(module.loss(z, fold_numbers(4000), generator=generator).detach())
    t = torch.linspace(1e-3, 1, 2001, dtype=torch.float64)
    assert loss == pytest.approx(float((module.sde.marginal(t)[0] ** 2).mean()), 0.02)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_loss_is_weighted_by_diffusion_time(weighting):
    module = make_denoiser(perturb=False, weighting=weighting)
    z = randn(4000, N_BINS, D)
    generator = torch.Generator().manual_seed(1)
    loss = float(module.loss(z, fold_numbers(4000), generator=generator).detach())
    t = torch.linspace(1e-3, 1, 200_001, dtype=torch.float64)
    weights = time_weights(module.sde, t, weighting)
    expected = float((weights * module.sde.marginal(t)[0] ** 2).mean())
    assert loss == pytest.approx(expected, rel=0.05)


class Marker(nn.Module):
    """In place of a closed form: a number for noise, to tell whose it is."""

    def __init__(self, number):
        super().__init__()
        self.number = number
        self.seen = []

    def forward(self, z, alpha, sigma, condition=None, keep=None):
        self.seen.append((len(z), condition, keep))
        return torch.full_like(z, self.number), torch.zeros_like(z)


@conditions
def test_loss_takes_the_closed_form_of_the_own_fold(condition):
    # with 1000 for noise, the loss of a trial says which closed form it met
    folds = [Marker(0.0), Marker(1000.0), Marker(2000.0)]
    module = make_denoiser(
        perturb=False, closed_form=Marker(1e6), folds=folds, condition=condition
    )
    fold = torch.tensor([1, 0, 1, 2, 0, 1])
    rest = given(condition, 6)
    generator = torch.Generator().manual_seed(0)
    loss = module.loss(randn(6, N_BINS, D), fold, *rest, generator=generator)
    assert float(loss.detach()) == pytest.approx((3 + 4) * 1e6 / 6, rel=0.01)
    assert not module.closed_form.seen
    for number, form in enumerate(folds):
        ((n, seen, keep),) = form.seen
        assert n == int((fold == number).sum())
        if rest:
            torch.testing.assert_close(seen, rest[0][fold == number])
            assert len(keep) == n
        else:
            assert seen is keep is None


@pytest.mark.parametrize("dropout", [0.0, 0.3, 1.0])
def test_share_of_conditions_withheld_in_training(dropout):
    form = Marker(0.0)
    module = make_denoiser(
        perturb=False, condition="label", folds=[form], dropout=dropout
    )
    n = 3000
    generator = torch.Generator().manual_seed(0)
    module.loss(
        randn(n, N_BINS, D), fold_numbers(n), *given("label", n), generator=generator
    )
    ((_, _, keep),) = form.seen
    assert float(keep.double().mean()) == pytest.approx(1 - dropout, abs=0.03)


@conditions
def test_loss_reaches_every_weight(condition):
    module = full_denoiser(condition, folds=[closed_form(condition=condition)] * 2)
    generator = torch.Generator().manual_seed(0)
    z, rest = randn(16, N_BINS, D), given(condition, 16)
    module.loss(z, fold_numbers(16, 2), *rest, generator=generator).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_loss_is_repeated_by_its_generator(schedule):
    module = full_denoiser(sde=DiffusionSDE(schedule))
    z = randn(8, N_BINS, D)
    a, b, c = (
        float(module.loss(z, fold_numbers(8), generator=generator).detach())
        for generator in (torch.Generator().manual_seed(seed) for seed in (3, 3, 4))
    )
    assert a == b != c
