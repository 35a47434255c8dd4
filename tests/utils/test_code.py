"""Digests of code: what they depend on, and what they do not."""

import importlib
import shutil
import sys
from pathlib import Path

import pytest

import skerdiff
from skerdiff import ERDiffAligner, GeometryAligner, SequentialVAE
from skerdiff.alignment import MMDAligner
from skerdiff.geometry import find_candidates
from skerdiff.utils._code import classes_of, code_digest

NEW_METHOD = '''
"""One more method."""

from ._gradient import GradientAligner


class NewAligner(GradientAligner):
    """Align in a new way."""
'''


@pytest.fixture
def digests(tmp_path):
    """Digests of some classes and functions in a copy of the package."""
    copies = iter(range(100))

    def take(*changes):
        root = tmp_path / str(next(copies)) / "skerdiff"
        shutil.copytree(Path(skerdiff.__file__).parent, root)
        for name, before, after in changes:
            file = root / name
            text = file.read_text(encoding="utf-8") if file.exists() else ""
            assert before in text
            file.write_text(text.replace(before, after, 1) if before else after)
        objects = (ERDiffAligner, MMDAligner, GeometryAligner, find_candidates)
        return [code_digest(cls, root=root) for cls in objects]

    return take


def test_a_copy_has_the_digests_of_the_package(digests):
    same = [code_digest(c) for c in (ERDiffAligner, MMDAligner, GeometryAligner)]
    assert digests()[:3] == same
    assert len(set(same)) == 3


def test_a_new_method_changes_no_digest_of_others(digests):
    listed = "from ._sasa import SASAAligner"
    assert digests() == digests(
        ("alignment/_new.py", "", NEW_METHOD),
        ("alignment/__init__.py", listed, f"from ._new import NewAligner\n{listed}"),
    )


def test_docstrings_comments_and_layout_do_not_count(digests):
    assert digests() == digests(
        ("geometry/_search.py", "Search for alignments", "Look for alignments"),
        ("geometry/_search.py", "    rng = ", "\n\n    # drawn anew\n    rng = "),
        ("geometry/_search.py", '"""Geometry warm start', '"""The warm start'),
    )


@pytest.mark.parametrize(
    ("file", "before", "after", "changed"),
    [
        ("alignment/_mmd.py", "_N_ROWS = 256", "_N_ROWS = 255", [0, 1, 0, 0]),
        ("alignment/_loop.py", "_LEVEL = 0.05", "_LEVEL = 0.06", [1, 1, 0, 0]),
        ("geometry/_search.py", "HANDICAP = 1.05", "HANDICAP = 1.0", [1, 1, 1, 1]),
        ("diffusion/_sde.py", "T_MIN = 1e-3", "T_MIN = 1e-4", [1, 0, 0, 0]),
        # an import within a function counts, and so does a message
        ("latent/_features.py", "holds negative", "has negative", [1, 1, 1, 0]),
        # indentation alone can change what code does
        (
            "geometry/_similarity.py",
            "    if k == 0:\n        return Z\n",
            "    if k == 0:\n        pass\n    return Z\n",
            [1, 1, 1, 1],
        ),
    ],
)
def test_code_that_is_used_counts(digests, file, before, after, changed):
    found = [a != b for a, b in zip(digests(), digests((file, before, after)))]
    assert found == [bool(c) for c in changed]


class Own(SequentialVAE):
    """Of a user."""

    width = 1


def test_code_of_a_user_counts():
    plain = code_digest(SequentialVAE)
    with_own = code_digest(SequentialVAE, Own)
    assert with_own != plain
    made = type("Made", (SequentialVAE,), {"__module__": "nowhere"})
    assert code_digest(SequentialVAE, made) == plain  # there is no source to read
    assert code_digest(Own, SequentialVAE) == with_own


def test_a_user_s_code_counts_with_all_of_its_file(tmp_path, monkeypatch):
    """What a class calls in its own file is a part of it; comments are not."""
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for i, text in enumerate(("return 1", "return 2", "return 2  # two")):
        name = f"users_module_{i}"
        (tmp_path / f"{name}.py").write_text(
            f"def loss():\n    {text}\n\nclass Mine:\n    f = loss\n"
        )
        cls = importlib.import_module(name).Mine
        monkeypatch.setattr(cls, "__module__", "users_module")
        monkeypatch.setitem(sys.modules, "users_module", sys.modules[name])
        found.append(code_digest(cls))
    assert found[0] != found[1] == found[2]


def test_classes_are_those_of_an_estimator_and_its_parts():
    names = {cls.__name__ for cls in classes_of(ERDiffAligner(Own()))}
    assert {"ERDiffAligner", "GradientAligner", "Own", "SequentialVAE"} <= names
    assert "DiffusionPrior" not in names and "BaseEstimator" not in names
    assert classes_of(3) == classes_of(Own) == set()
