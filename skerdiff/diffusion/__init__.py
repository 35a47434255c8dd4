"""Diffusion models of latent trajectories."""

from ._prior import DiffusionPrior

__all__ = ["DiffusionPrior"]
