"""Results on disk: one JSON line per finished cell, whatever happens."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import itertools
import json
import os
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ..exceptions import BenchmarkError

FILE = "results.jsonl"
PLAN = "plan.json"
FIELDS = {
    "key", "content", "index", "experiment", "kind", "data", "behaviour", "setting",
    "method", "seed", "reference", "result", "seconds", "made_by",
}  # fmt: skip


def results_file(path):
    """Path of the results in a folder, or of a file of results itself."""
    path = Path(path)
    return path / FILE if path.is_dir() else path


def read_results(path):
    """Read finished cells from a folder of results, or a file of them.

    Of lines with the same key the last one counts. A last line that a killed run left
    half written is passed over; other damage is a `BenchmarkError`.
    """
    file = results_file(path)
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"There are no results at {path}: expected a folder with {FILE}, or such a "
            "file. `skerdiff benchmark run` writes one."
        ) from error
    lines = {}
    whole = content[: content.rfind(b"\n") + 1]
    for number, text in enumerate(whole.splitlines(), 1):
        try:
            line = json.loads(text)
            if missing := FIELDS - line.keys():
                raise KeyError(*sorted(missing))
        except (ValueError, KeyError, AttributeError) as error:
            raise BenchmarkError(
                f"{file}, line {number}, is damaged: it is no JSON object of a "
                "finished cell. Remove that line to run the cell again."
            ) from error
        lines.pop(line["key"], None)
        lines[line["key"]] = line
    return list(lines.values())


@contextmanager
def open_results(folder, fresh=False):
    """Open the results of a folder for appending; no other run may do so meanwhile.

    Yields a function that writes a dict as one line, which is on the disk when it
    returns. If it cannot be written, the file is as it was. With `fresh`, results that
    are there get another name.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout as error:
        raise BenchmarkError(
            f"Another run is writing to {folder}. Wait for it, or give another "
            "--output."
        ) from error
    with lock:
        if fresh and (folder / FILE).exists():
            aside = (folder / f"results-{i}.jsonl" for i in itertools.count(1))
            os.replace(folder / FILE, next(path for path in aside if not path.exists()))
        with open(folder / FILE, "a+b", buffering=0) as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)  # what a killed run left

            def append(line):
                text = json.dumps(line, allow_nan=True).encode() + b"\n"
                before = file.seek(0, os.SEEK_END)
                try:
                    if file.write(text) < len(text):
                        raise OSError("only a part of the line could be written")
                    os.fsync(file.fileno())
                except OSError as error:
                    file.truncate(before)
                    raise BenchmarkError(
                        f"A result could not be written to {file.name}: {error}. The "
                        "results before it are safe. Make room and run the same "
                        "command again: it goes on from there."
                    ) from error

            yield append


def write_whole(path, content):
    """Write a file whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(part, path)
