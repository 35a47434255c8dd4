"""What every aligner shares: the source model, the sessions and the forms of X."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import math
import numbers
from abc import ABC, abstractmethod
from copy import copy
from dataclasses import replace

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from ..base import TrialEstimator, check_conditions, check_not_silent
from ..exceptions import AmbiguousAlignmentWarning, NewSessionWarning
from ..geometry import (
    ambiguity_reasons,
    find_candidates,
    principal_axes,
    principal_coordinates,
    project,
    rigid_partners,
)
from ..latent import LatentModel, SequentialVAE
from ..latent._base import check_fitted, check_latents
from ..metrics import agreement_scorer
from ..sessions import SessionReader, SessionReport, activity_report
from ..trials import Trials
from ..utils._arrays import feature_names, fingerprint, shape_of
from ..utils._atomic import ProcessLock, accept, draft_of
from ..utils._names import PREVIOUS, check_name
from ..utils._random import derive_seed, draw_seed
from ..utils._settings import own_settings
from ..utils._sklearn import COUNT, HasMethods, StrOptions
from ..utils._torch import resolve_device
from ..utils._training import progress_bar
from ..utils._warnings import warn_caller
from ._cache import fit_model, locate, run_once
from ._parameters import aligner, check_declared, parameter
from ._start import by_column, random_readin, readin_by_geometry, source_readin

GEOMETRY_DIMS = 8  # principal axes in which trials are compared
MIN_TRIALS = 4  # fewer trials have no geometry to speak of
_STORING = ProcessLock()
_INITS = StrOptions({"geometry", "source", "random"})


@aligner
class BaseAligner(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, TrialEstimator, ABC
):
    """Base of all aligners.

    A subclass says in `_align` how a target session is read, and may learn more about
    the source in `_fit_source`. It can use

    - ``_start(features, seed, start)``: the reader that `init` asks for;
    - ``_reader(readin)``: a `skerdiff.sessions.SessionReader` of another read-in;
    - ``_latents`` and ``_activations``: of all source trials, (n_trials, n_bins, ...);
    - ``latent_model_``, see `skerdiff.latent.LatentModel`.

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.
    """

    latent_model: object = parameter(
        None,
        [HasMethods(list(LatentModel.required)), None],
        """LatentModel, default=None
        Latent-variable model of the source: `skerdiff.SequentialVAE`,
        `skerdiff.latent.LinearLatentModel`, or one of your own, see
        `skerdiff.latent.LatentModel`. None is ``SequentialVAE()``. It is cloned;
        `random_state`, `device` and `verbose` of the clone are the aligner's.
        """,
        keyword_only=False,
    )
    n_components: object = parameter(
        None,
        [*COUNT, None],
        """int, default=None
        Number of latent dims; overrides that of `latent_model`.
        """,
    )
    on_new_session: str = parameter(
        "align",
        [StrOptions({"align", "raise"})],
        """{"align", "raise"}, default="align"
        What `transform` does with a session it has not met: align it among the trials
        given (nothing is stored) with a `NewSessionWarning`, or raise.
        """,
    )
    memory: object = parameter(
        None,
        [str, HasMethods(["cache"]), None],
        """str or joblib.Memory, default=None
        Cache of source models and geometry searches. With it, a search over methods or
        folds trains each source model once, also by several workers, and one over
        latent dims searches the geometry once; an interrupted fit goes on after the
        last model that was finished. Results of other versions of the code (what they
        depend on in this package, the libraries it computes with, and the classes of
        your own models) are not used, nor are damaged ones. It needs an integer
        `random_state` to be of use. Reading a cache runs what is stored in it: a new
        folder is made so that nobody else can write there; name none that others can.
        """,
    )
    trial_length: object = parameter(
        None,
        [*COUNT, None],
        """int, default=None
        For 2-D X, the number of consecutive rows (bins) of a trial. By default each row
        is a trial of its own.
        """,
    )
    device: object = parameter(
        "auto",
        [str, torch.device],
        """str or torch.device, default="auto"
        Where to train. ``"auto"`` takes a GPU if there is one. Fitted models are kept
        on the CPU.
        """,
    )
    random_state: object = parameter(
        None,
        ["random_state"],
        """int, RandomState instance or None, default=None
        Determines everything random. Two fits with one int agree to the bit, on as many
        threads; each session has a seed of its own by its name, so that without
        ``start`` the order of `adapt` calls does not matter.
        """,
    )
    verbose: bool = parameter(
        False,
        ["verbose"],
        """bool, default=False
        Whether to show progress bars.
        """,
    )

    _attributes_doc = """
    latent_model_ : LatentModel
        The fitted latent-variable model of the source.
    sessions_ : dict of str to SessionReader
        How each session is read: the source first, then in the order in which they were
        adapted to. `forget` removes a session, `rename` renames it.
    alignment_report_ : dict of str to SessionReport
        For each session but the first source how its alignment went, see
        `skerdiff.sessions.SessionReport`.
    source_ : str
        Name of the source session, of several the first.
    sources_ : list of str
        Names of all source sessions.
    bin_size_ : float or None
        Width of the source's bins in seconds, where it was given.
    n_bins_ : int
        Bins per trial.
    n_components_ : int
        Number of latent dims.
    n_features_in_ : int
        Number of neurons of the source.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the source's neurons, if X had any.
    """

    # what a subclass may make a parameter
    init = "source"  # where the read-in of a target session starts
    n_starts = 200  # random starts of the geometry search, each way

    _min_trials = MIN_TRIALS

    # -- fitting -------------------------------------------------------------------
    @own_settings()
    def fit(self, X, y=None, *, conditions=None, bin_size=None):
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
        conditions : array-like of shape (n_trials,), default=None
            Condition of each trial, the direction say, for latent models that use it.
            Only those of the first source's trials are read.
        bin_size : float, default=None
            Width of a bin in seconds; sessions of other bins are then refused. `Trials`
            bring their own.

        Returns
        -------
        self : object
            Fitted aligner; what an earlier fit or adapt left is gone.

        Raises
        ------
        TypeError
            If the latent model lacks what `skerdiff.latent.LatentModel` promises, or a
            class of your own declares parameters that would be ignored.
        ValueError
            If X is ragged, empty, not finite or of one trial, or if y or conditions do
            not fit X, or if a source session cannot be aligned to the first. If a
            target session cannot be aligned; the source and the others are then there.
            After every other error, and every interrupt, the aligner is as it was
            before.
        """
        check_declared(type(self))
        self._validate_params()
        draft = draft_of(self)
        X = draft._fit(X, y, conditions, bin_size)
        readers, error = draft._adapt_all(X) if isinstance(X, Trials) else ({}, None)
        draft._store(readers)
        accept(self, draft)
        if error is not None:
            raise error
        return self

    def _fit(self, X, y, conditions, bin_size):
        """Learn the source sessions; returns X as it was checked."""
        X, form = self._check_X(X, reset=True, min_trials=2, targets_later=True)
        used = X.is_source if isinstance(X, Trials) else np.ones(len(X), dtype=bool)
        if y is not None:
            y = self._check_y(y, X, form, used)
        conditions = check_conditions(conditions, X, form)
        bin_size = self._check_bin_size(bin_size, X)
        self._data_fingerprint = fingerprint(X, y, conditions)
        source, sources = X, {"source": X}
        if isinstance(X, Trials):
            sources = {name: X[name] for name in X.sources if name in X.names}
            source, first = X[X.source], X.session == X.source
            y = None if y is None else y[first[used]]
            conditions = None if conditions is None else conditions[first]
        seed = draw_seed(self.random_state)
        # a relative path means the working directory of now, in adapt too
        self._memory = self.memory, locate(self.memory)
        model = self._configure(
            SequentialVAE() if self.latent_model is None else clone(self.latent_model),
            {"n_components": self.n_components},
            random_state=derive_seed(seed, "latent model"),
        )
        given = {} if conditions is None else {"conditions": conditions}
        model = self._once(
            fit_model, {"verbose": self.verbose}, model=model, X=source, y=y, **given
        )
        check_fitted(model, source)
        self.latent_model_ = model
        self.source_, *others = self.sources_ = list(sources)
        self.bin_size_ = bin_size
        self._seed = seed
        features = model.features(source)
        self._learn_source(features)
        self.n_bins_ = source.shape[1]
        self.n_components_ = self._n_features_out = self._latents.shape[2]
        reader = replace(self._reader(model.readin_), bin_size=bin_size)
        self.sessions_ = {self.source_: reader}
        for name in others:
            self._learn_more(name, sources[name])
        self._fit_source(features)
        return X

    def _learn_source(self, features, latents=None):
        """Take from the source what target sessions are compared with."""
        if latents is None:
            latents = self.latent_model_.encode(features)
            check_latents(self.latent_model_, latents, features)
        self._axes = principal_axes(features, min(GEOMETRY_DIMS, features.shape[2]))
        self._keep_source(
            features.dtype,
            project(features, *self._axes),
            self.latent_model_.activations(features),
            latents,
        )

    def _keep_source(self, dtype, *arrays):
        """Keep coordinates, activations and latents of all source trials."""
        # not more precisely than the recording: they are most of a saved model
        self._source_trials = tuple(a.astype(dtype, copy=False) for a in arrays)

    @property
    def _coordinates(self):
        return self._source_trials[0].astype(np.float64, copy=False)

    @property
    def _activations(self):
        return self._source_trials[1].astype(np.float64, copy=False)

    @property
    def _latents(self):
        return self._source_trials[2].astype(np.float64, copy=False)

    def _learn_more(self, name, X):
        """Align one more source session, and let its trials count as the source's."""
        self._check_alignable(X, name)
        features = self.latent_model_.features(X)
        seed = derive_seed(self._seed, "session", name)
        reader = self._start(features, seed, init="geometry")
        reader = self._report(reader, X, features, name)
        more = (
            reader.geometry(features),
            self.latent_model_.activations(features, reader.readin),
            reader.encode(features),
        )
        kept = self._source_trials
        both = [np.concatenate(pair) for pair in zip(kept, more, strict=True)]
        self._keep_source(kept[0].dtype, *both)
        reader = replace(reader, bin_size=self.bin_size_)
        self.sessions_ = {**self.sessions_, name: reader}

    def _configure(self, estimator, overrides, **params):
        """Set parameters of a model: what overrides its own, and what it may lack."""
        accepted = estimator.get_params(deep=False)
        for name, value in overrides.items():
            if value is not None and name not in accepted:
                raise ValueError(
                    f"{name}={value!r} overrides a parameter of "
                    f"{type(estimator).__name__}, which has none of that name; its "
                    f"parameters are {list(accepted)}. Leave {name} out."
                )
        params |= overrides
        params |= {"device": str(resolve_device(self.device))}
        return estimator.set_params(
            **{k: v for k, v in params.items() if v is not None and k in accepted}
        )

    def _once(self, func, unkeyed=None, **arguments):
        given, located = self._memory
        # set anew since fit, it is another
        memory = located if self.memory == given else self.memory
        return run_once(memory, func, arguments, unkeyed or {})

    def _fit_source(self, features):
        """Learn more about the source, if need be.

        Parameters
        ----------
        features : ndarray of shape (n_trials, n_bins, n_neurons)
            Features of the first source session. The latents of all source trials are
            in ``self._latents``.
        """

    # -- adapting ------------------------------------------------------------------
    @own_settings()
    def adapt(self, X, session="target", *, start=None, bin_size=None):
        """Align one more session, without labels, and store how it is read.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_neurons), Trials or 2-D array
            Activity of the session; as many bins as the source, any number of
            neurons. Of `Trials` every session but those of the source is adapted to,
            in order.
        session : str, default="target"
            Name of the session; one of that name is replaced, others stay. Not used for
            `Trials`, which name their sessions.
        start : str, default=None
            Name of a session of the same neurons that was adapted to before,
            yesterday's say: its alignment joins the search, and is followed unless
            another fits clearly better, with a warning if a different one fits better
            at all. ``"previous"`` is the one adapted last that has as many neurons; as
            long as there is none, there is the search alone.
        bin_size : float, default=None
            Width of a bin in seconds. It must be that of all sessions before, as far as
            it was given.

        Returns
        -------
        self : object
            The aligner, which takes arrays from now on as this session's.

        Raises
        ------
        NotFittedError
            If called before `fit`.
        ValueError
            If X is ragged, not finite, silent, of other bins than the source or has too
            few trials, if `session` names a source or is "previous", or if there is no
            such start, or no search that it could join. The sessions adapted to before
            are then as they were, and of `Trials` those that could be aligned are
            there too.
        TypeError
            If `session` or `start` is no name.
        """
        check_is_fitted(self)
        self._validate_params()
        if not isinstance(session, str):
            what = getattr(session, "shape", None)
            raise TypeError(
                "session, the second argument of adapt, is the session's name (str), "
                f"got {type(session).__name__}{f' of shape {what}' if what else ''}. "
                "Labels are not taken: leave them out."
            )
        self._check_start(start)
        names = feature_names(X)
        if start in self.sessions_:
            self._check_columns(names, start)
        elif start == PREVIOUS and not isinstance(X, Trials):
            start = self._previous(shape_of(X)[-1:], names)
        X, form = self._check_X(X, reset=False, any_width=True, targets_later=True)
        adapted = X.names if isinstance(X, Trials) else [session]
        others = [k for k in self.sessions_ if k in self.sources_ or k not in adapted]
        bin_size = self._check_bin_size(bin_size, X, others)
        if isinstance(X, Trials):
            if set(X.names) <= set(self.sources_):
                raise ValueError(
                    "adapt needs trials of a session other than the source "
                    f"{', '.join(map(repr, self.sources_))}, got {X!r}."
                )
            readers, error = self._adapt_all(X, start)
            self._store(readers)
            if error is not None:
                raise error
            return self
        session = check_name(session, "session")
        if session in self.sources_:
            raise ValueError(
                f"session={session!r} is the source session. Give the new session "
                "another name, or call fit to learn another source."
            )
        reader = self._align_checked(X, session, start, bin_size)
        self._store({session: replace(reader, feature_names=names)})
        return self

    def _adapt_all(self, X, start=None):
        """Readers of target sessions, and an error that names those that fail."""
        draft, readers = draft_of(self), {}  # the next may start from the one before
        names = [name for name in X.names if name not in self.sources_]
        failed = {}
        for name in names:
            try:
                activity = self._check_session(X[name], name)
                reader = draft._align_checked(activity, name, start, X.bin_size)
            except ValueError as error:
                failed[name] = error
            else:
                readers[name] = reader
                draft._store({name: reader})
        if not failed:
            return readers, None
        first = next(iter(failed.values()))
        if len(names) == 1:
            return readers, first
        aligned = [name for name in names if name not in failed]
        error = ValueError(
            f"{len(failed)} of {len(names)} sessions could not be aligned: "
            + " ".join(
                f"{error}" if repr(name) in str(error) else f"{name!r}: {error}"
                for name, error in failed.items()
            )
            + f" Aligned and stored: {aligned}."
        )
        error.__cause__ = first
        return readers, error

    def _store(self, readers):
        with _STORING.lock:  # another thread may have adapted meanwhile
            others = {k: r for k, r in self.sessions_.items() if k not in readers}
            self.sessions_ = {**others, **readers}  # those adapted last come last

    def _check_bin_size(self, bin_size, X, sessions=()):
        """Width of the bins of X; that of the sessions, where both are given."""
        if isinstance(X, Trials):
            if bin_size is not None:
                raise ValueError(
                    f"bin_size={bin_size!r}: Trials bring their own, bin_size="
                    f"{X.bin_size}. Leave it out."
                )
            bin_size = X.bin_size
        if bin_size is None:
            return None
        if not isinstance(bin_size, numbers.Real) or not 0 < bin_size < math.inf:
            raise ValueError(
                f"bin_size must be a positive number of seconds, got {bin_size!r}."
            )
        for name in sessions:
            expected = self.sessions_[name].bin_size
            if expected and not math.isclose(bin_size, expected, rel_tol=1e-6):
                raise ValueError(
                    f"bin_size={bin_size:g} s, but session {name!r} has bins of "
                    f"{expected:g} s. Count the spikes of the new session in bins of "
                    "that width."
                )
        return float(bin_size)

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

    def _align_checked(self, X, name, start=None, bin_size=None):
        self._check_alignable(X, name)
        start = self._find_start(start, X.shape[2])
        features = self.latent_model_.features(X)
        seed = derive_seed(self._seed, "session", name)
        reader = self._align(features, seed, start)
        reader = self._report(reader, X, features, name)
        return replace(reader, bin_size=bin_size)

    def _report(self, reader, X, features, name):
        """Complete the report of a session, and warn if its alignment is ambiguous."""
        reader = reader.with_report(**activity_report(X, reader.encode(features)))
        reasons = ambiguity_reasons(reader.report)
        if reasons:
            warn_caller(
                f"The alignment of session {name!r} is ambiguous: "
                f"{', and '.join(reasons)}. Add trials or movement directions, or "
                "check the result on a few labelled trials.",
                AmbiguousAlignmentWarning,
            )
        return reader

    @abstractmethod
    def _align(self, features, seed, start=None):
        """Find how a target session is read.

        Parameters
        ----------
        features : ndarray of shape (n_trials, n_bins, n_neurons)
            Its features, see `LatentModel.features`.
        seed : int
            Seed of this session.
        start : SessionReader or None
            Session of the same neurons, whose alignment joins the search.

        Returns
        -------
        reader : SessionReader
            The read-in and a report.
        """

    def _reader(self, readin, *, geometry=None, **report):
        """Reader of a session by the source's latent model."""
        return SessionReader(
            self.latent_model_, readin, SessionReport(**report), geometry=geometry
        )

    def _start(self, features, seed, start=None, init=None):
        """Reader from which a method starts.

        Parameters
        ----------
        features : ndarray of shape (n_trials, n_bins, n_neurons)
            Features of the target session.
        seed : int
            Seed of the search or the random weights.
        start : SessionReader, default=None
            Session of the same neurons, whose alignment joins the search.
        init : {"geometry", "source", "random"}, default=None
            Geometry warm start; the source's read-in column by column, missing neurons
            silent; or random weights of the source's size. None is this aligner's.

        Returns
        -------
        reader : SessionReader
            The start and its report.
        """
        init = self.init if init is None else init
        own = self.latent_model_.readin_
        if init == "source":
            return self._reader(source_readin(own, features.shape[2]), init=init)
        if init == "random":
            return self._reader(random_readin(own, features, seed), init=init)
        axes = principal_axes(features, self._coordinates.shape[2])
        n_starts = self.n_starts
        with progress_bar(self.verbose, 2 * n_starts, "geometry", "start") as progress:
            candidates = self._once(
                find_candidates,
                {"progress": progress},
                A=self._coordinates,
                B=project(features, *axes),
                n_starts=n_starts,
                seed=seed,
                start=None if start is None else start.geometry(features),
                guess=by_column(features, self._axes),
            )
        readin, geometry, report = readin_by_geometry(
            candidates, features, axes, self._coordinates, self._activations, start
        )
        return self._reader(readin, geometry=geometry, init=init, **report)

    def _check_start(self, start):
        """Whether there is such a start, and a search that it could join."""
        if start is None:
            return
        if not isinstance(start, str):
            raise TypeError(
                f"start must be the name of a session (str), {PREVIOUS!r} or None, got "
                f"{start!r}."
            )
        if self.init != "geometry":
            settable = "init" in self.get_params(deep=False)
            raise ValueError(
                f"start={start!r}: this {type(self).__name__} searches no geometry. "
                + ("Set init='geometry'." if settable else "Leave it out.")
            )
        usable = [k for k, r in self.sessions_.items() if r.geometry is not None]
        if start not in (PREVIOUS, *usable):
            raise ValueError(
                f"start={start!r} is no session whose geometry was searched; those are "
                f"{usable}."
            )

    def _find_start(self, start, n_neurons):
        """Reader from which the search of another session starts; None for none."""
        if start == PREVIOUS:
            start = self._previous((n_neurons,))
        reader = None if start is None else self.sessions_[start]
        if reader is not None and reader.n_neurons != n_neurons:
            raise ValueError(
                f"start={start!r}: this session has {reader.n_neurons} neurons, X "
                f"has {n_neurons}. A start must be of the same neurons."
            )
        return reader

    def _previous(self, width, names=None):
        """Name of the session adapted last that may have the same neurons, or None."""
        for name, reader in reversed(self.sessions_.items()):
            known = reader.feature_names if names is not None else None
            if (
                name not in self.sources_
                and reader.geometry is not None
                and (reader.n_neurons,) == width
                and (known is None or np.array_equal(known, names))
            ):
                return name
        return None

    # -- sessions ------------------------------------------------------------------
    @property
    def alignment_report_(self):
        """Report of each session but the first source."""
        return {k: r.report for k, r in self.sessions_.items() if k != self.source_}

    def forget(self, session):
        """Remove a session that was adapted to.

        Parameters
        ----------
        session : str
            Its name; not that of a source.

        Returns
        -------
        self : object
            The aligner.

        Raises
        ------
        NotFittedError
            If called before `fit`.
        ValueError
            If there is no such session, or if it is a source.
        """
        check_is_fitted(self)
        with _STORING.lock:
            self._find_reader(session)
            if session in self.sources_:
                raise ValueError(
                    f"session {session!r} is a source, of which the aligner has "
                    "learned. Call fit to learn another source."
                )
            self.sessions_ = {k: r for k, r in self.sessions_.items() if k != session}
        return self

    def rename(self, session, name):
        """Rename a session; the order of sessions stays.

        `Trials` must then call it by the new name; under the old one it is a session
        not met. Adapted to again under the new name, a session gets other random
        starts, for seeds follow from names.

        Parameters
        ----------
        session : str
            Its name.
        name : str
            The new name, which no other session has.

        Returns
        -------
        self : object
            The aligner.

        Raises
        ------
        NotFittedError
            If called before `fit`.
        TypeError
            If the new name is no string.
        ValueError
            If there is no such session, if another has that name, or if the name is
            "previous", which `adapt` takes as a start.
        """
        check_is_fitted(self)
        name = check_name(name, "name")
        with _STORING.lock:
            self._find_reader(session)
            if name != session and name in self.sessions_:
                raise ValueError(f"name={name!r} is the name of another session.")
            new = {k: name if k == session else k for k in self.sessions_}
            sources = [new[k] for k in self.sources_]
            # one step, which no interrupt divides
            vars(self).update(
                sessions_={new[k]: r for k, r in self.sessions_.items()},
                sources_=sources,
                source_=sources[0],
            )
        return self

    def _find_reader(self, session):
        if not isinstance(session, str):
            raise TypeError(
                f"session must be a name (str), got {type(session).__name__}; there "
                f"are {list(self.sessions_)}."
            )
        if session not in self.sessions_:
            raise ValueError(
                f"session {session!r} has not been adapted to; there are "
                f"{list(self.sessions_)}. Call adapt(X, session={session!r}) first."
            )
        return self.sessions_[session]

    def _check_array(self, X, name):
        """Check an array that belongs to a session, or to none that is there."""
        own = name is None or name == self.source_
        any_width = not own or len(shape_of(X)) == 3
        if not own:
            self._check_columns(feature_names(X), name)
        return self._check_X(X, reset=False, any_width=any_width)

    def _check_columns(self, names, session):
        """Raise if columns are known to be others than those of a session."""
        expected = self.sessions_[session].feature_names
        if expected is not None and names is not None:
            _check_names(names, expected, session)

    def _which(self, X, session):
        """Name of the session that an array belongs to; None if it fits none."""
        if session is not None:
            self._find_reader(session)
            return session
        shape = shape_of(X)
        width = shape[-1] if len(shape) > 1 else None
        recent = [k for k in reversed(self.sessions_) if k not in self.sources_]
        for name in (*recent, *self.sources_):
            if self.sessions_[name].n_neurons == width:
                return name
        return None

    def _reader_of(self, X, name):
        """How to read X: as a session that is there, or aligned on the fly."""
        if X.shape[1] != self.n_bins_:
            raise ValueError(
                f"X has {X.shape[1]} bins per trial, but {type(self).__name__} was "
                f"fitted on trials of {self.n_bins_} bins."
            )
        if name not in self.sessions_:
            return self._align_new(X, name)
        reader = self.sessions_[name]
        if X.shape[2] != reader.n_neurons:
            raise ValueError(
                f"X has {X.shape[2]} features (neurons), but session {name!r} has "
                f"{reader.n_neurons}. Call adapt to learn it anew."
            )
        return reader

    def _align_new(self, X, name):
        called = "An array" if name is None else f"Session {name!r}"
        widths = {k: r.n_neurons for k, r in self.sessions_.items()}
        what = f"of a session not met (its neurons: {X.shape[2]}; met: {widths})"
        if self.on_new_session == "raise":
            raise ValueError(
                f"{called} is {what}, and on_new_session='raise'. Call adapt(X) first."
            )
        warn_caller(
            f"{called} is {what}. It is aligned among the {len(X)} trials given and "
            "the result is not stored: call adapt to store it.",
            NewSessionWarning,
        )
        return self._align_checked(X, "target" if name is None else name)

    # -- using ---------------------------------------------------------------------
    @own_settings()
    def transform(self, X, session=None):
        """Aligned latents: posterior means in the source's latent space.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_neurons), Trials or 2-D array
            Activity.
        session : str, default=None
            Session of an array. By default the one adapted last whose width fits,
            else the source. A 3-D array that fits none, or a session of `Trials` that
            has not been adapted to, is aligned on the fly among the trials given, and
            nothing is stored. Not used for `Trials`, which name their sessions.

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
            session not met while ``on_new_session="raise"``.
        """
        check_is_fitted(self)
        if isinstance(X, Trials):
            X, form = self._check_X(X, reset=False)
            self._check_output(form)
            self._check_bin_size(None, X, self.sessions_)
            return X.map_items(lambda name, A: self._reader_of(A, name).transform(A))
        name = self._which(X, session)
        X, form = self._check_array(X, name)
        self._check_output(form)
        return form.restore(self._reader_of(X, name).transform(X))

    def fit_transform(self, X, y=None, **fit_params):
        """Fit and return the latents of X.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_neurons), Trials or 2-D array
            Activity, see `fit`.
        y : array-like of shape (n_trials, n_bins, n_outputs), default=None
            Behaviour of the source trials, see `fit`.
        **fit_params : dict
            ``conditions`` and ``bin_size``, see `fit`.

        Returns
        -------
        Z : ndarray of shape (n_trials, n_bins, n_components), Trials or 2-D ndarray
            Latents, in the form of the input.
        """
        return self.fit(X, y, **fit_params).transform(X)

    # -- judging, without labels -----------------------------------------------------
    @own_settings()
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
            - ``reader``: how the session is read, aligned on the fly if it is new;
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
            sources = {*self.sources_, *X.sources}
            names = [name for name in X.names if name not in sources]
            arrays = {name: X[name] for name in names or X.names}
        else:
            name = self._which(X, None)
            arrays = {name: self._check_array(X, name)[0]}
        found = {}
        for name, activity in arrays.items():
            reader = self._reader_of(activity, name)
            found["new session" if name is None else name] = Bunch(
                Z=self._latents,
                Z_target=reader.transform(activity),
                coordinates=self._coordinates,
                coordinates_target=principal_coordinates(
                    self.latent_model_.features(activity), self._coordinates.shape[2]
                ),
                activity=activity,
                reader=reader,
                report=reader.report,
            )
        return found

    @own_settings()
    def adapt_back(self, X, source, session=None):
        """Adapt the source to a target session, as if that were the source.

        The same method with the roles swapped: the aligned trials of X are what the
        source's activity is aligned to, with a read-in that starts anew.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_neurons)
            Activity of a target session that has been adapted to.
        source : array-like of shape (n_source_trials, n_bins, n_source_neurons)
            Activity of the first source session, which an aligner does not store.
        session : str, default=None
            Name of the target session; by default the one that `transform` would take.

        Returns
        -------
        Z : ndarray of shape (n_source_trials, n_bins, n_components)
            Latents of the source's trials after the round trip. Where the alignment is
            right in both directions they are those of `transform`.

        Raises
        ------
        NotFittedError
            If called before `fit`.
        ValueError
            If the session has not been adapted to, if `source` does not fit the source,
            or for what `adapt` raises.
        """
        check_is_fitted(self)
        name = self._which(X, session)
        if name is None:
            raise ValueError(
                f"X fits none of the sessions {list(self.sessions_)}. Call adapt(X) "
                "first."
            )
        X, _ = self._check_array(X, name)
        return self._lead_back(X, self._reader_of(X, name), source)

    def _lead_back(self, X, reader, source):
        _check_enough(X, "adapt_back")
        source, _ = self._check_array(source, self.source_)
        self._reader_of(source, self.source_)
        back = copy(self)
        back.latent_model_ = copy(self.latent_model_)
        back.latent_model_.readin_ = reader.readin
        features = self.latent_model_.features(X)
        back._learn_source(features, reader.encode(features))
        back._fit_source(features)
        features = self.latent_model_.features(source)
        found = back._align(features, derive_seed(self._seed, "back"))
        return found.encode(features)

    @own_settings()
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
        _check_enough(comparison.coordinates_target, "score")
        return self._once(
            rigid_partners,
            A=comparison.coordinates,
            B=comparison.coordinates_target,
            seed=derive_seed(self._seed, "score"),
        )

    @own_settings()
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


@aligner
class StartingAligner(BaseAligner):
    """Base of aligners that go on from a read-in of the user's choice.

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.
    """

    init: str = parameter(
        "geometry",
        [_INITS],
        """{"geometry", "source", "random"}, default="geometry"
        Where the target read-in starts: the geometry warm start (see
        `GeometryAligner`); the source's read-in column by column; or random weights.
        """,
    )
    n_starts: int = parameter(
        200,
        COUNT,
        """int, default=200
        Random starts of the geometry search, each way.
        """,
    )


def _check_names(names, expected, session):
    if np.array_equal(names, expected):
        return
    same = sorted(names) == sorted(expected)
    first = next((i for i, (a, b) in enumerate(zip(names, expected)) if a != b), None)
    raise ValueError(
        f"The columns of X are not those of session {session!r} as it was adapted to: "
        + ("their order is another" if same else "their names are others")
        + (f" (column {first} is {names[first]!r}, was {expected[first]!r})")
        * (first is not None)
        + ". Each column must be the neuron that it was then."
    )


def _check_enough(X, what):
    if len(X) < MIN_TRIALS:
        raise ValueError(
            f"{what} needs at least {MIN_TRIALS} trials per session, got {len(X)} "
            "sample(s)."
        )
