"""Runs that are stopped, broken or changed, and gone on with."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from skerdiff.benchmark import _runner as runner
from skerdiff.benchmark._cli import main
from skerdiff.benchmark._config import read_configuration
from skerdiff.benchmark._report import _planned as planned
from skerdiff.benchmark._results import FILE, read_results
from skerdiff.benchmark._runner import run_cell
from tests.test_interruption import Interrupting


def test_a_finished_run_is_not_run_again(bench, capsys):
    bench.run()
    before = (bench / "out" / FILE).read_bytes()
    assert bench.run() == 0
    assert (bench / "out" / FILE).read_bytes() == before
    assert (
        f"{bench.n_cells} of {bench.n_cells} results are there already"
        in capsys.readouterr().out
    )


def test_a_method_that_fails_leaves_the_others_as_they_were(bench, capsys):
    (bench / "fragile").write_text("raise")
    assert bench.run() == 1
    out = capsys.readouterr().out
    assert "fragile: FAILED, ValueError: broken on purpose" in out
    assert "3 results are missing" in out
    assert "broken on purpose" in (bench / "out" / "errors.log").read_text()
    assert len(read_results(bench / "out")) == bench.n_cells - 3
    (bench / "fragile").write_text("")
    assert bench.run() == 0
    assert len(read_results(bench / "out")) == bench.n_cells


@pytest.mark.slow
def test_a_worker_that_dies_loses_nothing(bench, capsys):
    (bench / "fragile").write_text("die")
    assert bench.run(jobs=2) == 1
    assert "A worker died" in capsys.readouterr().err
    kept = read_results(bench / "out")
    assert all(line["method"] != "fragile" for line in kept)
    (bench / "fragile").write_text("")
    assert bench.run(jobs=2) == 0
    assert len(read_results(bench / "out")) == bench.n_cells


@pytest.mark.slow
def test_killed_three_times_and_resumed_the_report_is_that_of_an_undisturbed_run(bench):
    assert bench.run() == 0
    os.rename(bench / "out", bench / "undisturbed")
    (bench / "fragile").write_text("0.3")
    command = bench.command("--jobs", "2")
    done = 0
    for wanted in (2, 6, 10):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, start_new_session=True
        )
        file = bench / "out" / FILE
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if file.exists() and file.read_bytes().count(b"\n") >= wanted:
                break
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert len(read_results(bench / "out")) >= max(wanted, done)
        done = len(read_results(bench / "out"))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for name in ("cells.csv", "first-mine-npz.rst", "first-mine-npz.csv"):
        one, two = (
            (bench / out / "report" / name).read_text()
            for out in ("undisturbed", "out")
        )
        assert one == two


def test_an_interrupt_keeps_what_is_finished(bench, monkeypatch, capsys):
    count = []

    def stop_later(cell, *more):
        count.append(cell)
        if len(count) == 4:
            raise KeyboardInterrupt
        return run_cell(cell, *more)

    monkeypatch.setattr(runner, "run_cell", stop_later)
    assert bench.run() == 130
    assert "goes on from there" in capsys.readouterr().err
    # the third was of the first method: all of its seeds are of one experiment
    assert len(read_results(bench / "out")) == 3


@pytest.mark.slow
def test_interrupted_at_any_place_the_same_command_goes_on(bench):
    assert bench.run() == 0
    os.rename(bench / "out", bench / "undisturbed")
    counting = Interrupting()
    with counting.running():
        assert bench.run("--fresh") == 0
    shutil.rmtree(bench / "out")
    left = 20
    rng = np.random.RandomState(0)
    while left:
        # each time a part of the run, so that places in all of it are met
        interrupting = Interrupting(rng.randint(1, counting.count // 5))
        try:
            with interrupting.running():
                status = bench.run()
        except KeyboardInterrupt:  # before the command began, or after it
            status = 130
        if interrupting.count < interrupting.n:
            assert status == 0  # it was finished before
            shutil.rmtree(bench / "out")
            continue
        assert status == 130, "an interrupt was lost"
        left -= 1
        if (bench / "out").exists():
            read_results(bench / "out")
    assert bench.run() == 0
    name = Path("report", "cells.csv")
    one, two = ((bench / out / name).read_text() for out in ("undisturbed", "out"))
    assert one == two


def stop(*cell):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_results_of_an_earlier_form_of_the_configuration_are_left_out(
    bench, capsys, monkeypatch
):
    bench.run()
    bench.edit(("seeds = 3", "seeds = 2"), ("n_starts = 1", "n_starts = 2"))
    capsys.readouterr()
    bench.run()
    out = capsys.readouterr().out
    # still and fragile as they were, quick anew
    assert "4 of 10 results are there already" in out
    lines = planned(bench / "out")[0]
    assert len(lines) == 10
    assert [line["index"] for line in lines] == list(range(10))
    report = (bench / "out" / "report" / "first-mine-npz.rst").read_text()
    assert "seeds)" not in report and "0/2" in report and "0/3" not in report
    # an interrupted change: results of the earlier form do not stand in for it
    bench.edit(("n_starts = 2", "n_starts = 3"))
    (bench / "fragile").write_text("raise")
    bench.edit(('"still", "quick", "fragile"', '"fragile", "still"'))
    capsys.readouterr()
    config = read_configuration(bench / "quick.toml")
    with monkeypatch.context() as patch:
        patch.setattr(runner, "run_cell", stop)
        assert bench.run() == 130
    assert len(config.cells()) == 8 and len(planned(bench / "out")[0]) == 4
    bench.edit(('"fragile", "still"', '"still", "quick", "fragile"'))
    (bench / "fragile").write_text("")
    # what the report compares with needs no new run
    bench.run()
    bench.edit(
        ('reference = "quick"\n', ""),
        ("seeds = 2", 'seeds = 2\nreference = "still"'),
    )
    before = (bench / "out" / FILE).read_bytes()
    bench.run()
    assert (bench / "out" / FILE).read_bytes() == before
    assert (
        "R2 less still" in (bench / "out" / "report" / "first-mine-npz.rst").read_text()
    )


@pytest.mark.slow
def test_a_moved_configuration_goes_on(bench):
    bench.edit((', "fragile"]', "]"))
    bench.run()
    (bench / "moved").mkdir()
    (module,) = bench.folder.glob("quick_methods*.py")
    for name in ("quick.toml", "mine.npz", "fragile", module.name):
        os.rename(bench / name, bench / "moved" / name)
    before = (bench / "out" / FILE).read_bytes()
    config = str(bench / "moved" / "quick.toml")
    assert main(["run", config, "--output", str(bench / "out"), "--jobs", "1"]) == 0
    assert (bench / "out" / FILE).read_bytes() == before


@pytest.mark.slow
def test_a_changed_method_of_ones_own_is_run_again(bench, capsys):
    bench.run()
    (module,) = bench.folder.glob("quick_methods*.py")
    module.write_text(module.read_text() + "\n    anything = 1\n")
    found = subprocess.run(bench.command(), capture_output=True, text=True, check=True)
    out = found.stdout
    assert f"{bench.n_cells - 3} of {bench.n_cells} results are there already" in out


def forge(bench, n):
    """Let the first results look as if other code had made them."""
    file = bench / "out" / FILE
    lines = [json.loads(text) for text in file.read_text().splitlines()]
    for line in lines[:n]:
        line["code"] = "other"
        line["made_by"]["revision"] = "abc"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return lines


def test_results_of_earlier_code_are_announced_marked_and_run_again(bench, capsys):
    bench.run()
    report = bench / "out" / "report"
    assert "earlier code" not in (report / "index.html").read_text()
    lines = forge(bench, 2)
    capsys.readouterr()
    bench.run()
    out = capsys.readouterr().out
    assert "2 results of earlier code (revision abc) stay; --stale" in out
    mark = "2 of 9 results are made by earlier code, revision abc."
    assert mark in (report / "first-mine-npz.rst").read_text()
    assert mark in (report / "index.html").read_text()
    assert "earlier" not in (report / "again-mine-npz.rst").read_text()
    bench.run("--stale")
    assert "2 results of earlier code (revision abc) are run again" in (
        capsys.readouterr().out
    )
    found = read_results(bench / "out")
    assert [line["code"] for line in found].count("other") == 0
    again = [line["finished"] for line in found if line["key"] == lines[5]["key"]]
    assert again == [lines[5]["finished"]]  # the others stay
    assert "earlier code" not in (report / "first-mine-npz.rst").read_text()


@pytest.mark.slow
def test_a_fresh_run_runs_all_again(bench):
    bench.run()
    forge(bench, 2)
    bench.run("--fresh")
    assert all(line["code"] != "other" for line in read_results(bench / "out"))
