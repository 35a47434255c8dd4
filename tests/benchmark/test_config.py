"""Configurations: what is read, and what is refused."""

import sys
from dataclasses import replace
from importlib.abc import MetaPathFinder
from importlib.util import spec_from_loader

import numpy as np
import pytest

from skerdiff.benchmark import CATALOGUE, Experiment, read_configuration
from skerdiff.benchmark._methods import make_aligner
from skerdiff.benchmark._runner import run
from skerdiff.exceptions import ConfigurationError
from skerdiff.utils import all_estimators

GOOD_METHOD = {"aligner": "ERDiffAligner", "max_steps": 7}

GOOD = """
title = "Mine"
[method."short ERDiff"]
aligner = "ERDiffAligner"
max_steps = 7
prior__n_blocks = 1
[[experiment]]
name = "one"
data = ["synthetic", "mine.npz"]
methods = ["short ERDiff", "oracle"]
seeds = [3, 5]
settings = [{ name = "few", target_trials = 8 }, { name = "wide", n_components = 12 }]
"""


def write(folder, text, **change):
    """Write a configuration, and sessions beside it."""
    arrays = {
        "source": np.ones((8, 4, 3)),
        "target": np.ones((9, 4, 5)),
        "source_behaviour": np.ones((8, 4, 2)),
        "target_behaviour": np.ones((9, 4, 2)),
    }
    np.savez(folder / "mine.npz", **arrays | change)
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    return folder / "mine.toml"


@pytest.mark.parametrize("name", CATALOGUE.ready())
def test_ready_made_configurations_can_be_run(name):
    configuration = read_configuration(name)
    assert configuration.title and configuration.description
    cells = configuration.cells()
    entries = configuration.experiments
    sizes = [
        len(e.settings) * len(e.methods) * len(e.seeds) * len(e.data) for e in entries
    ]
    # every combination once, by names that tell cells apart
    names = {
        (c["experiment"], c["setting"]["name"], c["method"], c["seed"], c["data"])
        for c in cells
    }
    assert len(cells) == len(names) == sum(sizes) > len(entries)


def test_every_aligner_is_a_method_by_the_name_of_its_class(tmp_path):
    text = GOOD.replace('"oracle"]', '"DANNAligner", "all"]')
    cells = read_configuration(write(tmp_path, text)).cells()
    methods = list(dict.fromkeys(cell["method"] for cell in cells))
    aligners = [name for name, _ in all_estimators("aligner")]
    assert len(aligners) > 10
    assert methods[:2] == ["short ERDiff", "DANNAligner"]
    types = {
        type(CATALOGUE.aligner_of(c, {"short ERDiff": GOOD_METHOD})) for c in cells
    }
    assert {cls.__name__ for cls in types - {type(None)}} == set(aligners)
    assert len(methods) == 1 + len(aligners) + 1  # and the oracle


def test_a_configuration_of_ones_own(tmp_path):
    configuration = read_configuration(write(tmp_path, GOOD))
    cells = configuration.cells()
    assert len(cells) == 2 * 2 * 2 * 2
    assert {c["seed"] for c in cells} == {3, 5}
    assert {c["data"] for c in cells} == {"synthetic", "mine.npz"}
    assert {c["file"] for c in cells} == {None, str(tmp_path / "mine.npz")}
    aligner = make_aligner(configuration.methods["short ERDiff"])
    assert aligner.max_steps == 7 and aligner.prior.n_blocks == 1


@pytest.mark.parametrize(
    "change, message",
    [
        (("seeds = [3, 5]", "sedes = 3"), "'sedes' is no key; did you mean 'seeds'"),
        (("seeds = [3, 5]", "seeds = 0"), "seeds must be how many"),
        (("seeds = [3, 5]", "seeds = [1, 1]"), "seeds must be how many"),
        (("seeds = [3, 5]", "seeds = true"), "seeds must be how many"),
        (('"oracle"]', '"oracel"]'), "no method 'oracel'; did you mean 'oracle'"),
        (('"synthetic"', '"mihy"'), "no data 'mihy'; did you mean 'mihi'"),
        (("mine.npz", "gone.npz"), "there is no file .*gone.npz"),
        (("target_trials = 8", "target_trails = 8"), "did you mean 'target_trials'"),
        (
            ("target_trials = 8", "target_trials = 2"),
            "must be from 4 to 1000000, got 2",
        ),
        (("target_trials = 8", "target_trials = 8.5"), "must be of type int, got 8.5"),
        (('name = "few", ', ""), "has no name"),
        (('"few"', '"wide"'), "two settings share a name"),
        (("max_steps = 7", "max_stops = 7"), "Invalid parameter 'max_stops'"),
        (("max_steps = 7", "max_steps = -1"), "'max_steps' .* must be an int in"),
        (("prior__n_blocks", "prior__n_block"), "Invalid parameter 'n_block'"),
        (("ERDiffAligner", "ERDifAligner"), "aligner 'ERDifAligner' cannot be made"),
        (("ERDiffAligner", "no_such_module:A"), "no module 'no_such_module' in"),
        (("ERDiffAligner", "json:"), "'json:' cannot be a class: .*'module:Class'"),
        (("ERDiffAligner", "a b:C"), "'a b:C' cannot be a class"),
        (('"short ERDiff"]\na', '"oracle"]\na'), "'oracle' is there already"),
        (('name = "one"', 'kind = "decodingg"'), "did you mean 'decoding'"),
        (('name = "one"', 'reference = "DANN"'), "reference 'DANN' is not among"),
        (('title = "Mine"', "title = 3"), "title must be of type str"),
        (("[[experiment]]", "[experiment]"), "add a table"),
        (('data = ["synthetic", "mine.npz"]', ""), "name its data"),
        (('data = ["synthetic", "mine.npz"]', 'data = "mihi"'), "a list of names"),
        (('title = "Mine"', "title = "), "is no TOML"),
        (("seeds = [3, 5]", "seeds = [99999999999]"), "seeds must be how many"),
        (("n_components = 12", "noise_scale = 0"), "noise_scale must be from 0.001"),
        (("n_components = 12", "noise_scale = nan"), "must be from 0.001 to 1000.0"),
        (("n_components = 12", "turnover = 0.5"), "are for data 'synthetic' alone"),
        (('name = "one"', 'behaviour = "speed"'), "'speed' is not there for data"),
        (('name = "one"', 'name = "cells"'), "'cells' needs another name"),
        (('["short ERDiff", "oracle"]', "[]"), "methods must be a list of names"),
        (
            ('[method."short ERDiff"]', "[method]\nx = 3"),
            "must be a table with the key",
        ),
        (("prior__n_blocks = 1", 'prior__n_blocks = "x"'), "'n_blocks' parameter"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, change, message):
    assert change[0] in GOOD
    with pytest.raises(ConfigurationError, match=message):
        read_configuration(write(tmp_path, GOOD.replace(*change)))


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    text = '[[experiment]]\ndata = ["x"]\nmethods = ["y"]\nseeds = -1\n'
    text += "stray = 1\n[method.z]\naligner = 3\n"
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(write(tmp_path, text))
    faults = str(caught.value).split("\n- ")[1:]
    for part in (
        "method 'z': a method must be",
        "data 'x'",
        "method 'y'",
        "seeds must",
    ):
        assert sum(part in fault for fault in faults) == 1
    assert any("'stray' is no key" in fault for fault in faults)
    assert len(faults) == 5


def test_no_such_configuration():
    with pytest.raises(FileNotFoundError, match="the ready ones are .*smoke"):
        read_configuration("smoek")


def test_sessions_are_looked_at_before_anything_starts(tmp_path):
    path = write(tmp_path, GOOD, target=np.full((9, 4, 5), np.nan))
    with pytest.raises(ConfigurationError, match="target must hold finite numbers"):
        read_configuration(path)


@pytest.mark.parametrize(
    "code, message",
    [
        ("class Mine: pass", "is no aligner: it has no get_params, .*adapt"),
        ("class Mine(:", "SyntaxError"),
        ("raise RuntimeError('no')", "RuntimeError: no"),
        ("class Other: pass", "has no attribute 'Mine'"),
    ],
)
def test_modules_of_ones_own_that_cannot_be_used(tmp_path, code, message):
    module = f"mine_{abs(hash(code))}"
    (tmp_path / f"{module}.py").write_text(code)
    text = GOOD.replace('"ERDiffAligner"', f'"{module}:Mine"')
    before = list(sys.path)
    configuration = read_configuration(write(tmp_path, text))
    with pytest.raises(ConfigurationError, match=f"'short ERDiff': .*{message}"):
        run(configuration, tmp_path / "out")
    assert sys.path == before
    assert not (tmp_path / "out").exists()


def test_checking_runs_no_code_of_a_user(tmp_path):
    for module in ("mine_alone", "mine_pack"):
        made = tmp_path / module
        text = f"import pathlib\npathlib.Path({str(made)!r}).touch()"
        (tmp_path / f"{module}.py").write_text(text)
    for name in ("mine_alone:Mine", "mine_pack.inside:Mine"):
        text = GOOD.replace('"ERDiffAligner"', f'"{name}"')
        read_configuration(write(tmp_path, text))
    assert not [made for made in tmp_path.iterdir() if not made.suffix]


class Finder(MetaPathFinder):
    """Finds a module as packages that are installed to be edited are found."""

    def find_spec(self, name, path=None, target=None):
        if name == "mine_edited":
            return spec_from_loader(name, loader=None, origin="elsewhere")
        return None


def test_modules_that_are_found_elsewhere_can_be_used(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    monkeypatch.setitem(sys.modules, "mine_loaded", sys)
    for name in ("mine_edited", "mine_loaded"):
        text = GOOD.replace('"ERDiffAligner"', f'"{name}:Mine"')
        assert read_configuration(write(tmp_path, text))


def test_a_file_that_is_no_text_is_no_configuration(tmp_path):
    (tmp_path / "x.mat").write_bytes(b"MATLAB 5.0\xff\xfe\x80")
    with pytest.raises(ConfigurationError, match="for it is no text. .* a TOML file"):
        read_configuration(tmp_path / "x.mat")


def test_names_that_would_share_files_are_refused(tmp_path):
    text = GOOD + GOOD[GOOD.index("[[experiment]]") :].replace('"one"', '"ONE!"')
    with pytest.raises(ConfigurationError, match="'ONE!' needs another name"):
        read_configuration(write(tmp_path, text))


def test_experiments_of_ones_own_say_what_they_take(tmp_path):
    class Own(Experiment):
        methods = ("a", "b")
        takes_aligners = False
        settings = frozenset({"target_trials"})

        def refuse(self, methods):
            return ["no b today."] if "b" in methods else []

    class Simulated(Own):
        simulates = "dice"

    more = {"own": Own(), "simulated": Simulated()}
    catalogue = replace(CATALOGUE, experiments=CATALOGUE.experiments | more)
    text = GOOD.replace('name = "one"', 'name = "one"\nkind = "own"')
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(write(tmp_path, text), catalogue)
    for fault in ("no method 'short ERDiff'", "['n_components'] have no meaning"):
        assert fault in str(caught.value)
    text = text.replace('["short ERDiff", "oracle"]', '["a", "b"]')
    text = text.replace('"own"', '"simulated"')
    with pytest.raises(ConfigurationError, match="no b today") as caught:
        read_configuration(write(tmp_path, text), catalogue)
    assert "kind 'simulated' simulates its data; remove data" in str(caught.value)
    text = text.replace('["a", "b"]', '["a"]').replace(', { name = "wide", n_comp', "#")
    text = text.replace('data = ["synthetic", "mine.npz"]', "") + "]"
    cells = read_configuration(write(tmp_path, text), catalogue).cells()
    assert {(c["method"], c["data"], c["seed"]) for c in cells} == {
        ("a", "dice", 3),
        ("a", "dice", 5),
    }
