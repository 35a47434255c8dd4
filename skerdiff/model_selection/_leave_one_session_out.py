"""One target session at a time."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers

from sklearn.utils import check_random_state

from ._base import TargetSplitter, check_flag


class LeaveOneSessionOut(TargetSplitter):
    """One target session at a time, so that there is a score per session.

    In split k the aligner learns the source session and adapts, without labels, to a
    part of target session k; the rest of that session is scored. The other target
    sessions are in neither part: sessions are adapted to each by itself, so they would
    change nothing.

    Parameters
    ----------
    test_size : float, default=0.5
        Share of the session's trials to score, between 0 and 1.
    shuffle : bool, default=True
        Whether to draw the trials to score at random; otherwise they are the last ones.
    random_state : int, RandomState instance or None, default=0
        Determines the shuffling.

    See Also
    --------
    TargetKFold : Pools the target sessions in every fold.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff import Trials
    >>> from skerdiff.model_selection import LeaveOneSessionOut
    >>> trials = Trials({f"day{k}": np.zeros((4, 2, 3 + k)) for k in range(3)})
    >>> for train, test in LeaveOneSessionOut(shuffle=False).split(trials):
    ...     print(train, test)
    [0 1 2 3 4 5] [6 7]
    [0 1 2 3 8 9] [10 11]
    """

    def __init__(self, test_size=0.5, *, shuffle=True, random_state=0):
        if not isinstance(test_size, numbers.Real) or not 0 < test_size < 1:
            raise ValueError(
                f"test_size must be a share between 0 and 1, got {test_size!r}."
            )
        check_flag("shuffle", shuffle)
        self.test_size = test_size
        self.shuffle = shuffle
        self.random_state = random_state

    def _split_targets(self, targets, groups):
        rng = check_random_state(self.random_state)
        for name, index in targets.items():
            if len(index) < 2:
                raise ValueError(
                    f"session {name!r} has 1 trial, of which none would be left to "
                    "adapt to."
                )
            order = rng.permutation(index) if self.shuffle else index
            n_test = min(max(1, round(self.test_size * len(index))), len(index) - 1)
            yield order[:-n_test], order[-n_test:]

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of target sessions.

        Parameters
        ----------
        X : Trials
            Sessions, the source and at least one more.
        y : Ignored
            Not used, present for API consistency.
        groups : Ignored
            Not used, present for API consistency.

        Returns
        -------
        n_splits : int
            Number of target sessions.
        """
        return len(self._targets(X))
