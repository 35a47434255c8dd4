"""Alignment against the published code's shape: time to the same R2, R2 in that time.

Both align the same target trials to the same source latents, one after the other. The
published shape is its denoiser, objective, step size, batches and start, with sessions
shuffled. After each of its epochs the clock is stopped and held-out target trials are
scored, which nothing depends on but when to stop measuring.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from time import perf_counter

import numpy as np
import torch
from sklearn.linear_model import Ridge

from skerdiff.alignment import ERDiffAligner
from skerdiff.benchmark import decode_across
from skerdiff.decoding import PerBinRegressor
from skerdiff.metrics import behaviour_r2_score

from .published_denoiser import N_STEPS, alpha_bars, train_published
from .published_protocol import Source, adapt_as_published

CLOSE = 0.01  # R2 by which the published shape may stay below and still be there


def equal_time(split, seed=0, memory=None, prior_epochs=80, budget=25.0):
    """Align by `ERDiffAligner`, then by the published shape.

    Parameters
    ----------
    split : Split
        The trials, see `make_split`.
    seed : int, default=0
        Seed of all models.
    memory : str, default=None
        Cache of source models.
    prior_epochs : int, default=80
        Epochs to train the published denoiser for; the public code has 800.
    budget : float, default=25.0
        Time for the published shape, in multiples of the time ERDiffAligner took.

    Returns
    -------
    row : dict
        ``r2`` and ``adapt_s`` of ERDiffAligner, search for the start included;
        ``published_r2_at_equal_time``, ``published_best_r2`` (by target labels),
        ``published_s``, the time after which it was as good but for 0.01, or was
        stopped; ``reached``, which of the two; ``ratio`` of the times; and
        ``published_epochs``.
    """
    ours, _ = decode_across(split, ERDiffAligner(), seed, memory)
    X, y = split.source
    aligner = ERDiffAligner(init="source", random_state=seed, memory=memory)
    Z = aligner.fit_transform(X, y)
    decoder = PerBinRegressor(Ridge()).fit(Z, y)
    source = Source(aligner.latent_model_, Z)
    nets = []
    train_published(
        source.latents,
        prior_epochs,
        seed=seed,
        report=lambda epoch, net: nets.append(net.requires_grad_(False)),
        report_every=prior_epochs,
    )
    signal = alpha_bars().float()

    def error(z, generator):
        step = torch.randint(N_STEPS // 6, (len(z),), generator=generator)
        share = signal[step][:, None, None]
        noise = torch.empty_like(z).normal_(generator=generator)
        miss = nets[0](share.sqrt() * z + (1 - share).sqrt() * noise, step) - noise
        return 0.5 * miss.abs().mean() + 0.5 * miss.square().mean()

    features = aligner.latent_model_.features(split.test[0])
    epochs = adapt_as_published(source, split.train[0], source.latents, error, seed)
    curve, seconds = [], 0.0
    while seconds < budget * ours["adapt_s"]:
        start = perf_counter()
        readin = next(epochs)
        seconds += perf_counter() - start
        guess = decoder.predict(aligner.latent_model_.encode(features, readin))
        curve.append((seconds, behaviour_r2_score(split.test[1], guess)))
        if curve[-1][1] >= ours["r2"] - CLOSE:
            break
    times, scores = np.transpose(curve)
    in_time = max(0, np.searchsorted(times, ours["adapt_s"], side="right") - 1)
    return {
        "r2": ours["r2"],
        "adapt_s": ours["adapt_s"],
        "published_r2_at_equal_time": float(scores[in_time]),
        "published_best_r2": float(scores.max()),
        "published_s": float(seconds),
        "published_epochs": len(curve),
        "published_prior_epochs": prior_epochs,
        "reached": bool(scores[-1] >= ours["r2"] - CLOSE),
        "ratio": float(seconds / ours["adapt_s"]),
    }
