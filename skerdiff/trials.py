"""Sessions of different width in one container that scikit-learn can slice."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers
from collections.abc import Mapping

import numpy as np

from .utils._arrays import as_array
from .utils._names import check_name

__all__ = ["Trials"]


class Trials:
    """Trials of one or more sessions, sliceable as one list of samples.

    Sessions record other neurons and so have arrays of another width, which no
    single array can hold. `Trials` keeps one array per session and behaves as a
    one-dimensional sequence of trials: it has a length, a ``shape`` of
    ``(n_trials,)`` and can be indexed by integers, masks and slices. That is all
    that scikit-learn's splitters, `cross_val_score` and `GridSearchCV` ask for.

    Parameters
    ----------
    sessions : mapping of str to array-like of shape (n_trials, n_bins, n_neurons)
        The activity of each session. The number of neurons may differ between
        sessions, the number of bins may not. The trials are numbered in the order
        of the mapping.
    source : str or list of str, default=None
        Name of the source session, on which models and decoders are fitted.
        By default the first session. Of several the first is the reference, whose
        latents the others are aligned to; behaviour is known for all of them, and
        decoders are fitted on all.
    bin_size : float, default=None
        Width of a bin in seconds, the same in all sessions. Aligners refuse sessions
        whose bins are not the source's, where both are given.

    Attributes
    ----------
    session : ndarray of shape (n_trials,)
        Name of the session of each trial.
    source : str
        Name of the source session, of several the first. Slices keep it, also when
        they hold none of its trials.
    sources : list of str
        Names of all source sessions.
    names : list of str
        Names of the sessions that have trials here, in order of first appearance.
    shape : tuple
        ``(n_trials,)``.
    bin_size : float or None
        Width of a bin in seconds.

    Raises
    ------
    TypeError
        If `sessions` is not a mapping, or if a name is no str.
    ValueError
        If a session holds anything but numbers, is not three-dimensional, is empty or
        ragged, or has another number of bins than the first; if a name is empty or
        "previous"; if `source` is empty, names a session twice or one that is not among
        the names; or if `bin_size` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff import Trials
    >>> trials = Trials({"day0": np.zeros((3, 5, 7)), "day1": np.ones((2, 5, 4))})
    >>> trials
    Trials(day0: 3 x 5 x 7 [source], day1: 2 x 5 x 4)
    >>> trials[[0, 4]]["day1"].shape
    (1, 5, 4)
    """

    ndim = 1

    def __init__(self, sessions, source=None, *, bin_size=None):
        if not isinstance(sessions, Mapping):
            raise TypeError(
                "Trials takes a mapping of session names to 3-D arrays, got "
                f"{type(sessions).__name__}. Write Trials({{'day0': X0, 'day1': X1}})."
            )
        if not sessions:
            raise ValueError("Trials needs at least one session, got an empty mapping.")
        arrays = {
            check_name(name, "the name of a session"): _as_session(name, X)
            for name, X in sessions.items()
        }
        bins = {name: X.shape[1] for name, X in arrays.items()}
        if len(set(bins.values())) > 1:
            raise ValueError(
                f"All sessions must have the same number of bins, got {bins}. Bring "
                "them to one length with skerdiff.preprocessing.warp_trials."
            )
        if bin_size is not None and not _is_width(bin_size):
            raise ValueError(
                f"bin_size must be a positive number of seconds, got {bin_size!r}."
            )
        names = list(arrays)
        counts = [len(arrays[name]) for name in names]
        self._set(
            arrays,
            _as_sources(source, names),
            np.repeat(np.arange(len(names)), counts),
            np.concatenate([np.arange(n) for n in counts]),
            None if bin_size is None else float(bin_size),
        )

    def _set(self, arrays, sources, code, row, bin_size):
        # code: index of the session of each trial; row: its row in that array
        self._arrays = arrays
        self.sources = sources
        self._code = code
        self._row = row
        self.bin_size = bin_size

    # -- a sequence of trials ------------------------------------------------------
    def __len__(self):
        return len(self._code)

    @property
    def shape(self):
        """Shape as scikit-learn sees it, ``(n_trials,)``."""
        return (len(self),)

    @property
    def session(self):
        """Name of the session of each trial."""
        return np.array(list(self._arrays), dtype=str)[self._code]

    @property
    def names(self):
        """Names of the sessions that have trials here."""
        every = list(self._arrays)
        return [every[code] for code in dict.fromkeys(self._code.tolist())]

    @property
    def n_bins(self):
        """Number of bins per trial."""
        return next(iter(self._arrays.values())).shape[1]

    @property
    def source(self):
        """Name of the source session, of several the first."""
        return self.sources[0]

    @property
    def is_source(self):
        """Mask of the trials of all source sessions, shape (n_trials,)."""
        return np.isin(self.session, self.sources)

    def __getitem__(self, key):
        if isinstance(key, str):
            return self._session_array(key)
        if isinstance(key, tuple):
            if len(key) != 2 or key[1] not in (Ellipsis, slice(None)):
                raise IndexError(
                    "Trials are indexed along trials only; take an array with "
                    f"trials[name] to index bins and neurons. Got {key!r}."
                )
            key = key[0]
        if not isinstance(key, slice):
            key = np.asarray(key)
            if key.ndim == 0 and key.dtype.kind in "iu":
                return self._trial(int(key))
            if key.dtype == bool and key.shape != self.shape:
                raise IndexError(
                    f"a mask of shape {key.shape} does not fit {len(self)} trials."
                )
            if key.size == 0:
                key = key.astype(int)
            if key.ndim != 1 or key.dtype.kind not in "iub":
                raise IndexError(
                    "Trials are indexed by an integer, a slice, or a one-dimensional "
                    f"sequence of integers or mask, got {key!r}."
                )
        return self._like(self._arrays, self.sources, self._code[key], self._row[key])

    def _trial(self, i):
        if not -len(self) <= i < len(self):
            raise IndexError(f"trial {i} is out of range for {len(self)} trials.")
        return self._arrays[list(self._arrays)[self._code[i]]][self._row[i]]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def _session_array(self, name):
        names = list(self._arrays)
        if name not in names:
            raise KeyError(f"no session {name!r}; the sessions are {names}.")
        return self._arrays[name][self._row[self._code == names.index(name)]]

    # -- sessions ------------------------------------------------------------------
    def items(self):
        """Iterate over the sessions that have trials here.

        Yields
        ------
        name : str
            Name of the session.
        X : ndarray of shape (n_trials, n_bins, n_neurons)
            Its trials.
        """
        for name in self.names:
            yield name, self._session_array(name)

    def map(self, func):
        """Apply a function to the array of each session.

        Parameters
        ----------
        func : callable
            Takes an array of shape (n_trials, n_bins, n_neurons) and returns an
            array with as many trials.

        Returns
        -------
        trials : Trials
            The results, trials in the same order, with the same source.
        """
        return self.map_items(lambda name, X: func(X))

    def map_items(self, func):
        """Apply a function of session name and array to each session.

        Parameters
        ----------
        func : callable
            Takes the name and the array of a session and returns an array with as
            many trials.

        Returns
        -------
        trials : Trials
            The results, trials in the same order, with the same source.
        """
        every = list(self._arrays)
        arrays, code, row = {}, np.empty_like(self._code), np.empty_like(self._row)
        for i, name in enumerate(self.names):
            mine = self._code == every.index(name)
            result = np.asarray(func(name, self._session_array(name)))
            if len(result) != mine.sum():
                raise ValueError(
                    f"the function returned {len(result)} trials for the "
                    f"{mine.sum()} trials of session {name!r}."
                )
            arrays[name] = result
            code[mine] = i
            row[mine] = np.arange(mine.sum())
        return self._like(arrays, self.sources, code, row)

    def with_source(self, source):
        """Give the same trials with another source session.

        Parameters
        ----------
        source : str or list of str
            Name of the new source session, or names of several.

        Returns
        -------
        trials : Trials
            The same trials, `source` renamed.
        """
        sources = _as_sources(source, list(self._arrays))
        return self._like(self._arrays, sources, self._code, self._row)

    def to_array(self):
        """Stack the trials in their order, where all sessions are of one width.

        Returns
        -------
        X : ndarray of shape (n_trials, n_bins, n_features)
            The trials. Latents and predictions can always be stacked, activity
            only where every session has as many neurons.
        """
        widths = {name: X.shape[2:] for name, X in self.items()}
        if len(set(widths.values())) > 1:
            raise ValueError(
                f"sessions of different width cannot be stacked, got {widths}."
            )
        if not len(self):
            return np.empty((0, self.n_bins, 0))
        arrays = list(self.items())
        out = np.empty(
            (len(self), *arrays[0][1].shape[1:]),
            dtype=np.result_type(*(X.dtype for _, X in arrays)),
        )
        session = self.session
        for name, X in arrays:
            out[session == name] = X
        return out

    # -- plumbing ------------------------------------------------------------------
    def _like(self, *parts):
        """Other trials in bins of the same width."""
        out = object.__new__(type(self))
        out._set(*parts, self.bin_size)
        return out

    def __getstate__(self):
        # a slice takes along its own trials only (workers get small pickles)
        here = self.map(lambda X: X) if len(self) else self
        return dict(
            zip(("arrays", "sources", "code", "row", "bin_size"), here._parts())
        )

    def __setstate__(self, state):
        self._set(**state)

    def _parts(self):
        return self._arrays, self.sources, self._code, self._row, self.bin_size

    def __repr__(self):
        parts = [
            f"{name}: {' x '.join(map(str, X.shape))}"
            + (" [source]" if name in self.sources else "")
            for name, X in self.items()
        ]
        return f"Trials({', '.join(parts) or 'no trials'})"


def _as_sources(source, names):
    """Names of the source sessions, checked."""
    if source is None:
        return names[:1]
    several = isinstance(source, list | tuple | np.ndarray)
    sources = [check_name(name, "source") for name in (source if several else [source])]
    if not sources:
        raise ValueError("source names no session, at least one is needed.")
    unknown = [name for name in sources if name not in names]
    if unknown:
        raise ValueError(
            f"source={source!r} is not among the sessions {names}."
            if isinstance(source, str)
            else f"source names {unknown}, which are not among the sessions {names}."
        )
    if len(set(sources)) < len(sources):
        raise ValueError(f"source={source!r} names a session twice.")
    return sources


def _as_session(name, X):
    """Array of one session, numbers, three-dimensional and not empty."""
    X = as_array(X, f"session {name!r}")
    if X.dtype == object:
        try:
            X = X.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"session {name!r} holds objects that are no numbers: {error}"
            ) from error
    if X.ndim != 3 or 0 in X.shape:
        raise ValueError(
            f"session {name!r} must be a non-empty array of shape (n_trials, n_bins, "
            f"n_neurons), got shape {X.shape}."
        )
    return X


def _is_width(bin_size):
    return isinstance(bin_size, numbers.Real) and 0 < bin_size < np.inf
