"""Aligners: one latent space for all sessions, without labels."""

from ._adan import ADANAligner
from ._coral import CORALAligner
from ._cyclegan import CycleGANAligner
from ._daf import DAFAligner
from ._dann import DANNAligner
from ._erdiff import ERDiffAligner
from ._geometry_aligner import GeometryAligner
from ._identity import IdentityAligner
from ._jsd import JSDAligner
from ._mmd import MMDAligner
from ._neuron_moments import NeuronMomentsAligner
from ._pipeline import adapt
from ._sasa import SASAAligner
from ._sinkhorn import SinkhornAligner

__all__ = [
    "ADANAligner",
    "CORALAligner",
    "CycleGANAligner",
    "DAFAligner",
    "DANNAligner",
    "ERDiffAligner",
    "GeometryAligner",
    "IdentityAligner",
    "JSDAligner",
    "MMDAligner",
    "NeuronMomentsAligner",
    "SASAAligner",
    "SinkhornAligner",
    "adapt",
]
