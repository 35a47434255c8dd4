"""The denoiser: spatio-temporal attention blocks conditioned on diffusion time."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._objectives import denoising_loss, stratified_times
from ._sde import VPSDE


def diffusion_time_embedding(log_snr: Tensor, n_channels: int) -> Tensor:
    """Embed log signal-to-noise ratios in sines and cosines, (n, n_channels)."""
    half = n_channels // 2
    frequency = torch.exp(
        torch.linspace(math.log(0.05), math.log(3.0), half, dtype=log_snr.dtype)
    ).to(log_snr.device)
    phase = log_snr[:, None] * frequency
    return torch.cat([phase.sin(), phase.cos()], dim=1)


class SelfAttention(nn.Module):
    """Multi-head self-attention over the second-to-last axis."""

    def __init__(self, n_channels: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(n_channels, n_channels)
        self.key = nn.Linear(n_channels, n_channels, bias=False)
        self.value = nn.Linear(n_channels, n_channels)
        self.out = nn.Linear(n_channels, n_channels)

    def forward(self, h: Tensor) -> Tensor:
        """Attend among tokens, (..., n_tokens, n_channels) to the same shape."""
        split = (*h.shape[:-1], self.n_heads, h.shape[-1] // self.n_heads)
        q, k, v = (
            project(h).view(split).transpose(-3, -2)
            for project in (self.query, self.key, self.value)
        )
        # written out: torch's fused kernels are slower for sequences this short
        weights = (q @ (k.mT / math.sqrt(split[-1]))).softmax(-1)
        return self.out((weights @ v).transpose(-3, -2).reshape(h.shape))


class SpatioTemporalBlock(nn.Module):
    """Attention over latent dims within a bin, over bins within a dim, then an MLP.

    Each part is normalised, modulated by the diffusion time and added to its input.
    """

    def __init__(self, n_channels: int, n_heads: int, spatial: bool, temporal: bool):
        super().__init__()
        self.spatial = SelfAttention(n_channels, n_heads) if spatial else None
        self.temporal = SelfAttention(n_channels, n_heads) if temporal else None
        self.mlp = nn.Sequential(
            nn.Linear(n_channels, 2 * n_channels),
            nn.GELU(),
            nn.Linear(2 * n_channels, n_channels),
        )
        self.modulation = nn.Linear(n_channels, 9 * n_channels)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        """Map tokens (n, n_bins, d, n_channels) given the time (n, n_channels)."""
        parts = self.modulation(time)[:, None, None, :].chunk(9, dim=-1)

        def modulated(h, i):
            scale, shift = parts[3 * i], parts[3 * i + 1]
            return F.layer_norm(h, h.shape[-1:]) * (1 + scale) + shift

        if self.spatial is not None:
            h = h + (1 + parts[2]) * self.spatial(modulated(h, 0))
        if self.temporal is not None:
            mixed = self.temporal(modulated(h, 1).transpose(1, 2)).transpose(1, 2)
            h = h + (1 + parts[5]) * mixed
        return h + (1 + parts[8]) * self.mlp(modulated(h, 2))


class SpatioTemporalDenoiser(nn.Module):
    """Noise predictor eps(z_t, t) for whole latent trajectories.

    Every latent dim of every bin is a token. The network F adds to a closed form G,
    ``eps = G(z_t, t) + alpha F(z_t, t)``, and starts at F = 0. G is the optimal
    denoiser of the Gaussian given as `gaussian`, or else ``sigma z_t``, that of
    independent standard normal latents.
    """

    def __init__(
        self,
        n_bins: int,
        n_components: int,
        n_channels: int = 32,
        n_blocks: int = 2,
        n_heads: int = 4,
        spatial: bool = True,
        temporal: bool = True,
        schedule: str = "linear",
        noise_scale: float = 1.0,
        gaussian: nn.Module | None = None,
    ):
        super().__init__()
        self.gaussian = gaussian
        self.sde = VPSDE(schedule, noise_scale)
        self.n_channels = n_channels
        self.value = nn.Parameter(torch.randn(n_components, n_channels))
        self.component = nn.Parameter(torch.randn(n_components, n_channels))
        self.bin = nn.Parameter(torch.randn(n_bins, 1, n_channels))
        self.time = nn.Sequential(
            nn.Linear(n_channels, n_channels),
            nn.SiLU(),
            nn.Linear(n_channels, n_channels),
        )
        self.blocks = nn.ModuleList(
            SpatioTemporalBlock(n_channels, n_heads, spatial, temporal)
            for _ in range(n_blocks)
        )
        self.out = nn.Parameter(torch.zeros(n_components, n_channels))

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        """Predict the noise in z (n, n_bins, d) at diffusion times t (n,)."""
        log_snr = self.sde.log_snr(t)
        time = F.silu(self.time(diffusion_time_embedding(log_snr, self.n_channels)))
        h = z[..., None] * self.value + self.component + self.bin
        for block in self.blocks:
            h = block(h, time)
        h = F.layer_norm(h, h.shape[-1:])
        h = (h * self.out).sum(-1)
        alpha, sigma = (a[:, None, None] for a in self.sde.marginal(t))
        start = sigma * z if self.gaussian is None else self.gaussian(z, alpha, sigma)
        return start + alpha * h

    def loss(self, z: Tensor, *, generator) -> Tensor:
        """Mean denoising loss of a batch of trajectories."""
        t = stratified_times(len(z), generator, z)
        noise = torch.empty_like(z).normal_(generator=generator)
        return denoising_loss(self, self.sde, z, t, noise).mean()
