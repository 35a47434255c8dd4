"""The closed-form Gaussian denoiser and the attention network on top of it."""

import math

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf
from torch import nn

from skerdiff.diffusion._denoiser import (
    SelfAttention,
    SpatioTemporalBlock,
    SpatioTemporalDenoiser,
    diffusion_time_embedding,
)
from skerdiff.diffusion._gaussian import GaussianDenoiser
from skerdiff.diffusion._objectives import denoising_loss
from skerdiff.diffusion._sde import VPSDE

N_BINS, D = 5, 3
FLAGS = [(True, True), (True, False), (False, True), (False, False)]
flags = pytest.mark.parametrize(
    "spatial, temporal", FLAGS, ids=["both", "no time", "no space", "neither"]
)


def trajectories(n=60, seed=0):
    """Trajectories whose bins and dims all covary, with a mean trajectory."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((N_BINS * D, N_BINS * D))
    return (rng.standard_normal((n, N_BINS * D)) @ A + A[0]).reshape(n, N_BINS, D)


def block_covariance(Z, spatial, temporal):
    """Covariance of (bin, dim) coordinates, block by block."""
    coordinates = [(k, i) for k in range(N_BINS) for i in range(D)]
    covariance = np.zeros((N_BINS * D, N_BINS * D))
    blocks = {}
    for row, (k, i) in enumerate(coordinates):
        key = (None if temporal else k, None if spatial else i)
        blocks.setdefault(key, []).append(row)
    flat = Z.reshape(len(Z), -1)
    for rows in blocks.values():
        covariance[np.ix_(rows, rows)] = ledoit_wolf(flat[:, rows])[0]
    return covariance


@flags
@pytest.mark.parametrize("t", [0.02, 0.3, 0.9])
def test_gaussian_denoiser_is_the_closed_form(spatial, temporal, t):
    Z = trajectories()
    denoiser = GaussianDenoiser.fit(Z, spatial, temporal).double()
    alpha, sigma = VPSDE().marginal(torch.full((7,), t, dtype=torch.float64))
    z = torch.randn(7, N_BINS, D, generator=torch.Generator().manual_seed(1)).double()
    covariance = block_covariance(Z, spatial, temporal)
    a, s = float(alpha[0]), float(sigma[0])
    noised = a**2 * covariance + s**2 * np.eye(N_BINS * D)
    residual = (z.numpy() - a * Z.mean(0)).reshape(7, -1)
    expected = s * np.linalg.solve(noised, residual.T).T.reshape(z.shape)
    out = denoiser(z, alpha[:, None, None], sigma[:, None, None])
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_gaussian_denoiser_takes_one_time_per_trial():
    denoiser = GaussianDenoiser.fit(trajectories()).double()
    alpha, sigma = VPSDE().marginal(torch.tensor([0.1, 0.5, 0.9]).double())
    alpha, sigma = alpha[:, None, None], sigma[:, None, None]
    z = torch.randn(3, N_BINS, D, generator=torch.Generator().manual_seed(1)).double()
    together = denoiser(z, alpha, sigma)
    for i in range(3):
        alone = denoiser(z[[i]], alpha[[i]], sigma[[i]])
        torch.testing.assert_close(together[[i]], alone)


def test_gaussian_denoiser_bears_constant_coordinates():
    Z = trajectories()
    Z[:, :, 1] = 0.0
    for spatial, temporal in FLAGS:
        denoiser = GaussianDenoiser.fit(Z, spatial, temporal)
        one = torch.full((2, 1, 1), math.sqrt(0.5))
        assert denoiser(torch.ones(2, N_BINS, D), one, one).isfinite().all()


def make_denoiser(perturb=True, seed=0, **kwargs):
    """A small denoiser whose zero-initialised weights have been moved."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = SpatioTemporalDenoiser(N_BINS, D, n_channels=8, n_heads=2, **kwargs)
        if perturb:
            for parameter in module.parameters():
                parameter.data += 0.3 * torch.randn_like(parameter)
    return module.double()


def jacobian(module, t=0.4, seed=2):
    """d eps[k, i] / d z[l, j] as an array (n_bins, d, n_bins, d)."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(N_BINS, D, generator=generator).double()
    time = torch.tensor([t], dtype=torch.float64)
    return torch.func.jacrev(lambda z: module(z[None], time)[0])(z).detach()


@pytest.mark.parametrize("with_gaussian", [False, True])
@flags
def test_which_bins_and_dims_interact(spatial, temporal, with_gaussian):
    gaussian = None
    if with_gaussian:
        gaussian = GaussianDenoiser.fit(trajectories(), spatial, temporal)
    module = make_denoiser(spatial=spatial, temporal=temporal, gaussian=gaussian)
    J = jacobian(module).abs()
    same_bin = torch.eye(N_BINS, dtype=bool)[:, None, :, None].expand(J.shape)
    same_dim = torch.eye(D, dtype=bool)[None, :, None, :].expand(J.shape)
    allowed = torch.ones_like(same_bin)
    if not temporal:
        allowed = allowed & same_bin
    if not spatial:
        allowed = allowed & same_dim
    assert (J[~allowed] == 0).all()
    assert (J[allowed] > 1e-7).all()


def test_no_bins_or_dims_interact_before_training_without_gaussian():
    module = make_denoiser(perturb=False)
    J = jacobian(module, t=0.4).reshape(N_BINS * D, -1)
    _, sigma = module.sde.marginal(torch.tensor(0.4, dtype=torch.float64))
    torch.testing.assert_close(J, sigma * torch.eye(N_BINS * D, dtype=torch.float64))


@flags
def test_network_starts_at_the_closed_form(spatial, temporal):
    gaussian = GaussianDenoiser.fit(trajectories(), spatial, temporal)
    module = make_denoiser(
        perturb=False, spatial=spatial, temporal=temporal, gaussian=gaussian
    )
    z = torch.randn(4, N_BINS, D, generator=torch.Generator().manual_seed(0)).double()
    t = torch.linspace(0.1, 0.9, 4, dtype=torch.float64)
    alpha, sigma = (a[:, None, None] for a in module.sde.marginal(t))
    torch.testing.assert_close(module(z, t), gaussian(z, alpha, sigma))


def test_gaussian_is_not_trained():
    gaussian = GaussianDenoiser.fit(trajectories())
    module = make_denoiser(gaussian=gaussian)
    names = {name for name, _ in module.named_parameters()}
    assert not any(name.startswith("gaussian") for name in names)
    assert "gaussian.mean" in module.state_dict()


def test_output_of_a_trial_does_not_depend_on_the_batch():
    module = make_denoiser(gaussian=GaussianDenoiser.fit(trajectories()))
    z = torch.randn(4, N_BINS, D, generator=torch.Generator().manual_seed(0)).double()
    t = torch.linspace(0.1, 0.9, 4, dtype=torch.float64)
    together = module(z, t)
    for i in range(4):
        torch.testing.assert_close(together[[i]], module(z[[i]], t[[i]]))


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
    z = torch.randn(2, N_BINS, D, generator=torch.Generator().manual_seed(0)).double()
    t = torch.full((2,), 0.3, dtype=torch.float64)
    order = torch.tensor([3, 0, 4, 1, 2])
    out = module(z, t)
    assert (module(z[:, order], t) - out[:, order]).abs().max() > 1e-3
    module.bin.data = module.bin.data[order]
    torch.testing.assert_close(module(z[:, order], t), out[:, order])


def test_dims_are_told_apart_by_their_codes_only():
    module = make_denoiser()
    z = torch.randn(2, N_BINS, D, generator=torch.Generator().manual_seed(0)).double()
    t = torch.full((2,), 0.3, dtype=torch.float64)
    order = torch.tensor([2, 0, 1])
    out = module(z, t)
    for codes in (module.value, module.component, module.out):
        codes.data = codes.data[order]
    torch.testing.assert_close(module(z[..., order], t), out[..., order])


def test_attention_is_equivariant_to_permuted_tokens():
    torch_rng = torch.Generator().manual_seed(0)
    attention = SelfAttention(8, 2)
    h = torch.randn(2, 3, 6, 8, generator=torch_rng)
    order = torch.randperm(6, generator=torch_rng)
    torch.testing.assert_close(
        attention(h[..., order, :]), attention(h)[..., order, :], rtol=1e-4, atol=1e-6
    )


def test_attention_is_multi_head_attention():
    attention = SelfAttention(8, 4).double()
    reference = nn.MultiheadAttention(8, 4, batch_first=True).double()
    parts = attention.query, attention.key, attention.value
    reference.in_proj_weight.data = torch.cat([part.weight for part in parts])
    bias = torch.zeros(8, dtype=torch.float64)
    reference.in_proj_bias.data = torch.cat(
        [attention.query.bias, bias, attention.value.bias]
    )
    reference.out_proj.load_state_dict(attention.out.state_dict())
    h = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(attention(h), reference(h, h, h, need_weights=False)[0])


@flags
def test_block_mixes_tokens_along_the_axes_it_is_given(spatial, temporal):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = SpatioTemporalBlock(8, 2, spatial, temporal).double()
    h = torch.randn(1, N_BINS, D, 8, generator=torch.Generator().manual_seed(0))
    h = h.double()
    time = torch.zeros(1, 8, dtype=torch.float64)
    start = block(h, time)

    def moved(k, i):
        changed = h.clone()
        changed[0, k, i, 0] += 1.0
        return ((block(changed, time) - start).abs() > 1e-12).any(-1)[0]

    reached = moved(1, 2)
    assert reached[1, 2]
    assert reached[1, 0] == spatial
    assert reached[3, 2] == temporal
    assert reached[3, 0] == (spatial and temporal)


def test_times_have_distinct_embeddings():
    t = torch.linspace(1e-3, 1, 200, dtype=torch.float64)
    embedding = diffusion_time_embedding(VPSDE().log_snr(t), 16)
    assert embedding.shape == (200, 16)
    gaps = torch.cdist(embedding, embedding) + 10 * torch.eye(200).double()
    assert gaps.min() > 0.02


def test_loss_is_the_mean_denoising_loss():
    # at the optimum of standard normal data, sigma z, it is the mean of alpha^2 over t
    module = make_denoiser(perturb=False)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(4000, N_BINS, D, generator=generator).double()
    loss = float(module.loss(z, generator=generator).detach())
    t = torch.linspace(1e-3, 1, 2001, dtype=torch.float64)
    assert loss == pytest.approx(float((module.sde.marginal(t)[0] ** 2).mean()), 0.02)
    silence = denoising_loss(
        lambda z, t: torch.zeros_like(z), module.sde, z, t[:1].expand(4000), z
    )
    assert loss < float(silence.mean())
