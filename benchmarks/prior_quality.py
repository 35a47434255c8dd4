"""How well the diffusion prior models held-out trajectories.

``python -m benchmarks run prior``
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import warnings

import numpy as np
from joblib import Memory
from scipy.stats import multivariate_normal
from sklearn.base import BaseEstimator
from sklearn.covariance import ledoit_wolf
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV

from skerdiff.benchmark import load_pair
from skerdiff.diffusion import DiffusionPrior
from skerdiff.latent import SequentialVAE
from skerdiff.metrics import (
    cross_correlation_distance,
    nearest_neighbour_ratio,
    two_sample_auc,
    value_distance,
)

N_SAMPLES = 200
REAL = "training trials"


class GaussianTrajectories(BaseEstimator):
    """Gaussian of whole trajectories.

    Parameters
    ----------
    kind : {"ledoit-wolf", "var"}
        Covariance shrunk as by Ledoit and Wolf; or that of a first-order vector
        autoregression about the mean trajectory.
    """

    def __init__(self, kind="ledoit-wolf"):
        self.kind = kind

    def fit(self, Z, y=None):
        """Estimate mean and covariance."""
        mean = Z.mean(0)
        if self.kind == "var":
            covariance = autoregressive_covariance(Z - mean)
        else:
            covariance = ledoit_wolf(Z.reshape(len(Z), -1))[0]
        self.density_ = multivariate_normal(mean.ravel(), covariance)
        return self

    def score_samples(self, Z):
        """Log-likelihood of each trajectory."""
        return self.density_.logpdf(Z.reshape(len(Z), -1))

    def sample(self, n_samples, random_state):
        """Draw flattened trajectories."""
        return self.density_.rvs(n_samples, random_state=random_state)


class MixtureTrajectories(BaseEstimator):
    """Mixture of Gaussians, its settings cross-validated.

    Parameters
    ----------
    seed : int
        Seed of its initialisation.
    """

    def __init__(self, seed=0):
        self.seed = seed

    def fit(self, Z, y=None):
        """Choose and fit."""
        grid = {
            "n_components": [1, 2, 4, 6, 8, 10],
            "covariance_type": ["full", "tied", "diag"],
            "reg_covar": [1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
        }
        mixture = GaussianMixture(random_state=self.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            search = GridSearchCV(mixture, grid, cv=4).fit(Z.reshape(len(Z), -1))
        self.mixture_ = search.best_estimator_
        return self

    def score_samples(self, Z):
        """Log-likelihood of each trajectory."""
        return self.mixture_.score_samples(Z.reshape(len(Z), -1))

    def sample(self, n_samples, random_state):
        """Draw flattened trajectories."""
        self.mixture_.set_params(random_state=random_state)
        return self.mixture_.sample(n_samples)[0]


def autoregressive_covariance(R):
    """Covariance of a first-order vector autoregression, from its residuals shrunk.

    Parameters
    ----------
    R : ndarray of shape (n_trials, n_bins, d)
        Trajectories of zero mean.

    Returns
    -------
    covariance : ndarray of shape (n_bins * d, n_bins * d)
        Of flattened trajectories.
    """
    _, n_bins, d = R.shape
    before, after = R[:, :-1].reshape(-1, d), R[:, 1:].reshape(-1, d)
    step = np.linalg.lstsq(before, after, rcond=None)[0].T
    noise = ledoit_wolf(after - before @ step.T, assume_centered=True)[0]
    now = ledoit_wolf(R[:, 0], assume_centered=True)[0]
    covariance = np.empty((n_bins, d, n_bins, d))
    for k in range(n_bins):
        covariance[k, :, k] = now
        for j in range(k):
            covariance[k, :, j] = step @ covariance[k - 1, :, j]
            covariance[j, :, k] = covariance[k, :, j].T
        now = step @ now @ step.T + noise
    return covariance.reshape(n_bins * d, n_bins * d)


def models(seed):
    """List the models to compare, by name."""
    priors = {
        "prior": {},
        "prior, closed form alone": {"max_iter": 0},
        "prior, network alone": {"n_clusters": 0},
        "prior w/o S": {"spatial": False},
        "prior w/o T": {"temporal": False},
    }
    return {
        "Gaussian": GaussianTrajectories(),
        "Gaussian mixture": MixtureTrajectories(seed),
        "VAR(1)": GaussianTrajectories("var"),
    } | {name: DiffusionPrior(random_state=seed, **p) for name, p in priors.items()}


def _fit(model, X, y):
    return model.fit(X, y)


def source_latents(pair, seed, behaviour=None, memory=None):
    """Latents of a pair's source session, standardised, shuffled by trial.

    Parameters
    ----------
    pair : str
        Name of the pair, see `load_pair`.
    seed : int
        Seed of the order of the trials and of the latent-variable model. It sees all of
        them, also those that are held out later.
    behaviour : str, default=None
        What shapes the latents, see `load_pair`.
    memory : str, default=None
        Cache of latent-variable models.

    Returns
    -------
    Z : ndarray of shape (n_trials, n_bins, n_components)
        Latents.
    """
    data = load_pair(pair, seed, behaviour)
    X, y = data.trials[data.trials.source], data.y[data.trials.is_source]
    model = SequentialVAE(random_state=seed)
    model = Memory(memory, verbose=0).cache(_fit)(model, X, y)
    Z = np.asarray(model.transform(X), np.float64)
    return (Z - Z.mean((0, 1))) / Z.std((0, 1))


def prior_quality(Z, seed=0, names=None, train_share=0.8):
    """Compare models on trajectories held out by trial.

    Parameters
    ----------
    Z : ndarray of shape (n_trials, n_bins, n_components)
        Shuffled trajectories.
    seed : int, default=0
        Seed of the models.
    names : list of str, default=None
        Models to compare; None for all.
    train_share : float, default=0.8
        Share of the trials to fit to; the others are scored.

    Returns
    -------
    rows : list of dict
        Per model ``model``; ``log_likelihood`` of held-out trials in nats per
        coordinate; ``denoising_error`` (priors only); ``value`` and ``correlation``,
        distances between samples and held-out trials; ``auc`` between them; and
        ``neighbour``, the nearest-neighbour ratio. A row ``training trials``
        compares the training trials in place of samples.
    """
    n_train = round(train_share * len(Z))
    train, held_out = Z[:n_train], Z[n_train:]
    rows = []

    def add(name, sampled, **more):
        few = sampled[: len(held_out)]
        rows.append(
            {
                "model": name,
                "value": value_distance(held_out, sampled),
                "correlation": cross_correlation_distance(held_out, sampled),
                "auc": two_sample_auc(held_out, few, random_state=seed),
            }
            | more
        )

    add(REAL, train)
    for name, model in models(seed).items():
        if names is not None and name not in names:
            continue
        model.fit(train)
        more = {"log_likelihood": model.score_samples(held_out).mean() / Z[0].size}
        if isinstance(model, DiffusionPrior):
            more["denoising_error"] = model.denoising_error(held_out).mean()
        sampled = model.sample(N_SAMPLES, random_state=seed).reshape(-1, *Z.shape[1:])
        more["neighbour"] = nearest_neighbour_ratio(train, held_out, sampled)
        add(name, sampled, **more)
    return rows
