"""What the diffusion prior costs, beside the published denoiser's shape.

``python -m benchmarks prior-cost`` times one epoch of both on 168 trials of 14
bins and 8 dims, and how the cost grows. ``--published-epochs N`` also trains the
published shape for N epochs on the latents of a recording, hours for its 800, and
prints its held-out loss beside this prior's; with ``--checkpoint FILE`` it goes on
where it was interrupted.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from skerdiff.benchmark import PAIRS, Table
from skerdiff.diffusion import DiffusionPrior

from .prior_quality import source_latents
from .published_denoiser import N_STEPS, alpha_bars, train_published

SIZES = [(168, 14, 8), (672, 14, 8), (2688, 14, 8), (168, 28, 8), (168, 56, 8)]
SIZES += [(168, 14, 16), (168, 14, 32)]


def trajectories(n_trials, n_bins, d, seed=0):
    """Draw smooth random trajectories of about unit variance, for timing."""
    rng = np.random.default_rng(seed)
    Z = np.empty((n_trials, n_bins, d))
    Z[:, 0] = rng.standard_normal((n_trials, d))
    for k in range(1, n_bins):
        step = rng.standard_normal((n_trials, d))
        Z[:, k] = 0.95 * Z[:, k - 1] + np.sqrt(1 - 0.95**2) * step
    return Z


def epoch_seconds(Z, device="cpu", n_epochs=10, **params):
    """Time one epoch of `DiffusionPrior.fit`, with all that belongs to it.

    Parameters
    ----------
    Z : ndarray of shape (n_trials, n_bins, d)
        Trajectories.
    device : str, default="cpu"
        Where to train.
    n_epochs : int, default=10
        Epochs to average over; the first, and the closed form, are left out.
    **params : dict
        Parameters of the prior.

    Returns
    -------
    seconds : float
        Time of an epoch: training, moving average, validation and bookkeeping.
    """
    seconds = []
    for max_iter in (1, 1, 1 + n_epochs):  # the first to warm up
        prior = DiffusionPrior(
            max_iter=max_iter, n_clusters=8, device=device, random_state=0, **params
        )
        start = perf_counter()
        prior.fit(Z)
        seconds.append(perf_counter() - start)
    return (seconds[2] - seconds[1]) / n_epochs


def loss_at_published_times(predict, Z, n_times=50, seed=5):
    """Squared error of the noise, averaged over the published schedule's steps.

    Parameters
    ----------
    predict : callable
        Maps noised trajectories, the step and the share of signal variance to noise.
    Z : Tensor of shape (n_trials, n_bins, d)
        Held-out trajectories.
    n_times : int, default=50
        Steps to average over.
    seed : int, default=5
        Seed of the noise.

    Returns
    -------
    loss : float
        Mean over trials, bins, dims and steps.
    """
    generator = torch.Generator().manual_seed(seed)
    signal, losses = alpha_bars(), []
    with torch.no_grad():
        for step in range(0, N_STEPS, N_STEPS // n_times):
            noise = torch.randn(Z.shape, generator=generator).to(Z)
            share = signal[step].to(Z)
            z = share.sqrt() * Z + (1 - share).sqrt() * noise
            losses.append((predict(z, step, share) - noise).square().mean())
    return float(torch.stack(losses).mean())


def prior_loss(prior, Z):
    """Loss of a fitted prior at the published schedule's steps."""
    net = prior.denoiser()
    z = torch.tensor((Z - prior.mean_) / prior.scale_)

    def predict(z, step, share):
        time = net.sde.time_at(torch.log(share / (1 - share))[None])
        return net(z, time.expand(len(z)))

    return loss_at_published_times(predict, z)


def scaling_table(device="cpu", sizes=SIZES, verbose=False, n_epochs=10):
    """Measure how the cost of an epoch grows, and attention's share of it.

    Parameters
    ----------
    device : str, default="cpu"
        Where to train.
    sizes : list of tuple, default=SIZES
        Trials, bins and dims of each row.
    verbose : bool, default=False
        Whether to show a progress bar.
    n_epochs : int, default=10
        Epochs to average over.

    Returns
    -------
    table : Table
        With the methods ``rst`` and ``csv``. Attention's share is what an epoch takes
        less without it, ``spatial=False`` and ``temporal=False``.
    """
    rows = []
    for size in tqdm(sizes, "cost", disable=not verbose):
        Z = trajectories(*size)
        start = perf_counter()
        DiffusionPrior(max_iter=0, device=device).fit(Z)
        closed = perf_counter() - start
        whole = epoch_seconds(Z, device, n_epochs)
        rest = epoch_seconds(Z, device, n_epochs, spatial=False, temporal=False)
        row = dict(zip(("trials", "bins", "dims"), map(str, size)))
        row |= {"s an epoch": f"{whole:.2f}"}
        row["attention's share"] = f"{1 - rest / whole:.0%}"
        row["closed form, s in all"] = f"{closed:.1f}"
        rows.append(row)
    return Table("prior-cost", "Cost of the prior", pd.DataFrame(rows))


def compare_losses(pair, n_epochs, seed=0, checkpoint=None):
    """Train both on the source latents of a pair and print held-out losses.

    Parameters
    ----------
    pair : str
        Name of the pair, see `load_pair`.
    n_epochs : int
        Epochs of the published shape.
    seed : int, default=0
        Seed of the latents and of both.
    checkpoint : path-like or None
        Where the published shape's training is saved, and goes on from.
    """
    Z = source_latents(pair, seed)
    n_train = round(0.8 * len(Z))
    train, held_out = Z[:n_train], Z[n_train:]
    print(f"{pair}, {n_train} trials to fit, {len(held_out)} held out")
    for name, max_iter in (("closed form", 0), ("prior", DiffusionPrior().max_iter)):
        start = perf_counter()
        prior = DiffusionPrior(max_iter=max_iter, random_state=seed).fit(train)
        seconds = perf_counter() - start
        print(f"{name:24} {prior_loss(prior, held_out):.4f} in {seconds:.1f} s")
    target = torch.tensor(held_out, dtype=torch.float32)
    start = perf_counter()

    def report(epoch, net):
        loss = loss_at_published_times(
            lambda z, step, share: net(z, torch.full((len(z),), step)), target
        )
        text = f"published, epoch {epoch}"
        print(f"{text:24} {loss:.4f} in {perf_counter() - start:.0f} s", flush=True)

    Z = torch.tensor(train, dtype=torch.float32)
    train_published(Z, n_epochs, report=report, report_every=25, checkpoint=checkpoint)


def main(argv=None):
    """Time, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks prior-cost")
    parser.add_argument("--data", choices=PAIRS, default="mihi")
    parser.add_argument("--published-epochs", type=int, default=0)
    parser.add_argument("--checkpoint", help="file to save that training to, and go on")
    parser.add_argument("--device", default="cpu", help="for the table")
    parser.add_argument("--output", help="CSV file to write the table to")
    args = parser.parse_args(argv)
    with threadpool_limits(2):
        Z = trajectories(168, 14, 8)
        ours = epoch_seconds(Z)
        published = min(train_published(torch.tensor(Z).float(), 2))
        print(
            f"s/epoch, 168 trials: {ours:.3f}, published shape {published:.2f}, "
            f"ratio {published / ours:.0f}\n"
        )
        table = scaling_table(args.device, verbose=True)
        print(table.rst())
        if args.output:
            Path(args.output).write_text(table.csv(), encoding="utf-8")
        if args.published_epochs:
            print()
            compare_losses(args.data, args.published_epochs, checkpoint=args.checkpoint)
