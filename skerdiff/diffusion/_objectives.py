"""Denoising score matching, as pure functions."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import Tensor

from ._sde import T_MIN, VPSDE


def stratified_times(
    n: int, generator: torch.Generator, like: Tensor, t_min=T_MIN, t_max=1.0
) -> Tensor:
    """Draw n diffusion times, one in each of n equal parts of [t_min, t_max].

    Each time alone is uniform; together they cut the variance of a batch's loss
    (Kingma et al., 2021, appendix I.1).
    """
    u = torch.empty(1, dtype=like.dtype, device=like.device).uniform_(
        generator=generator
    )
    grid = torch.arange(n, dtype=like.dtype, device=like.device) / n
    return t_min + (t_max - t_min) * ((u + grid) % 1.0)


def denoising_loss(denoiser, sde: VPSDE, z: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """Mean squared error of the predicted noise, per trial.

    Parameters
    ----------
    denoiser : callable
        Maps z_t (n, n_bins, d) and t (n,) to the noise.
    sde : VPSDE
        Gives alpha and sigma at t.
    z : Tensor of shape (n, n_bins, d)
        Clean trajectories.
    t : Tensor of shape (n,)
        Diffusion times.
    noise : Tensor of shape (n, n_bins, d)
        Standard normal noise.

    Returns
    -------
    loss : Tensor of shape (n,)
        ``mean (eps - eps_hat(alpha z + sigma eps, t))^2`` over bins and dims.
    """
    alpha, sigma = (a[:, None, None] for a in sde.marginal(t))
    error = noise - denoiser(alpha * z + sigma * noise, t)
    return (error**2).mean(dim=(1, 2))
