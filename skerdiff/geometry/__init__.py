"""Alignment of two sessions by the geometry of their trials, on plain arrays.

Nothing here needs latent models or estimators: coordinates and activations go in,
similarity maps and read-ins come out.
"""

from ._readin import (
    RigidMap,
    coverage,
    find_partners,
    fit_readin,
    geometric_readin,
    rigid_readin,
    variance_explained,
)
from ._report import (
    LITTLE_VARIANCE,
    THIN_MARGIN,
    ambiguity_reasons,
    confidence,
    is_ambiguous,
)
from ._search import (
    HANDICAP,
    Candidate,
    distinct_alignments,
    find_candidates,
    margin,
    rigid_partners,
)
from ._similarity import (
    N_MODES,
    SimilarityMap,
    assign_trials,
    denoise_trials,
    fit_similarity,
    principal_axes,
    principal_coordinates,
    project,
    relative_distances,
    relative_residual,
)

__all__ = [
    "HANDICAP",
    "LITTLE_VARIANCE",
    "N_MODES",
    "THIN_MARGIN",
    "Candidate",
    "RigidMap",
    "SimilarityMap",
    "ambiguity_reasons",
    "assign_trials",
    "confidence",
    "coverage",
    "denoise_trials",
    "distinct_alignments",
    "find_candidates",
    "find_partners",
    "fit_readin",
    "fit_similarity",
    "geometric_readin",
    "is_ambiguous",
    "margin",
    "principal_axes",
    "principal_coordinates",
    "project",
    "relative_distances",
    "relative_residual",
    "rigid_partners",
    "rigid_readin",
    "variance_explained",
]
