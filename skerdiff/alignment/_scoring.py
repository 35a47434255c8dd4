"""How well an aligner has aligned a session, judged without labels."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from copy import copy

from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from ..metrics import agreement_scorer
from ..trials import Trials
from ..utils._random import derive_seed
from ..utils._similarity import principal_coordinates
from ._geometry import rigid_partners

MIN_TRIALS = 4  # fewer trials have no geometry to speak of


class ScoringMixin:
    """Label-free scores of aligners."""

    def compare(self, X):
        """Source and target trials side by side: what label-free scores look at.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_neurons), Trials or 2-D array
            Activity. An array belongs to the session that `transform` would take.

        Returns
        -------
        comparisons : dict of str to Bunch
            Of each target session in X, or of the source if X holds no other:

            - ``Z``, ``Z_target``: latents of all source trials and of the trials of X;
            - ``coordinates``, ``coordinates_target``: principal coordinates of their
              activity, each session by itself;
            - ``activity``: X of the session as a 3-D array;
            - ``session``: how the session is read, aligned on the fly if it is new;
            - ``report``: its report.

        Raises
        ------
        NotFittedError
            If called before `fit`.
        ValueError
            For what `transform` raises.
        """
        check_is_fitted(self)
        if isinstance(X, Trials):
            X, _ = self._check_X(X, reset=False)
            known = {*self.sources_, *X.sources}
            names = [name for name in X.names if name not in known]
            arrays = {name: X[name] for name in names or X.names}
        else:
            name = self._which(X, None)
            arrays = {name: self._check_array(X, name)[0]}
        found = {}
        for name, activity in arrays.items():
            session = self._session_of(activity, name)
            features = self.latent_model_.features(activity)
            found["new session" if name is None else name] = Bunch(
                Z=self._latents,
                Z_target=self._encode_by(activity, session),
                coordinates=self._coordinates,
                coordinates_target=principal_coordinates(
                    features, self._coordinates.shape[2]
                ),
                activity=activity,
                session=session,
                report=session.report,
            )
        return found

    def adapt_back(self, X, session=None):
        """Adapt the source to a target session, as if that were the source.

        The same method with the roles swapped: the aligned trials of X are what the
        source's activity is aligned to, with a read-in that starts anew.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_neurons)
            Activity of a target session that has been adapted to.
        session : str, default=None
            Its name; by default the session that `transform` would take.

        Returns
        -------
        Z : ndarray of shape (n_source_trials, n_bins, n_components)
            Latents of the first source's trials after the round trip. Where the
            alignment is right in both directions they are those of `transform`.

        Raises
        ------
        NotFittedError
            If called before `fit`.
        ValueError
            If the session is not known, or for what `adapt` raises.
        """
        check_is_fitted(self)
        name = self._which(X, session)
        if name is None:
            raise ValueError(
                f"X fits none of the sessions {list(self.sessions_)}. Call adapt(X) "
                "first."
            )
        X, _ = self._check_array(X, name)
        return self._lead_back(X, self._session_of(X, name))

    def _lead_back(self, X, session):
        _check_enough(X)
        back = copy(self)
        back.latent_model_ = copy(self.latent_model_)
        back.latent_model_.readin_ = session.readin
        back._learn_source(
            self.latent_model_.features(X), self._encode_by(X, session).astype(float)
        )
        back._fit_source(back._latents)
        found = back._align(self._features, derive_seed(self._seed, "back"))
        return self._encode_features(self._features, found)

    def rigid_partners(self, comparison):
        """Source partners of target trials, by the geometry of their activity alone.

        The geometry is searched among the trials given, whatever the aligner itself has
        found. With ``memory`` that is done once for all methods and latent dims.

        Parameters
        ----------
        comparison : Bunch
            See `compare`.

        Returns
        -------
        coupling : ndarray of shape (n_source_trials, n_trials)
            Masses of trial pairs.

        Raises
        ------
        ValueError
            If there are fewer than four target trials.
        """
        _check_enough(comparison.coordinates_target)
        return self._once(
            rigid_partners,
            A=comparison.coordinates,
            B=comparison.coordinates_target,
            seed=derive_seed(self._seed, "score"),
        )

    def score(self, X, y=None):
        """Label-free quality of the alignment of X; higher is better, 1 the best.

        Agreement of the latents with the geometry of the activity, see
        `skerdiff.metrics.geometric_agreement`: trials of X are paired with source
        trials by their distances and a rigid map alone, and the score is the R2 of
        their latents as a guess of their partners'. It takes a search of
        seconds. Where the geometry itself is ambiguous (see ``alignment_report_``) it
        misleads.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_neurons), Trials or 2-D array
            Activity of at least four trials. Of `Trials` the target sessions count,
            each by its number of trials, or the source if it is alone.
        y : Ignored
            Labels are never read.

        Returns
        -------
        score : float
            The score.
        """
        return agreement_scorer(self, X)


def _check_enough(X):
    if len(X) < MIN_TRIALS:
        raise ValueError(
            f"score needs at least {MIN_TRIALS} trials per session, got {len(X)} "
            "sample(s)."
        )
