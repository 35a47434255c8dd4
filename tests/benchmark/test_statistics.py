"""Summaries over seeds."""

import numpy as np
import pandas as pd
import pytest

from skerdiff.benchmark._tables import mean_ranks, summary
from skerdiff.benchmark._tables import paired_difference as difference_of_series


def paired_difference(values, others):
    return difference_of_series(pd.Series(values), pd.Series(others))


def test_paired_differences_are_over_shared_seeds():
    a, b = {0: 1.0, 1: 2.0, 2: 9.0}, {0: 0.5, 1: 1.0, 3: 7.0}
    mean, low, high = paired_difference(a, b)
    assert mean == pytest.approx(0.75)
    assert 0.5 <= low <= mean <= high <= 1.0


def test_the_interval_holds_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(100):
        drawn = dict(enumerate(rng.standard_normal(30) + 1))
        _, low, high = paired_difference(drawn, dict.fromkeys(drawn, 0.0))
        hits += low <= 1 <= high
    assert 86 <= hits <= 99


def test_few_or_equal_differences():
    assert np.isnan(paired_difference({0: 1.0}, {1: 1.0})).all()
    mean, low, high = paired_difference({0: 1.5}, {0: 1.0})
    assert mean == 0.5 and np.isnan([low, high]).all()
    assert paired_difference({0: 1.0, 1: 2.0}, {0: 0.0, 1: 1.0}) == (1.0, 1.0, 1.0)


def test_ranks_share_ties_and_skip_seeds_that_one_lacks():
    table = pd.DataFrame(
        {
            "a": {0: 0.9, 1: 0.5, 2: 0.0},
            "b": {0: 0.9, 1: 0.7},
            "c": {0: 0.1, 1: 0.2},
        }
    )
    assert mean_ranks(table).to_dict() == {"a": 1.75, "b": 1.25, "c": 3.0}
    apart = pd.DataFrame({"a": {0: 1.0}, "b": {1: 1.0}})
    assert mean_ranks(apart).isna().all()


def test_the_spread_is_that_of_a_sample_and_unknown_of_one_value():
    assert summary([3.0], digits=1) == "3.0"
    assert summary([1.0, 3.0, np.nan], digits=4) == "2.0000 ± 1.4142 [1.0000]"
