"""Results on disk survive whatever happens."""

import errno
import json
import subprocess
import sys

import pytest

from skerdiff.benchmark import _results
from skerdiff.benchmark._results import FILE, open_results, read_results
from skerdiff.exceptions import BenchmarkError


def line(key, value=0):
    return dict.fromkeys(_results.FIELDS) | {"key": key, "result": value}


def test_lines_come_back_and_the_last_of_a_key_counts(tmp_path):
    with open_results(tmp_path / "new") as append:
        for key, value in (("a", 1), ("b", 2), ("a", 3)):
            append(line(key, value))
    assert read_results(tmp_path / "new") == [line("b", 2), line("a", 3)]
    assert read_results(tmp_path / "new" / FILE) == [line("b", 2), line("a", 3)]


def test_a_line_is_on_the_disk_as_soon_as_it_is_written(tmp_path):
    with open_results(tmp_path) as append:
        append(line("a"))
        assert read_results(tmp_path) == [line("a")]


@pytest.mark.parametrize("torn", ['{"key": "b", "val', "{", '{"key": "b"}'])
def test_a_half_written_last_line_is_passed_over_and_removed(tmp_path, torn):
    with open_results(tmp_path) as append:
        append(line("a"))
    with open(tmp_path / FILE, "a") as file:
        file.write(torn)
    assert read_results(tmp_path) == [line("a")]
    with open_results(tmp_path) as append:
        append(line("c"))
    assert read_results(tmp_path) == [line("a"), line("c")]


@pytest.mark.parametrize("damage", ["xx", '{"key": "b"}', "3", "[]"])
def test_damage_in_the_middle_is_an_error_that_names_the_line(tmp_path, damage):
    a, b = (json.dumps(line(key)) for key in "ab")
    (tmp_path / FILE).write_text(f"{a}\n{damage}\n{b}\n")
    with pytest.raises(BenchmarkError, match="line 2, is damaged"):
        read_results(tmp_path)


def test_no_results(tmp_path):
    with pytest.raises(FileNotFoundError, match="There are no results at"):
        read_results(tmp_path)


class FullDisk:
    """A file on a disk with room for some more bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, content):
        if len(content) <= self.room:
            return self.file.write(content)
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(content[: self.room])


@pytest.mark.parametrize("room", [0, 5])
def test_a_full_disk_loses_nothing(tmp_path, monkeypatch, room):
    with open_results(tmp_path) as append:
        append(line("a"))

    def full_open(*args, **kwargs):
        return FullDisk(open(*args, **kwargs), room)

    monkeypatch.setattr(_results, "open", full_open, raising=False)
    with open_results(tmp_path) as append:
        with pytest.raises(BenchmarkError, match="could not be written .* are safe"):
            append(line("b"))
    monkeypatch.undo()
    assert (tmp_path / FILE).read_text() == json.dumps(line("a")) + "\n"


def test_two_runs_do_not_write_to_one_folder(tmp_path):
    script = (
        "import sys\n"
        "from skerdiff.benchmark._results import open_results\n"
        "from skerdiff.exceptions import BenchmarkError\n"
        "try:\n"
        "    with open_results(sys.argv[1]) as append: append({})\n"
        "except BenchmarkError as error: print(error)\n"
    )
    with open_results(tmp_path) as append:
        append(line("a"))
        other = subprocess.run(
            [sys.executable, "-c", script, tmp_path], capture_output=True, text=True
        )
    assert "Another run is writing" in other.stdout, other.stderr
    assert read_results(tmp_path) == [line("a")]


def test_a_fresh_start_keeps_the_old_results_aside(tmp_path):
    for key in "abc":
        with open_results(tmp_path, fresh=True) as append:
            append(line(key))
    assert read_results(tmp_path) == [line("c")]
    assert read_results(tmp_path / "results-1.jsonl") == [line("a")]
    assert read_results(tmp_path / "results-2.jsonl") == [line("b")]
    (tmp_path / "results-1.jsonl").unlink()
    for key in "de":
        with open_results(tmp_path, fresh=True) as append:
            append(line(key))
    assert read_results(tmp_path / "results-2.jsonl") == [line("b")]
