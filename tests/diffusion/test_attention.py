"""Attention, the blocks made of it, and the embedding of diffusion times."""

import pytest
import torch
from torch import nn

from skerdiff.diffusion._denoiser import (
    SelfAttention,
    SpatioTemporalBlock,
    diffusion_time_embedding,
)
from skerdiff.diffusion._sde import SCHEDULES, SDES, DiffusionSDE

N_BINS, D = 5, 3


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def make_blocks(n, spatial, temporal):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = [SpatioTemporalBlock(8, 2, spatial, temporal) for _ in range(n)]
    return [block.double() for block in blocks]


def test_attention_is_equivariant_to_permuted_tokens():
    torch_rng = torch.Generator().manual_seed(0)
    attention = SelfAttention(8, 2)
    h = torch.randn(2, 3, 6, 8, generator=torch_rng)
    order = torch.randperm(6, generator=torch_rng)
    torch.testing.assert_close(
        attention(h[..., order, :]), attention(h)[..., order, :], rtol=1e-4, atol=1e-6
    )


def test_attention_is_multi_head_attention():
    attention = SelfAttention(8, 2).double()  # two heads of two: half the width
    reference = nn.MultiheadAttention(4, 2, batch_first=True).double()
    identity = torch.eye(4, dtype=torch.float64)
    reference.in_proj_weight.data = torch.cat([identity] * 3)
    reference.out_proj.weight.data = identity
    h = randn(3, 6, 8)
    q, k, v = attention.query_key_value(h).chunk(3, dim=-1)
    mixed, _ = reference(q, k, v, need_weights=False)
    torch.testing.assert_close(attention(h), attention.out(mixed))


@pytest.mark.parametrize("n_blocks", [1, 2])
@pytest.mark.parametrize("spatial", [True, False])
@pytest.mark.parametrize("temporal", [True, False])
def test_blocks_mix_tokens_along_the_axes_they_are_given(n_blocks, spatial, temporal):
    blocks = make_blocks(n_blocks, spatial, temporal)
    h, time = randn(1, N_BINS, D, 8), torch.zeros(1, 8, dtype=torch.float64)

    def run(h):
        for block in blocks:
            h = block(h, time)
        return h

    changed = h.clone()
    changed[0, 1, 2, 0] += 1.0
    reached = ((run(changed) - run(h)).abs() > 1e-12).any(-1)[0]
    assert reached[1, 2]
    assert reached[1, 0] == spatial
    assert reached[3, 2] == temporal
    # the two attentions stand side by side: it takes two blocks to turn a corner
    assert reached[3, 0] == (spatial and temporal and n_blocks > 1)


def test_time_modulates_a_block():
    (block,) = make_blocks(1, True, True)
    h, time = randn(2, N_BINS, D, 8), randn(2, 8, seed=1)
    before = block(h, time)
    torch.testing.assert_close(before, block(h, torch.zeros_like(time)))
    for parameter in block.modulation.parameters():
        parameter.data += 0.3 * randn(*parameter.shape, seed=2)
    change = block(h, time) - block(h, time.flip(0))
    assert change.abs().amax((1, 2, 3)).min() > 1e-3


@pytest.mark.parametrize("kind", SDES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_times_have_distinct_embeddings(schedule, kind):
    t = torch.linspace(1e-3, 1, 200, dtype=torch.float64)
    embedding = diffusion_time_embedding(
        DiffusionSDE(schedule, kind=kind).log_snr(t), 16
    )
    assert embedding.shape == (200, 16)
    gaps = torch.cdist(embedding, embedding) + 10 * torch.eye(200).double()
    assert gaps.min() > 0.02
