"""Sequential variational autoencoder of neural activity."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..base import TrialEstimator
from ..preprocessing import smooth
from ..trials import Trials
from ..utils._random import derive_seed, draw_seed, numpy_generator
from ..utils._torch import as_tensor, one_thread, resolve_device
from ..utils._training import train_module
from ._modules import SequentialVAEModule
from ._objectives import bits_per_spike, gaussian_nll


class SequentialVAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, TrialEstimator):
    def __init__(
        self,
        n_components=8,
        *,
        n_readin=16,
        n_hidden=64,
        bidirectional=False,
        likelihood="auto",
        smoothing=1.0,
        kl_weight=0.01,
        behaviour_weight=50.0,
        readin_noise=0.3,
        dropout=0.2,
        learning_rate=3e-3,
        weight_decay=1e-4,
        batch_size=32,
        max_iter=200,
        patience=30,
        validation_fraction=0.15,
        trial_length=None,
        device="auto",
        random_state=None,
        verbose=False,
    ):
        self.n_components = n_components
        self.n_readin = n_readin
        self.n_hidden = n_hidden
        self.bidirectional = bidirectional
        self.likelihood = likelihood
        self.smoothing = smoothing
        self.kl_weight = kl_weight
        self.behaviour_weight = behaviour_weight
        self.readin_noise = readin_noise
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.trial_length = trial_length
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y=None):
        X, form = self._check_X(X, reset=True, min_trials=2)
        used = X.is_source if isinstance(X, Trials) else np.ones(len(X), dtype=bool)
        if y is not None:
            y = self._check_y(y, X, form, used)
        if isinstance(X, Trials):
            X = X[X.source]
        self._fit(X, y)
        return self

    def _fit(self, X, y):
        seed = draw_seed(self.random_state)
        self.likelihood_ = self.likelihood
        if self.likelihood == "auto":
            self.likelihood_ = "poisson" if X.min() >= 0 else "gaussian"
        self.n_bins_ = X.shape[1]
        n_trials, _, n_neurons = X.shape
        features = self.features(X)
        self._offset = features.mean((0, 1))
        scale = features.std((0, 1))
        self._scale = np.sqrt(np.mean(scale**2)) or 1.0
        standard = (features - self._offset) / self._scale
        rng = numpy_generator(derive_seed(seed, "split"))
        order = rng.permutation(n_trials)
        n_valid = int(round(self.validation_fraction * n_trials))
        valid, train = order[:n_valid], order[n_valid:]
        tensors = [as_tensor(standard), as_tensor(X)]
        if y is not None:
            ym, ys = y.mean((0, 1)), y.std((0, 1))
            tensors.append(as_tensor((y - ym) / ys))
        module, history = train_module(
            SequentialVAEModule,
            dict(
                readin=self._initial_readin(standard, seed),
                mean_activity=as_tensor(X.mean((0, 1))),
                n_components=self.n_components,
                n_hidden=self.n_hidden,
                n_outputs=0 if y is None else y.shape[2],
                bidirectional=self.bidirectional,
                likelihood=self.likelihood_,
                kl_weight=self.kl_weight,
                behaviour_weight=self.behaviour_weight,
                readin_noise=self.readin_noise,
                dropout=self.dropout,
            ),
            [t[train] for t in tensors],
            [t[valid] for t in tensors] if n_valid else None,
            seed=seed,
            device=resolve_device(self.device),
            max_iter=self.max_iter,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            patience=self.patience,
            label="latent model",
            verbose=self.verbose,
        )
        self.module_ = module.double()
        self.history_ = history
        self.n_iter_ = len(history)
        W = self.module_.readin.weight.detach().numpy() / self._scale
        self.readin_ = (W, -W @ self._offset)
        self.mean_activity_ = X.mean((0, 1))
        z = self.encode(X)
        v = z.var((0, 1))
        self.latent_variance_ = v
        self.active_share_ = float(np.mean(v > 0.1 * v.max()))

    def features(self, X):
        if self.likelihood_ == "poisson":
            X = np.sqrt(X)
        return smooth(X, self.smoothing)

    def _initial_readin(self, standard, seed):
        rows = standard.reshape(-1, standard.shape[2])
        n = min(self.n_readin, *rows.shape)
        pca = PCA(n, svd_solver="full").fit(rows)
        W = pca.components_ / np.sqrt(pca.explained_variance_[:1].max() )
        rng = numpy_generator(derive_seed(seed, "readin"))
        W = np.vstack([W, 0.01*rng.randn(self.n_readin - n, rows.shape[1])])
        return as_tensor(W)

    def activations(self, X, readin=None):
        W, b = self.readin_ if readin is None else readin
        return self.features(X) @ W.T + b

    def encode(self, X, readin=None):
        a = self.activations(X, readin)
        with torch.no_grad(), one_thread():
            return self.module_.encode(torch.as_tensor(a, dtype=torch.float64))[0].numpy()
