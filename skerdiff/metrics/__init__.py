"""Metrics of decoded behaviour and of latent trajectories."""

from ._behaviour import behaviour_r2_score, behaviour_rmse, r2_scorer, rmse_scorer
from ._trajectories import (
    cross_correlation_distance,
    nearest_neighbour_ratio,
    two_sample_auc,
    value_distance,
)

__all__ = [
    "behaviour_r2_score",
    "behaviour_rmse",
    "cross_correlation_distance",
    "nearest_neighbour_ratio",
    "r2_scorer",
    "rmse_scorer",
    "two_sample_auc",
    "value_distance",
]
