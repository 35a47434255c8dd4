"""The layout of the package: who imports whom, one idea a file, paths, imports."""

import ast
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skerdiff.utils import all_estimators

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "skerdiff"

# What each part may import from the others. A part is a module or a folder right
# under skerdiff. What it imports may reach no further than itself (tested below), so
# what it may not import is out of its reach altogether.
GROUND = {"exceptions", "utils", "trials", "base", "preprocessing"}
SCORES = GROUND | {"geometry", "metrics"}
MODELS = SCORES | {"latent", "diffusion", "decoding", "sessions"}
ALLOWED = {
    "exceptions": set(),
    "utils": {"exceptions"},
    "trials": {"exceptions", "utils"},
    "base": {"exceptions", "utils", "trials"},
    "preprocessing": {"exceptions", "utils", "trials", "base"},
    "geometry": {"exceptions", "utils"},
    "datasets": {"exceptions", "utils", "trials"},
    "diffusion": GROUND,
    "metrics": GROUND | {"geometry"},
    "latent": GROUND | {"geometry"},
    "decoding": SCORES,
    "sessions": SCORES | {"latent"},
    "alignment": MODELS,
    "persistence": SCORES | {"latent", "sessions"},
    "model_selection": MODELS | {"alignment"},
    "plotting": MODELS | {"alignment"},
}
ALLOWED["benchmark"] = set(ALLOWED)
ALLOWED["cli"] = set(ALLOWED) | {"skerdiff"}  # also the package, for its version
ALLOWED["__main__"] = {"cli"}
ALLOWED["skerdiff"] = set()  # its names are imported when they are used


def part_of(path):
    """Return the part that a file, relative to the package, belongs to."""
    part = path.with_suffix("").parts[0]
    return "skerdiff" if part == "__init__" else part


def imported_parts(source, path):
    """Yield (line, part) for every import of skerdiff, wherever in the file it is."""
    package = ["skerdiff", *path.parent.parts]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            up = package[: len(package) - node.level + 1] if node.level else []
            module = up + (node.module.split(".") if node.module else [])
            names = [module + [alias.name] for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == "skerdiff":
                # `from skerdiff import x`: the part x, else a name of the package
                known = len(name) > 1 and name[1] in ALLOWED
                is_part = known or len(name) > 2
                yield node.lineno, name[1] if is_part else "skerdiff"


def wrong_imports(source, path):
    part = part_of(path)
    return [
        f"skerdiff/{path.as_posix()}:{line}: {part} imports {other}"
        for line, other in imported_parts(source, path)
        if other != part and other not in ALLOWED.get(part, set())
    ]


def package_files():
    return sorted(PACKAGE.rglob("*.py"))


def test_imports_point_one_way():
    files = package_files()
    assert files
    parts = {part_of(file.relative_to(PACKAGE)) for file in files}
    assert parts <= set(ALLOWED), "a new part: say in ALLOWED what it may import"
    wrong = [
        line
        for file in files
        for line in wrong_imports(
            file.read_text(encoding="utf-8"), file.relative_to(PACKAGE)
        )
    ]
    assert not wrong, "\n".join(wrong)


def test_allowed_imports_hold_no_circle_and_no_detour():
    for part, allowed in ALLOWED.items():
        assert part not in allowed
        if part in ("cli", "__main__"):
            continue
        for other in allowed:
            assert ALLOWED[other] <= allowed, f"{part} reaches further through {other}"


@pytest.mark.parametrize(
    "path, source",
    [
        ("diffusion/_prior.py", "from ..latent import SequentialVAE"),
        ("diffusion/_prior.py", "from skerdiff.alignment._loop import run"),
        ("diffusion/_prior.py", "from .. import alignment"),
        ("diffusion/_prior.py", "from skerdiff import latent"),
        ("diffusion/_prior.py", "from skerdiff import ERDiffAligner"),
        ("latent/_vae.py", "def f():\n    import skerdiff.diffusion"),
        ("latent/_vae.py", "from ..alignment._loop import run"),
        ("utils/__init__.py", "from ..trials import Trials"),
        ("utils/_torch.py", "import skerdiff"),
        ("trials.py", "from .base import TrialEstimator"),
        ("base.py", "from .metrics import r2_scorer"),
        ("datasets/_synthetic.py", "from ..base import TrialEstimator"),
        ("alignment/_base.py", "from ..model_selection import TargetKFold"),
        ("plotting.py", "from .benchmark import run"),
        ("__init__.py", "from .alignment import ERDiffAligner"),
        ("persistence.py", "from .alignment import adapt"),
        ("geometry/_search.py", "from ..latent import LatentModel"),
        ("sessions.py", "from .alignment import GeometryAligner"),
        ("surprise.py", "from .utils import f"),
    ],
)
def test_a_wrong_import_is_caught(path, source):
    assert len(wrong_imports(source, Path(path))) == 1


@pytest.mark.parametrize(
    "path, source",
    [
        ("diffusion/_prior.py", "from ._sde import f\nfrom . import _samplers"),
        ("diffusion/_prior.py", "from ..base import f\nfrom ..utils._torch import g"),
        ("alignment/_erdiff.py", "from ..latent import f\nfrom ..diffusion import g"),
        ("base.py", "from .trials import Trials\nfrom . import utils"),
        ("sessions.py", "from .geometry import RigidMap"),
        ("cli.py", "from . import __version__\nimport skerdiff.benchmark"),
        ("latent/_vae.py", "import torch\nfrom skerdiffx.alignment import f"),
    ],
)
def test_a_right_import_passes(path, source):
    assert wrong_imports(source, Path(path)) == []


def imports_of_the_evidence(source):
    """Lines that import the folder benchmarks, which is not installed."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None) or "", *(a.name for a in node.names)]
        if name.split(".")[0] == "benchmarks" and not getattr(node, "level", 0)
    ]


def test_the_package_does_not_import_the_evidence():
    for file in package_files():
        assert not imports_of_the_evidence(file.read_text(encoding="utf-8")), file


@pytest.mark.parametrize(
    "source", ["import benchmarks.pool", "def f():\n    from benchmarks import pool"]
)
def test_an_import_of_the_evidence_is_caught(source):
    assert imports_of_the_evidence(source)


# -- one idea per file -----------------------------------------------------------------
def base_names(cls):
    return [
        b.id if isinstance(b, ast.Name) else getattr(b, "attr", "") for b in cls.bases
    ]


def parsed():
    return {
        file.relative_to(PACKAGE).as_posix(): ast.parse(
            file.read_text(encoding="utf-8")
        )
        for file in package_files()
    }


def test_a_file_says_its_one_idea_in_one_line():
    for name, tree in parsed().items():
        text = ast.get_docstring(tree)
        assert text, f"{name} has no docstring"
        first = text.splitlines()[0]
        assert first.endswith((".", "?")), f"{name}: {first!r} is no sentence"


def test_a_file_defines_at_most_one_estimator():
    estimators = {name for name, _ in all_estimators()}
    assert len(estimators) > 15
    for name, tree in parsed().items():
        defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
        # preprocessing: ways to prepare counts, of a few lines each
        assert name == "preprocessing.py" or len(defined & estimators) <= 1, name


def test_no_class_is_split_over_files():
    """A mixin that one class alone uses belongs into that class."""
    users = {}
    classes = {}
    for name, tree in parsed().items():
        for cls in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
            classes[cls.name] = name
            for base in base_names(cls):
                users.setdefault(base, set()).add((name, cls.name))
    single = [
        f"{base} in {classes[base]}, used by {cls} in {name}"
        for base, where in users.items()
        if base in classes and base.endswith("Mixin") and len(where) == 1
        for name, cls in where
        if name != classes[base]
    ]
    assert not single


# Put together here, so that this file does not hold what it forbids.
HOSTS = ["pypi" + ".org", "python" + "hosted.org", "download.py" + "torch.org"]
HOSTS += ["conda.an" + "aconda.org", "conda-" + "forge.org/packages"]
HOSTS += ["--index" + "-url", "--extra-index" + "-url"]
MACHINE_PATH = re.compile(
    r"(?<![\w.:/~$})-])/(?:root|home|Users|work|tmp|opt|mnt|data)/[\w.]"
    r"|\b[A-Z]:\\(?:Users|Temp)\b"
)


def forbidden(text):
    """Return the package-registry hosts and the paths of one machine in a text."""
    hosts = [host for host in HOSTS if host in text.lower()]
    return hosts + [match[0] for match in MACHINE_PATH.finditer(text)]


def text_files():
    """Files that are tracked, or would be if they were added, and hold text."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git and a checkout, to know which files are ours")
    for name in sorted(filter(None, listed.stdout.decode().split("\0"))):
        path = ROOT / name
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            yield name, content.decode("utf-8", errors="replace")


def test_no_registry_host_and_no_path_of_a_machine():
    files = dict(text_files())
    assert "tests/test_layout.py" in files
    found = {name: what for name, text in files.items() if (what := forbidden(text))}
    assert not found


@pytest.mark.parametrize(
    "text",
    [
        "see https://" + "pypi" + ".org/simple",
        "open('" + "/ho" + "me/me/data.pkl')",
        "cd " + "/wo" + "rk/main",
        "C:" + "\\Users\\me",
        "pip install --index" + "-url x",
    ],
)
def test_a_forbidden_text_is_caught(text):
    assert forbidden(text)


@pytest.mark.parametrize(
    "text", ["#!/usr/bin/env bash", "https://example.org/data/x", "../shared/data/x"]
)
def test_a_harmless_text_passes(text):
    assert not forbidden(text)


# Prints a line for every piece of global state that importing skerdiff changed.
GLOBAL_STATE = """
import importlib, pkgutil, random, sys, warnings
import numpy, sklearn, torch
# their own effects are not ours
import joblib, ot, pooch, scipy, skorch, threadpoolctl, tqdm


def state():
    return {
        "torch threads": torch.get_num_threads(),
        "torch interop threads": torch.get_num_interop_threads(),
        "torch default dtype": torch.get_default_dtype(),
        "torch default device": torch.get_default_device(),
        "torch deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch gradients": torch.is_grad_enabled(),
        "torch RNG": torch.get_rng_state().tolist(),
        "numpy RNG": str(numpy.random.get_state()),
        "numpy errors": numpy.geterr(),
        "python RNG": random.getstate(),
        "scikit-learn configuration": sklearn.get_config(),
        "warning filters": list(warnings.filters),
    }


before, loaded = state(), {*sys.modules}
import skerdiff
for name in skerdiff.__all__:
    getattr(skerdiff, name)
optional = {"matplotlib", "pandas", "pydantic", "dask"} & sys.modules.keys() - loaded
if optional:
    print(f"import skerdiff imports {optional}, which is optional")
for module in pkgutil.walk_packages(skerdiff.__path__, "skerdiff."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
after = state()
for name in before:
    if before[name] != after[name]:
        print(name, "changed")
print("done")
"""


def test_importing_skerdiff_changes_no_global_state():
    result = subprocess.run(
        [sys.executable, "-c", GLOBAL_STATE], capture_output=True, text=True, cwd=ROOT
    )
    assert result.stdout == "done\n", result.stdout + result.stderr


# -- time to import --------------------------------------------------------------------
# Everything that is public, and the libraries that it is built on, each timed in a
# process of its own.
LIBRARIES = "import torch, sklearn, scipy"
ALL_OF_IT = """
import skerdiff
for name in skerdiff.__all__:
    getattr(skerdiff, name)
"""


def seconds_to_run(code):
    command = [sys.executable, "-c", code]
    begin = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT)
    return time.perf_counter() - begin


@pytest.mark.slow
def test_importing_skerdiff_takes_hardly_longer_than_its_libraries():
    libraries = (
        "import torch, torch.optim, sklearn.decomposition, sklearn.model_selection"
    )
    libraries += ", scipy.stats, scipy.optimize, sklearn.svm, sklearn.linear_model"
    for code in (ALL_OF_IT, libraries):
        seconds_to_run(code)  # files are read from the disk once
    ratios = []
    for _ in range(5):
        ours, theirs = seconds_to_run(ALL_OF_IT), seconds_to_run(libraries)
        ratios.append(ours / theirs)
    assert min(ratios) < 1.2


def test_names_are_imported_when_they_are_used():
    code = "import sys, skerdiff; print(*sorted({'torch', 'sklearn'} & {*sys.modules}))"
    command = [sys.executable, "-c", code]
    found = subprocess.run(
        command, check=True, cwd=ROOT, capture_output=True, text=True
    )
    assert found.stdout == "\n"


def test_names_of_the_package_are_all_there():
    import skerdiff

    for name in skerdiff.__all__:
        assert getattr(skerdiff, name) is not None
    assert set(skerdiff.__all__) <= set(dir(skerdiff))
    assert skerdiff.geometry.find_candidates is not None
    with pytest.raises(AttributeError, match="no attribute 'ERDifAligner'"):
        skerdiff.ERDifAligner  # noqa: B018


def test_tests_that_are_said_to_hold_a_promise_are_there():
    text = (ROOT / "doc" / "promises.rst").read_text(encoding="utf-8")
    named = set(re.findall(r"``(tests/[\w/]+\.py)``", text))
    assert (
        len(named) > 8 and [name for name in named if not (ROOT / name).is_file()] == []
    )
