"""What every aligner shares: the source model, the sessions and the forms of X."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers
from abc import abstractmethod

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from ..base import TrialEstimator, check_not_silent
from ..exceptions import AmbiguousAlignmentWarning
from ..latent import SequentialVAE
from ..trials import Trials
from ..utils._random import derive_seed, draw_seed
from ..utils._similarity import principal_axes, project
from ..utils._sklearn import HasMethods, Interval, StrOptions
from ..utils._torch import resolve_device
from ..utils._training import progress_bar
from ..utils._warnings import warn_caller
from ._cache import fit_model, run_once
from ._report import describe, doubts
from ._scoring import MIN_TRIALS, ScoringMixin
from ._sessions import SessionsMixin
from ._start import Session, start_session

GEOMETRY_DIMS = 8  # principal axes in which trials are compared
N_STARTS = 200  # of the search, of aligners that have no such parameter


class BaseAligner(
    ScoringMixin,
    SessionsMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    TrialEstimator,
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
            is learned and each other session is adapted to. Of several source sessions
            the first is learned; the others are aligned to it by their geometry, and
            their trials then count as the source's.
        y : array-like of shape (n_trials, n_bins, n_outputs), default=None
            Behaviour, which shapes the latents. Only that of source trials is read,
            which must be finite in all source sessions; target rows may hold anything,
            NaN included. With 2-D X, (n_rows,) or (n_rows, n_outputs).

        Returns
        -------
        self : object
            Fitted aligner; what an earlier fit or adapt left is gone.

        Raises
        ------
        ValueError
            If X is ragged, empty, not finite or of one trial, or if y does not fit X.
            If a target session cannot be aligned; the source and the others are then
            known. If a source session cannot be aligned to the first; the aligner is
            then not fitted.
        """
        self._validate_params()
        X, form = self._check_X(X, reset=True, min_trials=2, targets_later=True)
        used = np.ones(len(X), dtype=bool) if form.kind != "trials" else X.is_source
        if y is not None:
            y = self._check_y(y, X, form, used)
        source, sources = X, {"source": X}
        if form.kind == "trials":
            sources = {name: X[name] for name in X.sources if name in X.names}
            source = X[X.source]
            y = None if y is None else y[X.session[used] == X.source]
        seed = draw_seed(self.random_state)
        model = self._configure(
            SequentialVAE() if self.latent_model is None else clone(self.latent_model),
            n_components=self.n_components,
            random_state=derive_seed(seed, "latent model"),
        )
        loud = {"verbose": self.verbose}
        self.latent_model_ = self._once(fit_model, loud, model=model, X=source, y=y)
        self.source_, *others = self.sources_ = list(sources)
        self._seed = seed
        self._learn_source(self.latent_model_.features(source))
        self.n_bins_ = source.shape[1]
        self.n_components_ = self._n_features_out = self._latents.shape[2]
        self.sessions_ = {self.source_: Session(self.latent_model_.readin_)}
        self.alignment_report_ = {}
        try:
            for name in others:
                self._learn_more(name, sources[name])
        except ValueError:
            self._forget()
            raise
        self._fit_source(self._latents)
        if form.kind == "trials":
            self._adapt_all(X)
        return self

    def _learn_source(self, features, latents=None):
        self._features = features
        self._axes = principal_axes(features, min(GEOMETRY_DIMS, features.shape[2]))
        self._coordinates = project(features, *self._axes)
        self._activations = self.latent_model_.activations(features)
        self._latents = (
            self.latent_model_.encode(features) if latents is None else latents
        )
        self._feature_moments = features.mean((0, 1)), features.std((0, 1))

    def _learn_more(self, name, X):
        """Align one more source session, and let its trials count as the source's."""
        self._check_alignable(X, name)
        features = self.latent_model_.features(X)
        seed = derive_seed(self._seed, "session", name)
        n_starts = getattr(self, "n_starts", N_STARTS)
        session = self._start(features, seed, "geometry", n_starts)
        self._report(session, X, features, name)
        self._coordinates, self._activations, self._latents = (
            np.concatenate(both)
            for both in (
                (self._coordinates, session.rigid(features)),
                (
                    self._activations,
                    self.latent_model_.activations(features, session.readin),
                ),
                (self._latents, self._encode_features(features, session)),
            )
        )
        self.sessions_ = {**self.sessions_, name: session}
        self.alignment_report_ = {**self.alignment_report_, name: session.report}

    def _configure(self, estimator, **params):
        known = estimator.get_params(deep=False)
        params |= {"device": str(resolve_device(self.device))}
        return estimator.set_params(
            **{k: v for k, v in params.items() if v is not None and k in known}
        )

    def _once(self, func, unkeyed=None, **arguments):
        return run_once(self.memory, func, arguments, unkeyed or {})

    def _fit_source(self, Z):
        """Learn more about the latents of all source trials, if need be."""
        self.n_parameters_added_ = 0

    # -- adapting ------------------------------------------------------------------
    def adapt(self, X, session="target", *, start=None):
        """Align one more session, without labels, and keep its encoder.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_neurons), Trials or 2-D array
            Activity of the session; as many bins as the source, any number of
            neurons. Of `Trials` every session but those of the source is adapted to,
            in order.
        session : str, default="target"
            Name of the session; one of that name is replaced, others are kept. Not
            used for `Trials`, which name their sessions.
        start : str, default=None
            Name of a known session of the same neurons, yesterday's say: its alignment
            joins the search, and is followed unless another fits clearly better, with
            a warning if a different one fits better at all.
            ``"previous"`` is the one adapted last that has as many neurons; as long as
            there is none, there is the search alone.

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
            few trials, if `session` names a source, or if there is no such start, or
            no search that it could join. The sessions known before are then as they
            were, and of `Trials` those that could be aligned are known too.
        TypeError
            If `session` or `start` is no name.
        """
        check_is_fitted(self)
        self._check_start(start)
        X, form = self._check_X(X, reset=False, any_width=True, targets_later=True)
        if form.kind == "trials":
            if set(X.names) <= set(self.sources_):
                raise ValueError(
                    "adapt needs trials of a session other than the source "
                    f"{', '.join(map(repr, self.sources_))}, got {X!r}."
                )
            self._adapt_all(X, start)
            return self
        if not isinstance(session, str):
            raise TypeError(f"session must be a name (str), got {session!r}.")
        if session in self.sources_:
            raise ValueError(
                f"session={session!r} is the source session. Give the new session "
                "another name, or call fit to learn another source."
            )
        self._keep(session, self._align_checked(X, session, start))
        return self

    def _adapt_all(self, X, start=None):
        names = [name for name in X.names if name not in self.sources_]
        failed = {}
        for name in names:
            try:
                activity = self._check_session(X[name], name)
                session = self._align_checked(activity, name, start)
            except ValueError as error:
                failed[name] = error
            else:
                self._keep(name, session)
        if not failed:
            return
        first = next(iter(failed.values()))
        if len(names) == 1:
            raise first
        known = [name for name in names if name not in failed]
        raise ValueError(
            f"{len(failed)} of {len(names)} sessions could not be aligned: "
            + " ".join(
                f"{error}" if repr(name) in str(error) else f"{name!r}: {error}"
                for name, error in failed.items()
            )
            + f" Aligned and kept: {known}."
        ) from first

    def _keep(self, name, session):
        # the one adapted last comes last
        others = {k: s for k, s in self.sessions_.items() if k != name}
        self.sessions_ = {**others, name: session}
        self.alignment_report_ = {**self.alignment_report_, name: session.report}

    def _check_alignable(self, X, name):
        if X.shape[1] != self.n_bins_:
            raise ValueError(
                f"session {name!r} has {X.shape[1]} bins per trial, the source has "
                f"{self.n_bins_}. Cut the same window, or warp the trials with "
                "skerdiff.preprocessing.warp_trials; of 2-D X, trial_length says how "
                "many rows make a trial."
            )
        if len(X) < self._min_trials:
            raise ValueError(
                f"session {name!r} has {len(X)} sample(s) (trials), too few to align: "
                f"at least {self._min_trials} are needed, and some dozens to align "
                "well."
            )
        check_not_silent(X, f"session {name!r}")

    def _align_checked(self, X, name, start=None):
        self._check_alignable(X, name)
        known = self._known_start(start, X.shape[2])
        features = self.latent_model_.features(X)
        session = self._align(features, derive_seed(self._seed, "session", name), known)
        self._report(session, X, features, name)
        return session

    def _report(self, session, X, features, name):
        session.report |= describe(X, self._encode_features(features, session))
        reasons = doubts(session.report)
        if reasons:
            warn_caller(
                f"The alignment of session {name!r} is ambiguous: "
                f"{', and '.join(reasons)}. Add trials or movement directions, or "
                "check the result on a few labelled trials.",
                AmbiguousAlignmentWarning,
            )

    @abstractmethod
    def _align(self, features, seed, known=None):
        """Find the read-in of a target session.

        Parameters
        ----------
        features : ndarray of shape (n_trials, n_bins, n_neurons)
            Its features (smoothed square roots of counts).
        seed : int
            Seed of this session.
        known : Session or None
            One of the same neurons, whose alignment joins the search.

        Returns
        -------
        session : Session
            The read-in and a report.
        """

    def _start(self, features, seed, init, n_starts=N_STARTS, known=None):
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
                known=None if known is None else (known.rigid, known.readin),
                source_axes=self._axes,
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

    def _encode(self, X, name):
        return self._encode_by(X, self._session_of(X, name))

    def _encode_by(self, X, session):
        features = self.latent_model_.features(X)
        return self._encode_features(features, session).astype(X.dtype, copy=False)

    def _encode_features(self, features, session):
        Z = self.latent_model_.encode(features, session.readin)
        return Z if session.map is None else session.map(Z)

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
