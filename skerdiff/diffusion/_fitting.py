"""Fitting the denoiser: the closed form, then the network on top of it."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch

from ..utils._random import derive_seed, numpy_generator
from ..utils._torch import as_tensor
from ..utils._training import train_module
from ._closed_form import fit_closed_forms
from ._denoiser import SpatioTemporalDenoiser
from ._sde import DiffusionSDE

_N_FOLDS = 5
_MIN_VALIDATION = 4  # fewer held-out trials say too little to stop by
_VALIDATION_ROWS = 128  # trials times noise draws, about


def split_trials(n_trials: int, validation_fraction: float, seed: int):
    """Divide trials into folds, for the closed form, and pick those that validate.

    Parameters
    ----------
    n_trials : int
        Number of trials.
    validation_fraction : float
        Share of the trials to validate on.
    seed : int
        Seed of both draws.

    Returns
    -------
    fold : ndarray of int, shape (n_trials,)
        Number of the fold of each trial.
    valid : ndarray of bool, shape (n_trials,)
        Which trials validate; none if they were too few.
    """
    rng = numpy_generator(derive_seed(seed, "folds"))
    # two trials at least to fit to, outside every fold
    n_folds = max(1, min(_N_FOLDS, n_trials - 2))
    fold = rng.permutation(n_trials) % n_folds
    valid = np.zeros(n_trials, bool)
    n_valid = round(validation_fraction * n_trials)
    if n_valid >= _MIN_VALIDATION:
        valid[rng.permutation(n_trials)[:n_valid]] = True
    return fold, valid


def fit_denoiser(prior, Z, condition, fold, valid, seed, device):
    """Fit the denoiser of a prior.

    Parameters
    ----------
    prior : DiffusionPrior
        Holds the settings.
    Z : ndarray of shape (n_trials, n_bins, d)
        Standardised trajectories.
    condition : ndarray of shape (n_trials, ...) or None
        Encoded conditions.
    fold, valid : ndarray of shape (n_trials,)
        See `split_trials`.
    seed : int
        Seed of everything drawn.
    device : torch.device
        Where to train.

    Returns
    -------
    module : SpatioTemporalDenoiser
        The denoiser, on the CPU.
    history : list of dict
        Losses per epoch.
    n_clusters : int
        Gaussians in the unconditional closed form.
    """
    closed_form, folds, n_clusters = fit_closed_forms(
        Z,
        condition,
        fold,
        prior.n_clusters,
        prior.spatial,
        prior.temporal,
        derive_seed(seed, "clusters"),
    )
    tensors = [as_tensor(Z), torch.tensor(fold)]
    if condition is not None:
        tensors.append(as_tensor(condition))
    settings = {
        "n_bins": Z.shape[1],
        "n_components": Z.shape[2],
        "n_channels": prior.n_channels,
        "n_blocks": prior.n_blocks,
        "n_heads": prior.n_heads,
        "spatial": prior.spatial,
        "temporal": prior.temporal,
        "sde": DiffusionSDE(prior.schedule, prior.noise_scale, prior.sde),
        "closed_form": closed_form,
        "folds": folds,
        "condition": prior.condition,
        "n_inputs": 0 if condition is None else condition.shape[-1],
        "weighting": prior.weighting,
        "loss_name": prior.loss,
    }
    valid, held_out = torch.tensor(valid), None
    if valid.any():
        n_draws = max(1, round(_VALIDATION_ROWS / int(valid.sum())))
        # whole copies one after the other: every trial is seen at all diffusion times
        held_out = [a[valid].repeat(n_draws, *[1] * (a.ndim - 1)) for a in tensors]
    module, history = train_module(
        SpatioTemporalDenoiser,
        settings,
        [a[~valid] for a in tensors],
        held_out,
        seed=seed,
        device=device,
        max_iter=prior.max_iter,
        batch_size=prior.batch_size,
        learning_rate=prior.learning_rate,
        patience=prior.patience,
        ema_decay=prior.ema_decay,
        fused=True,
        n_threads=2,
        label="diffusion prior",
        verbose=prior.verbose,
    )
    module.folds = torch.nn.ModuleList()  # of use in training only
    return module, history, n_clusters
