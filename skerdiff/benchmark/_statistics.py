"""Means, spreads, paired differences and ranks over seeds."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from scipy.stats import rankdata

N_RESAMPLES = 9999


def spread(values):
    """Standard deviation; not a number for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def paired_difference(values, others, level=0.95):
    """Mean of paired differences, with a bootstrap interval over pairs.

    Parameters
    ----------
    values, others : dict
        Values by pair, a seed for example; pairs that one of them lacks are left out.
    level : float, default=0.95
        Confidence level.

    Returns
    -------
    mean, low, high : float
        Mean of ``values - others`` and the ends of the percentile interval; not a
        number where there is nothing to compute them from. The interval speaks of other
        seeds on the same recording, not of other recordings.
    """
    pairs = sorted(values.keys() & others.keys())
    found = np.array([values[pair] - others[pair] for pair in pairs])
    if len(found) == 0:
        return np.nan, np.nan, np.nan
    if len(found) == 1 or np.ptp(found) == 0:
        ends = (np.nan, np.nan) if len(found) == 1 else (found[0], found[0])
        return float(found.mean()), *map(float, ends)
    # SciPy's bootstrap, but for the name of its generator, which changed in 1.15
    drawn = np.random.default_rng(0).choice(found, (N_RESAMPLES, len(found)))
    tail = (1 - level) / 2
    low, high = np.quantile(drawn.mean(1), [tail, 1 - tail])
    return float(found.mean()), float(low), float(high)


def mean_ranks(table):
    """Mean rank of each method over seeds; 1 is the best.

    Parameters
    ----------
    table : dict of str to dict
        Score of each method by seed, higher is better.

    Returns
    -------
    ranks : dict of str to float
        Over the seeds that all methods have; ties share their mean rank.
    """
    names = list(table)
    shared = sorted(set.intersection(*(set(scores) for scores in table.values())))
    if not shared:
        return dict.fromkeys(names, np.nan)
    scores = np.array([[-table[name][seed] for seed in shared] for name in names])
    return dict(zip(names, rankdata(scores, axis=0).mean(1).tolist()))
