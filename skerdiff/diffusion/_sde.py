"""Diffusions in continuous diffusion time.

``z_t = alpha(t) z_0 + sigma(t) eps`` for t in [0, 1]. Everything follows from the
noise-to-signal ratio ``rho = sigma / alpha``, which grows with t, and from what the SDE
preserves, which determines alpha at a given rho.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import math
from dataclasses import dataclass

import torch
from torch import Tensor

T_MIN = 1e-3  # the smallest diffusion time in use: below, sigma is numerically zero
SCHEDULES = ("linear", "cosine", "quadratic")
SDES = ("vp", "sub-vp")
_RATE_MIN, _RATE_MAX = 0.1, 20.0  # Song et al., 2021, appendix C
# makes the integral of the quadratic rate over [0, 1] that of the linear rate
_RATE_MAX_QUADRATIC = 28.366
_COS_LO, _COS_HI = 1e-3, 1e-2  # angles cut off at the ends of the cosine schedule
_COS_SPAN = 0.5 * math.pi - _COS_LO - _COS_HI


@dataclass(frozen=True)
class DiffusionSDE:
    """Linear SDE ``dz = f(t) z dt + g(t) dw`` that turns latents into noise.

    ``kind="vp"`` preserves variance, ``alpha^2 + sigma^2 = 1``; ``"sub-vp"`` has
    ``alpha^2 + sigma = 1``, less noise at every t (Song et al., 2021, eqs. 11 and 12).
    The schedule is the rate beta(t) of the variance-preserving SDE: ``"linear"`` in t,
    ``"quadratic"`` with a square root linear in t, or ``"cosine"``, which makes
    ``arctan(sigma / alpha)`` linear in t (Nichol and Dhariwal, 2021). `noise_scale`
    multiplies ``sigma / alpha`` at every t, for every kind and schedule: the
    signal-to-noise ratio is that of the schedule divided by ``noise_scale**2``.
    """

    schedule: str = "linear"
    noise_scale: float = 1.0
    kind: str = "vp"

    def log_snr(self, t: Tensor) -> Tensor:
        """Log signal-to-noise ratio ``log(alpha^2 / sigma^2)`` at diffusion time t."""
        decay = self._integrated_rate(t)
        if self.kind == "vp":
            log_rho = 0.5 * torch.log(torch.expm1(decay))
        else:
            log_rho = torch.log(2.0 * torch.sinh(0.5 * decay))
        return -2.0 * (log_rho + math.log(self.noise_scale))

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha(t) and sigma(t)."""
        log_snr = self.log_snr(t)
        if self.kind == "vp":
            return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
        rho = torch.exp(-0.5 * log_snr)
        # the positive root of alpha^2 + rho alpha = 1, without cancellation
        alpha = 2.0 / (torch.sqrt(rho**2 + 4.0) + rho)
        return alpha, rho * alpha

    def log_snr_slope(self, t: Tensor) -> Tensor:
        """Derivative of `log_snr` with respect to t."""
        decay, rate = self._integrated_rate(t), self._rate(t)
        if self.kind == "vp":
            return rate / torch.expm1(-decay)
        return -rate / torch.tanh(0.5 * decay)

    def contraction(self, t: Tensor) -> Tensor:
        """Derivative of ``log alpha`` with respect to `log_snr`, in [0, 1/2]."""
        _, sigma = self.marginal(t)
        return 0.5 * (sigma**2 if self.kind == "vp" else sigma / (2.0 - sigma))

    def drift(self, t: Tensor) -> Tensor:
        """Coefficient f(t), ``d log alpha / dt``; never positive."""
        return self.contraction(t) * self.log_snr_slope(t)

    def dispersion(self, t: Tensor) -> Tensor:
        """Coefficient g(t), with ``g^2 = -sigma^2 d log_snr / dt``."""
        return self.marginal(t)[1] * torch.sqrt(-self.log_snr_slope(t))

    def time_at(self, log_snr: Tensor, t_min=T_MIN, t_max=1.0) -> Tensor:
        """Diffusion time in [t_min, t_max] at which `log_snr` has a value."""
        low = torch.full_like(log_snr, t_min)
        high = torch.full_like(log_snr, t_max)
        for _ in range(60):  # bisection; log_snr falls with t
            middle = 0.5 * (low + high)
            above = self.log_snr(middle) > log_snr
            low = torch.where(above, middle, low)
            high = torch.where(above, high, middle)
        return 0.5 * (low + high)

    def _rate(self, t: Tensor) -> Tensor:
        if self.schedule == "linear":
            return _RATE_MIN + (_RATE_MAX - _RATE_MIN) * t
        if self.schedule == "quadratic":
            low, high = math.sqrt(_RATE_MIN), math.sqrt(_RATE_MAX_QUADRATIC)
            return (low + (high - low) * t) ** 2
        return 2.0 * _COS_SPAN * torch.tan(_COS_LO + _COS_SPAN * t)

    def _integrated_rate(self, t: Tensor) -> Tensor:
        """Integral of the rate, ``-2 log alpha`` of the variance-preserving SDE."""
        if self.schedule == "linear":
            return _RATE_MIN * t + 0.5 * (_RATE_MAX - _RATE_MIN) * t**2
        if self.schedule == "quadratic":
            low, high = math.sqrt(_RATE_MIN), math.sqrt(_RATE_MAX_QUADRATIC)
            return ((low + (high - low) * t) ** 3 - low**3) / (3.0 * (high - low))
        # log1p is accurate at small angles, where the argument is near zero
        return -torch.log1p(-(torch.sin(_COS_LO + _COS_SPAN * t) ** 2))


def time_grid(sde: DiffusionSDE, n_steps: int, t_start: float, t_stop: float) -> Tensor:
    """Diffusion times from t_start to t_stop, evenly spaced in log SNR.

    The (n_steps + 1,) times are float64; either end may be the larger.
    """
    ends = torch.tensor([t_start, t_stop], dtype=torch.float64)
    targets = torch.linspace(
        *sde.log_snr(ends).tolist(), n_steps + 1, dtype=torch.float64
    )
    times = sde.time_at(targets, min(t_start, t_stop), max(t_start, t_stop))
    times[0], times[-1] = t_start, t_stop
    return times
