"""What all splitters share: they train on the source and test on targets."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers
from abc import abstractmethod

import numpy as np
from sklearn.model_selection import BaseCrossValidator

from ..trials import Trials


class TargetSplitter(BaseCrossValidator):
    """Base of splitters whose test parts hold target trials only.

    The trials of the source come first in each training part, so that a prefix of it,
    as `sklearn.model_selection.learning_curve` takes, has the source and some target
    trials.
    """

    def split(self, X, y=None, groups=None):
        """Generate indices of training and test trials.

        Parameters
        ----------
        X : Trials
            Sessions, the source and at least one more.
        y : Ignored
            Labels are never read.
        groups : Ignored
            Not used, present for API consistency.

        Yields
        ------
        train : ndarray
            Indices of all source trials and of the target trials to adapt to.
        test : ndarray
            Indices of the target trials to score.

        Raises
        ------
        TypeError
            If X is not `Trials`.
        ValueError
            If there is no source or target session, or if a session has too few trials.
        """
        targets = self._targets(X)
        source = np.flatnonzero(X.is_source)
        groups = _check_groups(groups, X)
        for train, test in self._split_targets(targets, groups):
            yield np.concatenate([source, np.sort(train)]), np.sort(test)

    @abstractmethod
    def _split_targets(self, targets, groups):
        """Generate indices of target trials to adapt to and to score.

        Parameters
        ----------
        targets : dict of str to ndarray
            Indices of the trials of each target session.
        groups : array-like or None
            As given to `split`.
        """

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of splits.

        Parameters
        ----------
        X : Ignored
            Not used, present for API consistency.
        y : Ignored
            Not used, present for API consistency.
        groups : Ignored
            Not used, present for API consistency.

        Returns
        -------
        n_splits : int
            Number of splits.
        """
        return self.n_splits

    def _targets(self, X):
        name = type(self).__name__
        if not isinstance(X, Trials):
            raise TypeError(
                f"{name} splits skerdiff.Trials, which name the session of each "
                f"trial; got {type(X).__name__}."
            )
        targets = [session for session in X.names if session not in X.sources]
        if not targets:
            raise ValueError(
                f"{name} needs a session other than the source {X.source!r}, got {X!r}."
            )
        if X.source not in X.names:
            raise ValueError(
                f"{name} needs trials of the source {X.source!r}, got {X!r}."
            )
        return {session: np.flatnonzero(X.session == session) for session in targets}


def check_integer(name, value, least):
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < least:
        raise ValueError(
            f"{name} must be an integer of at least {least}, got {value!r}."
        )


def check_flag(name, value):
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}.")


def _check_groups(groups, X):
    if groups is None:
        return None
    groups = np.asarray(groups)
    if groups.shape != (len(X),):
        raise ValueError(
            "groups must hold the movement direction of each of the "
            f"{len(X)} trials, got an array of shape {groups.shape}."
        )
    return groups
