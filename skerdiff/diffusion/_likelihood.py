"""Log-likelihood by the probability-flow ODE."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import math

import torch
from torch import Tensor

from ._samplers import time_grid
from ._sde import VPSDE


def probability_flow_log_likelihood(
    denoiser, sde: VPSDE, z: Tensor, divergence, n_steps: int
) -> Tensor:
    """Log-likelihood of trajectories in nats per trial (Song et al., 2021, eq. 39).

    In the log signal-to-noise ratio ``l`` the probability flow is
    ``dz/dl = (sigma^2 z - sigma eps(z, t)) / 2``, free of the schedule's
    singularities; it is integrated with Runge-Kutta steps of order four on a fixed
    grid, so that the value of one trial does not depend on the others in its batch.

    Parameters
    ----------
    denoiser : callable
        Maps z_t (n, n_bins, d) and t (n,) to the noise.
    sde : VPSDE
        The diffusion.
    z : Tensor of shape (n, n_bins, d)
        Trajectories, taken as those at the smallest diffusion time.
    divergence : callable
        Maps a field and z to its value and divergence, see `_divergence`.
    n_steps : int
        Number of Runge-Kutta steps.

    Returns
    -------
    log_likelihood : Tensor of shape (n,)
        Natural logarithm of the density.
    """
    n_dims = z[0].numel()
    # the ends and the midpoints of the steps, from small to large diffusion time
    times = time_grid(sde, 2 * n_steps, z).flip(0)
    log_snr = sde.log_snr(times)

    def flow(z, i):
        t = times[i].expand(len(z))
        sigma = torch.sigmoid(-log_snr[i]).sqrt()
        noise, trace = divergence(lambda z: denoiser(z, t), z)
        return (
            0.5 * (sigma**2 * z - sigma * noise),
            0.5 * (sigma**2 * n_dims - sigma * trace),
        )

    change = torch.zeros_like(z[:, 0, 0])
    for i in range(0, 2 * n_steps, 2):
        h = log_snr[i + 2] - log_snr[i]
        v1, d1 = flow(z, i)
        v2, d2 = flow(z + 0.5 * h * v1, i + 1)
        v3, d3 = flow(z + 0.5 * h * v2, i + 1)
        v4, d4 = flow(z + h * v3, i + 2)
        z = z + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
        change = change + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
    base = -0.5 * ((z**2).sum(dim=(1, 2)) + n_dims * math.log(2 * math.pi))
    return base + change
