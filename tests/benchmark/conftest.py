"""A benchmark of some seconds: a small aligner, small sessions, a configuration."""

import sys

import numpy as np
import pytest

from skerdiff.datasets import make_reaching_sessions

# A module of a user's, which workers import by name. `Fragile` does what the file
# named in FRAGILE says.
MODULE = """
import os, time
from skerdiff import IdentityAligner


class Fragile(IdentityAligner):
    def fit(self, X, y=None):
        with open(os.environ["FRAGILE"]) as file:
            what = file.read()
        if what == "raise":
            raise ValueError("broken on purpose")
        if what == "die":
            os._exit(1)
        time.sleep(float(what or 0))
        return super().fit(X, y)
"""

CONFIG = """
title = "Quick"
[method.still]
aligner = "IdentityAligner"
latent_model__max_iter = 1
latent_model__n_hidden = 4
latent_model__n_readin = 4
n_components = 3
[method.quick]
aligner = "GeometryAligner"
n_starts = 0
latent_model__max_iter = 1
latent_model__n_hidden = 4
latent_model__n_readin = 4
n_components = 3
[method.fragile]
aligner = "quick_methods:Fragile"
latent_model__max_iter = 1
latent_model__n_hidden = 4
latent_model__n_readin = 4
n_components = 3
[[experiment]]
name = "first"
data = ["mine.npz"]
methods = ["still", "quick", "fragile"]
seeds = 3
[[experiment]]
name = "again"
data = ["mine.npz"]
methods = ["quick"]
seeds = 4
reference = "quick"
"""


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Folder with a configuration, its data and its methods; set ``FRAGILE`` to ""."""
    trials, y = make_reaching_sessions(
        n_trials=24, n_neurons=[10, 12], n_bins=6, random_state=0, return_X_y=True
    )
    is_source = trials.is_source
    np.savez(
        tmp_path / "mine.npz",
        source=trials["day0"],
        target=trials["day1"],
        source_behaviour=y[is_source],
        target_behaviour=y[~is_source],
    )
    (tmp_path / "quick_methods.py").write_text(MODULE)
    (tmp_path / "quick.toml").write_text(CONFIG)
    (tmp_path / "fragile").write_text("")
    monkeypatch.setenv("FRAGILE", str(tmp_path / "fragile"))
    yield tmp_path
    sys.modules.pop("quick_methods", None)
