"""Fixtures that several test files use."""

import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from skerdiff.alignment import _gradient, _loop
from skerdiff.geometry import rigid_partners

RECORDINGS = ("mihi_day0.pkl", "mihi_day1.pkl", "jango_day0.mat", "jango_day16.mat")


@pytest.fixture(scope="session")
def motor_cortex_home():
    """Folder of the published recordings; skips where SKERDIFF_DATA is not set.

    A setting under which they are not found is an error, so that no machine passes
    because of a wrong path.
    """
    setting = os.environ.get("SKERDIFF_DATA")
    if not setting:
        pytest.skip("needs the published recordings: set SKERDIFF_DATA to their folder")
    for home in map(Path, setting.split(os.pathsep)):
        if all((home / name).is_file() for name in RECORDINGS):
            return home.resolve()
    pytest.fail(f"SKERDIFF_DATA is set, but no folder in it holds {RECORDINGS}")


@contextmanager
def _accept_any_step():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_gradient, "is_ambiguous", lambda report: False)
        patch.setattr(_loop, "_clearly_lower", lambda a, b: a.mean() < b.mean())
        yield


@pytest.fixture
def any_step_is_accepted():
    """Make steps from any start, and accept that of the lowest criterion.

    Tests have so few starts of the search that it is mostly ambiguous, and so few steps
    that what they gain is hardly ever beyond chance.
    """
    with _accept_any_step():
        yield


@pytest.fixture(scope="session")
def accepting_any_step():
    """Do the same in a ``with`` block, for fixtures that tests share."""
    return _accept_any_step


@pytest.fixture
def scores_search_little(monkeypatch):
    """Let label-free scores search the geometry from two starts each way, not 200.

    For tests of what holds whatever a score is. Worker processes search in full.
    """
    monkeypatch.setitem(rigid_partners.unchecked.__kwdefaults__, "n_starts", 2)
