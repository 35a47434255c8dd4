"""Run what a configuration lists: in parallel, with progress, and resumable."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import atexit
import datetime
import hashlib
import json
import shutil
import tempfile
import time
import traceback
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import cache, partial
from itertools import chain, islice
from pathlib import Path

import joblib
from joblib import Parallel, delayed, parallel_config

from ..exceptions import BenchmarkError
from ..utils._code import classes_of, code_digest
from ..utils._threads import limit_threads
from ._provenance import made_by
from ._results import PLAN, open_results, read_results, write_whole
from ._sessions import MODEL_SETTINGS

BACKENDS = ("loky", "dask")
ERRORS = "errors.log"
PLANNED = ("content", "index", "reference")  # what a report needs of a cell


def run(
    configuration,
    folder,
    *,
    n_jobs=1,
    backend="loky",
    scheduler=None,
    fresh=False,
    stale=False,
):
    """Run all cells of a configuration that the folder does not hold yet.

    Parameters
    ----------
    configuration : Configuration
        What to run.
    folder : path-like
        Where results go, one JSON line per cell as soon as it is finished.
    n_jobs : int, default=1
        Cells to run at a time; -1 for as many as there are cores. Results do not depend
        on it: every cell keeps to one thread.
    backend : {"loky", "dask"}, default="loky"
        Processes on this machine, by joblib, or Dask workers.
    scheduler : str, default=None
        Address of a Dask scheduler, whose workers are all used; None starts a cluster
        of `n_jobs` workers here.
    fresh : bool, default=False
        Whether to set results aside that the folder holds, and start anew.
    stale : bool, default=False
        Whether to run cells again whose results earlier code made.

    Returns
    -------
    n_failed : int
        Cells that raised an error. They are listed and run again the next time.

    Raises
    ------
    ConfigurationError
        If a method of the user's own cannot be made.
    BenchmarkError
        If a worker died, the scheduler cannot be reached, or results cannot be read or
        written.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {list(BACKENDS)}, got {backend!r}.")
    if scheduler is not None and backend != "dask":
        raise ValueError("scheduler is for backend 'dask'; add --backend dask.")
    configuration.make_methods()
    folder = Path(folder)
    with open_results(folder, fresh) as append:
        spread = partial(_outcomes, backend=backend, scheduler=scheduler)
        return _run(configuration, folder, append, spread, n_jobs, stale)


def _run(configuration, folder, append, spread, n_jobs, stale):
    catalogue, own = configuration.catalogue, configuration.methods
    cells = [
        _identified(index, cell, catalogue, own)
        for index, cell in enumerate(configuration.cells())
    ]
    present = _present(read_results(folder), cells, stale)
    finished = {(line["key"], line["content"]) for line in present}
    by_content = {line["content"]: line for line in present}
    todo = [c for c in cells if (c["key"], c["content"]) not in finished]
    n_done = len(cells) - len(todo)
    if n_done:
        print(f"{n_done} of {len(cells)} results are there already.", flush=True)
    planned = {c["key"]: {k: c[k] for k in PLANNED} for c in cells}
    write_whole(folder / PLAN, json.dumps({"cells": planned, "methods": own}))
    say = _progress(len(cells), n_done)

    def keep(cell, outcome):
        line = cell | {key: outcome[key] for key in ("result", "seconds", "made_by")}
        del line["file"]  # a path of this machine
        line["finished"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        append(line)
        say(cell, _headline(outcome["result"]))

    together, alone, waiting = [], [], {}
    for cell in todo:
        if line := by_content.get(cell["content"]):
            keep(cell | {"code": line.get("code", "")}, line)
        elif cell["content"] in waiting:
            waiting[cell["content"]].append(cell)
        else:
            waiting[cell["content"]] = [cell]
            timed = catalogue.experiments[cell["kind"]].timed
            (alone if timed else together).append(cell)
    memory, n_failed = str(folder / "cache"), 0
    task = partial(run_task, catalogue=catalogue, own=own, memory=memory)
    outcomes = (spread(together, task, n_jobs), spread(alone, task, 1))
    for cell, outcome in chain(*outcomes):
        for member in waiting[cell["content"]]:
            if "error" not in outcome:
                keep(member, outcome)
                continue
            n_failed += 1
            say(member, f"FAILED, {outcome['error']}")
        if "error" in outcome:
            with open(folder / ERRORS, "a", encoding="utf-8") as file:
                file.write(f"{name_of(cell)}\n{outcome['traceback']}\n")
    if n_failed:
        print(
            f"{n_failed} results are missing: see {folder / ERRORS}. The same command "
            "runs them again."
        )
    else:
        shutil.rmtree(memory, ignore_errors=True)
    return n_failed


def _identified(index, cell, catalogue, own):
    """Add to a cell its number and digests: of its place, its content and its code."""
    experiment = catalogue.experiments[cell["kind"]]
    aligner = catalogue.aligner_of(cell, own)
    names = [cell[k] for k in ("experiment", "data", "method", "seed")]
    place = json.dumps([*names, cell["setting"]["name"]])
    return {
        "index": index,
        "content": content_of(cell, experiment, aligner),
        "code": experiment.digest(aligner),
        **cell,
        "key": hashlib.sha256(place.encode()).hexdigest()[:24],
    }


def content_of(cell, experiment, aligner):
    """Digest of all that a cell's result depends on, but for the code of skerdiff.

    Cells of two experiments with the same content have the same result. Names do not
    count, and of user's data the file's content does, not its path.
    """
    what = {key: cell[key] for key in ("kind", "data", "behaviour", "seed", "method")}
    if cell["file"] is not None:
        path = Path(cell["file"])
        what["data"] = _digest(path, path.stat().st_mtime_ns)
    what["setting"] = {k: v for k, v in cell["setting"].items() if k != "name"}
    if experiment.takes_aligners:
        for key in MODEL_SETTINGS:
            value = what["setting"].pop(key, None)
            if aligner is None and key == "n_components" and value:
                what["setting"][key] = value
        what["method"] = None if aligner is None else _parameters(aligner)
        foreign = [
            c for c in classes_of(aligner) if not c.__module__.startswith("skerdiff.")
        ]
        what["code"] = [code_digest(*foreign)] if foreign else []
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


@cache
def _digest(path, modified):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _parameters(aligner):
    """Class and parameters of an aligner, those of its models included."""
    cls = type(aligner)
    params = {
        name: repr(value) if not hasattr(value, "get_params") else type(value).__name__
        for name, value in aligner.get_params().items()
    }
    return [f"{cls.__module__}:{cls.__qualname__}", params]


def _present(lines, cells, stale):
    """Results that count: all, or those of the present code; others are announced."""
    code = {(cell["key"], cell["content"]): cell["code"] for cell in cells}
    present, earlier = [], []
    for line in lines:
        made = line.get("code")
        same = code.get((line["key"], line["content"]), made) == made
        (present if same else earlier).append(line)
    if earlier:
        revisions = ", ".join(sorted({str(e["made_by"]["revision"]) for e in earlier}))
        what = "stay; --stale runs them again, --fresh all"
        what = "are run again" if stale else what
        print(f"{len(earlier)} results of earlier code (revision {revisions}) {what}.")
    return present if stale else lines


def _outcomes(cells, task, n_jobs, backend, scheduler):
    """Yield (cell, outcome) as cells finish."""
    if not cells:
        return
    by_key = {cell["key"]: cell for cell in cells}
    if backend == "dask":
        found = _on_dask(cells, task, n_jobs, scheduler)
    elif n_jobs == 1:
        found = map(task, cells)
    else:
        found = _on_processes(cells, task, n_jobs)
    for key, outcome in found:
        yield by_key[key], outcome


def _on_processes(cells, task, n_jobs):
    try:
        with parallel_config("loky", inner_max_num_threads=1):
            parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
            yield from parallel(delayed(task)(cell) for cell in cells)
    except BrokenProcessPool as error:
        raise BenchmarkError(
            "A worker died, perhaps for want of memory: fewer --jobs need less. What "
            "was finished is safe; the same command goes on from there. "
            f"({type(error).__name__})"
        ) from error


def _on_dask(cells, task, n_jobs, scheduler):
    """Hand cells to Dask itself: joblib's backend never returns if a worker dies."""
    try:
        from distributed import Client, LocalCluster, as_completed
    except ImportError as error:
        raise ImportError(
            "--backend dask needs Dask. Install it with: "
            "pip install 'skerdiff[distributed]'"
        ) from error
    with ExitStack() as stack:
        if scheduler is None:
            n_workers = joblib.cpu_count() if n_jobs == -1 else n_jobs
            cluster = LocalCluster(
                n_workers=n_workers, threads_per_worker=1, dashboard_address=None
            )
            scheduler = stack.enter_context(cluster)
        try:
            client = stack.enter_context(Client(scheduler, timeout="20s"))
        except (OSError, ValueError) as error:
            raise BenchmarkError(
                f"No Dask scheduler answers at {scheduler!r}: {error}. Start one with "
                "`dask scheduler`, workers with `dask worker ADDRESS --nthreads 1`, "
                "and give its address to --scheduler."
            ) from error
        if not client.nthreads():
            raise BenchmarkError(
                f"The Dask scheduler at {scheduler!r} has no workers. Start some with "
                "`dask worker ADDRESS --nthreads 1`."
            )
        waiting, given = iter(cells), {}

        def submit(cell):
            future = client.submit(task, cell, pure=False)
            given[future] = cell["key"]
            return future

        n_at_once = len(cells) if n_jobs == -1 else n_jobs
        running = as_completed([submit(cell) for cell in islice(waiting, n_at_once)])
        try:
            for future in running:
                error = future.exception()
                if error is None:
                    yield future.result()
                else:  # a cell that kills every worker it is given to; others go on
                    text = f"a worker died ({type(error).__name__}: {error})"
                    yield given[future], {"error": text, "traceback": text}
                del given[future]
                for cell in islice(waiting, 1):
                    running.add(submit(cell))
        finally:
            client.cancel(list(given))


def run_task(cell, catalogue, own, memory):
    """Run a cell on one thread; an error becomes a part of what is returned."""
    start = time.perf_counter()
    try:
        with limit_threads(1):
            result = run_cell(cell, catalogue, own, _memory_here(memory))
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        return cell["key"], {"error": text, "traceback": traceback.format_exc()}
    seconds = time.perf_counter() - start
    return cell["key"], {"result": result, "seconds": seconds, "made_by": made_by()}


def run_cell(cell, catalogue, own=None, memory=None):
    """Run a cell; the result can be written as JSON."""
    aligner = catalogue.aligner_of(cell, own)
    return catalogue.experiments[cell["kind"]].run(cell, aligner, memory)


def _memory_here(memory):
    """Cache of source models: the run's or, on another machine, one of its own."""
    return memory if Path(memory).parent.is_dir() else _scratch()


@cache
def _scratch():
    folder = tempfile.mkdtemp(prefix="skerdiff-benchmark-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def name_of(cell):
    """Say which cell it is."""
    parts = [cell["experiment"], cell["data"]]
    if cell["setting"]["name"] != "balanced":
        parts.append(cell["setting"]["name"])
    return ", ".join([*parts, f"seed {cell['seed']}", cell["method"]])


def _progress(n_cells, n_done):
    """Make a function that says what is finished, and how long the rest will take."""
    begin, n_before = time.perf_counter(), n_done

    def finished(cell, what):
        nonlocal n_done
        n_done += 1
        left = (time.perf_counter() - begin) / (n_done - n_before) * (n_cells - n_done)
        left = datetime.timedelta(seconds=round(left))
        place = f"[{n_done}/{n_cells}]"
        print(f"{place} {name_of(cell)}: {what} ({left} left)", flush=True)

    return finished


def _headline(result):
    for key in ("r2", "log_likelihood"):
        if key in result:
            return f"{key.replace('_', '-').replace('r2', 'R2')} {result[key]:.3f}"
    return "done"
