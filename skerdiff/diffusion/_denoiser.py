"""The denoiser: spatio-temporal attention conditioned on diffusion time."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._closed_form import ConditionalDenoiser, StandardDenoiser
from ._objectives import denoising_loss, stratified_times, time_weights
from ._sde import DiffusionSDE


def diffusion_time_embedding(log_snr: Tensor, n_channels: int) -> Tensor:
    """Embed log signal-to-noise ratios in sines and cosines, (n, n_channels)."""
    half = n_channels // 2
    frequency = torch.exp(
        torch.linspace(math.log(0.05), math.log(3.0), half, dtype=log_snr.dtype)
    ).to(log_snr.device)
    phase = log_snr[:, None] * frequency
    return torch.cat([phase.sin(), phase.cos()], dim=1)


class SelfAttention(nn.Module):
    """Multi-head self-attention over the second-to-last axis, at half the width."""

    def __init__(self, n_channels: int, n_heads: int):
        super().__init__()
        self.n_heads, width = n_heads, n_channels // 2
        self.query_key_value = nn.Linear(n_channels, 3 * width)
        self.out = nn.Linear(width, n_channels)

    def forward(self, h: Tensor) -> Tensor:
        """Attend among tokens, (..., n_tokens, n_channels) to the same shape."""
        qkv = self.query_key_value(h).unflatten(-1, (3, self.n_heads, -1))
        q, k, v = qkv.movedim(-3, 0).transpose(-3, -2)
        # written out: torch's fused kernels are slower for sequences this short
        weights = (q / math.sqrt(q.shape[-1]) @ k.mT).softmax(-1)
        return self.out((weights @ v).transpose(-3, -2).flatten(-2))


class SpatioTemporalBlock(nn.Module):
    """Attention over latent dims within a bin and over bins within a dim, and an MLP.

    All three read the same normalised tokens, scaled and shifted depending on the
    diffusion time. Their sum is added to the input.
    """

    def __init__(self, n_channels: int, n_heads: int, spatial: bool, temporal: bool):
        super().__init__()
        self.spatial = SelfAttention(n_channels, n_heads) if spatial else None
        self.temporal = SelfAttention(n_channels, n_heads) if temporal else None
        self.mlp = nn.Sequential(
            nn.Linear(n_channels, 2 * n_channels),
            nn.GELU(approximate="tanh"),
            nn.Linear(2 * n_channels, n_channels),
        )
        self.modulation = nn.Linear(n_channels, 3 * n_channels)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        """Map tokens (n, n_bins, d, n_channels) given the time (n, n_channels)."""
        scale, shift, gate = self.modulation(time)[:, None, None, :].chunk(3, dim=-1)
        x = torch.addcmul(shift, F.layer_norm(h, h.shape[-1:]), 1 + scale)
        out = self.mlp(x)
        if self.spatial is not None:
            out = out + self.spatial(x)
        if self.temporal is not None:
            out = out + self.temporal(x.transpose(1, 2)).transpose(1, 2)
        return torch.addcmul(h, out, 1 + gate)


class SpatioTemporalDenoiser(nn.Module):
    """Noise predictor eps(z_t, t) for whole latent trajectories.

    Every latent dim of every bin is a token. A network F adds to a closed form G,
    ``eps = G(z_t, t) + alpha F(z_t, z_hat, t)``. It also reads the clean trajectory
    z_hat that the closed form expects. Before training F = 0.

    Parameters
    ----------
    n_bins, n_components : int
        Bins and latent dims of a trial.
    n_channels, n_blocks, n_heads : int
        Size of the network.
    spatial, temporal : bool
        Whether latent dims, and bins, may interact.
    sde : DiffusionSDE
        The diffusion; variance preserving and linear by default.
    closed_form : ConditionalDenoiser or None
        The closed form; that of standard normal latents by default.
    folds : list of ConditionalDenoiser
        Closed forms fitted without the trials of each fold. `loss` takes the one that
        was fitted without the trial at hand, so that the network learns what the closed
        form gets wrong on new trials.
    condition : {"none", "concat", "label"}
        What the denoiser is conditioned on.
    n_inputs : int
        Number of outputs of the behaviour, or of classes.
    weighting, loss_name : str
        The objective, see `_objectives`.
    dropout : float
        Share of the trials whose condition is withheld in training.
    """

    def __init__(
        self,
        n_bins: int,
        n_components: int,
        n_channels: int = 64,
        n_blocks: int = 1,
        n_heads: int = 4,
        spatial: bool = True,
        temporal: bool = True,
        sde: DiffusionSDE | None = None,
        closed_form: nn.Module | None = None,
        folds: list | None = None,
        condition: str = "none",
        n_inputs: int = 0,
        weighting: str = "uniform",
        loss_name: str = "mse",
        dropout: float = 0.1,
    ):
        super().__init__()
        self.sde = DiffusionSDE() if sde is None else sde
        if closed_form is None:
            closed_form = ConditionalDenoiser(StandardDenoiser())
        self.closed_form = closed_form
        self.folds = nn.ModuleList(folds or [])
        self.condition = condition
        self.weighting, self.loss_name, self.dropout = weighting, loss_name, dropout
        self.n_channels = n_channels
        self.value = nn.Parameter(torch.randn(2, n_components, n_channels))
        self.component = nn.Parameter(torch.randn(n_components, n_channels))
        self.bin = nn.Parameter(torch.randn(n_bins, 1, n_channels))
        self.time = nn.Sequential(
            nn.Linear(n_channels, n_channels),
            nn.SiLU(),
            nn.Linear(n_channels, n_channels),
        )
        if condition != "none":
            self.read = nn.Linear(n_inputs, n_channels)
            self.absent = nn.Parameter(torch.zeros(n_channels))
        self.blocks = nn.ModuleList(
            SpatioTemporalBlock(n_channels, n_heads, spatial, temporal)
            for _ in range(n_blocks)
        )
        self.out = nn.Parameter(torch.zeros(n_components, n_channels))

    def forward(
        self, z: Tensor, t: Tensor, condition=None, keep=None, closed_form=None
    ) -> Tensor:
        """Predict the noise.

        Parameters
        ----------
        z : Tensor of shape (n, n_bins, d)
            Noised trajectories.
        t : Tensor of shape (n,)
            Diffusion times.
        condition : Tensor of shape (n, n_bins, n_inputs) or (n, n_inputs), or None
            Behaviour per bin, or class as a one-hot row; None for none.
        keep : Tensor of bool, shape (n,), or None
            Whether the condition of each trial is used; None for all.
        closed_form : callable or None
            Used in place of the module's closed form; None for that.

        Returns
        -------
        noise : Tensor of shape (n, n_bins, d)
            Predicted noise.
        """
        start, change = self.parts(z, t, condition, keep, closed_form)
        return start + change

    def parts(self, z, t, condition=None, keep=None, closed_form=None):
        """Noise that the closed form predicts, and what the network adds to it."""
        log_snr = self.sde.log_snr(t)
        alpha, sigma = (a[:, None, None] for a in self.sde.marginal(t))
        closed_form = self.closed_form if closed_form is None else closed_form
        start, clean = closed_form(z, alpha, sigma, condition, keep)
        time = self.time(diffusion_time_embedding(log_snr, self.n_channels))
        h = self.component + self.bin
        h = h + z[..., None] * self.value[0] + clean[..., None] * self.value[1]
        if self.condition != "none":
            read = self._read(condition, keep, len(z))
            if self.condition == "label":
                time = time + read
            else:
                h = h + read.view(len(z), -1, 1, self.n_channels)
        time = F.silu(time)
        for block in self.blocks:
            h = block(h, time)
        h = (F.layer_norm(h, h.shape[-1:]) * self.out).sum(-1)
        return start, alpha * h

    def noise_and_trace(self, z, t, divergence, condition=None):
        """Predicted noise and its divergence, (n, n_bins, d) and (n,).

        The divergence of the closed form is exact. That of what the network adds is
        taken by `divergence`, one of the functions in `_divergence`.
        """
        alpha, sigma = (a[:, None, None] for a in self.sde.marginal(t))
        with torch.no_grad():
            start, _ = self.closed_form(z, alpha, sigma, condition)
            trace = self.closed_form.trace(z, alpha, sigma, condition)
        if not self.out.any():  # the network adds nothing
            return start, trace
        change, added = divergence(lambda z: self.parts(z, t, condition)[1], z)
        return start + change, trace + added

    def _read(self, condition, keep, n):
        """Embed the condition, (n, n_channels) or (n, n_bins, n_channels)."""
        if condition is None:
            return self.absent.expand(n, -1)
        read = self.read(condition)
        if keep is not None:
            keep = keep.view(-1, *[1] * (read.ndim - 1))
            read = torch.where(keep, read, self.absent)
        return read

    def loss(self, z: Tensor, fold: Tensor, *condition: Tensor, generator) -> Tensor:
        """Mean weighted loss of a batch.

        Parameters
        ----------
        z : Tensor of shape (n, n_bins, d)
            Clean trajectories.
        fold : Tensor of int, shape (n,)
            Number of the fold of each trial.
        *condition : Tensor
            The condition of each trial, if the module takes one.
        generator : torch.Generator
            Source of diffusion times, noise and withheld conditions.

        Returns
        -------
        loss : Tensor
            Mean over the batch.
        """
        t = stratified_times(len(z), generator, z)
        noise = torch.empty_like(z).normal_(generator=generator)
        given, keep = None, None
        if condition:
            (given,) = condition
            keep = torch.empty_like(t).uniform_(generator=generator) >= self.dropout

        def closed_form(z, alpha, sigma, given, keep):
            return self._by_fold(fold, z, alpha, sigma, given, keep)

        def denoiser(z, t):
            return self(z, t, given, keep, closed_form if len(self.folds) else None)

        error = denoising_loss(denoiser, self.sde, z, t, noise, self.loss_name)
        return (error * time_weights(self.sde, t, self.weighting)).mean()

    def _by_fold(self, fold, *inputs):
        """Apply to each trial the closed form of its fold, which is not trained."""
        noise, clean = torch.empty_like(inputs[0]), torch.empty_like(inputs[0])
        with torch.no_grad():
            for i in fold.unique().tolist():
                rows = fold == i
                part = (None if a is None else a[rows] for a in inputs)
                noise[rows], clean[rows] = self.folds[i](*part)
        return noise, clean
