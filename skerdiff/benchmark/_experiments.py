"""What the cells of each kind of experiment do."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA

from ..alignment._cache import foreign_code
from ..datasets import make_bernoulli_dynamics
from ..exceptions import ConfigurationError
from ._constants import compare_constants
from ._criteria import compare_criteria
from ._cross_day import decode_across
from ._dynamics import (
    dynamics_divergence,
    fit_dynamics,
    fixed_point_error,
    negative_log_likelihood,
)
from ._equal_time import equal_time
from ._headroom import headroom
from ._methods import BASELINES, METHODS, make_aligner
from ._published_protocol import published_protocol
from ._sessions import MODEL, SIMULATION, load_pair, make_split
from .prior_quality import prior_quality, source_latents


def run_cell(cell, own_methods, memory=None):
    """Run one cell.

    Parameters
    ----------
    cell : dict
        One of `Configuration.cells`.
    own_methods : dict
        Descriptions of the user's own methods, by name.
    memory : str, default=None
        Cache of source models.

    Returns
    -------
    result : dict
        What was measured; it can be written as JSON.
    """
    return KINDS[cell["kind"]](cell, own_methods, memory)


def content_of(cell, own_methods):
    """Digest of all that a cell's result depends on, but for the code.

    Cells of two experiments with the same content have the same result. Names do not
    count, and of user's data the file's content does, not its path.

    Parameters
    ----------
    cell : dict
        One of `Configuration.cells`.
    own_methods : dict
        Descriptions of the user's own methods, by name.

    Returns
    -------
    digest : str
        Hexadecimal.
    """
    what = {key: cell[key] for key in ("kind", "data", "behaviour", "seed")}
    if cell["file"] is not None:
        path = Path(cell["file"])
        what["data"] = _digest(path, path.stat().st_mtime_ns)
    what["setting"] = {k: v for k, v in cell["setting"].items() if k != "name"}
    what["method"] = cell["method"]
    if cell["kind"] in ("decoding", "cost", "dynamics", "latents"):
        aligner = _aligner(cell, own_methods)
        for key in MODEL:
            what["setting"].pop(key, None)
        what["method"] = None if aligner is None else _describe(aligner)
        what["code"] = foreign_code({"aligner": aligner})
        if aligner is None and (n := cell["setting"].get("n_components")):
            what["setting"]["n_components"] = n
    text = json.dumps(what, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _digest(path, modified):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _describe(aligner):
    """Class and parameters of an aligner, those of its models included."""
    cls = type(aligner)
    params = {
        name: repr(value) if not hasattr(value, "get_params") else type(value).__name__
        for name, value in aligner.get_params().items()
    }
    return [f"{cls.__module__}:{cls.__qualname__}", params]


def _aligner(cell, own_methods):
    """Aligner of a cell, with what its setting says of the models; None: oracle."""
    name, setting = cell["method"], cell["setting"]
    if name in own_methods:
        aligner = make_aligner(own_methods[name])
    else:
        aligner = (METHODS | BASELINES)[name]
    if aligner is None:
        return None
    known = aligner.get_params(deep=False)
    params = {k: setting[k] for k in MODEL if k in setting and k in known}
    return clone(aligner).set_params(**params)


def _split(cell):
    setting = cell["setting"]
    simulation = {k: v for k, v in setting.items() if k in SIMULATION}
    name = cell["file"] or cell["data"]
    data = load_pair(name, cell["seed"], cell["behaviour"], **simulation)
    return data, make_split(data, cell["seed"], setting)


def _decoding(cell, own_methods, memory):
    _, split = _split(cell)
    return _decode(cell, own_methods, split, memory)[0]


def _decode(cell, own_methods, split, memory):
    aligner, n_components = _aligner(cell, own_methods), None
    if aligner is None:
        n_components = cell["setting"].get("n_components")
    timed = cell["kind"] == "cost"
    return decode_across(split, aligner, cell["seed"], memory, n_components, timed)


def _published(cell, own_methods, memory):
    _, split = _split(cell)
    return published_protocol(split, cell["method"], cell["seed"], memory)


def _equal_time(cell, own_methods, memory):
    _, split = _split(cell)
    return equal_time(split, cell["seed"], memory)


def _criteria(cell, own_methods, memory):
    _, split = _split(cell)
    return compare_criteria(split, cell["seed"], memory)


def _constants(cell, own_methods, memory):
    _, split = _split(cell)
    return compare_constants(split, cell["seed"], memory)


def _headroom(cell, own_methods, memory):
    _, split = _split(cell)
    return headroom(split, METHODS[cell["method"]], cell["seed"], memory)


def _dynamics(cell, own_methods, memory):
    seed = cell["seed"]
    # as many target trials to adapt to as source trials, and as many to judge by
    data = make_bernoulli_dynamics(n_trials=[200, 400], random_state=seed)
    data.direction, data.onset = None, 0
    split = make_split(data, seed, cell["setting"], train_share=0.5)
    row, found = _decode(cell, own_methods, split, memory)
    dynamics, true = data.dynamics, split.test[1]
    weights = fit_dynamics(found["guess"], dynamics.step)
    reference = fit_dynamics(true, dynamics.step)
    return row | {
        "nll": negative_log_likelihood(dynamics, found["guess"]),
        "true_nll": negative_log_likelihood(dynamics, true),
        "kl": dynamics_divergence(dynamics, weights, true),
        "true_kl": dynamics_divergence(dynamics, reference, true),
        "fixed_points": fixed_point_error(dynamics, weights),
        "true_fixed_points": fixed_point_error(dynamics, reference),
        "weights": np.round(weights, 5).tolist(),
    }


def _latents(cell, own_methods, memory):
    """Mean latents of each direction, on three principal axes of the source's means."""
    data, split = _split(cell)
    if data.direction is None:
        raise ConfigurationError("latents by direction need the direction of trials.")
    row, found = _decode(cell, own_methods, split, memory)
    scored = split.target_direction[-len(found["target"]) :]
    source = _means(found["source"], split.source_direction)
    target = _means(found["target"], scored)
    axes = PCA(min(3, found["source"].shape[2])).fit(
        np.concatenate(list(source.values()))
    )
    for name, means in (("source_paths", source), ("target_paths", target)):
        row[name] = {
            str(k): np.round(axes.transform(path), 4).tolist()
            for k, path in means.items()
        }
    return row


def _prior(cell, own_methods, memory):
    seed, name = cell["seed"], cell["method"]
    pair = cell["file"] or cell["data"]
    Z = source_latents(pair, seed, cell["behaviour"], memory)
    row = next(r for r in prior_quality(Z, seed, [name]) if r["model"] == name)
    return {key: float(value) for key, value in row.items() if key != "model"}


def _means(Z, direction):
    return {int(k): Z[direction == k].mean(0) for k in np.unique(direction)}


KINDS = {
    "decoding": _decoding,
    "cost": _decoding,
    "published protocol": _published,
    "equal time": _equal_time,
    "dynamics": _dynamics,
    "latents": _latents,
    "prior": _prior,
    "criteria": _criteria,
    "constants": _constants,
    "headroom": _headroom,
}
