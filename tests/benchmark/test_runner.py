"""Runs: what they give, in parallel, and what they refuse."""

import os
import subprocess

import numpy as np
import pytest

from skerdiff.benchmark import CATALOGUE, load_pair
from skerdiff.benchmark import _runner as runner
from skerdiff.benchmark import run as run_benchmark
from skerdiff.benchmark._cli import main
from skerdiff.benchmark._config import read_configuration
from skerdiff.benchmark._report import _planned as planned
from skerdiff.benchmark._report import write_report
from skerdiff.benchmark._results import FILE, read_results
from skerdiff.benchmark._runner import run_cell


def content_of(cell, own):
    experiment = CATALOGUE.experiments[cell["kind"]]
    aligner = CATALOGUE.aligner_of(cell, own)
    return runner.content_of(cell, experiment, aligner)


def test_a_run_gives_one_line_per_cell_with_its_origin(bench, capsys):
    assert bench.run() == 0
    lines = read_results(bench / "out")
    assert (
        len(lines)
        == bench.n_cells
        == len(read_configuration(bench / "quick.toml").cells())
    )
    for line in lines:
        assert np.isfinite(line["result"]["r2"])
        assert line["made_by"]["versions"].keys() >= {"python", "skerdiff", "torch"}
        assert line["made_by"].keys() >= {"revision", "processor", "n_cores"}
        assert len(line["code"]) == 64
        assert line["seconds"] > 0 and line["finished"]
    out = capsys.readouterr().out
    assert f"[{bench.n_cells}/{bench.n_cells}]" in out and "left)" in out
    assert (bench / "out" / "report" / "index.html").exists()
    assert not (bench / "out" / "cache").exists()


def test_the_same_cell_in_two_experiments_is_run_once(bench):
    assert bench.run() == 0
    lines = read_results(bench / "out")
    quick = [line for line in lines if line["method"] == "quick"]
    assert len(quick) == 7
    assert len({line["content"] for line in quick}) == 4
    for seed in range(3):
        same = [line for line in quick if line["seed"] == seed]
        assert same[0]["result"] == same[1]["result"]  # times included


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_workers(bench):
    assert bench.run() == 0
    one = bench.scores()
    os.rename(bench / "out", bench / "one")
    assert bench.run(jobs=2) == 0
    assert bench.scores() == one
    assert len(set(one.values())) > 6
    reports = [
        (bench / out / "report" / "cells.csv").read_text() for out in ("one", "out")
    ]
    assert reports[0] == reports[1]


def test_target_labels_of_adapted_trials_are_read_by_the_oracle_alone(bench):
    cell = read_configuration(bench / "quick.toml").cells()[3]
    own = read_configuration(bench / "quick.toml").methods
    assert cell["method"] == "quick"
    before = run_cell(cell, CATALOGUE, own)
    with np.load(bench / "mine.npz") as file:
        arrays = dict(file)
    data = load_pair(bench / "mine.npz", cell["seed"])
    # the labels of the last fifth score; those of all others can be anything
    n_test = 24 - round(0.8 * 24)
    scored = data.y[-n_test:]
    for i, v in enumerate(arrays["target_behaviour"]):
        if not any(np.array_equal(v, w) for w in scored):
            arrays["target_behaviour"][i] = 1e3 * i
    np.savez(bench / "mine.npz", **arrays)
    after = run_cell(cell, CATALOGUE, own)
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
    other["quick"]["n_starts"] = 3
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


@pytest.mark.slow
def test_two_files_of_one_name_are_two(bench):
    (bench / "b").mkdir()
    with np.load(bench / "mine.npz") as file:
        arrays = dict(file)
    arrays["target"] = arrays["target"][:, :, ::-1] + 1
    np.savez(bench / "b" / "mine.npz", **arrays)
    bench.edit(('data = ["mine.npz"]', 'data = ["mine.npz", "b/mine.npz"]'))
    assert bench.run() == 0
    assert len(planned(bench / "out")[0]) == 2 * bench.n_cells
    names = {path.name for path in (bench / "out" / "report").glob("*.rst")}
    assert {"first-mine-npz.rst", "first-b-mine-npz.rst", "first.rst"} <= names


def test_a_report_of_an_unfinished_run_says_so(bench):
    (bench / "fragile").write_text("raise")
    bench.run()
    page = (bench / "out" / "report" / "index.html").read_text()
    assert "Not finished: 3 results are missing" in page
    (bench / "fragile").write_text("")
    bench.run()
    assert "Not finished" not in (bench / "out" / "report" / "index.html").read_text()


def test_options_that_have_no_meaning_are_refused(bench, capsys):
    assert bench.run("--scheduler", "tcp://x:1") == 1
    assert "add --backend dask" in capsys.readouterr().err
    configuration = read_configuration(bench / "quick.toml")
    with pytest.raises(ValueError, match="backend must be one of"):
        run_benchmark(configuration, bench / "out", backend="threads")


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
    bench.edit(('["quick"]', '["quik"]'))
    assert bench.run() == 1
    assert "no method 'quik'; did you mean 'quick'" in capsys.readouterr().err
    assert not (bench / "out").exists()


def test_a_scheduler_that_does_not_answer(bench, capsys, monkeypatch):
    pytest.importorskip("distributed")
    import distributed

    def refuse(*args, **kwargs):
        raise OSError("Timed out trying to connect")

    monkeypatch.setattr(distributed, "Client", refuse)
    assert bench.run("--backend", "dask", "--scheduler", "tcp://192.0.2.1:1") == 1
    error = capsys.readouterr().err
    assert "No Dask scheduler answers at 'tcp://192.0.2.1:1'" in error


@pytest.mark.slow
def test_dask_finds_what_one_process_finds(bench, monkeypatch):
    pytest.importorskip("distributed")
    assert bench.run() == 0
    one = bench.scores()
    more = ("--backend", "dask", "--jobs", "2")
    command = bench.command(*more, out="dask")
    # long enough for any machine; without it a run that hangs would never end
    caught = {"capture_output": True, "text": True, "timeout": 1800}
    found = subprocess.run(command, **caught)
    assert found.returncode == 0, found.stderr
    assert bench.scores("dask") == one
    (bench / "fragile").write_text("die")
    command = bench.command(*more, out="broken")
    # each worker that dies is started anew: fewer times than Dask would by itself
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "1")
    found = subprocess.run(command, **caught)
    assert found.returncode == 1 and "FAILED, a worker died" in found.stdout
    assert len(read_results(bench / "broken")) == bench.n_cells - 3
    (bench / "fragile").write_text("")
    found = subprocess.run(command, **caught)
    assert found.returncode == 0, found.stderr
    assert bench.scores("broken") == one


def test_the_list_names_every_ready_configuration(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert [line.split(":")[0] for line in out.splitlines() if line[0] != " "] == [
        path.stem for path in sorted(CATALOGUE.folder.glob("*.toml"))
    ]
    assert "smoke: Smoke test" in out


def test_a_report_can_be_written_again_from_the_results_alone(bench):
    bench.run()
    first = (bench / "out" / "report" / "cells.csv").read_text()
    write_report([bench / "out" / FILE], bench / "other")
    assert (bench / "other" / "cells.csv").read_text() == first
    assert [line["index"] for line in planned(bench / "out")[0]] == list(
        range(bench.n_cells)
    )
