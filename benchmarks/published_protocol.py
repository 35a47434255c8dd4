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

import zlib

import numpy as np
import torch
from joblib import Memory
from sklearn.linear_model import Ridge

from skerdiff.alignment import ERDiffAligner
from skerdiff.alignment.divergences import gaussian_kl, moments
from skerdiff.decoding import PerBinRegressor
from skerdiff.exceptions import ConfigurationError
from skerdiff.metrics import behaviour_r2_score, behaviour_rmse

N_EPOCHS, BATCH_SIZE, LEARNING_RATE = 500, 16, 5e-4
T_MIN, T_MAX = 1e-3, 1 / 6  # of the diffusion times that are drawn

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
    score = Memory(memory, verbose=0).cache(_score_epochs, ignore=["memory"])
    rows = score(**arguments, memory=memory)
    return max(rows, key=lambda row: row["r2"]) if best_epoch else rows[-1]


def _score_epochs(split, paired, on_adapted, seed, n_epochs, memory):
    """Adapt, and score after every epoch."""
    X, y = split.source
    aligner = ERDiffAligner(init="source", random_state=seed, memory=memory)
    Z = aligner.fit_transform(X, y)
    decoder = PerBinRegressor(Ridge()).fit(Z, y)
    source = Source(aligner.latent_model_, Z)
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
    denoiser = aligner.prior_.denoiser().float()

    def error(z, generator):
        t = torch.empty(len(z)).uniform_(T_MIN, T_MAX, generator=generator)
        noise = torch.empty_like(z).normal_(generator=generator)
        alpha, sigma = (a[:, None, None] for a in denoiser.sde.marginal(t))
        miss = denoiser(alpha * z + sigma * noise, t) - noise
        return (0.5 * miss.abs() + 0.5 * miss.square()).mean((1, 2)).mean()

    z_source = source.latents[source_rows]
    epochs = adapt_as_published(
        source, adapted[0], z_source, error, seed, paired=paired
    )
    features = aligner.latent_model_.features(scored[0])
    rows = []
    for epoch, readin in zip(range(1, n_epochs + 1), epochs):
        guess = decoder.predict(aligner.latent_model_.encode(features, readin))
        r2 = behaviour_r2_score(scored[1], guess)
        rmse = behaviour_rmse(scored[1], guess)
        rows.append({"r2": r2, "rmse": rmse, "epoch": epoch})
    return rows


class Source:
    """What adapting needs of the source: its model, and its latents standardised.

    Parameters
    ----------
    model : LatentModel
        Fitted; it is left as it is.
    Z : ndarray of shape (n_source_trials, n_bins, d)
        Latents of the source.
    """

    def __init__(self, model, Z):
        scale = Z.std((0, 1))
        parts = Z.mean((0, 1)), np.where(scale == 0, 1.0, scale)
        self.model, self.module = model, model.torch_encoder().float().eval()
        self.mean, self.scale = (_tensor(part) for part in parts)
        self.latents = _tensor((Z - parts[0]) / parts[1])

    def encode(self, activations):
        """Map activations (n, n_bins, n_readin) to latents (n, n_bins, d)."""
        return (self.module(activations) - self.mean) / self.scale


def _tensor(array):
    return torch.tensor(np.ascontiguousarray(array), dtype=torch.float32)


def _generator(seed, name):
    digest = zlib.crc32(f"{seed}/{name}".encode())
    return torch.Generator().manual_seed(digest % (2**31 - 1))


def adapt_as_published(source, X, z_source, error, seed, *, paired=False):
    """Adapt a read-in as the public script does: no criterion, no end.

    It starts as a copy of the source's, column by column; missing neurons are silent.

    Parameters
    ----------
    source : Source
        The source.
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
    features = source.model.features(X)
    x = _tensor(features)
    own, bias = (_tensor(a) for a in source.model.readin_)
    n_shared = min(own.shape[1], x.shape[2])
    weights = torch.zeros(len(own), x.shape[2])
    weights[:, :n_shared] = own[:, :n_shared]
    # steps are in units of the inverse of a feature's typical size
    size = _tensor(np.sqrt(features.var((0, 1)).mean()))
    change, shift = (torch.zeros_like(a).requires_grad_() for a in (weights, bias))
    optimizer = torch.optim.Adam([change, shift], lr=LEARNING_RATE)
    shuffler, generator = (_generator(seed, name) for name in ("batches", "noise"))
    while True:
        orders = [torch.arange(len(x)), torch.arange(len(z_source))]
        if not paired:
            orders = [torch.randperm(len(o), generator=shuffler) for o in orders]
        for mine, theirs in zip(*(order.split(BATCH_SIZE) for order in orders)):
            z = source.encode(x[mine] @ (weights + change / size).T + bias + shift)
            anchor = gaussian_kl(moments(z_source[theirs]), moments(z))
            optimizer.zero_grad()
            (error(z, generator) + anchor).backward()
            optimizer.step()
        now = weights + change / size, bias + shift
        yield tuple(a.detach().double().numpy() for a in now)


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
