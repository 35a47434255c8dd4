"""A latent model that is written on the contract alone."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator


class DuckModel(BaseEstimator):
    """Principal axes, without inheriting from LatentModel; no torch, no streaming."""

    def __init__(self, n_components=2):
        self.n_components = n_components

    def fit(self, X, y=None, *, conditions=None, lengths=None):
        self.n_bins_, self.n_features_in_ = X.shape[1:]
        rows = self.features(X, lengths)[self._within(X, lengths)]
        mean = rows.mean(0)
        weights = np.linalg.svd(rows - mean, full_matrices=False)[2]
        weights = weights[: self.n_components]
        self.readin_ = (weights, -weights @ mean)
        return self

    def features(self, X, lengths=None):
        return np.sqrt(np.where(self._within(X, lengths)[..., None], X, 0))

    def activations(self, features, readin=None):
        weights, bias = self.readin_ if readin is None else readin
        return features @ weights.T + bias

    def encode(self, features, readin=None, lengths=None):
        Z = self.activations(features, readin)
        return np.where(self._within(features, lengths)[..., None], Z, 0)

    def _within(self, X, lengths):
        lengths = [X.shape[1]] * len(X) if lengths is None else lengths
        return np.arange(X.shape[1]) < np.asarray(lengths)[:, None]


@pytest.fixture
def duck_model():
    return DuckModel()
