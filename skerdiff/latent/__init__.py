"""Latent-variable models of neural activity."""

from ._base import LatentModel
from ._check import check_latent_model
from ._linear import LinearLatentModel
from ._vae import SequentialVAE

__all__ = [
    "LatentModel",
    "LinearLatentModel",
    "SequentialVAE",
    "check_latent_model",
]
