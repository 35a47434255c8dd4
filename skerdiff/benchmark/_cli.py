"""The commands ``skerdiff benchmark run``, ``list``, ``report`` and ``compare``."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import argparse
import sys
from pathlib import Path

from ._config import read_configuration, ready_made
from ._report import compare, write_report
from ._results import ResultsError
from ._runner import BACKENDS, RunError, run


def _run(args):
    configuration = read_configuration(args.config)
    folder = args.output or Path("benchmark-results") / configuration.path.stem
    n_cells = len(configuration.cells())
    print(f"{configuration.title}: {n_cells} results, into {folder}", flush=True)
    n_failed = run(
        configuration,
        folder,
        n_jobs=args.jobs,
        backend=args.backend,
        scheduler=args.scheduler,
        fresh=args.fresh,
    )
    if n_failed < n_cells:
        page = write_report([folder], Path(folder) / "report", configuration.title)
        print(f"Report: {page}")
    return 1 if n_failed else 0


def _list(args):
    for name, path in ready_made().items():
        configuration = read_configuration(path)
        cells = configuration.cells()
        data = ", ".join(dict.fromkeys(cell["data"] for cell in cells))
        print(f"{name}: {configuration.title}")
        print(f"    {len(cells)} results; data: {data}")
        for line in configuration.description.strip().splitlines():
            print(f"    {line}")
    return 0


def _report(args):
    first = Path(args.results[0])
    folder = args.output or (first if first.is_dir() else first.parent) / "report"
    print(f"Report: {write_report(args.results, folder)}")
    return 0


def _compare(args):
    table = compare(args.first, args.second)
    print(table.rst() + "\n" + "\n".join(table.notes))
    return 0


def _jobs(text):
    jobs = int(text)
    if jobs < 1 and jobs != -1:
        raise argparse.ArgumentTypeError("must be 1 or more, or -1 for all cores")
    return jobs


def add_commands(parser):
    """Add the commands of the benchmark to a parser.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of ``skerdiff benchmark``.
    """
    commands = parser.add_subparsers(dest="benchmark_command", required=True)
    command = commands.add_parser(
        "run", help="run a configuration, or go on with one, and write the report"
    )
    command.add_argument("config", help="name of a ready one, see list; or a TOML file")
    command.add_argument(
        "--output", help="folder for the results; default benchmark-results/CONFIG"
    )
    command.add_argument(
        "--jobs", type=_jobs, default=-1, help="results to work on at a time; -1: cores"
    )
    command.add_argument("--backend", choices=BACKENDS, default="loky")
    command.add_argument(
        "--scheduler", help="address of a Dask scheduler; default: a cluster here"
    )
    command.add_argument(
        "--fresh", action="store_true", help="set results aside that are there"
    )
    command.set_defaults(run=_run)
    command = commands.add_parser("list", help="list the ready configurations")
    command.set_defaults(run=_list)
    command = commands.add_parser("report", help="write tables, figures and a page")
    command.add_argument("results", nargs="+", help="folders of results, or files")
    command.add_argument("--output", help="folder; default: report, in the results'")
    command.set_defaults(run=_report)
    command = commands.add_parser("compare", help="compare two runs, cell by cell")
    command.add_argument("first", help="folder of results, or file")
    command.add_argument("second", help="folder of results, or file")
    command.set_defaults(run=_compare)


def run_command(args):
    """Run what was parsed; say an error in one line.

    Parameters
    ----------
    args : argparse.Namespace
        With `run`, the command.

    Returns
    -------
    code : int
        Exit status.
    """
    try:
        return args.run(args)
    except (OSError, ImportError, ValueError, ResultsError, RunError) as error:
        print(f"skerdiff: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("skerdiff: interrupted", file=sys.stderr)
        if args.run is _run:
            print(
                "What was finished is kept; the same command goes on from there.",
                file=sys.stderr,
            )
        return 130


def main(argv=None):
    """Run a command of the benchmark.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    code : int
        Exit status.
    """
    parser = argparse.ArgumentParser(prog="skerdiff benchmark")
    add_commands(parser)
    return run_command(parser.parse_args(argv))
