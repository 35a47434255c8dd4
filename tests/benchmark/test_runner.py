"""Runs: parallel, interrupted, resumed, broken."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from skerdiff.benchmark import _runner as runner
from skerdiff.benchmark import run as run_benchmark
from skerdiff.benchmark._cli import main
from skerdiff.benchmark._config import read_configuration
from skerdiff.benchmark._experiments import content_of, run_cell
from skerdiff.benchmark._report import load, write_report
from skerdiff.benchmark._results import FILE, read_results

N_CELLS = 13  # of the configuration in conftest.py


def run(bench, *more, jobs=1):
    folder = str(bench / "out")
    config = str(bench / "quick.toml")
    return main(["run", config, "--output", folder, "--jobs", str(jobs), *more])


def scores(bench, out="out"):
    return {
        (e["experiment"], e["method"], e["seed"]): e["result"]["r2"]
        for e in read_results(bench / out)
    }


def test_a_run_gives_one_line_per_cell_with_its_origin(bench, capsys):
    assert run(bench) == 0
    lines = read_results(bench / "out")
    assert (
        len(lines) == N_CELLS == len(read_configuration(bench / "quick.toml").cells())
    )
    for line in lines:
        assert np.isfinite(line["result"]["r2"])
        assert line["made_by"]["versions"].keys() >= {"python", "skerdiff", "torch"}
        assert line["made_by"].keys() >= {"revision", "code", "processor", "n_cores"}
        assert line["seconds"] > 0 and line["finished"]
    out = capsys.readouterr().out
    assert f"[{N_CELLS}/{N_CELLS}]" in out and "left)" in out
    assert (bench / "out" / "report" / "index.html").exists()
    assert not (bench / "out" / "cache").exists()


def test_the_same_cell_in_two_experiments_is_run_once(bench):
    assert run(bench) == 0
    lines = read_results(bench / "out")
    quick = [line for line in lines if line["method"] == "quick"]
    assert len(quick) == 7
    assert len({line["content"] for line in quick}) == 4
    for seed in range(3):
        same = [line for line in quick if line["seed"] == seed]
        assert same[0]["result"] == same[1]["result"]  # times included


def test_a_finished_run_is_not_run_again(bench, capsys):
    run(bench)
    before = (bench / "out" / FILE).read_bytes()
    assert run(bench) == 0
    assert (bench / "out" / FILE).read_bytes() == before
    assert (
        f"{N_CELLS} of {N_CELLS} results are there already" in capsys.readouterr().out
    )


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_workers(bench):
    assert run(bench) == 0
    one = scores(bench)
    os.rename(bench / "out", bench / "one")
    assert run(bench, jobs=2) == 0
    assert scores(bench) == one
    assert len(set(one.values())) > 6
    reports = [
        (bench / out / "report" / "cells.csv").read_text() for out in ("one", "out")
    ]
    assert reports[0] == reports[1]


def test_a_method_that_fails_leaves_the_others_as_they_were(bench, capsys):
    (bench / "fragile").write_text("raise")
    assert run(bench) == 1
    out = capsys.readouterr().out
    assert "fragile: FAILED, ValueError: broken on purpose" in out
    assert "3 results are missing" in out
    assert "broken on purpose" in (bench / "out" / "errors.log").read_text()
    assert len(read_results(bench / "out")) == N_CELLS - 3
    (bench / "fragile").write_text("")
    assert run(bench) == 0
    assert len(read_results(bench / "out")) == N_CELLS


@pytest.mark.slow
def test_a_worker_that_dies_loses_nothing(bench, capsys):
    (bench / "fragile").write_text("die")
    assert run(bench, jobs=2) == 1
    assert "A worker died" in capsys.readouterr().err
    kept = read_results(bench / "out")
    assert all(line["method"] != "fragile" for line in kept)
    (bench / "fragile").write_text("")
    assert run(bench, jobs=2) == 0
    assert len(read_results(bench / "out")) == N_CELLS


@pytest.mark.slow
def test_killed_three_times_and_resumed_the_report_is_that_of_an_undisturbed_run(bench):
    assert run(bench) == 0
    os.rename(bench / "out", bench / "undisturbed")
    (bench / "fragile").write_text("0.3")
    command = [sys.executable, "-m", "skerdiff.benchmark", "run"]
    command += [str(bench / "quick.toml"), "--output", str(bench / "out")]
    command += ["--jobs", "2"]
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

    def stop_later(cell, own, memory):
        count.append(cell)
        if len(count) == 4:
            raise KeyboardInterrupt
        return run_cell(cell, own, memory)

    monkeypatch.setattr(runner, "run_cell", stop_later)
    assert run(bench) == 130
    assert "goes on from there" in capsys.readouterr().err
    # the third was of the first method: all of its seeds are of one experiment
    assert len(read_results(bench / "out")) == 3


def test_target_labels_of_adapted_trials_are_read_by_the_oracle_alone(bench):
    cell = read_configuration(bench / "quick.toml").cells()[3]
    own = read_configuration(bench / "quick.toml").methods
    assert cell["method"] == "quick"
    before = run_cell(cell, own)
    with np.load(bench / "mine.npz") as file:
        arrays = dict(file)
    from skerdiff.benchmark import load_pair

    data = load_pair(bench / "mine.npz", cell["seed"])
    # the labels of the last fifth score; those of all others can be anything
    n_test = 24 - round(0.8 * 24)
    scored = data.y[-n_test:]
    for i, v in enumerate(arrays["target_behaviour"]):
        if not any(np.array_equal(v, w) for w in scored):
            arrays["target_behaviour"][i] = 1e3 * i
    np.savez(bench / "mine.npz", **arrays)
    after = run_cell(cell, own)
    assert {k: v for k, v in after.items() if not k.endswith("_s")} == {
        k: v for k, v in before.items() if not k.endswith("_s")
    }


def test_content_is_all_that_counts(bench):
    configuration = read_configuration(bench / "quick.toml")
    own = configuration.methods
    cell = configuration.cells()[0]
    one = content_of(cell, own)
    same = cell | {"experiment": "other", "setting": {"name": "x"}, "index": 9}
    assert content_of(same, own) == one
    for change in (
        {"seed": 99},
        {"method": "quick"},
        {"setting": {"name": "balanced", "target_trials": 9}},
        {"behaviour": "velocity"},
        {"kind": "cost"},
    ):
        assert content_of(cell | change, own) != one
    other = {name: dict(description) for name, description in own.items()}
    other["quick"]["n_starts"] = 2
    quick = cell | {"method": "quick"}
    assert content_of(quick, other) != content_of(quick, own)
    with np.load(bench / "mine.npz") as file:
        arrays = dict(file)
    np.savez(bench / "mine.npz", **arrays | {"onset": 1})
    assert content_of(cell, own) != one


def test_a_noise_scale_does_not_count_where_there_is_no_noise():
    cell = {"kind": "decoding", "data": "mihi", "behaviour": None, "seed": 0}
    cell["file"] = None
    cells = [
        cell | {"method": method, "setting": {"name": "a", "noise_scale": scale}}
        for method in ("geometry only", "ERDiff", "oracle")
        for scale in (1.0, 2.0)
    ]
    digests = [content_of(c, {}) for c in cells]
    assert digests[0] == digests[1] and digests[4] == digests[5]
    assert digests[2] != digests[3]


def edit(bench, *changes):
    text = (bench / "quick.toml").read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (bench / "quick.toml").write_text(text)


def stop(cell, own, memory):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_results_of_an_earlier_form_of_the_configuration_are_left_out(
    bench, capsys, monkeypatch
):
    run(bench)
    edit(bench, ("seeds = 3", "seeds = 2"), ("n_starts = 0", "n_starts = 1"))
    capsys.readouterr()
    run(bench)
    out = capsys.readouterr().out
    # still and fragile as they were, quick anew
    assert "4 of 10 results are there already" in out
    lines = load([bench / "out"])
    assert len(lines) == 10
    assert [line["index"] for line in lines] == list(range(10))
    report = (bench / "out" / "report" / "first-mine-npz.rst").read_text()
    assert "seeds)" not in report and "0/2" in report and "0/3" not in report
    # an interrupted change: results of the earlier form do not stand in for it
    edit(bench, ("n_starts = 1", "n_starts = 2"))
    (bench / "fragile").write_text("raise")
    edit(bench, ('"still", "quick", "fragile"', '"fragile", "still"'))
    capsys.readouterr()
    config = read_configuration(bench / "quick.toml")
    with monkeypatch.context() as patch:
        patch.setattr(runner, "run_cell", stop)
        assert run(bench) == 130
    assert len(config.cells()) == 8 and len(load([bench / "out"])) == 4
    edit(bench, ('"fragile", "still"', '"still", "quick", "fragile"'))
    (bench / "fragile").write_text("")
    # what the report compares with needs no new run
    run(bench)
    edit(
        bench,
        ('reference = "quick"\n', ""),
        ("seeds = 2", 'seeds = 2\nreference = "still"'),
    )
    before = (bench / "out" / FILE).read_bytes()
    run(bench)
    assert (bench / "out" / FILE).read_bytes() == before
    assert (
        "R2 less still" in (bench / "out" / "report" / "first-mine-npz.rst").read_text()
    )


@pytest.mark.slow
def test_a_moved_configuration_goes_on(bench):
    edit(bench, (', "fragile"]', "]"))
    run(bench)
    (bench / "moved").mkdir()
    (module,) = bench.glob("quick_methods*.py")
    for name in ("quick.toml", "mine.npz", "fragile", module.name):
        os.rename(bench / name, bench / "moved" / name)
    before = (bench / "out" / FILE).read_bytes()
    config = str(bench / "moved" / "quick.toml")
    assert main(["run", config, "--output", str(bench / "out"), "--jobs", "1"]) == 0
    assert (bench / "out" / FILE).read_bytes() == before


@pytest.mark.slow
def test_two_files_of_one_name_are_two(bench):
    (bench / "b").mkdir()
    with np.load(bench / "mine.npz") as file:
        arrays = dict(file)
    arrays["target"] = arrays["target"][:, :, ::-1] + 1
    np.savez(bench / "b" / "mine.npz", **arrays)
    edit(bench, ('data = ["mine.npz"]', 'data = ["mine.npz", "b/mine.npz"]'))
    assert run(bench) == 0
    assert len(load([bench / "out"])) == 2 * N_CELLS
    names = {path.name for path in (bench / "out" / "report").glob("*.rst")}
    assert {"first-mine-npz.rst", "first-b-mine-npz.rst", "first.rst"} <= names


@pytest.mark.slow
def test_a_changed_method_of_ones_own_is_run_again(bench, capsys):
    run(bench)
    (module,) = bench.glob("quick_methods*.py")
    module.write_text(module.read_text() + "\n    anything = 1\n")
    command = [sys.executable, "-m", "skerdiff.benchmark", "run"]
    command += [str(bench / "quick.toml"), "--output", str(bench / "out")]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"{N_CELLS - 3} of {N_CELLS} results are there already" in out


def test_a_report_of_an_unfinished_run_says_so(bench):
    (bench / "fragile").write_text("raise")
    run(bench)
    page = (bench / "out" / "report" / "index.html").read_text()
    assert "Not finished: 3 results are missing" in page
    (bench / "fragile").write_text("")
    run(bench)
    assert "Not finished" not in (bench / "out" / "report" / "index.html").read_text()


def test_options_that_have_no_meaning_are_refused(bench, capsys):
    assert run(bench, "--scheduler", "tcp://x:1") == 1
    assert "add --backend dask" in capsys.readouterr().err
    configuration = read_configuration(bench / "quick.toml")
    with pytest.raises(ValueError, match="backend must be one of"):
        run_benchmark(configuration, bench / "out", backend="threads")


@pytest.mark.slow
def test_results_of_other_code_are_announced(bench, capsys):
    run(bench)
    file = bench / "out" / FILE
    lines = [json.loads(text) for text in file.read_text().splitlines()]
    for line in lines[:2]:
        line["made_by"] |= {"code": "other", "revision": "abc"}
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run(bench)
    assert "2 of the results were made by other code (revision abc)" in (
        capsys.readouterr().out
    )
    run(bench, "--fresh")
    assert all(e["made_by"]["code"] != "other" for e in read_results(bench / "out"))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["run", "gone.toml"], "There is no configuration 'gone.toml'"),
        (["report", "gone"], "There are no results at gone"),
        (["compare", "gone", "gone"], "There are no results at gone"),
    ],
)
def test_errors_are_one_line_and_the_status_is_1(arguments, message, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("skerdiff: ") and message in error


def test_a_method_that_is_not_known(bench, capsys):
    config = (bench / "quick.toml").read_text().replace('["quick"]', '["quik"]')
    (bench / "quick.toml").write_text(config)
    assert run(bench) == 1
    assert "'quik' is not known; did you mean 'quick'" in capsys.readouterr().err
    assert not (bench / "out").exists()


def test_a_scheduler_that_does_not_answer(bench, capsys, monkeypatch):
    pytest.importorskip("distributed")
    import distributed

    def refuse(*args, **kwargs):
        raise OSError("Timed out trying to connect")

    monkeypatch.setattr(distributed, "Client", refuse)
    assert run(bench, "--backend", "dask", "--scheduler", "tcp://192.0.2.1:1") == 1
    error = capsys.readouterr().err
    assert "No Dask scheduler answers at 'tcp://192.0.2.1:1'" in error


@pytest.mark.slow
def test_dask_finds_what_one_process_finds(bench):
    pytest.importorskip("distributed")
    assert run(bench) == 0
    one = scores(bench)
    command = [sys.executable, "-m", "skerdiff.benchmark", "run"]
    command += [str(bench / "quick.toml"), "--output", str(bench / "dask")]
    command += ["--backend", "dask", "--jobs", "2"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    assert scores(bench, "dask") == one
    (bench / "fragile").write_text("die")
    command[command.index(str(bench / "dask"))] = str(bench / "broken")
    found = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert found.returncode == 1 and "FAILED, a worker died" in found.stdout
    assert len(read_results(bench / "broken")) == N_CELLS - 3
    (bench / "fragile").write_text("")
    found = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    assert scores(bench, "broken") == one


def test_the_list_names_every_ready_configuration(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in ("smoke", "table1", "cost", "robustness", "dynamics", "unkind"):
        assert f"{name}: " in out


def test_a_report_can_be_written_again_from_the_results_alone(bench):
    run(bench)
    first = (bench / "out" / "report" / "cells.csv").read_text()
    write_report([bench / "out" / FILE], bench / "other")
    assert (bench / "other" / "cells.csv").read_text() == first
    assert [line["index"] for line in load([bench / "out"])] == list(range(N_CELLS))
