"""Simulated sessions and a small source model that the aligner tests share."""

from types import SimpleNamespace

import pytest

from skerdiff import DiffusionPrior, SequentialVAE
from skerdiff.alignment import _cache
from skerdiff.datasets import make_reaching_sessions


@pytest.fixture(scope="session")
def reaching():
    """Three sessions, the first cut into source trials and others of that day."""
    data = make_reaching_sessions(3, [190, 130, 100], [60, 50, 45], random_state=0)
    X = {name: data.trials[name] for name in data.trials.names}
    y = {name: data.y[data.trials.session == name] for name in X}
    return SimpleNamespace(
        trials=data.trials,
        source=X["day0"][:110],
        y_source=y["day0"][:110],
        others=X["day0"][110:],
        y_others=y["day0"][110:],
        adapt=X["day1"][:100],
        test=X["day1"][100:],
        y_test=y["day1"][100:],
        y_adapt=y["day1"][:100],
        third=X["day2"],
    )


@pytest.fixture(scope="session")
def settings(tmp_path_factory):
    """Parameters of a small aligner, whose source models are trained once."""
    return {
        "latent_model": SequentialVAE(n_hidden=32, max_iter=50, patience=20),
        "memory": str(tmp_path_factory.mktemp("models")),
        "random_state": 0,
    }


@pytest.fixture(scope="session")
def erdiff_settings(settings):
    """The same for ERDiff."""
    prior = DiffusionPrior(max_iter=6, n_channels=8, n_heads=2, n_blocks=1)
    return settings | {"prior": prior, "n_starts": 40, "max_steps": 20}


@pytest.fixture
def computed(monkeypatch):
    """Names of the functions that were run and not loaded."""
    found, run = [], _cache.run

    def counted(func, arguments, code, unkeyed):
        found.append(func.__name__)
        return run(func, arguments, code, unkeyed)

    counted.__module__, counted.__qualname__ = run.__module__, run.__qualname__
    monkeypatch.setattr(_cache, "run", counted)
    return found
