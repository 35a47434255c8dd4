"""The public script's protocol, and the race against its shape."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone

from benchmarks import equal_time as race
from benchmarks import published_protocol as protocol
from benchmarks.published_protocol import (
    VARIANTS,
    pair_by_direction,
    published_protocol,
)
from skerdiff.diffusion import DiffusionPrior
from skerdiff.exceptions import ConfigurationError
from skerdiff.latent import SequentialVAE


@pytest.fixture
def quick(monkeypatch):
    """Small models in place of the default ones."""
    models = {
        "latent_model": SequentialVAE(max_iter=3, n_hidden=6, n_readin=6),
        "prior": DiffusionPrior(max_iter=1, n_channels=8, n_blocks=1, n_heads=2),
        "n_components": 3,
    }
    for module in (protocol, race):
        original = module.ERDiffAligner
        monkeypatch.setattr(
            module,
            "ERDiffAligner",
            lambda original=original, **kw: original(
                **{k: clone(v, safe=False) for k, v in models.items()}, **kw
            ).set_params(n_starts=1, max_steps=5),
        )


@pytest.fixture
def split():
    """Two sessions of 4 directions, in which neurons follow behaviour."""
    rng = np.random.default_rng(0)
    sessions = []
    for n_trials, n_neurons in ((32, 8), (36, 9)):
        direction = rng.permutation(np.arange(n_trials) % 4)
        angle = direction[:, None] * np.pi / 2 + rng.normal(0, 0.1, (n_trials, 6))
        y = np.stack([np.cos(angle), np.sin(angle)], -1)
        weights = rng.standard_normal((2, n_neurons))
        sessions.append((rng.poisson(np.exp(y @ weights)).astype(float), y, direction))
    (X, y, direction), (X_new, y_new, towards) = sessions
    return SimpleNamespace(
        source=(X, y),
        train=(X_new[:28], y_new[:28]),
        test=(X_new[28:], y_new[28:]),
        source_name="a",
        target_name="b",
        source_direction=direction,
        target_direction=towards,
        present=np.ones(8, bool),
    )


def test_pairs_share_their_direction():
    rng = np.random.default_rng(0)
    source, target = rng.integers(0, 5, 40), rng.integers(1, 7, 30)
    rows, others = pair_by_direction(source, target)
    assert len(rows) == len(others) == len(set(rows)) == len(set(others)) > 10
    np.testing.assert_array_equal(source[rows], target[others])
    assert (np.diff(source[rows]) >= 0).all()


def test_the_variants_switch_one_thing_after_the_other(quick, split):
    rows = {v: published_protocol(split, v, n_epochs=8) for v in VARIANTS}
    assert all(np.isfinite(row["r2"]) for row in rows.values())
    # the best of the epochs, the last one among them
    assert rows["as published"]["r2"] >= rows["last epoch"]["r2"]
    assert rows["last epoch"]["epoch"] == rows["honest"]["epoch"] == 8
    assert len({row["r2"] for row in rows.values()}) >= 3
    again = published_protocol(split, "honest", n_epochs=8)
    assert again == rows["honest"]


def test_a_cache_shares_trainings_and_changes_no_result(
    quick, split, tmp_path, monkeypatch
):
    trained, train = [], protocol.adapt_as_published

    def count(*args, **kwargs):
        trained.append(args)
        return train(*args, **kwargs)

    monkeypatch.setattr(protocol, "adapt_as_published", count)
    rows = {v: published_protocol(split, v, n_epochs=4) for v in VARIANTS}
    assert len(trained) == 5
    for variant in VARIANTS:
        found = published_protocol(split, variant, memory=str(tmp_path), n_epochs=4)
        assert found == rows[variant]
    assert len(trained) == 5 + 3


def test_only_the_published_variants_read_target_labels(quick, split):
    def corrupt(part):
        return part[0], part[1] + 1e3 * np.arange(len(part[1]))[:, None, None]

    honest = published_protocol(split, "honest", n_epochs=3)
    best = published_protocol(split, "shuffled, best epoch", n_epochs=3)
    paired = published_protocol(split, "last epoch", n_epochs=3)
    split.train = corrupt(split.train)
    assert published_protocol(split, "honest", n_epochs=3) == honest
    assert published_protocol(split, "shuffled, best epoch", n_epochs=3) != best
    split.target_direction = np.roll(split.target_direction, 1)
    assert published_protocol(split, "honest", n_epochs=3) == honest
    split.train = split.train[0], split.train[1] * 0
    assert published_protocol(split, "last epoch", n_epochs=3) != paired


def test_trials_without_directions_cannot_be_paired(quick, split):
    split.target_direction = None
    published_protocol(split, "honest", n_epochs=1)
    with pytest.raises(ConfigurationError, match="pairs trials by direction"):
        published_protocol(split, "as published", n_epochs=1)


def test_the_race_stops_at_the_same_r2_or_at_the_end_of_its_time(
    quick, split, monkeypatch
):
    row = race.equal_time(split, prior_epochs=1, budget=2.0)
    assert row["ratio"] == pytest.approx(row["published_s"] / row["adapt_s"])
    assert row["published_epochs"] >= 1
    assert row["reached"] or row["ratio"] >= 2.0
    assert row["published_best_r2"] >= row["published_r2_at_equal_time"]
    monkeypatch.setattr(race, "CLOSE", 1e6)
    row = race.equal_time(split, prior_epochs=1, budget=2.0)
    assert row["reached"] and row["published_epochs"] == 1
