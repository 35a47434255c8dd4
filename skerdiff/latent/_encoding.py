"""From activity to latents and back, with a trained network."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from ..base import TrialEstimator
from ..preprocessing import smooth
from ..utils._torch import as_tensor, limit_threads


class ActivityEncoder(TrialEstimator):
    """The fitted half of a latent model: what aligners call on it."""

    def features(self, X):
        """What the read-in sees: smoothed square roots of counts.

        Parameters
        ----------
        X : ndarray of shape (n_trials, n_bins, n_neurons)
            Activity of any session.

        Returns
        -------
        features : ndarray of shape (n_trials, n_bins, n_neurons)
            Smoothed square roots; under a Gaussian likelihood smoothed activity.

        Raises
        ------
        ValueError
            If X is negative under a Poisson likelihood.
        """
        X = X.astype(np.float64, copy=False)
        if self.likelihood_ == "poisson":
            if X.min() < 0:
                raise ValueError(
                    f"X holds negative values (smallest {X.min():.4g}), but the "
                    "likelihood is Poisson. Pass counts or rates, or fit with "
                    "likelihood='gaussian'."
                )
            X = np.sqrt(X)
        return smooth(X, self.smoothing)

    def activations(self, features, readin=None):
        """Activations of the read-in.

        Parameters
        ----------
        features : ndarray of shape (n_trials, n_bins, n_neurons)
            Features of a session, see `features`.
        readin : tuple of ndarray, default=None
            Weights and bias of the session's read-in; None is this model's own.

        Returns
        -------
        activations : ndarray of shape (n_trials, n_bins, n_readin)
            Activations.
        """
        weights, bias = self.readin_ if readin is None else readin
        return features @ weights.T + bias

    def encode(self, features, readin=None):
        """Posterior means of the latents from features.

        Parameters
        ----------
        features : ndarray of shape (n_trials, n_bins, n_neurons)
            Features of a session, see `features`.
        readin : tuple of ndarray, default=None
            Weights and bias of the session's read-in; None is this model's own.

        Returns
        -------
        Z : ndarray of shape (n_trials, n_bins, n_components)
            Posterior means.
        """
        activations = as_tensor(self.activations(features, readin), torch.float64)
        with torch.no_grad(), limit_threads(1):
            return self.module_.encode(activations)[0].numpy()

    def _decode(self, Z):
        if Z.shape[-1] != self.n_components:
            raise ValueError(
                f"Z has {Z.shape[-1]} latent dims, but {type(self).__name__} has "
                f"{self.n_components}."
            )
        with torch.no_grad(), limit_threads(1):
            return self.module_.decode(as_tensor(Z, torch.float64)).numpy()

    def _check_activity(self, X):
        check_is_fitted(self)
        X, form = self._check_X(X, reset=False)
        n_bins = X.n_bins if form.kind == "trials" else X.shape[1]
        if n_bins != self.n_bins_:
            raise ValueError(
                f"X has {n_bins} bins per trial, but {type(self).__name__} was fitted "
                f"on trials of {self.n_bins_} bins."
            )
        widths = {A.shape[2] for _, A in X.items()} if form.kind == "trials" else set()
        if widths - {self.n_features_in_}:
            raise ValueError(
                f"X has sessions of {sorted(widths)} neurons, but "
                f"{type(self).__name__} was fitted on {self.n_features_in_}. Use an "
                "aligner for sessions of other neurons."
            )
        return X, form
