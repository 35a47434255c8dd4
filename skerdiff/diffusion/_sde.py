"""Variance-preserving diffusion in continuous diffusion time.

``z_t = alpha(t) z_0 + sigma(t) eps`` with ``alpha^2 + sigma^2 = 1`` and t in [0, 1]. A
schedule is its log signal-to-noise ratio ``log_snr(t) = log(alpha^2 / sigma^2)``; all
else follows from it (Kingma et al., "Variational diffusion models", 2021).
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import math
from dataclasses import dataclass

import torch
from torch import Tensor

T_MIN = 1e-3  # diffusion times below are never used: sigma would be numerically 0
_BETA_MIN, _BETA_MAX = 0.1, 20.0  # Song et al., 2021, appendix C
_COS_LO, _COS_HI = 1e-3, 1e-2  # angles cut off at the ends of the cosine schedule


@dataclass(frozen=True)
class VPSDE:
    """Variance-preserving SDE, ``dz = -beta(t)/2 z dt + sqrt(beta(t)) dw``.

    ``schedule="linear"`` has a rate beta that grows linearly with t; ``"cosine"`` has
    ``sigma/alpha = tan(theta(t))`` with an angle theta that grows linearly with t
    (Nichol and Dhariwal, 2021). `noise_scale` multiplies ``sigma/alpha`` at every t, in
    both: the signal-to-noise ratio is that of the schedule over ``noise_scale**2``.
    """

    schedule: str = "linear"
    noise_scale: float = 1.0

    def log_snr(self, t: Tensor) -> Tensor:
        """Log signal-to-noise ratio at diffusion time t."""
        if self.schedule == "linear":
            integral = _BETA_MIN * t + 0.5 * (_BETA_MAX - _BETA_MIN) * t**2
            base = -torch.log(torch.expm1(integral))
        else:
            base = -2.0 * torch.log(torch.tan(self._angle(t)))
        return base - 2.0 * math.log(self.noise_scale)

    def log_snr_slope(self, t: Tensor) -> Tensor:
        """Derivative of `log_snr` with respect to t."""
        if self.schedule == "linear":
            integral = _BETA_MIN * t + 0.5 * (_BETA_MAX - _BETA_MIN) * t**2
            rate = _BETA_MIN + (_BETA_MAX - _BETA_MIN) * t
            return rate / torch.expm1(-integral)
        span = 0.5 * math.pi - _COS_LO - _COS_HI
        return -4.0 * span / torch.sin(2.0 * self._angle(t))

    @staticmethod
    def _angle(t: Tensor) -> Tensor:
        return _COS_LO + t * (0.5 * math.pi - _COS_LO - _COS_HI)

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha(t) and sigma(t)."""
        log_snr = self.log_snr(t)
        return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()

    def beta(self, t: Tensor) -> Tensor:
        """Rate of the diffusion, ``-d log alpha^2 / dt``."""
        return -torch.sigmoid(-self.log_snr(t)) * self.log_snr_slope(t)
