"""Aligners: one latent space for all sessions, without labels."""

from . import divergences
from ._adan import ADANAligner
from ._base import BaseAligner, StartingAligner
from ._coral import CORALAligner
from ._cyclegan import CycleGANAligner
from ._daf import DAFAligner
from ._dann import DANNAligner
from ._erdiff import ERDiffAligner
from ._geometry_aligner import GeometryAligner
from ._gradient import AdversarialAligner, GradientAligner
from ._identity import IdentityAligner
from ._jsd import JSDAligner
from ._mmd import MMDAligner
from ._neuron_moments import NeuronMomentsAligner
from ._objective import Objective
from ._parameters import aligner, parameter
from ._pipeline import adapt
from ._sasa import SASAAligner
from ._sinkhorn import SinkhornAligner

__all__ = [
    "ADANAligner",
    "AdversarialAligner",
    "BaseAligner",
    "CORALAligner",
    "CycleGANAligner",
    "DAFAligner",
    "DANNAligner",
    "ERDiffAligner",
    "GeometryAligner",
    "GradientAligner",
    "IdentityAligner",
    "JSDAligner",
    "MMDAligner",
    "NeuronMomentsAligner",
    "Objective",
    "SASAAligner",
    "SinkhornAligner",
    "StartingAligner",
    "adapt",
    "aligner",
    "divergences",
    "parameter",
]
