"""Every public estimator, small enough to be fitted in a test, and data for it."""

import numpy as np
import pytest
from sklearn.base import clone

from skerdiff import DiffusionPrior, SequentialVAE
from skerdiff.latent import LinearLatentModel
from skerdiff.utils import all_estimators

VAE = SequentialVAE(max_iter=2, n_hidden=4, n_readin=4, n_components=2)
PRIOR = DiffusionPrior(
    max_iter=2, n_channels=4, n_blocks=1, n_heads=2, n_steps=4, n_probes=2
)
LINEAR = LinearLatentModel(n_components=2)
MODELS = {type(model): model for model in (VAE, LINEAR, PRIOR)}
SMALL = {"prior": PRIOR, "n_starts": 1, "max_steps": 2, "n_hidden": 4}
SMALL |= {"n_pretraining": 2}
# the linear model, which is fitted faster, behind all others
ON_THE_NETWORK = ("ERDiffAligner", "IdentityAligner", "MMDAligner")


def small(name, cls):
    """A public estimator with parameters that make it quick to fit."""
    if cls in MODELS:
        return MODELS[cls]
    latent_model = VAE if name in ON_THE_NETWORK else LINEAR
    settings = {"latent_model": latent_model, **SMALL}
    taken = cls().get_params(deep=False)
    return cls(**{name: value for name, value in settings.items() if name in taken})


ESTIMATORS = [small(name, cls) for name, cls in all_estimators()]
TRANSFORMERS = [e for e in ESTIMATORS if hasattr(e, "transform")]
ALIGNERS = [e for e in ESTIMATORS if hasattr(e, "adapt")]


def name_of(estimator):
    return type(estimator).__name__


def each(estimators):
    return pytest.mark.parametrize("estimator", estimators, ids=name_of)


def small_data(n_trials=12, n_bins=5, n_neurons=6, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.poisson(3.0, (n_trials, n_bins, n_neurons)).astype(float)
    return X, rng.randn(n_trials, n_bins, 2)


def fit_small(estimator, random_state=0):
    X, y = small_data()
    estimator = clone(estimator)
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=random_state)
    return estimator.fit(X, y), X


def use(estimator, X):
    """What a fitted estimator says about X."""
    for method in ("transform", "predict", "score_samples"):
        if hasattr(estimator, method):
            return getattr(estimator, method)(X)
    raise AssertionError(f"{name_of(estimator)} says nothing about X")
