"""Which of the sessions that an aligner knows an array belongs to."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from ..base import _as_array
from ..exceptions import NewSessionWarning
from ..utils._warnings import warn_caller

PREVIOUS = "previous"


class SessionsMixin:
    """Finds the session of an array, or aligns it on the fly."""

    def _check_start(self, start):
        """Whether there is such a start, and a search that it could join."""
        if start is None:
            return
        if not isinstance(start, str):
            raise TypeError(
                f"start must be the name of a session (str), {PREVIOUS!r} or None, got "
                f"{start!r}."
            )
        searches = hasattr(self, "n_starts")
        if not searches or getattr(self, "init", "geometry") != "geometry":
            raise ValueError(
                f"start={start!r}: this {type(self).__name__} searches no geometry. "
                + ("Set init='geometry'." if searches else "Leave it out.")
            )
        usable = [name for name, s in self.sessions_.items() if s.rigid is not None]
        if start not in (PREVIOUS, *usable):
            raise ValueError(
                f"start={start!r} is no session whose geometry was searched; those are "
                f"{usable}."
            )

    def _known_start(self, start, n_neurons):
        """Session from which the search of another may start; None if there is none."""
        if start == PREVIOUS:
            return next(
                (
                    session
                    for name, session in reversed(self.sessions_.items())
                    if name not in self.sources_
                    and session.rigid is not None
                    and session.n_neurons == n_neurons
                ),
                None,
            )
        session = None if start is None else self.sessions_[start]
        if session is not None and session.n_neurons != n_neurons:
            raise ValueError(
                f"start={start!r}: this session has {session.n_neurons} neurons, X "
                f"has {n_neurons}. A start must be of the same neurons."
            )
        return session

    def _forget(self):
        """Undo a fit that failed."""
        for name in [k for k in vars(self) if k.endswith("_") and k[0] != "_"]:
            delattr(self, name)

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
        recent = [k for k in reversed(self.sessions_) if k not in self.sources_]
        for name in (*recent, *self.sources_):
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
        warn_caller(
            f"{called} is {known}. It is aligned among the {len(X)} trials given and "
            "the result is not stored: call adapt to keep it.",
            NewSessionWarning,
        )
        return self._align_checked(X, "target" if name is None else name)


def _shape(X):
    shape = getattr(X, "shape", None)
    return _as_array(X).shape if shape is None else shape
