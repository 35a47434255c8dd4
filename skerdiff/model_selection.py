"""Cross-validation across sessions."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers

import numpy as np
from sklearn.model_selection import BaseCrossValidator, KFold
from sklearn.utils import check_random_state

from .trials import Trials

__all__ = ["TargetKFold"]


class TargetKFold(BaseCrossValidator):
    """Folds of target trials; all source trials are always for training.

    In each split the aligner learns the source session and adapts to the target
    trials of the training part, without labels, and the score is that of the target
    trials left out. Sessions are split each by itself, so that every fold holds trials
    of every target session.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=True
        Whether to shuffle the trials of a session before folding them. Recordings
        often come sorted by movement direction: then folds without shuffling leave out
        whole directions.
    random_state : int, RandomState instance or None, default=0
        Determines the shuffling. The default is a number, so that all estimators of a
        search see the same folds.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff import Trials
    >>> from skerdiff.model_selection import TargetKFold
    >>> trials = Trials({"day0": np.zeros((4, 2, 3)), "day1": np.zeros((4, 2, 5))})
    >>> for train, test in TargetKFold(2, shuffle=False).split(trials):
    ...     print(train, test)
    [0 1 2 3 6 7] [4 5]
    [0 1 2 3 4 5] [6 7]
    """

    def __init__(self, n_splits=5, *, shuffle=True, random_state=0):
        if not isinstance(n_splits, numbers.Integral) or n_splits < 2:
            raise ValueError(
                f"n_splits must be an integer of at least 2, got {n_splits!r}."
            )
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

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
            Indices of all source trials and of the target trials of the other folds.
        test : ndarray
            Indices of the target trials of this fold.

        Raises
        ------
        TypeError
            If X is not `Trials`.
        ValueError
            If there is no target session, or if one has fewer trials than folds.
        """
        if not isinstance(X, Trials):
            raise TypeError(
                "TargetKFold splits skerdiff.Trials, which know the session of each "
                f"trial; got {type(X).__name__}."
            )
        session = X.session
        targets = [name for name in X.names if name != X.source]
        if not targets:
            raise ValueError(
                f"TargetKFold needs a session other than the source {X.source!r}, got "
                f"{X!r}."
            )
        rng = check_random_state(self.random_state)
        fold = np.full(len(X), -1)
        for name in targets:
            index = np.flatnonzero(session == name)
            if len(index) < self.n_splits:
                raise ValueError(
                    f"n_splits={self.n_splits} is more than the {len(index)} trials of "
                    f"session {name!r}."
                )
            kfold = KFold(
                self.n_splits,
                shuffle=self.shuffle,
                random_state=rng if self.shuffle else None,
            )
            for k, (_, test) in enumerate(kfold.split(index)):
                fold[index[test]] = k
        for k in range(self.n_splits):
            yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds.

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
            Number of folds.
        """
        return self.n_splits
