"""The aligner among the steps of a pipeline."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted


def find_aligner(estimator, purpose):
    """Find the aligner of a fitted pipeline, and the steps around it.

    Parameters
    ----------
    estimator : Pipeline, aligner or fitted search over either
        Of a search the best estimator counts.
    purpose : str
        Who asks, for the error message.

    Returns
    -------
    aligner : object
        The step with a method ``adapt``.
    before : list of object
        Fitted steps before it.
    after : list of object
        Fitted steps behind it.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If it has no aligner or more than one.
    """
    check_is_fitted(estimator)
    best = getattr(estimator, "best_estimator_", estimator)
    steps = best.steps if isinstance(best, Pipeline) else [("aligner", best)]
    found = [i for i, (_, step) in enumerate(steps) if hasattr(step, "adapt")]
    if len(found) != 1:
        among = f"among the steps {[name for name, _ in steps]}"
        raise ValueError(
            f"{purpose} needs an aligner, or a pipeline with exactly one (a step with "
            f"a method adapt), found {len(found)} "
            + (among if isinstance(best, Pipeline) else f"in {type(best).__name__}")
            + ". Pass the fitted pipeline itself, or a search over one with refit."
        )
    (i,) = found
    before, after = (
        [step for _, step in part if step not in (None, "passthrough")]
        for part in (steps[:i], steps[i + 1 :])
    )
    return steps[i][1], before, after
