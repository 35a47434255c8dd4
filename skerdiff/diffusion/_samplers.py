"""Samplers of the reverse diffusion, and the probability flow in both directions.

With ``x = z / alpha`` and ``rho = sigma / alpha`` the probability flow is
``dx / d rho = eps(z, t)``, for every schedule and SDE.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import Tensor

from ._sde import DiffusionSDE

FLOW_SOLVERS = ("ddim", "dpm2", "heun")
SOLVERS = ("ancestral", *FLOW_SOLVERS)


@torch.no_grad()
def probability_flow(
    denoiser, sde: DiffusionSDE, z: Tensor, times: Tensor, solver: str
) -> Tensor:
    """Move trajectories along the probability flow.

    Parameters
    ----------
    denoiser : callable
        Maps z_t (n, n_bins, d) and t (n,) to the noise.
    sde : DiffusionSDE
        The diffusion.
    z : Tensor of shape (n, n_bins, d)
        Trajectories at the first of the times.
    times : Tensor of shape (n_steps + 1,)
        Diffusion times, falling (towards data) or rising (towards noise).
    solver : {"ddim", "dpm2", "heun"}
        ``"ddim"`` (Song, Meng and Ermon, 2021; with rising times, their inversion) is
        of first order, with one evaluation of the denoiser per step. ``"dpm2"`` (Lu et
        al., 2022, midpoint in log SNR) and ``"heun"`` (Karras et al., 2022) are of
        second order, with two evaluations per step.

    Returns
    -------
    z : Tensor of shape (n, n_bins, d)
        Trajectories at the last of the times.
    """
    alphas, sigmas = sde.marginal(times)
    rhos = sigmas / alphas
    if solver == "dpm2":
        middles = _times_between(sde, times)
        middle_alphas, middle_sigmas = sde.marginal(middles)

    def noise(x, alpha, t):
        return denoiser(alpha * x, t.to(x).expand(len(x)))

    x = z / alphas[0].to(z)
    alphas, rhos = alphas.to(z), rhos.to(z)
    for i in range(len(times) - 1):
        step = rhos[i + 1] - rhos[i]
        slope = noise(x, alphas[i], times[i])
        if solver == "heun":
            ahead = noise(x + step * slope, alphas[i + 1], times[i + 1])
            slope = 0.5 * (slope + ahead)
        elif solver == "dpm2":
            middle = (middle_sigmas[i] / middle_alphas[i]).to(z)
            half = x + (middle - rhos[i]) * slope
            slope = noise(half, middle_alphas[i].to(z), middles[i])
        x = x + step * slope
    return alphas[-1] * x


def _times_between(sde: DiffusionSDE, times: Tensor) -> Tensor:
    """Diffusion times halfway in log SNR between consecutive times."""
    target = sde.log_snr(times)
    target = 0.5 * (target[1:] + target[:-1])
    return sde.time_at(target, float(times.min()), float(times.max()))


@torch.no_grad()
def ancestral(denoiser, sde: DiffusionSDE, z: Tensor, times: Tensor, draw) -> Tensor:
    """Sample backwards from the posterior of each step (Ho, Jain and Abbeel, 2020).

    Parameters
    ----------
    denoiser : callable
        Maps z_t (n, n_bins, d) and t (n,) to the noise.
    sde : DiffusionSDE
        The diffusion.
    z : Tensor of shape (n, n_bins, d)
        Trajectories at the first of the times.
    times : Tensor of shape (n_steps + 1,)
        Falling diffusion times.
    draw : callable
        Returns standard normal noise of the shape of z.

    Returns
    -------
    z : Tensor of shape (n, n_bins, d)
        Trajectories at the last of the times.
    """
    alphas, sigmas = (a.to(z) for a in sde.marginal(times))
    rhos = sigmas / alphas
    for i in range(len(times) - 1):
        noise = denoiser(z, times[i].to(z).expand(len(z)))
        clean = (z - sigmas[i] * noise) / alphas[i]
        share = (rhos[i + 1] / rhos[i]) ** 2
        mean = clean + share * (z / alphas[i] - clean)
        spread = rhos[i + 1] * torch.sqrt(1.0 - share)
        z = alphas[i + 1] * (mean + spread * draw())
    return z


@torch.no_grad()
def remove_noise(denoiser, sde: DiffusionSDE, z: Tensor, t: float) -> Tensor:
    """Expected clean trajectories, given trajectories z at diffusion time t."""
    time = torch.tensor(t, dtype=z.dtype)
    alpha, sigma = sde.marginal(time)
    return (z - sigma * denoiser(z, time.expand(len(z)))) / alpha
