"""``python -m benchmarks NAME ...``: run, list and report the evidence."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import sys
from importlib import import_module
from pathlib import Path

from skerdiff import benchmark

CONFIGS = Path(__file__).with_name("configs")
# measured by programs of their own, `main` of these modules
PROGRAMS = {
    "adapt-cost": "time and memory of adapt, as sessions grow",
    "label-free": "how well label-free scores rank alignments",
    "prior-cost": "what the diffusion prior costs, beside the published shape",
    "speed": "whether anything has become slower than the stored ratios",
}


def catalogue():
    """What configurations of the evidence can name."""
    return import_module("benchmarks.catalogue").CATALOGUE


def main(argv=None):
    """Run a command and give the exit status.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    code : int
        Exit status.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in PROGRAMS:
        module = import_module(f"benchmarks.{argv[0].replace('-', '_')}")
        return module.main(argv[1:])
    if not argv or argv[0] in ("-h", "--help", "list"):
        print("Programs, see python -m benchmarks NAME --help:")
        for name, text in PROGRAMS.items():
            print(f"    {name}: {text}")
        print("Commands and, for `run`, configurations:", flush=True)
    prog = "python -m benchmarks"
    return benchmark.main(argv or ["--help"], prog, catalogue=catalogue, folder=CONFIGS)


if __name__ == "__main__":
    sys.exit(main())
