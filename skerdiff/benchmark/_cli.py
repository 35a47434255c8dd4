"""The commands ``skerdiff benchmark run``, ``list``, ``report`` and ``compare``.

What they need is imported when they run, so that help is quick.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import argparse
import sys
import tomllib
from pathlib import Path

from .. import benchmark
from ..exceptions import BenchmarkError

CONFIGS = Path(__file__).with_name("configs")


def _run(args):
    configuration = benchmark.read_configuration(args.config, args.catalogue())
    folder = Path(args.output or f"benchmark-results/{configuration.path.stem}")
    n_cells = len(configuration.cells())
    print(f"{configuration.title}: {n_cells} results, into {folder}", flush=True)
    options = ("n_jobs", "backend", "scheduler", "fresh", "stale")
    options = {option: getattr(args, option) for option in options}
    n_failed = benchmark.run(configuration, folder, **options)
    if n_failed < n_cells:
        _write([folder], folder / "report", configuration.title, args)
    return 1 if n_failed else 0


def _list(args):
    for path in sorted(args.folder.glob("*.toml")):
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        names = [name for e in content["experiment"] for name in e.get("data", ())]
        print(f"{path.stem}: {content['title']}")
        print(f"    data: {', '.join(dict.fromkeys(names)) or 'simulated'}")
        for line in content["description"].strip().splitlines():
            print(f"    {line}")
    return 0


def _report(args):
    first = Path(args.results[0])
    folder = args.output or (first if first.is_dir() else first.parent) / "report"
    _write(args.results, folder, None, args)
    return 0


def _write(paths, folder, title, args):
    page = benchmark.write_report(paths, folder, title, args.catalogue())
    print(f"Report: {page}")


def _compare(args):
    table = benchmark.compare(args.first, args.second, args.catalogue())
    print(table.rst() + "\n" + "\n".join(table.notes))
    return 0


def _jobs(text):
    jobs = int(text)
    if jobs < 1 and jobs != -1:
        raise argparse.ArgumentTypeError("must be 1 or more, or -1 for all cores")
    return jobs


def add_commands(parser, catalogue=None, folder=CONFIGS):
    """Add the commands of the benchmark to a parser, see `main`."""
    catalogue = catalogue or (lambda: benchmark.CATALOGUE)
    parser.set_defaults(catalogue=catalogue, folder=folder)
    commands = parser.add_subparsers(dest="benchmark_command", required=True)

    def command(name, run, text):
        added = commands.add_parser(name, help=text)
        added.set_defaults(run=run)
        return added.add_argument

    add = command("run", _run, "run a configuration or go on with one, and report")
    add("config", help="name of a ready one, see list; or a TOML file")
    add("--output", help="folder for the results; default benchmark-results/CONFIG")
    text = "results to work on at a time; -1: cores"
    add("--jobs", type=_jobs, default=-1, dest="n_jobs", help=text)
    add("--backend", choices=("loky", "dask"), default="loky")
    add("--scheduler", help="address of a Dask scheduler; default: a cluster here")
    add("--fresh", action="store_true", help="set results aside that are there")
    add("--stale", action="store_true", help="run again what earlier code made")
    command("list", _list, "list the ready configurations")
    add = command("report", _report, "write tables, figures and a page")
    add("results", nargs="+", help="folders of results, or files")
    add("--output", help="folder; default: report, in the results'")
    add = command("compare", _compare, "compare two runs, cell by cell")
    add("first", help="folder of results, or file")
    add("second", help="folder of results, or file")


def run_command(args):
    """Run what was parsed, and give the exit status; an error is said in one line."""
    try:
        return args.run(args)
    except (OSError, ImportError, ValueError, BenchmarkError) as error:
        print(f"skerdiff: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        text = "What was finished is safe; the same command goes on from there."
        print("skerdiff: interrupted", file=sys.stderr)
        if args.run is _run:
            print(text, file=sys.stderr)
        return 130


def main(argv=None, prog="skerdiff benchmark", **more):
    """Run a command of the benchmark and give the exit status.

    More are ``catalogue``, a callable that gives what configurations can name, and
    ``folder``, where ready ones are; by default those of the tool.
    """
    parser = argparse.ArgumentParser(prog=prog)
    add_commands(parser, **more)
    return run_command(parser.parse_args(argv))
