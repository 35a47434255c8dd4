"""Has it become slower? ``python -m benchmarks speed``.

Times fitting, adapting, transforming, sampling and likelihoods on one thread, in units
of a reference: the training of a small recurrent network in bare PyTorch, timed in
turns with them. The ratios hardly depend on the machine. They are compared with those
stored beside this file, and anything slower by a factor of 1.5 is reported.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import argparse
import json
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from skerdiff.alignment import ERDiffAligner, GeometryAligner
from skerdiff.datasets import make_reaching_sessions
from skerdiff.diffusion import DiffusionPrior
from skerdiff.latent import SequentialVAE

BASELINE = Path(__file__).with_name("speed_baseline.json")
LIMIT = 1.5
N_ROUNDS = 3


def reference():
    """Train a bare recurrent network for a while: the unit of time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = torch.nn.GRU(48, 48, batch_first=True)
        x = torch.randn(64, 20, 48)
    optimizer = torch.optim.Adam(net.parameters())
    for _ in range(25):
        optimizer.zero_grad()
        net(x)[0].square().mean().backward()
        optimizer.step()


def workloads():
    """Prepare what is timed.

    Returns
    -------
    calls : dict of str to callable
        By name, each of some tenths of a second.
    """
    trials, y = make_reaching_sessions(n_trials=80, random_state=0, return_X_y=True)
    X, v, X_new = trials["day0"], y[trials.is_source], trials["day1"]
    model = SequentialVAE(max_iter=4, random_state=0)
    prior = DiffusionPrior(max_iter=2, n_steps=10, random_state=0)
    Z = model.fit(X, v).transform(X)
    prior.fit(Z)
    geometry = GeometryAligner(model, n_starts=4, random_state=0).fit(X, v)
    erdiff = ERDiffAligner(
        model, prior, init="source", max_steps=20, patience=9, random_state=0
    ).fit(X, v)
    aligned = GeometryAligner(model, n_starts=4, random_state=0).fit(X, v).adapt(X_new)
    return {
        "fit latent model": lambda: model.fit(X, v),
        "fit prior": lambda: prior.fit(Z),
        "adapt geometry": lambda: geometry.adapt(X_new),
        "adapt ERDiff": lambda: erdiff.adapt(X_new),
        "transform": lambda: [aligned.transform(X_new) for _ in range(20)],
        "sample": lambda: prior.sample(4, random_state=0),
        "score_samples": lambda: prior.score_samples(Z[:2]),
    }


def measure(calls, n_repeats=5):
    """Time calls in units of the reference.

    Parameters
    ----------
    calls : dict of str to callable
        What to time.
    n_repeats : int, default=5
        Turns; the fastest of each call and of the reference counts.

    Returns
    -------
    ratios : dict of str to float
        Time of each call over that of the reference.
    """
    calls = {"reference": reference, **calls}
    best = dict.fromkeys(calls, np.inf)
    with threadpool_limits(1):
        for _ in range(n_repeats):
            for name, call in calls.items():
                start = perf_counter()
                call()
                best[name] = min(best[name], perf_counter() - start)
    unit = best.pop("reference")
    return {name: seconds / unit for name, seconds in best.items()}


def slower(ratios, baseline, limit=LIMIT):
    """List what has become slower.

    Parameters
    ----------
    ratios, baseline : dict of str to float
        Measured now, and stored.
    limit : float, default=1.5
        Slowdown that is let pass.

    Returns
    -------
    names : list of str
        Calls beyond it.
    """
    return [n for n in ratios if n in baseline and ratios[n] > limit * baseline[n]]


def main(argv=None):
    """Measure, compare and print; the exit status is 1 if anything is slower."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks speed")
    parser.add_argument("--baseline", default=BASELINE, help="file of stored ratios")
    parser.add_argument("--save", action="store_true", help="store what is measured")
    args = parser.parse_args(argv)
    calls = workloads()
    ratios = measure(calls)
    path = Path(args.baseline)
    if args.save:
        rounds = [ratios, *(measure(calls) for _ in range(N_ROUNDS - 1))]
        ratios = {name: float(np.median([r[name] for r in rounds])) for name in calls}
        found = {name: round(value, 3) for name, value in ratios.items()}
        path.write_text(json.dumps(found, indent=4) + "\n", encoding="utf-8")
    baseline = json.loads(path.read_text(encoding="utf-8"))
    for _ in range(N_ROUNDS - 1):  # a busy moment is no slowdown
        if not slower(ratios, baseline):
            break
        again = measure(calls)
        ratios = {name: min(value, again[name]) for name, value in ratios.items()}
    late = slower(ratios, baseline)
    print(f"{'':18} ratio  stored  now / stored")
    for name, value in ratios.items():
        stored = baseline.get(name, np.nan)
        mark = "  SLOWER" if name in late else ""
        print(f"{name:18} {value:5.2f}  {stored:6.2f}  {value / stored:12.2f}{mark}")
    return 1 if late else 0
