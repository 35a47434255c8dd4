"""The published denoiser's shape, for comparison of cost, built from its description.

ERDiff's second public generation: 128 channels, 6 spatio-temporal blocks of
transformer layers with 4 heads and 512 hidden units, one token per bin and latent dim,
sinusoidal codes on both axes, 300 steps of a cosine schedule, half L1 and half squared
error, AdamW with a step size of 3e-4.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import math
import os
from copy import deepcopy
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn

N_STEPS = 300
_OFFSET = 0.008  # Nichol and Dhariwal, 2021


def alpha_bars() -> Tensor:
    """Share of signal variance after each of the steps of the cosine schedule."""
    u = torch.arange(N_STEPS + 1, dtype=torch.float64) / N_STEPS
    curve = torch.cos((u + _OFFSET) / (1 + _OFFSET) * math.pi / 2) ** 2
    rates = (1 - curve[1:] / curve[:-1]).clamp(max=0.999)
    return torch.cumprod(1 - rates, 0)


def _codes(positions: Tensor, n_channels: int) -> Tensor:
    frequency = 1e4 ** (-torch.arange(n_channels // 2) / (n_channels // 2))
    phase = positions[:, None] * frequency
    return torch.cat([phase.sin(), phase.cos()], dim=1)


class _Block(nn.Module):
    def __init__(self, n_channels, n_heads, n_hidden):
        super().__init__()
        self.temporal, self.spatial = (
            nn.TransformerEncoderLayer(
                n_channels, n_heads, n_hidden, activation="gelu", batch_first=True
            )
            for _ in range(2)
        )
        self.time = nn.Linear(n_channels, n_channels)

    def forward(self, h, time):
        n, n_bins, d, _ = h.shape
        h = h + self.time(time)[:, None, None]
        h = self.temporal(h.transpose(1, 2).flatten(0, 1))
        h = h.unflatten(0, (n, d)).transpose(1, 2)
        return self.spatial(h.flatten(0, 1)).unflatten(0, (n, n_bins))


class PublishedDenoiser(nn.Module):
    """Noise predictor over trajectories (n, n_bins, d) and steps (n,)."""

    def __init__(self, n_bins, d, n_channels=128, n_blocks=6, n_heads=4, n_hidden=512):
        super().__init__()
        self.read = nn.Linear(1, n_channels)
        self.time = nn.Sequential(
            nn.Linear(64, n_channels),
            nn.SiLU(),
            nn.Linear(n_channels, n_channels),
            nn.SiLU(),
        )
        codes = [_codes(torch.arange(k), n_channels) for k in (n_bins, d)]
        self.register_buffer("code", codes[0][:, None] + codes[1])
        self.blocks = nn.ModuleList(
            _Block(n_channels, n_heads, n_hidden) for _ in range(n_blocks)
        )
        self.out = nn.Sequential(
            nn.Linear(n_channels, n_channels), nn.GELU(), nn.Linear(n_channels, 1)
        )
        nn.init.zeros_(self.out[-1].weight)
        nn.init.zeros_(self.out[-1].bias)

    def forward(self, z: Tensor, step: Tensor) -> Tensor:
        """Predict the noise."""
        time = self.time(_codes(step.to(z), 64))
        h = self.read(z[..., None]) + self.code
        for block in self.blocks:
            h = block(h, time)
        return self.out(h)[..., 0]


def train_published(
    Z, n_epochs, *, batch_size=16, seed=0, report=None, report_every=1, checkpoint=None
):
    """Train the published shape with the published objective and step size.

    Parameters
    ----------
    Z : Tensor of shape (n_trials, n_bins, d)
        Standardised trajectories.
    n_epochs : int
        Number of epochs.
    batch_size : int, default=16
        Trials per batch.
    seed : int, default=0
        Seed of weights, batches and noise.
    report : callable or None
        Called with the number of epochs done and the averaged network.
    report_every : int, default=1
        Epochs between two reports.
    checkpoint : path-like or None
        A file to go on from, if it is there, and to save to before every report.
        Remove it when anything else changes.

    Returns
    -------
    seconds : list of float
        Time of each epoch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = PublishedDenoiser(*Z.shape[1:])
        average = deepcopy(net).eval()
        optimizer = torch.optim.AdamW(net.parameters(), 3e-4, weight_decay=1e-4)
        parts = {"net": net, "average": average, "optimizer": optimizer}
        signal = alpha_bars().float()
        seconds = []
        if checkpoint is not None and Path(checkpoint).exists():
            saved = torch.load(checkpoint, weights_only=True)
            for name, part in parts.items():
                part.load_state_dict(saved[name])
            torch.set_rng_state(saved["generator"])
            seconds = saved["seconds"]
        for epoch in range(len(seconds), n_epochs):
            start = perf_counter()
            for z in Z[torch.randperm(len(Z))].split(batch_size):
                step = torch.randint(N_STEPS, (len(z),))
                share = signal[step][:, None, None]
                noise = torch.randn_like(z)
                error = net(share.sqrt() * z + (1 - share).sqrt() * noise, step) - noise
                loss = 0.5 * error.abs().mean() + 0.5 * error.square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                with torch.no_grad():
                    torch._foreach_lerp_(
                        list(average.parameters()), list(net.parameters()), 0.02
                    )
            seconds.append(perf_counter() - start)
            if (epoch + 1) % report_every == 0:
                if checkpoint is not None:
                    state = {name: part.state_dict() for name, part in parts.items()}
                    state |= {"generator": torch.get_rng_state(), "seconds": seconds}
                    torch.save(state, f"{checkpoint}.part")
                    os.replace(f"{checkpoint}.part", checkpoint)
                if report is not None:
                    report(epoch + 1, average)
    return seconds
