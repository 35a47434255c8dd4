"""Divergence of a vector field over whole trajectories."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import Tensor


def exact_divergence(field, z: Tensor) -> tuple[Tensor, Tensor]:
    """Exact divergence, by one backward pass per coordinate.

    Parameters
    ----------
    field : callable
        Maps (n, n_bins, d) to the same shape, each trial by itself.
    z : Tensor of shape (n, n_bins, d)
        Where to evaluate.

    Returns
    -------
    value : Tensor of shape (n, n_bins, d)
        The field at z.
    divergence : Tensor of shape (n,)
        Trace of its Jacobian, per trial.
    """
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = field(z)
        flat = value.flatten(1)
        trace = torch.zeros_like(flat[:, 0])
        for i in range(flat.shape[1]):
            (grad,) = torch.autograd.grad(flat[:, i].sum(), z, retain_graph=True)
            trace = trace + grad.flatten(1)[:, i]
    return value.detach(), trace.detach()


PROBES = ("rademacher", "gaussian")


def draw_probes(distribution: str, n_probes: int, like: Tensor, generator) -> Tensor:
    """Draw random vectors of identity covariance, (n_probes, n_bins, d).

    ``"rademacher"`` draws +1 and -1, ``"gaussian"`` from the standard normal. With the
    first, estimates of the divergence have the smaller variance.
    """
    probes = torch.empty(n_probes, *like.shape[1:], dtype=like.dtype)
    if distribution == "gaussian":
        return probes.normal_(generator=generator)
    return probes.bernoulli_(0.5, generator=generator) * 2 - 1


def hutchinson_divergence(field, z: Tensor, probes: Tensor) -> tuple[Tensor, Tensor]:
    """Unbiased estimate ``mean_k e_k^T J e_k`` (Skilling, 1989; Hutchinson, 1990).

    Exact for a diagonal Jacobian when the probes are +1 or -1.

    Parameters
    ----------
    field : callable
        Maps (n, n_bins, d) to the same shape, each trial by itself.
    z : Tensor of shape (n, n_bins, d)
        Where to evaluate.
    probes : Tensor of shape (n_probes, n_bins, d)
        Random vectors with identity covariance, the same for every trial.

    Returns
    -------
    value : Tensor of shape (n, n_bins, d)
        The field at z.
    divergence : Tensor of shape (n,)
        Estimated trace of its Jacobian, per trial.
    """
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = field(z)
        trace = torch.zeros_like(value[:, 0, 0])
        for probe in probes:
            (grad,) = torch.autograd.grad((value * probe).sum(), z, retain_graph=True)
            trace = trace + (grad * probe).sum(dim=(1, 2))
    return value.detach(), (trace / len(probes)).detach()
