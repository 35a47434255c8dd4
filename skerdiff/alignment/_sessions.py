"""Which of the sessions that an aligner knows an array belongs to."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import warnings

from ..base import _as_array
from ..exceptions import NewSessionWarning


class SessionsMixin:
    """Finds the session of an array, or aligns it on the fly."""

    def _known_start(self, start, n_neurons):
        """Session known, from which the search of another may start."""
        if start is None:
            return None
        name = self._last if start == "previous" else start
        if start == "previous" and name in self.sources_:
            return None
        if name not in self.sessions_:
            raise ValueError(
                f"start={start!r} is not known; known are {list(self.sessions_)}."
            )
        session = self.sessions_[name]
        if session.rigid is None:
            raise ValueError(
                f"start={start!r}: no geometry was searched for session {name!r}. "
                "Name a target session that an aligner with init='geometry' adapted "
                "to."
            )
        if session.n_neurons != n_neurons:
            raise ValueError(
                f"start={start!r}: session {name!r} has {session.n_neurons} neurons, X "
                f"has {n_neurons}. A start must be of the same neurons."
            )
        return session

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


def _shape(X):
    shape = getattr(X, "shape", None)
    return _as_array(X).shape if shape is None else shape
