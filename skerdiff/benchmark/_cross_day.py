"""Fit on a source day, align a target day without labels, decode.

The honest protocol. Each session is shuffled by itself. Of the target's trials 80 %
are for adapting, without labels, and the rest for scoring only. The decoder is a ridge
regression on source latents. The oracle alone sees labels: the same latent model and
decoder, trained on the same 80 % of the target with its behaviour.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import tempfile
import warnings
from time import perf_counter

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import Ridge

from ..alignment import (
    ADANAligner,
    CORALAligner,
    CycleGANAligner,
    DAFAligner,
    DANNAligner,
    ERDiffAligner,
    GeometryAligner,
    IdentityAligner,
    JSDAligner,
    MMDAligner,
    NeuronMomentsAligner,
    SASAAligner,
    SinkhornAligner,
)
from ..datasets import load_motor_cortex, make_reaching_sessions
from ..decoding import PerBinRegressor
from ..diffusion import DiffusionPrior
from ..exceptions import AmbiguousAlignmentWarning
from ..metrics import behaviour_r2_score, behaviour_rmse

PAIRS = ("synthetic", "mihi", "jango", "jango-back")


def from_source(aligner):
    """Let an aligner start from the source's read-in, with more and larger steps.

    Parameters
    ----------
    aligner : aligner
        Left as it is.

    Returns
    -------
    aligner : aligner
        Its clone, with a budget that makes up for the start: the same for all methods,
        but for smaller steps where an adversary has to keep up.
    """
    aligner = clone(aligner).set_params(init="source")
    known = aligner.get_params(deep=False)
    if "max_steps" in known:
        rate = 3e-4 if "adversary_learning_rate" in known else 1e-3
        aligner.set_params(max_steps=300, patience=30, learning_rate=rate)
    return aligner


METHODS = {
    "no adaptation": IdentityAligner(),
    "geometry only": GeometryAligner(),
    "ERDiff": ERDiffAligner(),
    "ERDiff, source start": from_source(ERDiffAligner()),
    "oracle": None,
}
# those of the paper and others one would try
_OTHERS = {
    "CORAL": CORALAligner(),
    "JSDM": JSDAligner(),
    "MMD": MMDAligner(),
    "RDA-MMD": MMDAligner(recurrent=True),
    "Sinkhorn": SinkhornAligner(),
    "DANN": DANNAligner(),
    "Cycle-GAN": CycleGANAligner(),
    "ADAN": ADANAligner(),
    "SASA": SASAAligner(),
    "DAF": DAFAligner(),
    "ERDiff w/o S": ERDiffAligner(prior=DiffusionPrior(spatial=False)),
    "ERDiff w/o T": ERDiffAligner(prior=DiffusionPrior(temporal=False)),
}
BASELINES = {"neuron moments": NeuronMomentsAligner()}
for _name, _aligner in _OTHERS.items():
    BASELINES[_name] = _aligner
    BASELINES[f"{_name}, source start"] = from_source(_aligner)


def load_pair(name, seed=0, behaviour=None):
    """Load a source and a target session, each shuffled by itself.

    Parameters
    ----------
    name : {"synthetic", "mihi", "jango", "jango-back"}
        Synthetic reaches, or a published recording; ``"jango-back"`` goes from its
        later day to the earlier one.
    seed : int, default=0
        Seed of the shuffling, and of the synthetic sessions themselves.
    behaviour : str, default=None
        What to decode, see `skerdiff.datasets.load_motor_cortex`.

    Returns
    -------
    data : Bunch
        With ``trials``, ``y`` and ``direction``.
    """
    if name == "synthetic":
        return make_reaching_sessions(random_state=seed)
    return load_motor_cortex(
        name.removesuffix("-back"),
        behaviour=behaviour,
        source="day16" if name == "jango-back" else None,
        random_state=seed,
    )


def cross_day(data, seed=0, methods=METHODS, train_share=0.8, report=None):
    """Run methods on one pair of sessions with one seed.

    Parameters
    ----------
    data : Bunch
        Two sessions, see `load_pair`.
    seed : int, default=0
        Seed of all models.
    methods : dict of str to aligner or None
        Aligners by name; None stands for the within-target oracle.
    train_share : float, default=0.8
        Share of the target trials to adapt on; the others are scored.
    report : callable or None
        Called with a line of text before each step.

    Returns
    -------
    rows : list of dict
        Per method ``method``, ``r2``, ``rmse`` (in units of y), ``fit_s``, ``adapt_s``,
        ``ambiguous``, ``n_parameters_added`` and ``steps_per_second`` (0 for methods
        without gradient steps).
    latents : dict of str to ndarray
        Latents of the scored target trials per method, and of the source.
    """
    report = report or (lambda line: None)
    trials, y = data.trials, data.y
    source = trials.source
    (target,) = [name for name in trials.names if name != source]
    X, v = trials[source], y[trials.session == source]
    X_new, v_new = trials[target], y[trials.session == target]
    n_train = round(train_share * len(X_new))
    rows, latents = [], {}
    with tempfile.TemporaryDirectory() as memory:
        for name, aligner in methods.items():
            report(name)
            oracle = aligner is None
            first = (X_new[:n_train], v_new[:n_train]) if oracle else (X, v)
            aligner = clone(IdentityAligner() if oracle else aligner)
            if not oracle:
                aligner.set_params(memory=memory)
            aligner.set_params(random_state=seed)
            start = perf_counter()
            Z = aligner.fit_transform(*first)
            decoder = PerBinRegressor(Ridge()).fit(Z, first[1])
            fit_s = perf_counter() - start
            start = perf_counter()
            ambiguous = not oracle and _adapt(aligner, X_new[:n_train], target)
            adapt_s = perf_counter() - start
            Z_new = aligner.transform(
                X_new[n_train:], session=aligner.source_ if oracle else target
            )
            v_hat = decoder.predict(Z_new)
            speed = getattr(aligner, "steps_per_second_", {}).get(target, 0.0)
            rows.append(
                {
                    "method": name,
                    "r2": behaviour_r2_score(v_new[n_train:], v_hat),
                    "rmse": behaviour_rmse(v_new[n_train:], v_hat),
                    "fit_s": fit_s,
                    "adapt_s": adapt_s,
                    "ambiguous": ambiguous,
                    "n_parameters_added": aligner.n_parameters_added_,
                    "steps_per_second": speed,
                }
            )
            latents[name] = Z_new
            if not oracle:
                latents.setdefault("source", Z)
    return rows, latents


def _adapt(aligner, X, session):
    """Adapt; tell whether the aligner called the result ambiguous."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AmbiguousAlignmentWarning)
        aligner.adapt(X, session=session)
    return any(issubclass(w.category, AmbiguousAlignmentWarning) for w in caught)


def table(rows):
    """Lay out the R2 (mean, standard deviation and worst seed) and RMSE per method.

    Parameters
    ----------
    rows : list of dict
        Rows of `cross_day`, of one or more seeds.

    Returns
    -------
    text : str
        One line per method.
    """
    names = list(dict.fromkeys(row["method"] for row in rows))
    width = max(map(len, names))
    several = len(rows) > len(names)
    lines = [f"{'':{width}}       R2{'     sd  worst' if several else ''}    RMSE"]
    for name in names:
        mine = [row for row in rows if row["method"] == name]
        r2 = np.array([row["r2"] for row in mine])
        spread = f" {r2.std(ddof=1):6.3f} {r2.min():6.3f}" if several else ""
        rmse = np.mean([row["rmse"] for row in mine])
        lines.append(f"{name:{width}}  {r2.mean():7.3f}{spread} {rmse:7.3f}")
    return "\n".join(lines)
