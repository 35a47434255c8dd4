"""Metrics of decoded behaviour, of alignments and of latent trajectories."""

from ._behaviour import behaviour_r2_score, behaviour_rmse, r2_scorer, rmse_scorer
from ._label_free import (
    geometric_agreement,
    relative_residual,
    rigid_residual,
    seed_consistency,
    sliced_wasserstein_distance,
    whiten,
)
from ._scorers import (
    LabelFreeScorer,
    agreement_scorer,
    bits_per_spike_scorer,
    circular_scorer,
    margin_scorer,
    residual_scorer,
    rigid_scorer,
    sliced_wasserstein_scorer,
    two_sample_auc_scorer,
)
from ._spikes import bits_per_spike, latent_bits_per_spike
from ._trajectories import (
    cross_correlation_distance,
    nearest_neighbour_ratio,
    two_sample_auc,
    value_distance,
)

__all__ = [
    "LabelFreeScorer",
    "agreement_scorer",
    "behaviour_r2_score",
    "behaviour_rmse",
    "bits_per_spike",
    "bits_per_spike_scorer",
    "circular_scorer",
    "cross_correlation_distance",
    "geometric_agreement",
    "latent_bits_per_spike",
    "margin_scorer",
    "nearest_neighbour_ratio",
    "r2_scorer",
    "relative_residual",
    "residual_scorer",
    "rigid_residual",
    "rigid_scorer",
    "rmse_scorer",
    "seed_consistency",
    "sliced_wasserstein_distance",
    "sliced_wasserstein_scorer",
    "two_sample_auc",
    "two_sample_auc_scorer",
    "value_distance",
    "whiten",
]
