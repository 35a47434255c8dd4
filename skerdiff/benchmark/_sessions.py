"""Pairs of sessions to align, and the settings that put methods under stress."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass

import numpy as np
from sklearn.utils import Bunch

from ..datasets import load_motor_cortex, make_reaching_sessions
from ..exceptions import ConfigurationError
from ..trials import Trials
from ..utils._random import derive_seed, numpy_generator
from . import PAIRS

# First bin of the movement. Mihi's trials are cut at its onset, Jango's five bins
# before; the simulated reaction time is 0.24 of 20 bins.
ONSET = {"synthetic": 5, "mihi": 0, "jango": 5, "jango-back": 5}
SIDES = ("source", "target")
MIN_TRIALS = 8  # of a session in a file; some dozens are needed to align well

# what a setting may hold: its type, the smallest and the largest value
SIMULATION = {
    "turnover": (float, 0, 1),
    "gain": (float, 1e-3, 1e3),
    "tuning_rotation": (float, -10, 10),
}
MODEL_SETTINGS = {"n_components": (int, 1, 1000), "noise_scale": (float, 1e-3, 1e3)}
TRIAL_SETTINGS = {
    "target_trials": (int, 4, 10**6),
    "target_directions": (int, 1, 10**3),
    "source_directions": (int, 1, 10**3),
    "spread": (bool, False, True),
    "target_skew": (bool, False, True),
    "source_skew": (bool, False, True),
    "bins_after_onset": (int, 2, 10**5),
    "halves": (bool, False, True),
    "spikes_kept": (float, 1e-3, 1),
    "permuted": (bool, False, True),
}
SETTING = TRIAL_SETTINGS | MODEL_SETTINGS | SIMULATION


def load_pair(name, seed=0, behaviour=None, **simulation):
    """Load a source and a target session, each shuffled by itself.

    Parameters
    ----------
    name : {"synthetic", "mihi", "jango", "jango-back"} or path-like
        Synthetic reaches, or a published recording; ``"jango-back"`` goes from its
        later day to the earlier one. Or your own sessions, a file ``*.npz`` with the
        arrays ``source`` and ``target`` (n_trials, n_bins, n_neurons),
        ``source_behaviour`` and ``target_behaviour`` (n_trials, n_bins, n_outputs), and
        if there are any ``source_direction`` and ``target_direction`` (n_trials,),
        whole numbers that go around the circle, and ``onset``, the first bin of the
        movement (0 by default).
    seed : int, default=0
        Seed of the shuffling, and of the synthetic sessions themselves.
    behaviour : str, default=None
        What to decode, see `skerdiff.datasets.load_motor_cortex`.
    **simulation : dict
        More parameters of `skerdiff.datasets.make_reaching_sessions`.

    Returns
    -------
    data : Bunch
        With ``trials``, ``y``, ``direction`` (None if unknown) and ``onset``.

    Raises
    ------
    OSError
        If there is no such file.
    ConfigurationError
        If a file does not hold these arrays, or for a name that is none of these.
    """
    name = str(name)
    if simulation and name != "synthetic":
        raise ConfigurationError(
            f"{', '.join(simulation)} can be set for data 'synthetic' only, not for "
            f"{name!r}."
        )
    if name.endswith(".npz"):
        return read_pair(name, seed)
    if name not in PAIRS:
        raise ConfigurationError(
            f"there are no data {name!r}. Choose one of {list(PAIRS)}, or give the "
            "path of an .npz file."
        )
    if name == "synthetic":
        data = make_reaching_sessions(random_state=seed, **simulation)
    else:
        source = "day16" if name == "jango-back" else None
        name_of = name.removesuffix("-back")
        data = load_motor_cortex(
            name_of, behaviour=behaviour, source=source, random_state=seed
        )
    data.onset = ONSET[name]
    return data


def read_pair(path, seed):
    """Read a user's own sessions, see `load_pair`; shuffle each by itself."""
    arrays = _read_arrays(path)
    rng = numpy_generator(derive_seed(seed, "shuffle"))
    order = {side: rng.permutation(len(arrays[side])) for side in SIDES}
    counts = {side: arrays[side][order[side]] for side in SIDES}
    y = np.concatenate([arrays[f"{side}_behaviour"][order[side]] for side in SIDES])
    direction = None
    if "source_direction" in arrays:
        parts = [arrays[f"{side}_direction"][order[side]] for side in SIDES]
        direction = np.concatenate(parts).astype(int)
    trials, onset = Trials(counts, source="source"), int(arrays.get("onset", 0))
    return Bunch(trials=trials, y=y, direction=direction, onset=onset)


def _read_arrays(path):
    """Arrays of an .npz file, checked."""

    def need(condition, text):
        if not condition:
            raise ConfigurationError(f"{path}{text}")

    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, NumPy and pickle each have their own
        text = f" is no .npz file of plain arrays ({type(error).__name__}: {error})."
        raise ConfigurationError(f"{path}{text}") from error
    needed = [*SIDES, *(f"{side}_behaviour" for side in SIDES)]
    directions = [f"{side}_direction" for side in SIDES]
    missing = [key for key in needed if key not in arrays]
    optional = "source_direction, target_direction and onset are optional"
    text = (
        f" lacks {missing}; it holds {list(arrays)}. Needed are {needed}; {optional}."
    )
    need(not missing, text)
    given = sum(key in arrays for key in directions)
    need(given != 1, f": give both of {directions}, or neither.")
    for key in arrays.keys() & {*needed, *directions, "onset"}:
        value = arrays[key]
        finite = value.dtype.kind in "biuf" and np.isfinite(value).all()
        text = " with NaN or infinity." if value.dtype.kind == "f" else "."
        need(finite, f": {key} must hold finite numbers, got {value.dtype}{text}")
    for side, behaviour, towards in zip(SIDES, needed[2:], directions):
        X, v, k = arrays[side], arrays[behaviour], arrays.get(towards)
        need(
            X.ndim == v.ndim == 3 and X.shape[:2] == v.shape[:2],
            f": {side} must be (n_trials, n_bins, n_neurons) and {behaviour} "
            f"(n_trials, n_bins, n_outputs), got {X.shape} and {v.shape}.",
        )
        need(
            len(X) >= MIN_TRIALS and 0 not in X.shape + v.shape,
            f": {side} must have {MIN_TRIALS} trials or more, and bins, neurons and "
            f"outputs; got {X.shape} and {v.shape}.",
        )
        need(
            k is None or (k.shape == (len(X),) and (k == np.round(k)).all()),
            f": {towards} must have one whole number for each of the {len(X)} trials.",
        )
        arrays[side], arrays[behaviour] = X.astype(float), v.astype(float)
    shapes = [arrays[key].shape for key in needed]
    alike = shapes[0][1] == shapes[1][1] and shapes[2][2] == shapes[3][2]
    need(alike, f": both sessions must have as many bins and outputs, got {shapes}.")
    last, onset = shapes[0][1] - 1, arrays.get("onset", np.zeros(()))
    whole = onset.shape == () and onset == np.round(onset) and 0 <= onset <= last
    need(whole, f": onset must be the number of a bin, 0 to {last}, got {onset}.")
    return arrays


@dataclass
class Split:
    """Trials of two sessions as a method gets them."""

    source: tuple  # X (n, n_bins, n_neurons) and y (n, n_bins, n_outputs)
    train: tuple  # of the target; y is for the oracle alone
    test: tuple
    source_name: str
    target_name: str
    source_direction: np.ndarray | None  # (n,)
    target_direction: np.ndarray | None  # of the trials of `train`, then of `test`
    present: np.ndarray  # (n_test,), whether both sides' trials hold that direction


def make_split(data, seed=0, setting=None, train_share=0.8):
    """Split two sessions into what is learned from, adapted to and scored.

    Parameters
    ----------
    data : Bunch
        Two sessions, see `load_pair`.
    seed : int, default=0
        Which directions a setting leaves out, and how halves are drawn.
    setting : dict, default=None
        How methods are put under stress: ``target_trials``, how many trials to adapt
        to; ``target_directions`` and ``source_directions``, how many directions are
        left, neighbours or, with ``spread``, evenly spread; ``target_skew`` and
        ``source_skew``, three neighbouring directions full, the rest a quarter;
        ``bins_after_onset``, how many bins from the onset of the movement on;
        ``halves``, disjoint halves of the source session, trials and neurons, in place
        of the two sessions; ``spikes_kept``, the probability with which each spike of
        both sessions stays; ``permuted``, the adapted trials' counts permuted over
        trials, for each neuron and bin apart, which leaves nothing to align. Other keys
        are left alone.
    train_share : float, default=0.8
        Share of the target trials to adapt on; the others are scored.

    Returns
    -------
    split : Split
        The trials.

    Raises
    ------
    ConfigurationError
        If a setting asks for directions, bins or trials that the data do not have.
    """
    setting = setting or {}
    source_name = data.trials.source
    (target_name,) = [name for name in data.trials.names if name != source_name]
    sides = []
    for name in (source_name, target_name):
        mine = data.trials.session == name
        towards = None if data.direction is None else data.direction[mine]
        sides.append([data.trials[name], data.y[mine], towards])
    if setting.get("halves"):
        sides = _halves(sides[0], seed)
    if "spikes_kept" in setting:
        sides = _thin(sides, setting["spikes_kept"], seed)
    if n_bins := setting.get("bins_after_onset"):
        window, n_all = slice(data.onset, data.onset + n_bins), sides[0][0].shape[1]
        if window.stop > n_all:
            raise ConfigurationError(
                f"bins_after_onset={n_bins} reaches beyond the trials: they have "
                f"{n_all} bins, and movement starts in bin {data.onset}."
            )
        sides = [[X[:, window], y[:, window], towards] for X, y, towards in sides]
    n_train = round(train_share * len(sides[1][0]))
    source = _choose(sides[0], setting, "source", seed)
    test = _take(sides[1], slice(n_train, None))
    train = _choose(_take(sides[1], slice(n_train)), setting, "target", seed)
    if n_trials := setting.get("target_trials"):
        if n_trials > len(train[0]):
            raise ConfigurationError(
                f"target_trials={n_trials}, but there are {len(train[0])} to adapt to."
            )
        train = _take(train, slice(n_trials))
    if setting.get("permuted"):
        rng = numpy_generator(derive_seed(seed, "permuted"))
        order = rng.random_sample(train[0].shape).argsort(0)
        train[0] = np.take_along_axis(train[0], order, 0)
    present = np.ones(len(test[0]), dtype=bool)
    for side, name in ((train, "target"), (source, "source")):
        if f"{name}_directions" in setting:
            present &= np.isin(test[2], side[2])
    both = None if test[2] is None else np.concatenate([train[2], test[2]])
    parts = (tuple(side[:2]) for side in (source, train, test))
    return Split(*parts, source_name, target_name, source[2], both, present)


def _take(side, rows):
    return [None if part is None else part[rows] for part in side]


def _halves(side, seed):
    """Two sessions of other trials and other neurons, from one."""
    rng = numpy_generator(derive_seed(seed, "halves"))
    n_trials, _, n_neurons = side[0].shape
    neurons = np.array_split(rng.permutation(n_neurons), 2)
    halves = [_take(side, r) for r in np.array_split(rng.permutation(n_trials), 2)]
    return [
        [X[:, :, np.sort(mine)], *rest]
        for (X, *rest), mine in zip(halves, neurons, strict=True)
    ]


def _thin(sides, kept, seed):
    """Both sessions with so many of their spikes, drawn at random."""
    rng = numpy_generator(derive_seed(seed, "spikes kept"))
    found = []
    for X, *rest in sides:
        wrong = (X < 0) | (X != np.round(X))
        if wrong.any():
            raise ConfigurationError(
                "spikes_kept needs whole counts, which these data are not: they hold "
                f"{X.flat[np.argmax(wrong)]:.3g}."
            )
        found.append([rng.binomial(X.astype(int), kept).astype(float), *rest])
    return found


def _choose(side, setting, name, seed):
    """Leave out trials by direction."""
    n_kept, skewed = setting.get(f"{name}_directions"), setting.get(f"{name}_skew")
    if n_kept is None and not skewed:
        return side
    direction = side[2]
    if direction is None:
        raise ConfigurationError(
            f"{name}_directions and {name}_skew need the direction of every trial, "
            "which these data do not hold."
        )
    present = np.unique(direction)
    present = np.roll(present, -(seed % len(present)))
    used = np.ones(len(direction), dtype=bool)
    if n_kept is not None:
        if n_kept > len(present):
            raise ConfigurationError(
                f"{name}_directions={n_kept}, but the data have {len(present)}."
            )
        order = np.arange(n_kept)
        if setting.get("spread"):
            order = order * len(present) // n_kept
        used &= np.isin(direction, present[order])
    if skewed:
        for k in present[3:]:
            rows = np.flatnonzero(direction == k)
            used[rows[-(-len(rows) // 4) :]] = False
    return _take(side, used)
