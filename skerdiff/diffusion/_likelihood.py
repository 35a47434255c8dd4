"""Log-likelihood by the probability-flow ODE, and its evidence bound."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import math

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.stats import chi
from torch import Tensor

from ._sde import T_MIN, DiffusionSDE, time_grid

_LOG_2PI = math.log(2.0 * math.pi)


def _flow(noise_and_trace, sde, z, t):
    """Probability flow in log SNR at one diffusion time, and its divergence.

    ``dz/dl = c z - sigma eps(z, t) / 2`` with l the log SNR and c the contraction of
    the SDE. In l the flow has none of the schedule's singularities.
    """
    _, sigma = sde.marginal(t)
    contraction = sde.contraction(t)
    noise, trace = noise_and_trace(z, t.expand(len(z)))
    velocity = contraction * z - 0.5 * sigma * noise
    return velocity, contraction * z[0].numel() - 0.5 * sigma * trace


def probability_flow_log_likelihood(
    noise_and_trace, sde: DiffusionSDE, z: Tensor, n_steps: int
) -> Tensor:
    """Log-likelihood of trajectories in nats per trial (Song et al., 2021, eq. 39).

    The flow is integrated in the log signal-to-noise ratio with Runge-Kutta steps of
    order four on a fixed grid, so that the value of one trial does not depend on the
    others in its batch.

    Parameters
    ----------
    noise_and_trace : callable
        Maps z_t (n, n_bins, d) and t (n,) to the predicted noise and to its divergence
        (n,) with respect to z_t.
    sde : DiffusionSDE
        The diffusion.
    z : Tensor of shape (n, n_bins, d)
        Trajectories, taken as those at the smallest diffusion time.
    n_steps : int
        Number of Runge-Kutta steps.

    Returns
    -------
    log_likelihood : Tensor of shape (n,)
        Natural logarithm of the density.
    """
    # the ends and the midpoints of the steps
    times = time_grid(sde, 2 * n_steps, T_MIN, 1.0).to(z)
    log_snr = sde.log_snr(times)

    def flow(z, i):
        return _flow(noise_and_trace, sde, z, times[i])

    change = torch.zeros_like(z[:, 0, 0])
    for i in range(0, 2 * n_steps, 2):
        h = log_snr[i + 2] - log_snr[i]
        v1, d1 = flow(z, i)
        v2, d2 = flow(z + 0.5 * h * v1, i + 1)
        v3, d3 = flow(z + 0.5 * h * v2, i + 1)
        v4, d4 = flow(z + h * v3, i + 2)
        z = z + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
        change = change + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
    return _standard_normal(z) + change


def adaptive_log_likelihood(
    noise_and_trace, sde: DiffusionSDE, z: Tensor, tolerance: float
) -> Tensor:
    """Log-likelihood by SciPy's Dormand-Prince integrator, trial by trial.

    Parameters
    ----------
    noise_and_trace : callable
        See `probability_flow_log_likelihood`.
    sde : DiffusionSDE
        The diffusion.
    z : Tensor of shape (n, n_bins, d)
        Trajectories.
    tolerance : float
        Relative and absolute tolerance per step.

    Returns
    -------
    log_likelihood : Tensor of shape (n,)
        Natural logarithm of the density.
    """
    ends = torch.tensor([T_MIN, 1.0], dtype=z.dtype)
    start, stop = sde.log_snr(ends).tolist()

    def one(trial):
        shape = (1, *trial.shape)

        def field(log_snr, state):
            time = sde.time_at(torch.tensor(log_snr, dtype=z.dtype))
            part = torch.tensor(state[:-1], dtype=z.dtype).view(shape)
            velocity, trace = _flow(noise_and_trace, sde, part, time)
            return np.append(velocity.numpy().ravel(), float(trace))

        state = np.append(trial.numpy().ravel(), 0.0)
        solution = solve_ivp(
            field, (start, stop), state, rtol=tolerance, atol=tolerance
        )
        if not solution.success:
            raise RuntimeError(
                f"The probability flow could not be integrated: {solution.message} "
                "Raise tolerance, or use integrator='rk4'."
            )
        end = torch.tensor(solution.y[:, -1], dtype=z.dtype)
        return _standard_normal(end[:-1].view(shape))[0] + end[-1]

    return torch.stack([one(trial) for trial in z])


def paired_lengths(noises: Tensor, generator) -> Tensor:
    """Give consecutive noises lengths at opposite quantiles.

    Each noise stays standard normal. Most of the variance of a mean squared error is
    due to the length of the noise, and cancels within the pairs.

    Parameters
    ----------
    noises : Tensor of shape (n_times, n_bins, d)
        Standard normal noise. Its direction stays, its length is replaced.
    generator : torch.Generator
        Source of the lengths.

    Returns
    -------
    noises : Tensor of shape (n_times, n_bins, d)
        Standard normal noise.
    """
    n_pairs = -(-len(noises) // 2)
    u = torch.rand(n_pairs, generator=generator, dtype=noises.dtype).numpy()
    quantiles = np.stack([u, 1.0 - u], 1).ravel()[: len(noises)]
    lengths = torch.tensor(chi(noises[0].numel()).ppf(quantiles)).to(noises)
    now = noises.square().sum(dim=(1, 2)).sqrt()
    return noises * (lengths / now)[:, None, None]


def _standard_normal(z):
    return -0.5 * ((z**2).sum(dim=(1, 2)) + z[0].numel() * _LOG_2PI)


def evidence_bound(denoiser, sde: DiffusionSDE, z: Tensor, times, noises) -> Tensor:
    """Lower bound of the log-likelihood of the reverse SDE, per trial in nats.

    The bound of Song et al. (2021, theorem 3) from which ERDiff's objective is derived,

    ``E[log N(z_1; 0, I)] - int (g^2 / (2 sigma^2)) (E|eps - eps_hat|^2 - E|eps|^2) dt
    + int div f dt``

    with a Gaussian decoder at the smallest diffusion time. The drift is linear, so that
    div f is f(t) times the number of coordinates n, the same for every z. Together with
    the term in E|eps|^2 and that of the decoder it is ``n log sigma`` at the largest
    time minus ``n log (sigma / alpha)`` at the smallest.

    Parameters
    ----------
    denoiser : callable
        Maps z_t (n, n_bins, d) and t (n,) to the noise.
    sde : DiffusionSDE
        The diffusion.
    z : Tensor of shape (n, n_bins, d)
        Trajectories.
    times : Tensor of shape (n_times,)
        Diffusion times, evenly spread in log SNR.
    noises : Tensor of shape (n_times, n_bins, d)
        Standard normal noise, the same for every trial.

    Returns
    -------
    bound : Tensor of shape (n,)
        Estimate of the bound, unbiased if the noises are standard normal.
    """
    n_dims = z[0].numel()
    ends = torch.tensor([T_MIN, 1.0], dtype=z.dtype)
    alphas, sigmas = sde.marginal(ends)
    start, stop = sde.log_snr(ends)
    # E log N(z_1; 0, I), the only other term that depends on z
    bound = -0.5 * (
        (alphas[1] * z).square().sum(dim=(1, 2)) + n_dims * (sigmas[1] ** 2 + _LOG_2PI)
    )
    bound = bound - n_dims * torch.log(sigmas[0] / alphas[0] / sigmas[1])
    error = torch.zeros_like(bound)
    with torch.no_grad():
        for t, noise in zip(times, noises):
            alpha, sigma = sde.marginal(t)
            predicted = denoiser(alpha * z + sigma * noise, t.expand(len(z)))
            error += (noise - predicted).square().sum(dim=(1, 2))
    return bound - 0.5 * (start - stop) * error / len(times)
