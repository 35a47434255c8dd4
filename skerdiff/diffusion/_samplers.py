"""Samplers of the reverse diffusion."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import Tensor

from ._sde import T_MIN, VPSDE


def time_grid(sde: VPSDE, n_steps: int, like: Tensor) -> Tensor:
    """Diffusion times from 1 to T_MIN, evenly spaced in log signal-to-noise ratio."""
    ends = torch.tensor([1.0, T_MIN], dtype=torch.float64)
    target = torch.linspace(
        *sde.log_snr(ends).tolist(), n_steps + 1, dtype=torch.float64
    )
    low = torch.full_like(target, T_MIN)
    high = torch.ones_like(target)
    for _ in range(60):  # bisection; log_snr falls with t
        middle = 0.5 * (low + high)
        above = sde.log_snr(middle) > target
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return high.to(like)


@torch.no_grad()
def ddim(denoiser, sde: VPSDE, z: Tensor, n_steps: int) -> Tensor:
    """Deterministic sampler of Song, Meng and Ermon (2021), from t = 1 to T_MIN.

    Parameters
    ----------
    denoiser : callable
        Maps z_t (n, n_bins, d) and t (n,) to the noise.
    sde : VPSDE
        The diffusion.
    z : Tensor of shape (n, n_bins, d)
        Standard normal noise.
    n_steps : int
        Number of steps.

    Returns
    -------
    z : Tensor of shape (n, n_bins, d)
        Samples; the last step returns the denoised mean.
    """
    times = time_grid(sde, n_steps, z)
    alphas, sigmas = sde.marginal(times)
    for i in range(n_steps):
        noise = denoiser(z, times[i].expand(len(z)))
        clean = (z - sigmas[i] * noise) / alphas[i]
        if i == n_steps - 1:
            return clean
        z = alphas[i + 1] * clean + sigmas[i + 1] * noise
    return z
