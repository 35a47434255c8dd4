"""The trials that are scored are those adapted to."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np

from ._base import TargetSplitter


class TransductiveSplit(TargetSplitter):
    """Adapt to the very trials that are scored. Not an estimate for new trials.

    The training part holds the source alone, so that `predict` and `transform` align
    the target session on the fly among the trials of the test part, with a
    `NewSessionWarning` each time. No label is read, and training and test trials do not
    overlap; but the trials that are scored are those that the alignment was found with.
    A result got this way must be called transductive wherever it stands:
    it is what a day's recording gives when it is decoded as a whole, afterwards.

    See Also
    --------
    TargetKFold : Scores trials that were not adapted to.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff import Trials
    >>> from skerdiff.model_selection import TransductiveSplit
    >>> trials = Trials({"day0": np.zeros((2, 2, 3)), "day1": np.zeros((2, 2, 5))})
    >>> for train, test in TransductiveSplit().split(trials):
    ...     print(train, test)
    [0 1] [2 3]
    """

    n_splits = 1

    def _split_targets(self, targets, groups):
        yield np.zeros(0, dtype=int), np.concatenate(list(targets.values()))
