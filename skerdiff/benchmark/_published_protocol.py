"""The protocol of ERDiff's public script, beside the honest one.

The script reads two files whose trials are sorted by direction, in batches of the same
index, so that the moments of every pair of batches match direction by direction; that
is a label. It scores the trials it adapted to, and reports the epoch at which the
target's labels say that it was best. Here each of these is a switch, with all else the
same: this package's latent model and prior, the source's read-in copied by column, and
the step size, batches, objective and number of epochs of the script.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from copy import deepcopy

import numpy as np
import torch
from sklearn.linear_model import Ridge

from ..alignment import ERDiffAligner
from ..alignment._cache import run_once
from ..alignment._loop import TrainableReadIn
from ..alignment.divergences import gaussian_kl, moments
from ..decoding import PerBinRegressor
from ..diffusion._objectives import denoising_loss
from ..diffusion._sde import T_MIN
from ..exceptions import ConfigurationError
from ..metrics import behaviour_r2_score, behaviour_rmse
from ..utils._random import derive_seed, make_generator
from ..utils._torch import as_tensor, limit_threads

N_EPOCHS, BATCH_SIZE, LEARNING_RATE, T_MAX = 500, 16, 5e-4, 1 / 6

# paired by index in files sorted by direction; best epoch by target labels; scored on
# the trials it adapted to
VARIANTS = {
    "as published": (True, True, True),
    "last epoch": (True, False, True),
    "shuffled, best epoch": (False, True, True),
    "shuffled, last epoch": (False, False, True),
    "honest": (False, False, False),
}


def published_protocol(split, variant, seed=0, memory=None, n_epochs=N_EPOCHS):
    """Adapt and score as ERDiff's public script does, or with some of it put right.

    Parameters
    ----------
    split : Split
        The trials, see `make_split`.
    variant : str
        What is put right, one of `VARIANTS`: nothing; the choice of the epoch by target
        labels; pairing by index; both; or all, where trials are scored that were not
        adapted to.
    seed : int, default=0
        Seed of all models.
    memory : str, default=None
        Cache of source models.
    n_epochs : int, default=500
        Passes through the target trials.

    Returns
    -------
    row : dict
        ``r2``, ``rmse`` and ``epoch``, the one that is reported.

    Raises
    ------
    ConfigurationError
        If trials are to be paired and have no direction.
    """
    paired, best_epoch, on_adapted = VARIANTS[variant]
    arguments = {
        "split": split,
        "paired": paired,
        "on_adapted": on_adapted,
        "seed": seed,
        "n_epochs": n_epochs,
    }
    # the first two variants share their training, and so do the next two
    rows = run_once(memory, _score_epochs, arguments, {"memory": memory})
    return max(rows, key=lambda row: row["r2"]) if best_epoch else rows[-1]


def _score_epochs(split, paired, on_adapted, seed, n_epochs, memory):
    """Adapt, and score after every epoch."""
    X, y = split.source
    aligner = ERDiffAligner(init="source", random_state=seed, memory=memory)
    decoder = PerBinRegressor(Ridge()).fit(aligner.fit_transform(X, y), y)
    adapted, scored = split.train, split.test
    if on_adapted:
        both = zip(split.train, split.test)
        adapted = scored = tuple(np.concatenate(parts) for parts in both)
    source_rows = np.arange(len(X))
    if paired:
        if split.source_direction is None or split.target_direction is None:
            raise ConfigurationError(
                "the published protocol pairs trials by direction, which these data do "
                "not hold."
            )
        source_rows, rows = pair_by_direction(
            split.source_direction, split.target_direction
        )
        adapted = scored = tuple(part[rows] for part in adapted)
    denoiser = deepcopy(aligner.prior_.module_).float().requires_grad_(False)

    def error(z, generator):
        t = torch.empty(len(z)).uniform_(T_MIN, T_MAX, generator=generator)
        noise = torch.empty_like(z).normal_(generator=generator)
        return denoising_loss(denoiser, denoiser.sde, z, t, noise, "l1_mse").mean()

    z_source = as_tensor(aligner._standard_latents())[source_rows]
    epochs = adapt_as_published(
        aligner, adapted[0], z_source, error, seed, paired=paired
    )
    features = aligner.latent_model_.features(scored[0])
    rows = []
    for epoch, readin in zip(range(1, n_epochs + 1), epochs):
        guess = decoder.predict(aligner.latent_model_.encode(features, readin))
        r2 = behaviour_r2_score(scored[1], guess)
        rmse = behaviour_rmse(scored[1], guess)
        rows.append({"r2": r2, "rmse": rmse, "epoch": epoch})
    return rows


def adapt_as_published(aligner, X, z_source, error, seed, *, paired=False):
    """Adapt a read-in as the public script does: no criterion, no end.

    Parameters
    ----------
    aligner : ERDiffAligner
        Fitted; it is left as it is.
    X : ndarray of shape (n_trials, n_bins, n_neurons)
        Target trials.
    z_source : Tensor of shape (n_source_trials, n_bins, d)
        Standardised source latents.
    error : callable
        Maps latents (n, n_bins, d) and a generator to the denoising error.
    seed : int
        Seed of batches and noise.
    paired : bool, default=False
        Whether batches of both sessions hold the same rows, in order; else they are
        drawn anew in each epoch, independently.

    Yields
    ------
    readin : tuple of ndarray
        Weights and bias after each epoch.
    """
    features = aligner.latent_model_.features(X)
    start = aligner._start(features, seed, "source")
    x = as_tensor(features)
    size = np.sqrt(features.var((0, 1)).mean())
    readin = TrainableReadIn(*(as_tensor(a) for a in (*start.readin, size)))
    encode = aligner._encoder(torch.device("cpu"))
    optimizer = torch.optim.Adam(readin.parameters(), lr=LEARNING_RATE)
    shuffler = make_generator(derive_seed(seed, "batches"))
    generator = make_generator(derive_seed(seed, "noise"))
    while True:
        orders = [torch.arange(len(x)), torch.arange(len(z_source))]
        if not paired:
            orders = [torch.randperm(len(o), generator=shuffler) for o in orders]
        with limit_threads(2):
            for mine, theirs in zip(*(order.split(BATCH_SIZE) for order in orders)):
                z = encode(readin(x[mine]))
                anchor = gaussian_kl(moments(z_source[theirs]), moments(z))
                optimizer.zero_grad()
                (error(z, generator) + anchor).backward()
                optimizer.step()
        yield tuple(a.detach().double().numpy() for a in readin.current())


def pair_by_direction(source, target):
    """Sort the trials of two sessions by direction, as many of each on both sides.

    Parameters
    ----------
    source, target : ndarray of shape (n_source,) and (n_target,)
        Direction of each trial.

    Returns
    -------
    source_rows, target_rows : ndarray of shape (n,)
        Trials of each session; those at the same place share their direction.
    """
    rows = ([], [])
    for k in np.intersect1d(source, target):
        mine, theirs = np.flatnonzero(source == k), np.flatnonzero(target == k)
        n = min(len(mine), len(theirs))
        rows[0].extend(mine[:n])
        rows[1].extend(theirs[:n])
    return np.array(rows[0]), np.array(rows[1])
