"""Latent-variable models of neural activity."""

from ._base import LatentModel
from ._linear import LinearLatentModel
from ._vae import SequentialVAE

__all__ = ["LatentModel", "LinearLatentModel", "SequentialVAE"]
