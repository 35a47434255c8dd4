"""What a report of a problem should hold."""

import numpy
import sklearn
import torch

import skerdiff
from skerdiff.utils import _show_versions


def test_versions_of_all_that_it_needs(capsys):
    assert skerdiff.show_versions() is None
    text = capsys.readouterr().out
    for name, version in {
        "skerdiff": skerdiff.__version__,
        "numpy": numpy.__version__,
        "scikit-learn": sklearn.__version__,
        "torch": torch.__version__,
    }.items():
        assert f" {name}: {version}" in text
    assert " distributed: " in text
    assert " ruff: " not in text
    assert "threads" in text


def test_a_missing_extra_is_said_to_be_missing(capsys, monkeypatch):
    wanted = ["numpy>=1", 'no-such-package>=2; extra == "plot"', 'x; extra == "test"']
    monkeypatch.setattr(_show_versions, "requires", lambda name: wanted)
    skerdiff.show_versions()
    text = capsys.readouterr().out
    assert "no-such-package: not installed" in text
    assert " x: " not in text
