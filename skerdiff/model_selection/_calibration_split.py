"""A few target trials to adapt to, the rest to score."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.utils import check_random_state

from ._base import TargetSplitter, check_integer


class CalibrationSplit(TargetSplitter):
    """Adapt to a few target trials, score the rest.

    What a new day costs: the aligner learns the source session, adapts without labels
    to `n_calibration` trials of each target session, and is scored on all others.

    Parameters
    ----------
    n_calibration : int, default=32
        Trials of each target session to adapt to.
    n_splits : int, default=1
        Number of draws; more than one needs ``shuffle=True``.
    shuffle : bool, default=False
        Whether to draw the calibration trials at random. By default they are the first
        of their session, as they would be on the day. In a recording sorted by movement
        direction the first trials are all of one direction: shuffle it.
    random_state : int, RandomState instance or None, default=0
        Determines the shuffling.

    See Also
    --------
    TargetKFold : Adapts to most of the target trials.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff import Trials
    >>> from skerdiff.model_selection import CalibrationSplit
    >>> trials = Trials({"day0": np.zeros((4, 2, 3)), "day1": np.zeros((4, 2, 5))})
    >>> for train, test in CalibrationSplit(1).split(trials):
    ...     print(train, test)
    [0 1 2 3 4] [5 6 7]
    """

    def __init__(self, n_calibration=32, *, n_splits=1, shuffle=False, random_state=0):
        check_integer("n_calibration", n_calibration, 1)
        check_integer("n_splits", n_splits, 1)
        if n_splits > 1 and not shuffle:
            raise ValueError(
                f"n_splits={n_splits} would repeat the same split: the first "
                "n_calibration trials are always the same. Set shuffle=True."
            )
        self.n_calibration = n_calibration
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    def _split_targets(self, targets, groups):
        rng = check_random_state(self.random_state)
        for name, index in targets.items():
            if len(index) <= self.n_calibration:
                raise ValueError(
                    f"n_calibration={self.n_calibration} leaves none of the "
                    f"{len(index)} trials of session {name!r} to score."
                )
        for _ in range(self.n_splits):
            orders = [
                rng.permutation(index) if self.shuffle else index
                for index in targets.values()
            ]
            yield (
                np.concatenate([order[: self.n_calibration] for order in orders]),
                np.concatenate([order[self.n_calibration :] for order in orders]),
            )
