"""Brain-computer decoders that keep working across days."""

from .alignment import ERDiffAligner, GeometryAligner, IdentityAligner, adapt
from .decoding import PerBinRegressor
from .diffusion import DiffusionPrior
from .exceptions import AmbiguousAlignmentWarning, NewSessionWarning
from .latent import SequentialVAE
from .trials import Trials
from .utils import show_versions

__version__ = "0.1.0"

__all__ = [
    "AmbiguousAlignmentWarning",
    "DiffusionPrior",
    "ERDiffAligner",
    "GeometryAligner",
    "IdentityAligner",
    "NewSessionWarning",
    "PerBinRegressor",
    "SequentialVAE",
    "Trials",
    "adapt",
    "show_versions",
]
