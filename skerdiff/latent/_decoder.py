"""Expected activity from latents, and how well it fits."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod

from sklearn.utils.validation import check_is_fitted

from ..trials import Trials
from ..utils._arrays import check_numbers
from ..utils._settings import own_settings
from ._base import LatentModel
from ._objectives import bits_per_spike, gaussian_log_likelihood


class DecodingLatentModel(LatentModel):
    """Base of latent models that say what activity they expect.

    After `fit` it has ``likelihood_``, ``"poisson"`` or ``"gaussian"``, and
    ``mean_activity_`` (n_neurons,).
    """

    @abstractmethod
    def _expected(self, Z):
        """Expected activity (., n_neurons) of latents (., n_components)."""

    @abstractmethod
    def _log_noise(self):
        """Log-variance of each neuron (n_neurons,) under a Gaussian likelihood."""

    @own_settings()
    def inverse_transform(self, Z):
        """Expected activity given latents.

        Parameters
        ----------
        Z : array-like of shape (n_trials, n_bins, n_components), Trials or 2-D array
            Latents.

        Returns
        -------
        X : ndarray of shape (n_trials, n_bins, n_neurons), Trials or 2-D ndarray
            Expected counts per bin (means under a Gaussian likelihood) of the neurons
            seen in `fit`, in the form of the input.

        Raises
        ------
        ValueError
            If Z is not finite or has another number of latent dims.
        """
        check_is_fitted(self)
        if isinstance(Z, Trials):
            return Z.map(self._decode)
        return self._decode(check_numbers(Z, "Z"))

    def _decode(self, Z):
        if Z.shape[-1] != self.n_components:
            raise ValueError(
                f"Z has {Z.shape[-1]} latent dims, but {type(self).__name__} has "
                f"{self.n_components}."
            )
        return self._expected(Z)

    @own_settings()
    def score(self, X, y=None):
        """How well expected activity fits trials, held out ones above all.

        The latents are inferred from the same activity. No labels are read.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_neurons), Trials or 2-D array
            Activity of the neurons seen in `fit`.
        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        score : float
            Under a Poisson likelihood bits per spike over each neuron's mean rate in
            `fit`; under a Gaussian one the mean log-likelihood per bin and neuron in
            nats.

        Raises
        ------
        ValueError
            For what `transform` raises, and for negative values under a Poisson
            likelihood.
        """
        X, form = self._check_activity(X)
        if isinstance(X, Trials):
            X = X.to_array()
        mean = self._decode(self.encode(self.features(X)))
        if self.likelihood_ == "poisson":
            if X.min() < 0:
                raise ValueError(
                    f"X holds negative values (smallest {X.min():.4g}), but bits per "
                    "spike are for counts."
                )
            return bits_per_spike(mean, X, self.mean_activity_)
        return float(gaussian_log_likelihood(mean, self._log_noise(), X).mean())
