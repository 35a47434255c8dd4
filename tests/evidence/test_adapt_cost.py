"""Cost of adapting as sessions grow."""

import pytest

from benchmarks.adapt_cost import cost_table, measure


@pytest.mark.slow
def test_time_and_memory_of_a_small_session():
    table = cost_table([(20, 12)], ["GeometryAligner"])
    assert list(table.frame) == ["trials", "neurons"] + [
        f"GeometryAligner: {unit}" for unit in ("s", "GB")
    ]
    ((n_trials, n_neurons, seconds, memory),) = table.frame.to_numpy()
    assert (n_trials, n_neurons) == ("20", "12")
    assert float(seconds) > 0
    assert 0.1 < float(memory) < 4


def test_a_run_that_fails_says_why():
    with pytest.raises(
        RuntimeError, match="NoAligner on 20 trials of 12 .*exit status 1"
    ):
        measure("NoAligner", 20, 12)


@pytest.mark.slow
def test_memory_does_not_grow_faster_than_the_session():
    # 5,000 trials of 1,000 neurons, 0.8 GB, must fit into 4: a tenth of them here
    _, small = measure("GeometryAligner", 100, 100)
    _, large = measure("GeometryAligner", 5000, 100)
    data = 5000 * 20 * 100 * 8
    assert large - small < 5 * data
