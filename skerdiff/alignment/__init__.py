"""Aligners: one latent space for all sessions, without labels."""

from ._erdiff import ERDiffAligner
from ._geometry_aligner import GeometryAligner
from ._identity import IdentityAligner
from ._pipeline import adapt

__all__ = ["ERDiffAligner", "GeometryAligner", "IdentityAligner", "adapt"]
