"""What a stored result knows of the code that made it."""

import shutil
from functools import partial
from pathlib import Path

import pytest

import skerdiff
from skerdiff.benchmark import CATALOGUE, Decoding, Experiment, _experiment
from skerdiff.utils._code import code_digest

NEW_METHOD = '''
"""One more method."""

from ._gradient import GradientAligner


class NewAligner(GradientAligner):
    """Align in a new way."""
'''


@pytest.fixture
def digests(tmp_path, monkeypatch):
    """Digests of all methods, by the files of a changed copy of the package."""
    copies = iter(range(100))

    def take(*changes):
        root = tmp_path / str(next(copies)) / "skerdiff"
        shutil.copytree(Path(skerdiff.__file__).parent, root)
        for name, before, after in changes:
            file = root / name
            text = file.read_text(encoding="utf-8") if file.exists() else ""
            assert before in text
            file.write_text(text.replace(before, after, 1) if before else after)
        monkeypatch.setattr(_experiment, "code_digest", partial(code_digest, root=root))
        _experiment._digest.cache_clear()
        cells = [
            {"kind": "decoding", "method": name, "setting": {}}
            for name in CATALOGUE.method_names()
        ]
        found = [Decoding().digest(CATALOGUE.aligner_of(cell)) for cell in cells]
        return dict(zip(CATALOGUE.method_names(), found))

    yield take
    _experiment._digest.cache_clear()


def changed(one, other):
    return {name for name in one if one[name] != other[name]}


def test_a_new_aligner_changes_the_digest_of_no_other_method(digests):
    listed = "from ._sasa import SASAAligner"
    before = digests()
    assert len(before) > 14 and len(set(before.values())) > 12
    assert before == digests(
        ("alignment/_new.py", "", NEW_METHOD),
        ("alignment/__init__.py", listed, f"from ._new import NewAligner\n{listed}"),
    )


def test_a_shared_file_changes_all_digests_and_a_method_its_own(digests):
    before = digests()
    for file, line in (
        ("benchmark/_decode.py", "ambiguous = not oracle and _adapt("),
        ("benchmark/_sessions.py", "n_train = round("),
        ("geometry/_search.py", "HANDICAP = "),
    ):
        found = changed(before, digests((file, line, f"pass; {line}")))
        assert found == set(before)
    found = changed(
        before, digests(("alignment/_mmd.py", "_N_ROWS = 256", "_N_ROWS = 1"))
    )
    assert found == {"MMDAligner"}
    found = changed(before, digests(("diffusion/_sde.py", "T_MIN = 1e-3", "T_MIN = 1")))
    assert found == {"ERDiff", "ERDiffAligner"}


def test_documentation_and_tables_change_no_digest(digests):
    assert digests() == digests(
        ("benchmark/_decode.py", "Run one method", "Try one method"),
        ("geometry/_search.py", "    rng = ", "\n\n    # drawn anew\n    rng = "),
        (
            "benchmark/_tables.py",
            "def summary(",
            "def other():\n    pass\n\n\ndef summary(",
        ),
        ("benchmark/_decoding.py", '"rank"', '"mean rank"'),
    )


class Own(Experiment):
    """Depends on itself: it names no function."""


class Timed(Experiment):
    """The same, timed."""

    timed = True


def test_an_experiment_that_names_no_function_depends_on_its_class():
    assert Own().digest(None) == code_digest(Own)
    assert Timed().digest(None) == code_digest(Timed) != code_digest(Own)
