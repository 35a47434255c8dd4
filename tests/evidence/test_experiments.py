"""Experiments of the evidence: what their tables show, and what they depend on."""

import ast
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import benchmarks
from benchmarks import __main__ as command
from benchmarks import evidence, headroom
from benchmarks.catalogue import CATALOGUE
from benchmarks.experiments import Headroom
from benchmarks.methods import LINEAR, METHODS
from skerdiff.benchmark import read_configuration

FOLDER = Path(benchmarks.__file__).parent
R2 = {"no adaptation": -0.3, "geometry only": 0.8, "ERDiff": 0.85, "oracle": 0.9}


def row(kind="decoding", method="ERDiff", seed=0, data="mihi", **result):
    names = {"experiment": "one", "kind": kind, "data": data, "setting": "balanced"}
    names |= {"method": method, "seed": seed, "reference": None}
    names |= {"structureless": False, "earlier": False, "revision": "abc"}
    measured = {
        "r2": 0.5, "rmse": 0.1, "adapt_s": 1.0, "epoch_s": 0.1, "steps": 3,
        "n_parameters_added": 2000, "ambiguous": False,
    }  # fmt: skip
    return names | measured | result


def tables_of(rows):
    results = pd.DataFrame(rows)
    return CATALOGUE.experiments[rows[0]["kind"]].tables("one", results)


@pytest.mark.parametrize("name", CATALOGUE.ready())
def test_every_configuration_can_be_run(name):
    configuration = read_configuration(name, CATALOGUE)
    cells = configuration.cells()
    sizes = [
        len(e.settings) * len(e.methods) * len(e.seeds) * len(e.data)
        for e in configuration.experiments
    ]
    assert configuration.description and len(cells) == sum(sizes) >= len(sizes)


def test_table_1_holds_every_method_from_both_starts_on_both_recordings():
    cells = read_configuration("table1", CATALOGUE).cells()
    mine = [cell for cell in cells if cell["experiment"] == "table 1"]
    methods = {name for name in METHODS if not name.endswith(LINEAR)}
    assert {c["method"] for c in mine} == methods and len(methods) == 30
    assert {c["data"] for c in mine} == {"mihi", "jango"}
    assert {c["seed"] for c in mine} >= set(range(5))
    assert len(mine) == len(methods) * 2 * 5


def test_published_figures_stand_in_a_column_of_their_own():
    more = ("ERDiff, source start", "DANN, source start", "DAF")
    rows = [row(method=method, r2=r2) for method, r2 in R2.items()]
    (table,) = tables_of(rows + [row(method=method) for method in more])
    assert list(table.frame)[-1] == "published R2, %"
    published = table.frame.set_index("method")["published R2, %"]
    # the published start is that from the source, where both were run
    assert published["ERDiff, source start"] == "18.81 ± 2.24"
    assert published["ERDiff"] == "" and published["oracle"] == ""
    assert published["DAF"] == "-6.37 ± 3.72"
    others = table.frame.iloc[:, :-1].to_numpy().ravel()
    assert not any("18.81" in cell for cell in others)
    (other,) = tables_of([r | {"data": "jango"} for r in rows])
    assert "published" not in " ".join(other.frame)


@pytest.mark.parametrize(
    "kind, result, expected",
    [
        ("cost", {}, ["2.0K", "8", "100", "1.0 (1.0)"]),
        (
            "dynamics",
            {"nll": 3.0, "kl": 0.1, "true_nll": 2.0, "true_kl": 0.01,
             "fixed_points": 0.2, "true_fixed_points": 0.1,
             "weights": np.zeros((26, 2)).tolist()},
            ["3.00", "0.10", "0.20", "true latents", "2.00", "0.01"],
        ),
        (
            "headroom",
            {"r2": 0.8, "r2_refitted": 0.825},
            ["ERDiff", "0.800", "0.825", "+0.025"],
        ),
        (
            "criteria",
            {"r2": 0.9, "relative residual": 0.8, "denoising error": -0.1,
             "bound": 0.3, "likelihood": 0.4},
            ["balanced", "0.80", "-0.10", "0.30", "0.40", "0.90"],
        ),
        (
            "prior",
            {"log_likelihood": 1.5, "denoising_error": 0.05, "value": 0.1,
             "correlation": 0.2, "auc": 0.55, "neighbour": 1.25},
            ["1.50", "0.0500", "0.100", "0.200", "0.55", "1.25"],
        ),
        (
            "equal time",
            {"published_r2_at_equal_time": -0.4, "published_best_r2": 0.1,
             "published_s": 25.0, "reached": False, "ratio": 25.0,
             "published_prior_epochs": 80},
            ["-0.400", "0.100", "no", "> 25"],
        ),
    ],
)  # fmt: skip
def test_tables_of_other_kinds(kind, result, expected):
    cells = [c for table in tables_of([row(kind, **result)]) for c in
             table.frame.to_numpy().ravel()]  # fmt: skip
    assert set(expected) <= set(cells)


def test_the_published_protocol_is_compared_with_the_honest_one():
    rows = [
        row("published protocol", name, seed, r2=r2 + 0.01 * seed)
        for name, r2 in (("as published", 0.5), ("honest", -0.2))
        for seed in range(3)
    ]
    (table,) = tables_of(rows)
    first, second = table.frame.to_numpy().tolist()
    assert first[-1].startswith("+0.700") and second[-1] == ""
    assert "best epoch by labels" in first[1]


def test_latents_and_dynamics_are_drawn(tmp_path):
    path = {"0": [[0, 0, 0], [1, 1, 1]], "3": [[0, 1, 0], [1, 1, 2]]}
    latents = row("latents", source_paths=path, target_paths=path)
    dynamics = row("dynamics", weights=np.zeros((26, 2)).tolist())
    for one, n_panels in ((latents, 2), (dynamics, 2)):
        experiment = CATALOGUE.experiments[one["kind"]]
        ((name, caption, figure),) = experiment.figures("one", pd.DataFrame([one]))
        assert name == "one-mihi" and caption.startswith("one: mihi. ")
        assert len(figure.axes) == n_panels
        figure.savefig(tmp_path / "figure.png")


def test_a_digest_counts_the_code_here_and_in_skerdiff_but_no_documentation(
    monkeypatch,
):
    experiment, aligner = Headroom(), METHODS["geometry only"]
    before = experiment.digest(aligner)
    assert experiment.digest(METHODS["ERDiff"]) != before
    names = {cls.__name__ for cls in experiment.measured_by}
    assert "PerBinRegressor" in names and "ERDiffAligner" not in names
    source = Path(headroom.__file__).read_text(encoding="utf-8")
    for change, same in (
        (('"""What is left', '"""What else is left'), True),
        (("def headroom(", "def headroom(  # a comment\n    "), True),
        (("seed=0", "seed=1"), False),
    ):
        assert change[0] in source
        changed = source.replace(*change)
        monkeypatch.setattr(evidence.inspect, "getsource", lambda m, s=changed: s)
        assert (experiment.digest(aligner) == before) is same


def imported_names(text):
    """Names that a file imports from skerdiff, dotted."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def private(text):
    """Imports from skerdiff that are not public, and private attributes of others."""
    found = [
        name
        for name in imported_names(text)
        if name.split(".")[0] == "skerdiff" and re.search(r"\._", name)
    ]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if not own and ast.unparse(node.value) != "torch":
                found.append(node.attr)
    return found


def test_the_evidence_uses_the_public_interface_alone():
    files = sorted(FOLDER.rglob("*.py"))
    assert len(files) > 15
    texts = {file.name: file.read_text(encoding="utf-8") for file in files}
    assert any(
        "skerdiff.geometry" in " ".join(imported_names(t)) for t in texts.values()
    )
    wrong = {name: found for name, text in texts.items() if (found := private(text))}
    assert not wrong


@pytest.mark.parametrize(
    "text",
    [
        "from skerdiff.alignment._loop import run",
        "import skerdiff.utils._torch",
        "from skerdiff.latent import _vae",
        "def f():\n    return aligner._start(x)",
    ],
)
def test_what_is_private_is_found(text):
    assert private(text)


def test_the_command_lists_programs_and_configurations(capsys):
    assert command.main(["list"]) == 0
    out = capsys.readouterr().out
    for name in (*command.PROGRAMS, *CATALOGUE.ready()):
        assert f"{name}: " in out


def test_the_command_runs_programs_and_configurations(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.speed.main", lambda argv: len(argv))
    assert command.main(["speed", "--save"]) == 1
    text = """
    title = "quick"
    [[experiment]]
    name = "left"
    kind = "headroom"
    data = ["synthetic"]
    methods = ["x"]
    seeds = 1
    [method.x]
    aligner = "IdentityAligner"
    latent_model__max_iter = 1
    """
    (tmp_path / "quick.toml").write_text(text)
    arguments = [str(tmp_path / "quick.toml"), "--output", str(tmp_path / "out")]
    assert command.main(["run", *arguments, "--jobs", "1"]) == 0
    assert "difference" in (tmp_path / "out/report/left-synthetic.rst").read_text()
