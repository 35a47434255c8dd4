"""Divergences between source and target latents, as pure functions."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import ot
import torch
from torch import Tensor


def moments(z: Tensor, shrinkage: float = 1e-3) -> tuple[Tensor, Tensor]:
    """Mean and covariance of all bins of all trials.

    Parameters
    ----------
    z : Tensor of shape (n_trials, n_bins, d)
        Latents.
    shrinkage : float
        Multiple of the mean variance added to the diagonal.

    Returns
    -------
    mean : Tensor of shape (d,)
        Mean.
    covariance : Tensor of shape (d, d)
        Covariance, positive definite.
    """
    rows = z.flatten(0, 1)
    mean = rows.mean(0)
    centred = rows - mean
    covariance = centred.T @ centred / len(rows)
    ridge = shrinkage * covariance.diagonal().mean() + 1e-8
    return mean, covariance + ridge * torch.eye(
        len(mean), dtype=z.dtype, device=z.device
    )


def gaussian_kl(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """KL divergence of two Gaussians, given as (mean, covariance), in nats."""
    (mean_p, cov_p), (mean_q, cov_q) = first, second
    L_p, L_q = torch.linalg.cholesky(cov_p), torch.linalg.cholesky(cov_q)
    whitened = torch.linalg.solve_triangular(L_q, L_p, upper=False)
    shift = torch.linalg.solve_triangular(L_q, (mean_q - mean_p)[:, None], upper=False)
    log_det = L_q.diagonal().log().sum() - L_p.diagonal().log().sum()
    return log_det + 0.5 * ((whitened**2).sum() + (shift**2).sum() - len(mean_p))


def transport_cost(a: Tensor, b: Tensor) -> Tensor:
    """Squared 2-Wasserstein distance between two sets of whole trials, per coordinate.

    Differentiable in both arguments: the optimal plan is found by POT and held fixed.

    Parameters
    ----------
    a, b : Tensor of shape (n_a, n_bins, d) and (n_b, n_bins, d)
        Two sets of trials with equal masses.

    Returns
    -------
    cost : Tensor of shape ()
        Mean squared distance of coupled trials over n_bins * d.
    """
    cost = torch.cdist(a.flatten(1), b.flatten(1)) ** 2 / a[0].numel()
    plan = ot.emd([], [], cost.detach().cpu().double().numpy())
    return (torch.as_tensor(plan, dtype=cost.dtype, device=cost.device) * cost).sum()
