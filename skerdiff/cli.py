"""The command ``skerdiff``. What a command needs is imported when it runs."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

from .benchmark import PAIRS
from .benchmark._cli import add_commands, run_command

METHODS = ("no adaptation", "geometry only", "ERDiff", "oracle")


def _demo(args):
    from sklearn.base import clone

    from . import benchmark

    methods = {name: benchmark.METHODS[name] for name in METHODS}
    for name, aligner in methods.items():
        if aligner is not None:
            methods[name] = clone(aligner).set_params(verbose=sys.stderr.isatty())
    print(f"Loading {args.data} sessions ...", flush=True)
    data = benchmark.load_pair(args.data, args.seed, args.behaviour)
    source = data.trials.source
    (target,) = [name for name in data.trials.names if name != source]
    print(f"{data.trials!r}")
    print(f"Source {source}, target {target}; 80 % of the target trials, without")
    print("labels, to adapt on; scored on the others.")
    rows, latents = benchmark.cross_day(
        data,
        args.seed,
        methods,
        report=lambda name: print(f"Running: {name} ...", flush=True),
    )
    print(f"\nDecoding on held-out target trials\n{benchmark.table(rows)}\n")
    if any(row["ambiguous"] for row in rows):
        print("The alignment was ambiguous: do not trust it without a check.\n")
    if args.output.lower() != "none":
        _picture(args, data, source, target, latents)
    return 0


def _picture(args, data, source, target, latents):
    from .plotting import plot_latents_by_direction

    of = data.trials.session
    scored = data.direction[of == target][-len(latents["ERDiff"]) :]
    fig = plot_latents_by_direction(
        {
            f"source ({source})": (latents["source"], data.direction[of == source]),
            f"{target}, no adaptation": (latents["no adaptation"], scored),
            f"{target}, ERDiff": (latents["ERDiff"], scored),
        }
    )
    path = Path(args.output)
    fig.savefig(path, dpi=150)
    print(f"Picture of the latents by direction: {path}")


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    code : int
        Exit status.
    """
    parser = argparse.ArgumentParser(
        prog="skerdiff", description="Decoders that keep working across days."
    )
    parser.add_argument("--version", action="version", version=version("skerdiff"))
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo", help="fit on a source day, align a target day without labels, decode"
    )
    demo.add_argument(
        "--data",
        choices=PAIRS,
        default="synthetic",
        help="sessions; all but synthetic are published recordings, downloaded once",
    )
    demo.add_argument("--behaviour", help="what to decode, see load_motor_cortex")
    demo.add_argument("--seed", type=int, default=0)
    demo.add_argument(
        "--output", default="skerdiff_demo.png", help="picture to write, or 'none'"
    )
    demo.set_defaults(run=_demo)
    benchmark = commands.add_parser(
        "benchmark", help="compare methods: tables, figures, on your own sessions too"
    )
    add_commands(benchmark)
    return run_command(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
