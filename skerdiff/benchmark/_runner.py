"""Run what a configuration lists: in parallel, with progress, and resumable."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import atexit
import hashlib
import json
import shutil
import tempfile
import time
import traceback
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import cache, partial
from itertools import islice
from pathlib import Path

import joblib
from joblib import Parallel, delayed, parallel_config

from ..utils._torch import limit_threads
from ._experiments import content_of, run_cell
from ._provenance import made_by
from ._results import PLAN, open_results, read_results, write_whole

BACKENDS = ("loky", "dask")
ERRORS = "errors.log"
HEADLINES = (("r2", "R2"), ("log_likelihood", "log-likelihood"))
# what is timed runs alone, one cell after the other
TIMED = ("cost", "equal time")


class RunError(RuntimeError):
    """A run that could not go on; what it had finished is kept."""


def run(
    configuration, folder, *, n_jobs=1, backend="loky", scheduler=None, fresh=False
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

    Returns
    -------
    n_failed : int
        Cells that raised an error. They are listed and run again the next time.

    Raises
    ------
    RunError
        If a worker died or the scheduler cannot be reached.
    ResultsError
        If results cannot be read or written.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {list(BACKENDS)}, got {backend!r}.")
    if scheduler is not None and backend != "dask":
        raise ValueError("scheduler is for backend 'dask'; add --backend dask.")
    folder = Path(folder)
    say = partial(print, flush=True)
    with open_results(folder, fresh) as append:
        return _run(configuration, folder, append, say, n_jobs, backend, scheduler)


def _run(configuration, folder, append, say, n_jobs, backend, scheduler):
    own = configuration.methods
    cells = [
        {"index": i, "content": content_of(cell, own)} | cell
        for i, cell in enumerate(configuration.cells())
    ]
    for cell in cells:
        cell["key"] = _place(cell)
    known = read_results(folder)
    finished = {(line["key"], line["content"]) for line in known}
    by_content = {line["content"]: line for line in known}
    _warn_of_other_code(by_content, cells, say)
    todo = [c for c in cells if (c["key"], c["content"]) not in finished]
    n_done = len(cells) - len(todo)
    if n_done:
        say(f"{n_done} of {len(cells)} results are there already.")
    planned = ("content", "index", "reference")
    plan = {c["key"]: {k: c[k] for k in planned} for c in cells}
    write_whole(folder / PLAN, json.dumps(plan))
    waiting = {}
    for cell in todo:
        waiting.setdefault(cell["content"], []).append(cell)
    progress = _Progress(len(cells), n_done, say)

    def keep(cell, result, seconds, facts):
        line = cell | {"result": result, "seconds": seconds, "made_by": facts}
        del line["file"]  # a path of this machine
        line["finished"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        append(line)
        progress.finished(cell, result)

    for content in [c for c in waiting if c in by_content]:
        line = by_content[content]
        for cell in waiting.pop(content):
            keep(cell, line["result"], line["seconds"], line["made_by"])
    progress.start()
    first = [group[0] for group in waiting.values()]
    alone = [cell for cell in first if cell["kind"] in TIMED]
    together = [cell for cell in first if cell["kind"] not in TIMED]
    memory = str(folder / "cache")
    n_failed = 0
    for part, jobs in ((together, n_jobs), (alone, 1)):
        if not part:
            continue
        for cell, outcome in _outcomes(part, own, memory, jobs, backend, scheduler):
            group = waiting[cell["content"]]
            if "error" in outcome:
                n_failed += len(group)
                progress.failed(group, outcome["error"])
                _log_error(folder, cell, outcome)
                continue
            for member in group:
                keep(member, outcome["result"], outcome["seconds"], outcome["made_by"])
    if n_failed:
        say(
            f"{n_failed} results are missing: see {folder / ERRORS}. The same command "
            "runs them again."
        )
    else:
        shutil.rmtree(memory, ignore_errors=True)
    return n_failed


def _outcomes(cells, own, memory, n_jobs, backend, scheduler):
    """Yield (cell, outcome) as cells finish."""
    by_key = {cell["key"]: cell for cell in cells}
    if backend == "dask":
        found = _on_dask(cells, own, memory, n_jobs, scheduler)
    elif n_jobs == 1:
        found = (run_task(cell, own, memory) for cell in cells)
    else:
        found = _on_processes(cells, own, memory, n_jobs)
    for key, outcome in found:
        yield by_key[key], outcome


def _on_processes(cells, own, memory, n_jobs):
    try:
        with parallel_config("loky", inner_max_num_threads=1):
            parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
            yield from parallel(delayed(run_task)(cell, own, memory) for cell in cells)
    except BrokenProcessPool as error:
        raise RunError(
            "A worker died, perhaps for want of memory: fewer --jobs need less. What "
            "was finished is safe; the same command goes on from there. "
            f"({type(error).__name__})"
        ) from error


def _on_dask(cells, own, memory, n_jobs, scheduler):
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
            scheduler = stack.enter_context(
                LocalCluster(
                    n_workers=n_workers, threads_per_worker=1, dashboard_address=None
                )
            )
        try:
            client = stack.enter_context(Client(scheduler, timeout="20s"))
        except (OSError, ValueError) as error:
            raise RunError(
                f"No Dask scheduler answers at {scheduler!r}: {error}. Start one with "
                "`dask scheduler`, workers with `dask worker ADDRESS --nthreads 1`, "
                "and give its address to --scheduler."
            ) from error
        if not client.nthreads():
            raise RunError(
                f"The Dask scheduler at {scheduler!r} has no workers. Start some with "
                "`dask worker ADDRESS --nthreads 1`."
            )
        waiting, given = iter(cells), {}

        def submit(cell):
            future = client.submit(run_task, cell, own, memory, pure=False)
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


def run_task(cell, own, memory):
    """Run a cell on one thread; an error becomes a part of what is returned."""
    start = time.perf_counter()
    try:
        with limit_threads(1):
            result = run_cell(cell, own, _memory_here(memory))
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        return cell["key"], {"error": text, "traceback": traceback.format_exc()}
    seconds = time.perf_counter() - start
    return cell["key"], {"result": result, "seconds": seconds, "made_by": made_by()}


def _memory_here(memory):
    """Cache of source models: the run's or, on another machine, one of its own."""
    return memory if Path(memory).parent.is_dir() else _scratch()


@cache
def _scratch():
    folder = tempfile.mkdtemp(prefix="skerdiff-benchmark-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _log_error(folder, cell, outcome):
    with open(folder / ERRORS, "a", encoding="utf-8") as file:
        file.write(f"{name_of(cell)}\n{outcome['traceback']}\n")


def _place(cell):
    """Digest of where a cell belongs, by names."""
    names = [cell[k] for k in ("experiment", "data", "method", "seed")]
    text = json.dumps([*names, cell["setting"]["name"]])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _warn_of_other_code(by_content, cells, say):
    used = {c["content"] for c in cells} & by_content.keys()
    found = [by_content[content]["made_by"] for content in used]
    other = [facts for facts in found if facts["code"] != made_by()["code"]]
    if other:
        revisions = sorted({str(facts["revision"]) for facts in other})
        say(
            f"{len(other)} of the results were made by other code (revision "
            f"{', '.join(revisions)}). They are kept; --fresh runs all again."
        )


def name_of(cell):
    """Say which cell it is."""
    parts = [cell["experiment"], cell["data"]]
    if cell["setting"]["name"] != "balanced":
        parts.append(cell["setting"]["name"])
    return ", ".join([*parts, f"seed {cell['seed']}", cell["method"]])


class _Progress:
    """Say what is finished and how long the rest will take."""

    def __init__(self, n_cells, n_done, say):
        self.n_cells, self.n_done, self.say = n_cells, n_done, say
        self.start()

    def start(self):
        """Take the time from now on; what was done before took none."""
        self.n_before, self.begin = self.n_done, time.perf_counter()

    def finished(self, cell, result):
        """Note a result."""
        shown = [(what, result[key]) for key, what in HEADLINES if key in result]
        self._step(cell, "{} {:.3f}".format(*shown[0]) if shown else "done")

    def failed(self, cells, error):
        """Note an error."""
        for cell in cells:
            self._step(cell, f"FAILED, {error}")

    def _step(self, cell, what):
        self.n_done += 1
        rate = (time.perf_counter() - self.begin) / (self.n_done - self.n_before)
        left = rate * (self.n_cells - self.n_done)
        self.say(
            f"[{self.n_done}/{self.n_cells}] {name_of(cell)}: {what} "
            f"({_duration(left)} left)"
        )


def _duration(seconds):
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
