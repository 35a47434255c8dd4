"""Fixtures that several test files use."""

import os
from pathlib import Path

import pytest

from skerdiff.alignment import _loop

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


@pytest.fixture
def any_step_is_kept(monkeypatch):
    """Keep the step of the lowest criterion however little lower that is.

    So few steps as tests take hardly ever differ from the start beyond chance.
    """
    monkeypatch.setattr(_loop, "_CLEARLY", -1e9)
