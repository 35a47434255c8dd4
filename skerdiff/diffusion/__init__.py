"""Diffusion models of latent trajectories."""

from ._base import TrajectoryPrior
from ._check import check_trajectory_prior
from ._prior import DiffusionPrior

__all__ = ["DiffusionPrior", "TrajectoryPrior", "check_trajectory_prior"]
