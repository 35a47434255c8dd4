"""Latent-variable models of neural activity."""

from ._vae import SequentialVAE

__all__ = ["SequentialVAE"]
