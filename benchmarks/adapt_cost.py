"""Time and memory of `adapt` as sessions grow.

``python -m benchmarks adapt-cost`` adapts to simulated sessions of 100 to 5,000
trials and of 50 to 1,000 neurons, each in a process of its own, whose largest memory is
that of the data, the model and all else.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from skerdiff.benchmark import Table

SIZES = [(100, 100), (300, 100), (1000, 100), (3000, 100), (5000, 100)]
SIZES += [(300, 50), (300, 300), (300, 1000), (5000, 1000)]
ALIGNERS = ("GeometryAligner", "ERDiffAligner")

# in a fresh process, so that memory is that of one run
_RUN = """
import json, resource, sys, warnings
from time import perf_counter
from skerdiff import DiffusionPrior, SequentialVAE, alignment
from skerdiff.datasets import make_reaching_sessions
warnings.simplefilter("ignore")
name, n_trials, n_neurons = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
data = make_reaching_sessions(2, [200, n_trials], [100, n_neurons], random_state=0)
aligner = getattr(alignment, name)(SequentialVAE(max_iter=5), random_state=0)
if name == "ERDiffAligner":
    aligner.set_params(prior=DiffusionPrior(max_iter=2))
source, X = data.trials["day0"], data.trials["day1"]
del data
aligner.fit(source)
start = perf_counter()
aligner.adapt(X)
seconds = perf_counter() - start
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([seconds, memory * (1 if sys.platform == "darwin" else 1024)]))
"""


def measure(aligner, n_trials, n_neurons):
    """Adapt to one simulated session.

    Parameters
    ----------
    aligner : str
        Name of the class.
    n_trials, n_neurons : int
        Size of the target session, of 20 bins; the source has 200 trials and 100
        neurons.

    Returns
    -------
    seconds : float
        Time of `adapt`.
    memory : float
        Largest resident memory of the process, in bytes.

    Raises
    ------
    RuntimeError
        If the process fails.
    """
    command = [sys.executable, "-c", _RUN, aligner, str(n_trials), str(n_neurons)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"{aligner} on {n_trials} trials of {n_neurons} neurons failed with exit "
            f"status {done.returncode}: {done.stderr.strip()[-500:]}"
        )
    return tuple(json.loads(done.stdout))


def cost_table(sizes=SIZES, aligners=ALIGNERS, verbose=False):
    """Lay out time and memory per size.

    Parameters
    ----------
    sizes : list of tuple of int
        Trials and neurons of target sessions.
    aligners : sequence of str
        Names of classes.
    verbose : bool, default=False
        Whether to show progress.

    Returns
    -------
    table : Table
        One row per size.
    """
    header = ["trials", "neurons"]
    header += [f"{name}: {unit}" for name in aligners for unit in ("s", "GB")]
    rows = []
    for n_trials, n_neurons in tqdm(sizes, "sessions", disable=not verbose):
        row = [f"{n_trials:,}", f"{n_neurons:,}"]
        for name in aligners:
            seconds, memory = measure(name, n_trials, n_neurons)
            row += [f"{seconds:.1f}", f"{memory / 1e9:.1f}"]
        rows.append(row)
    frame = pd.DataFrame(rows, columns=header)
    return Table("adapt-cost", "Cost of adapting", frame)


def main(argv=None):
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks adapt-cost")
    parser.add_argument("--output", help="CSV file to write the table to")
    args = parser.parse_args(argv)
    table = cost_table(verbose=True)
    print(table.rst())
    if args.output:
        Path(args.output).write_text(table.csv(), encoding="utf-8")
