"""Fit on a source day, align a target day without labels, decode: one method, one seed.

The honest protocol. Of the target's trials some are for adapting, without labels, and
the rest for scoring only. The decoder is a ridge regression on source latents. The
oracle alone sees labels: the same latent model and decoder, trained on the target
trials that others adapt to, with their behaviour.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from time import perf_counter

from sklearn.base import clone
from sklearn.linear_model import Ridge

from ..alignment import IdentityAligner
from ..decoding import PerBinRegressor
from ..exceptions import AmbiguousAlignmentWarning
from ..metrics import behaviour_r2_score, behaviour_rmse

REPORTED = (
    "margin",
    "variance_explained",
    "confidence",
    "coverage",
    "bits_per_spike",
)


def decode_across(split, aligner, seed=0, memory=None, n_components=None, timed=True):
    """Run one method on a pair of sessions.

    Parameters
    ----------
    split : Split
        The trials, see `make_split`.
    aligner : aligner or None
        The method; it is cloned. None stands for the within-target oracle.
    seed : int, default=0
        Seed of all models.
    memory : str, default=None
        Cache of source models.
    n_components : int, default=None
        Latent dims of the oracle; other methods have their own.
    timed : bool, default=True
        Whether to time adapting. If not, geometry searches are cached too, so that
        methods that start from the same search do it once.

    Returns
    -------
    row : dict
        ``r2``, ``rmse`` (in units of y), of trials in directions that the source and
        the adapted trials hold; ``r2_absent`` of those in others, if there are any;
        ``fit_s`` and, if timed, ``adapt_s``; ``ambiguous``; of what the aligner reports
        ``margin``, ``variance_explained``, ``confidence``, ``coverage`` and
        ``bits_per_spike``; ``n_parameters_added``; ``steps``, the one that was
        accepted, and ``epoch_s``, seconds of one pass through the target trials (0 for
        methods without gradient steps).
    latents : dict of str to ndarray
        Latents of the ``source`` (for the oracle, of the trials it learned from) and of
        the scored ``target`` trials; and the ``guess`` of the latter's behaviour.
    """
    oracle = aligner is None
    aligner = clone(IdentityAligner(n_components=n_components) if oracle else aligner)
    taken = aligner.get_params(deep=False)
    params = {"memory": memory, "random_state": seed}
    aligner.set_params(**{k: v for k, v in params.items() if k in taken})
    first = split.train if oracle else split.source
    start = perf_counter()
    Z = aligner.fit_transform(*first)
    decoder = PerBinRegressor(Ridge()).fit(Z, first[1])
    fit_s = perf_counter() - start
    if "memory" in taken and timed:
        aligner.set_params(memory=None)
    start = perf_counter()
    target = split.target_name
    ambiguous = not oracle and _adapt(aligner, split.train[0], target)
    adapt_s = perf_counter() - start
    X_test, y_test = split.test
    session = aligner.source_ if oracle else target
    Z_test = aligner.transform(X_test, session=session)
    guess = decoder.predict(Z_test)
    seen = split.present
    report = getattr(aligner, "alignment_report_", {}).get(target, {})
    speed = getattr(aligner, "steps_per_second_", {}).get(target, 0.0)
    row = {
        "r2": behaviour_r2_score(y_test[seen], guess[seen]),
        "rmse": behaviour_rmse(y_test[seen], guess[seen]),
        "fit_s": fit_s,
        "ambiguous": bool(ambiguous),
        "n_parameters_added": int(getattr(aligner, "n_parameters_added_", 0)),
        "steps": int(report.get("n_steps", 0)),
        "epoch_s": 0.0,
    }
    if timed:
        row["adapt_s"] = adapt_s
    if speed:
        n_trained = (1 - aligner.held_out) * len(split.train[0])
        row["epoch_s"] = float(max(1, n_trained / aligner.batch_size) / speed)
    row |= {key: float(report[key]) for key in REPORTED if key in report}
    if not seen.all():
        row["r2_absent"] = behaviour_r2_score(y_test[~seen], guess[~seen])
    return row, {"source": Z, "target": Z_test, "guess": guess}


def _adapt(aligner, X, session):
    """Adapt; tell whether the aligner called the result ambiguous."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AmbiguousAlignmentWarning)
        aligner.adapt(X, session=session)
    return any(issubclass(w.category, AmbiguousAlignmentWarning) for w in caught)
