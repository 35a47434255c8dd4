"""Scorers of alignment for model selection: they read no labels."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.metrics import r2_score
from sklearn.svm import SVC

from ..trials import Trials
from ..utils._pipeline import find_aligner
from ..utils._settings import own_settings
from ._label_free import (
    partner_mean,
    pooled_r2,
    relative_residual,
    rigid_residual,
    sliced_wasserstein_distance,
    whiten,
)
from ._spikes import latent_bits_per_spike
from ._trajectories import two_sample_auc

BOUND = 1e12  # of residuals and margins that are infinite; means of it stay finite


class LabelFreeScorer:
    """Scorer of an aligner, or of a pipeline with one, that reads no labels.

    It is called as ``scorer(estimator, X, y=None)``, as scikit-learn's scorers are, and
    may be passed as ``scoring=`` to any search. X must be target trials that the
    estimator has adapted to, or that it aligns on the fly; of `Trials` each target
    session counts by its number of trials.

    Parameters
    ----------
    name : str
        What it scores.
    criterion : callable
        Maps a comparison (see ``BaseAligner.compare``) to a float; higher is better.
    """

    def __init__(self, name, criterion):
        self.name = name
        self.criterion = criterion

    @own_settings()
    def __call__(self, estimator, X, y=None):
        """Score the alignment of X.

        Parameters
        ----------
        estimator : aligner or Pipeline
            Fitted, with one aligner among its steps.
        X : array-like of shape (n_trials, n_bins, n_neurons) or Trials
            Activity, as the estimator takes it.
        y : Ignored
            Labels are never read.

        Returns
        -------
        score : float
            Higher is better.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If it does not hold exactly one aligner, or if X has too few trials.
        """
        aligner, before, after = find_aligner(estimator, repr(self))
        for step in before:
            X = step.transform(X)
        comparisons = self._compare(aligner, X)
        rows = getattr(X, "ndim", None) == 2  # what the steps behind take
        scores = [
            self._score(aligner, comparison, after, rows)
            for comparison in comparisons.values()
        ]
        weights = [len(comparison.Z_target) for comparison in comparisons.values()]
        return float(np.average(np.clip(scores, -BOUND, BOUND), weights=weights))

    def _compare(self, aligner, X):
        return aligner.compare(X)

    def _score(self, aligner, comparison, after, rows):
        return self.criterion(comparison)

    def __repr__(self):
        """Name the scorer."""
        return f"LabelFreeScorer({self.name!r})"


class _DecodingScorer(LabelFreeScorer):
    """Base of scorers that compare two sets of latents, decoded where there is how."""

    def __init__(self, name):
        super().__init__(name, None)

    def _score(self, aligner, comparison, after, rows):
        pair = self._pair(aligner, comparison)
        n_bins = comparison.Z.shape[1]
        decoded = []
        for Z in pair:
            n_rows = len(Z) * n_bins
            Z = Z.reshape(n_rows, -1) if rows else Z
            for step in after:
                Z = step.predict(Z) if hasattr(step, "predict") else step.transform(Z)
            decoded.append(np.reshape(Z, (n_rows, -1)))
        if after and hasattr(after[-1], "predict"):
            return r2_score(*decoded)
        return pooled_r2(*decoded)


class AgreementScorer(_DecodingScorer):
    """Scorer by agreement with the geometry, see `agreement_scorer`."""

    def _pair(self, aligner, c):
        coupling = aligner.rigid_partners(c)
        return partner_mean(c.Z, coupling, len(c.Z_target)), c.Z_target


class CircularScorer(_DecodingScorer):
    """Scorer that adapts the source back to the target, see `circular_scorer`.

    Parameters
    ----------
    name : str
        What it scores.
    source : array-like of shape (n_source_trials, n_bins, n_neurons), default=None
        Activity of the first source session, as the aligner takes it.
    """

    def __init__(self, name, source=None):
        super().__init__(name)
        self.source = source

    def with_source(self, source):
        """Give the same scorer with the source's activity, which aligners do not store.

        Parameters
        ----------
        source : array-like of shape (n_source_trials, n_bins, n_neurons)
            Activity of the first source session, as the aligner takes it: behind the
            steps of a pipeline that come before it.

        Returns
        -------
        scorer : CircularScorer
            For any X.
        """
        return CircularScorer(self.name, source)

    def _compare(self, aligner, X):
        source = self.source
        if source is None and isinstance(X, Trials) and aligner.source_ in X.names:
            source = X[aligner.source_]
        if source is None:
            raise ValueError(
                f"{self!r} adapts the source's activity to the target, and aligners do "
                "not store it: X must be Trials that hold the source's, or use "
                "circular_scorer.with_source(X_source)."
            )
        comparisons = super()._compare(aligner, X)
        for comparison in comparisons.values():
            comparison.source = source
        return comparisons

    def _pair(self, aligner, c):
        back = aligner._lead_back(c.activity, c.reader, c.source)
        return c.Z[: len(back)], back  # of several sources the first leads


def _residual(c):
    return 1 - relative_residual(c.Z, c.Z_target)


def _rigid(c):
    return 1 - rigid_residual(c.Z, c.Z_target, c.coordinates, c.coordinates_target)


def _margin(c):
    # without a runner-up there was nothing to compare with
    margin = c.report.get("margin", 0.0)
    return margin if np.isfinite(margin) else 0.0


def _two_sample_auc(c):
    pair = whiten(c.Z, c.Z_target)
    cv = min(5, *map(len, pair))
    # below one half is chance, too
    auc = two_sample_auc(*pair, classifier=SVC(random_state=0), cv=cv, random_state=0)
    return -max(0.5, auc)


def _sliced_wasserstein(c):
    return -sliced_wasserstein_distance(c.Z, c.Z_target, random_state=0)


def _bits_per_spike(c):
    cv = min(5, len(c.Z_target))
    return latent_bits_per_spike(c.Z_target, c.activity, cv=cv, random_state=0)


residual_scorer = LabelFreeScorer("residual", _residual)
rigid_scorer = LabelFreeScorer("rigid", _rigid)
margin_scorer = LabelFreeScorer("margin", _margin)
two_sample_auc_scorer = LabelFreeScorer("two_sample_auc", _two_sample_auc)
sliced_wasserstein_scorer = LabelFreeScorer("sliced_wasserstein", _sliced_wasserstein)
bits_per_spike_scorer = LabelFreeScorer("bits_per_spike", _bits_per_spike)
agreement_scorer = AgreementScorer("agreement")
circular_scorer = CircularScorer("circular")
