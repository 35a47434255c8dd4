"""Latent-variable models of neural activity."""

from ._base import LatentModel
from ._vae import SequentialVAE

__all__ = ["LatentModel", "SequentialVAE"]
