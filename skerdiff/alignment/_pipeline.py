"""Adapting an aligner inside a pipeline."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from ..utils._pipeline import find_aligner


def adapt(pipeline, X, session="target", *, start=None, bin_size=None):
    """Align the aligner of a fitted pipeline to a new session.

    Runs the steps before the aligner on X and then the aligner's ``adapt``; the steps
    behind it, decoders above all, stay as they are.

    Parameters
    ----------
    pipeline : Pipeline, aligner or fitted search over either
        A fitted pipeline with one aligner among its steps. Of a search such as
        `GridSearchCV` the best estimator is adapted.
    X : array-like of shape (n_trials, n_bins, n_neurons), Trials or 2-D array
        Activity of the new session, as the first step takes it.
    session : str, default="target"
        Name of the session.
    start : str, default=None
        Session of the same neurons, adapted to before, from which the search starts
        too, see the aligner's ``adapt``.
    bin_size : float, default=None
        Width of a bin in seconds; it must be the source's, if that was given.

    Returns
    -------
    pipeline : object
        The same pipeline, which takes arrays from now on as this session's.

    Raises
    ------
    NotFittedError
        If the pipeline is not fitted.
    ValueError
        If it has no aligner or more than one, or for what the aligner's ``adapt``
        raises.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from skerdiff import GeometryAligner, PerBinRegressor, SequentialVAE, adapt
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> data = make_reaching_sessions(n_trials=60, n_neurons=40, random_state=0)
    >>> model = SequentialVAE(max_iter=2, n_hidden=8)
    >>> pipe = make_pipeline(
    ...     GeometryAligner(model, n_starts=4, random_state=0), PerBinRegressor()
    ... )
    >>> source = data.trials.is_source
    >>> pipe = pipe.fit(data.trials["day0"], data.y[source])
    >>> adapt(pipe, data.trials["day1"]).predict(data.trials["day1"]).shape
    (60, 20, 2)
    """
    aligner, before, _ = find_aligner(pipeline, "adapt")
    for step in before:
        X = step.transform(X)
    aligner.adapt(X, session=session, start=start, bin_size=bin_size)
    return pipeline
