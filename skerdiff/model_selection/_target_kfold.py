"""Folds of target trials."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils import check_random_state

from ._base import TargetSplitter, check_flag, check_integer


class TargetKFold(TargetSplitter):
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

    See Also
    --------
    CalibrationSplit : Adapts to the first few trials of a day.
    LeaveOneSessionOut : One split per target session.

    Notes
    -----
    Every fold holds each movement direction in the same share if the directions are
    given as ``groups``: ``cross_val_score(pipe, trials, y, groups=direction, cv=...)``,
    with metadata routing ``params={"groups": direction}``. They shape the folds only;
    those of source trials are not read.

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

    # as sklearn.model_selection.GroupKFold: taken where they are given
    __metadata_request__split = {"groups": True}

    def __init__(self, n_splits=5, *, shuffle=True, random_state=0):
        check_integer("n_splits", n_splits, 2)
        check_flag("shuffle", shuffle)
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
        groups : array-like of shape (n_trials,), default=None
            Movement direction of each trial. Folds are stratified by it.

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
            If there is no source or target session, if a session has fewer trials than
            folds, or if `groups` does not fit X.
        """
        yield from super().split(X, y, groups)

    def _split_targets(self, targets, groups):
        rng = check_random_state(self.random_state)
        kind = KFold if groups is None else StratifiedKFold
        folds = []
        for name, index in targets.items():
            if len(index) < self.n_splits:
                raise ValueError(
                    f"n_splits={self.n_splits} is more than the {len(index)} trials of "
                    f"session {name!r}."
                )
            kfold = kind(
                self.n_splits,
                shuffle=self.shuffle,
                random_state=rng if self.shuffle else None,
            )
            label = None if groups is None else groups[index].astype(str)
            folds.append([index[test] for _, test in kfold.split(index, label)])
        everything = np.concatenate(list(targets.values()))
        for parts in zip(*folds, strict=True):
            test = np.concatenate(parts)
            yield np.setdiff1d(everything, test), test
