"""A benchmark of some seconds: a small aligner, small sessions, a configuration."""

import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from skerdiff.benchmark._cli import main
from skerdiff.benchmark._results import read_results
from skerdiff.datasets import make_reaching_sessions

# A module of a user's, which workers import by name. `Fragile` does what the file
# "fragile" beside it says. Each test has a module of its own name: workers of joblib
# stay, with all that they have imported.
MODULE = """
import os, time
from pathlib import Path
from skerdiff import IdentityAligner


class Fragile(IdentityAligner):
    def fit(self, X, y=None):
        what = Path(__file__).with_name("fragile").read_text()
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
n_starts = 1
latent_model__max_iter = 1
latent_model__n_hidden = 4
latent_model__n_readin = 4
n_components = 3
[method.fragile]
aligner = "MODULE:Fragile"
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


@dataclass
class Bench:
    """Folder with a configuration, its data and its methods."""

    folder: Path
    n_cells = 13  # of CONFIG

    def __truediv__(self, name):
        return self.folder / name

    def run(self, *more, jobs=1):
        """Run the configuration into the folder "out"; the command's status."""
        return main(self.arguments("out", "--jobs", str(jobs), *more))

    def command(self, *more, out="out"):
        """Command that runs the configuration in a process of its own."""
        return [sys.executable, "-m", "skerdiff.benchmark", *self.arguments(out, *more)]

    def arguments(self, out, *more):
        return ["run", str(self / "quick.toml"), "--output", str(self / out), *more]

    def scores(self, out="out"):
        """R2 of the results by experiment, method and seed."""
        return {
            (e["experiment"], e["method"], e["seed"]): e["result"]["r2"]
            for e in read_results(self / out)
        }

    def edit(self, *changes):
        """Replace texts of the configuration, given as pairs."""
        text = (self / "quick.toml").read_text()
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        (self / "quick.toml").write_text(text)


@pytest.fixture
def bench(tmp_path):
    """A small benchmark, ready to run."""
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
    module = f"quick_methods_{zlib.crc32(str(tmp_path).encode())}"
    (tmp_path / f"{module}.py").write_text(MODULE)
    (tmp_path / "quick.toml").write_text(CONFIG.replace("MODULE", module))
    (tmp_path / "fragile").write_text("")
    yield Bench(tmp_path)
    sys.modules.pop(module, None)
