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


def gaussian_jsd(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Jensen-Shannon divergence of two Gaussians, by moments, in nats.

    The mixture of the two is replaced by the Gaussian of its mean and covariance.
    """
    (mean_p, cov_p), (mean_q, cov_q) = first, second
    shift = mean_p - mean_q
    middle = (
        0.5 * (mean_p + mean_q),
        0.5 * (cov_p + cov_q) + 0.25 * torch.outer(shift, shift),
    )
    return 0.5 * gaussian_kl(first, middle) + 0.5 * gaussian_kl(second, middle)


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
    cost = squared_distances(a.flatten(1), b.flatten(1)) / a[0].numel()
    plan = ot.emd([], [], cost.detach().cpu().double().numpy())
    return (torch.as_tensor(plan, dtype=cost.dtype, device=cost.device) * cost).sum()


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances between the rows of two sets, (n_x, n_y)."""
    norms = x.square().sum(-1)[:, None] + y.square().sum(-1)
    return (norms - 2 * x @ y.T).clamp(min=0.0)


def squared_mmd(a: Tensor, b: Tensor, bandwidths=(0.25, 0.5, 1.0, 2.0, 4.0)) -> Tensor:
    """Squared maximum mean discrepancy under a sum of Gaussian kernels.

    The kernels are ``exp(-|x - y|^2 / (m h))``, h the median squared distance between
    any two rows, held fixed (the median heuristic). The estimate with all pairs is
    biased, never negative, and zero for a set and itself (Gretton et al., 2012).

    Parameters
    ----------
    a, b : Tensor of shape (n_a, p) and (n_b, p)
        Two sets of rows.
    bandwidths : tuple of float
        The multiples m.

    Returns
    -------
    mmd : Tensor of shape ()
        Mean over the kernels.
    """
    rows = torch.cat([a, b])
    distance = squared_distances(rows, rows)
    with torch.no_grad():
        others = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
        median = distance[others].median().clamp(min=1e-12)
    scale = torch.tensor(bandwidths, dtype=rows.dtype, device=rows.device) * median
    kernel = torch.exp(-distance[..., None] / scale).mean(-1)
    n = len(a)
    within = kernel[:n, :n].mean() + kernel[n:, n:].mean()
    return within - 2 * kernel[:n, n:].mean()


def sinkhorn_divergence(a: Tensor, b: Tensor, regularisation: float = 0.05) -> Tensor:
    """Debiased entropic optimal-transport cost between two sets of whole trials.

    ``OT(a, b) - OT(a, a) / 2 - OT(b, b) / 2``, zero for equal sets and not negative
    (Feydy et al., 2019), in squared distance per coordinate. POT solves each problem in
    the log domain; gradients are those of the envelope theorem.

    Parameters
    ----------
    a, b : Tensor of shape (n_a, n_bins, d) and (n_b, n_bins, d)
        Two sets of trials with equal masses.
    regularisation : float
        Weight of the entropy, as a share of the largest squared distance between a
        and b.

    Returns
    -------
    divergence : Tensor of shape ()
        The divergence.
    """

    def cost(x, y):
        return squared_distances(x.flatten(1), y.flatten(1)) / x[0].numel()

    across = cost(a, b)
    epsilon = regularisation * float(across.detach().max()) + 1e-12

    def transport(C):
        plan = ot.bregman.sinkhorn_log(
            *(torch.full((k,), 1 / k, dtype=C.dtype, device=C.device) for k in C.shape),
            C.detach(),
            epsilon,
            numItermax=300,
            stopThr=1e-6,
            warn=False,
        )
        # value at the plan, entropy included; its gradient is the plan
        entropy = torch.special.xlogy(plan, plan * plan.numel()).sum()
        return (plan * C).sum() + epsilon * entropy

    return transport(across) - 0.5 * (transport(cost(a, a)) + transport(cost(b, b)))
