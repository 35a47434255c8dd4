"""What every aligner shares: the source model, the sessions and the forms of X."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers
import warnings
from abc import abstractmethod

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..base import TrialEstimator, _as_array, check_not_silent
from ..exceptions import AmbiguousAlignmentWarning, NewSessionWarning
from ..latent import SequentialVAE
from ..trials import Trials
from ..utils._random import derive_seed, draw_seed
from ..utils._similarity import principal_coordinates
from ..utils._torch import resolve_device
from ..utils._training import progress_bar
from ._cache import fit_model, run_once
from ._report import describe, doubts
from ._scoring import MIN_TRIALS, ScoringMixin
from ._start import Session, start_session

GEOMETRY_DIMS = 8  # principal axes in which trials are compared


class BaseAligner(
    ScoringMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, TrialEstimator
):
    """Base of all aligners.

    A subclass says in `_align` how the read-in of a target session is found, and may
    learn more about the source in `_fit_source`.
    """

    _parameter_constraints = {
        "latent_model": [HasMethods(["fit", "transform"]), None],
        "n_components": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "on_new_session": [StrOptions({"align", "raise"})],
        "memory": [str, HasMethods(["cache"]), None],
        "trial_length": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    _min_trials = MIN_TRIALS

    # -- fitting -------------------------------------------------------------------
    def fit(self, X, y=None):
        """Learn the source session, and adapt to every other session present.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_neurons), Trials or 2-D array
            Activity. An array is the source session. Of `Trials` the source session
            is learned and each other session is adapted to.
        y : array-like of shape (n_trials, n_bins, n_outputs), default=None
            Behaviour, which shapes the latents. Only that of source trials is read;
            target rows may hold anything, NaN included. With 2-D X, (n_rows,) or
            (n_rows, n_outputs).

        Returns
        -------
        self : object
            Fitted aligner; what an earlier fit or adapt left is gone.

        Raises
        ------
        ValueError
            If X is ragged, empty, not finite or of one trial, or if y does not fit X.
        """
        self._validate_params()
        X, form = self._check_X(X, reset=True, min_trials=2)
        used = np.ones(len(X), dtype=bool) if form.kind != "trials" else X.is_source
        if y is not None:
            y = self._check_y(y, X, form, used)
        source = X[X.source] if form.kind == "trials" else X
        seed = draw_seed(self.random_state)
        model = self._configure(
            SequentialVAE() if self.latent_model is None else clone(self.latent_model),
            n_components=self.n_components,
            random_state=derive_seed(seed, "latent model"),
        )
        loud = {"verbose": self.verbose}
        self.latent_model_ = self._once(fit_model, loud, model=model, X=source, y=y)
        self.source_ = X.source if form.kind == "trials" else "source"
        self._seed = seed
        self._learn_source(self.latent_model_.features(source))
        self.n_bins_ = source.shape[1]
        self.n_components_ = self._n_features_out = self._latents.shape[2]
        self.sessions_ = {self.source_: Session(self.latent_model_.readin_)}
        self.alignment_report_ = {}
        self._last = self.source_
        if form.kind == "trials":
            self._adapt_all(X)
        return self

    def _learn_source(self, features, latents=None):
        self._features = features
        self._coordinates = principal_coordinates(
            features, min(GEOMETRY_DIMS, features.shape[2])
        )
        self._activations = self.latent_model_.activations(features)
        self._latents = (
            self.latent_model_.encode(features) if latents is None else latents
        )
        self._feature_moments = features.mean((0, 1)), features.std((0, 1))
        self._fit_source(self._latents)

    def _configure(self, estimator, **params):
        known = estimator.get_params(deep=False)
        params |= {"device": str(resolve_device(self.device))}
        return estimator.set_params(
            **{k: v for k, v in params.items() if v is not None and k in known}
        )

    def _once(self, func, unkeyed=None, **arguments):
        return run_once(self.memory, func, arguments, unkeyed or {})

    def _fit_source(self, Z):
        """Learn more about the source latents (n_trials, n_bins, d), if need be."""
        self.n_parameters_added_ = 0

    # -- adapting ------------------------------------------------------------------
    def adapt(self, X, session="target"):
        """Align one more session, without labels, and keep its encoder.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_neurons), Trials or 2-D array
            Activity of the session; as many bins as the source, any number of
            neurons. Of `Trials` every session but the source is adapted to.
        session : str, default="target"
            Name of the session; one of that name is replaced, others are kept. Not
            used for `Trials`, which name their sessions.

        Returns
        -------
        self : object
            The aligner, which takes arrays from now on as this session's.

        Raises
        ------
        NotFittedError
            If called before `fit`.
        ValueError
            If X is ragged, not finite, silent, of another number of bins or has too
            few trials, or if `session` names the source. The sessions known before
            are then as they were.
        """
        check_is_fitted(self)
        X, form = self._check_X(X, reset=False, any_width=True)
        if form.kind == "trials":
            if set(X.names) <= {self.source_}:
                raise ValueError(
                    f"adapt needs trials of a session other than the source "
                    f"{self.source_!r}, got {X!r}."
                )
            self._adapt_all(X)
            return self
        if not isinstance(session, str):
            raise TypeError(f"session must be a name (str), got {session!r}.")
        if session == self.source_:
            raise ValueError(
                f"session={session!r} is the source session. Give the new session "
                "another name, or call fit to learn another source."
            )
        self._keep(session, self._align_checked(X, session))
        return self

    def _adapt_all(self, X):
        names = [name for name in X.names if name != self.source_]
        for name, session in [(n, self._align_checked(X[n], n)) for n in names]:
            self._keep(name, session)

    def _keep(self, name, session):
        self.sessions_ = {**self.sessions_, name: session}
        self.alignment_report_ = {**self.alignment_report_, name: session.report}
        self._last = name

    def _align_checked(self, X, name):
        if X.shape[1] != self.n_bins_:
            raise ValueError(
                f"session {name!r} has {X.shape[1]} bins per trial, the source has "
                f"{self.n_bins_}. Cut the same window, or warp the trials with "
                "skerdiff.preprocessing.warp_trials."
            )
        if len(X) < self._min_trials:
            raise ValueError(
                f"session {name!r} has {len(X)} sample(s) (trials), too few to align: "
                f"at least {self._min_trials} are needed, and some dozens to align "
                "well."
            )
        check_not_silent(X, f"session {name!r}")
        seed = derive_seed(self._seed, "session", name)
        features = self.latent_model_.features(X)
        session = self._align(features, seed)
        Z = self._encode_features(features, session)
        session.report |= describe(X, Z)
        reasons = doubts(session.report)
        if reasons:
            warnings.warn(
                f"The alignment of session {name!r} is ambiguous: "
                f"{', and '.join(reasons)}. Add trials or movement directions, or "
                "check the result on a few labelled trials.",
                AmbiguousAlignmentWarning,
                stacklevel=3,
            )
        return session

    @abstractmethod
    def _align(self, features, seed):
        """Find the read-in of a target session.

        Parameters
        ----------
        features : ndarray of shape (n_trials, n_bins, n_neurons)
            Its features (smoothed square roots of counts).
        seed : int
            Seed of this session.

        Returns
        -------
        session : Session
            The read-in and a report.
        """

    def _start(self, features, seed, init, n_starts=200):
        """Session from which a method starts, see `start_session`."""
        with progress_bar(self.verbose, 2 * n_starts, "geometry", "start") as progress:
            return self._once(
                start_session,
                {"progress": progress},
                source_readin=self.latent_model_.readin_,
                coordinates=self._coordinates,
                activations=self._activations,
                features=features,
                init=init,
                n_starts=n_starts,
                seed=seed,
            )

    # -- using ---------------------------------------------------------------------
    def transform(self, X, session=None):
        """Aligned latents: posterior means in the source's latent space.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_neurons), Trials or 2-D array
            Activity.
        session : str, default=None
            Session of an array. By default the one adapted last whose width fits,
            else the source. A 3-D array that fits none, or a session of `Trials` that
            is not known, is aligned on the fly among the trials given, and nothing is
            stored. Not used for `Trials`, which name their sessions.

        Returns
        -------
        Z : ndarray of shape (n_trials, n_bins, n_components), Trials or 2-D ndarray
            Latents, in the form of the input.

        Raises
        ------
        NotFittedError
            If called before `fit`.
        ValueError
            If X has the wrong width or number of bins, is not finite, or is of a
            session not known while ``on_new_session="raise"``.
        """
        check_is_fitted(self)
        if isinstance(X, Trials):
            X, form = self._check_X(X, reset=False)
            self._check_output(form)
            return X.map_items(lambda name, A: self._encode(A, name))
        name = self._which(X, session)
        X, form = self._check_array(X, name)
        self._check_output(form)
        return form.restore(self._encode(X, name))

    def _check_array(self, X, name):
        """Check an array that belongs to a session, or to none that is known."""
        own = name is None or name == self.source_
        any_width = not own or len(_shape(X)) == 3
        return self._check_X(X, reset=False, any_width=any_width)

    def _which(self, X, session):
        """Name of the session that an array belongs to; None if it fits none."""
        if session is not None:
            if session not in self.sessions_:
                raise ValueError(
                    f"session {session!r} is not known; known are "
                    f"{list(self.sessions_)}. Call adapt(X, session={session!r}) first."
                )
            return session
        width = _shape(X)[-1] if len(_shape(X)) > 1 else None
        recent = [self._last, *reversed(self.sessions_), self.source_]
        for name in recent:
            if self.sessions_[name].n_neurons == width:
                return name
        return None

    def _encode(self, X, name):
        return self._encode_by(X, self._session_of(X, name))

    def _encode_by(self, X, session):
        features = self.latent_model_.features(X)
        return self._encode_features(features, session).astype(X.dtype, copy=False)

    def _encode_features(self, features, session):
        Z = self.latent_model_.encode(features, session.readin)
        return Z if session.map is None else session.map(Z)

    def _session_of(self, X, name):
        """How to read X: a session that is known, or one that is aligned here."""
        if X.shape[1] != self.n_bins_:
            raise ValueError(
                f"X has {X.shape[1]} bins per trial, but {type(self).__name__} was "
                f"fitted on trials of {self.n_bins_} bins."
            )
        if name not in self.sessions_:
            return self._align_new(X, name)
        session = self.sessions_[name]
        if X.shape[2] != session.n_neurons:
            raise ValueError(
                f"X has {X.shape[2]} features (neurons), but session {name!r} has "
                f"{session.n_neurons}. Call adapt to learn it anew."
            )
        return session

    def _align_new(self, X, name):
        called = "An array" if name is None else f"Session {name!r}"
        widths = {k: s.n_neurons for k, s in self.sessions_.items()}
        known = f"of a session not met (its neurons: {X.shape[2]}; known: {widths})"
        if self.on_new_session == "raise":
            raise ValueError(
                f"{called} is {known}, and on_new_session='raise'. Call adapt(X) first."
            )
        warnings.warn(
            f"{called} is {known}. It is aligned among the {len(X)} trials given and "
            "the result is not stored: call adapt to keep it.",
            NewSessionWarning,
            stacklevel=5,
        )
        return self._align_checked(X, "target" if name is None else name)

    def fit_transform(self, X, y=None, **fit_params):
        """Fit and return the latents of X.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_neurons), Trials or 2-D array
            Activity, see `fit`.
        y : array-like of shape (n_trials, n_bins, n_outputs), default=None
            Behaviour of the source trials, see `fit`.
        **fit_params : dict
            None are taken; present for API consistency.

        Returns
        -------
        Z : ndarray of shape (n_trials, n_bins, n_components), Trials or 2-D ndarray
            Latents, in the form of the input.
        """
        return self.fit(X, y, **fit_params).transform(X)


def _shape(X):
    shape = getattr(X, "shape", None)
    return _as_array(X).shape if shape is None else shape
