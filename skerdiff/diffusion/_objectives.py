"""Denoising score matching."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import Tensor
from torch.nn import functional as F

from ._sde import T_MIN, DiffusionSDE

_MIN_SNR = 5.0  # Hang et al., 2023
_SMOOTH = 0.05  # where smooth L1 turns from quadratic to linear (LDNS)

LOSSES = {
    "mse": lambda a, b: (a - b) ** 2,
    "l1": lambda a, b: (a - b).abs(),
    "smooth_l1": lambda a, b: F.smooth_l1_loss(a, b, reduction="none", beta=_SMOOTH),
    "l1_mse": lambda a, b: 0.5 * (a - b).abs() + 0.5 * (a - b) ** 2,
}
WEIGHTINGS = ("uniform", "likelihood", "snr")


def stratified_times(
    n: int, generator, like: Tensor, t_min: float = T_MIN, t_max: float = 1.0
) -> Tensor:
    """Draw n diffusion times, one in each of n equal parts of [t_min, t_max].

    Each of them is uniform, and together they reduce the variance of the loss of a
    batch (Kingma et al., 2021, appendix I.1).
    """
    u = torch.empty(1, dtype=like.dtype, device=like.device).uniform_(
        generator=generator
    )
    grid = torch.arange(n, dtype=like.dtype, device=like.device) / n
    return t_min + (t_max - t_min) * ((u + grid) % 1.0)


def time_weights(sde: DiffusionSDE, t: Tensor, weighting: str) -> Tensor:
    """Weight of each diffusion time in the loss.

    ``"uniform"``: one. ``"likelihood"``: ``g^2 / sigma^2`` divided by its mean, with
    which the loss bounds the negative log-likelihood up to a factor and a constant
    (Song et al., 2021). ``"snr"``: ``min(SNR, 5) / SNR`` (Hang et al., 2023).
    """
    if weighting == "likelihood":
        start, end = sde.log_snr(torch.tensor([T_MIN, 1.0], dtype=t.dtype)).tolist()
        return -sde.log_snr_slope(t) * (1.0 - T_MIN) / (start - end)
    if weighting == "snr":
        return (_MIN_SNR * torch.exp(-sde.log_snr(t))).clamp(max=1.0)
    return torch.ones_like(t)


def denoising_loss(
    denoiser, sde: DiffusionSDE, z: Tensor, t: Tensor, noise: Tensor, loss: str = "mse"
) -> Tensor:
    """Error of the predicted noise, per trial.

    Parameters
    ----------
    denoiser : callable
        Maps z_t (n, n_bins, d) and t (n,) to the noise.
    sde : DiffusionSDE or object with a method marginal(t)
        Gives alpha and sigma at t.
    z : Tensor of shape (n, n_bins, d)
        Clean trajectories.
    t : Tensor of shape (n,)
        Diffusion times.
    noise : Tensor of shape (n, n_bins, d)
        Standard normal noise.
    loss : {"mse", "l1", "smooth_l1", "l1_mse"}, default="mse"
        Loss of the error of a coordinate.

    Returns
    -------
    loss : Tensor of shape (n,)
        Mean over bins and dims of the loss of eps and eps_hat(alpha z + sigma eps, t).
    """
    alpha, sigma = (a[:, None, None] for a in sde.marginal(t))
    predicted = denoiser(alpha * z + sigma * noise, t)
    return LOSSES[loss](predicted, noise).mean(dim=(1, 2))
