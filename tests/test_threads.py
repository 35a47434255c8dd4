"""One process, many threads: the same results, and limits that end with the last."""

import multiprocessing
import os
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from threadpoolctl import (
    OpenBLASController,
    ThreadpoolController,
    threadpool_info,
    threadpool_limits,
)

from skerdiff import ERDiffAligner, GeometryAligner, PerBinRegressor, adapt
from skerdiff.utils._threads import limit_threads
from tests.estimators import ALIGNERS, LINEAR, PRIOR, VAE, small_data

pytestmark = [
    pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning"),
    # Python 3.12 and newer: forking where there are threads is what is tested
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]
N_THREADS = 8
PIPE = make_pipeline(
    ERDiffAligner(VAE, PRIOR, n_starts=1, max_steps=3, random_state=0),
    PerBinRegressor(),
)


def in_threads(*tasks):
    """Results of functions that run at the same time."""
    barrier = threading.Barrier(len(tasks))

    def run(task):
        barrier.wait()
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(run, tasks))


def pools():
    return [pool["num_threads"] for pool in threadpool_info()]


def fit_and_use(aligner):
    X, y = small_data()
    target = small_data(n_neurons=8, seed=1)[0]
    return (
        clone(aligner).set_params(random_state=0).fit(X, y).adapt(target).transform(X)
    )


def test_fits_in_threads_give_what_they_give_one_by_one():
    aligners = ALIGNERS[:N_THREADS]
    expected = [fit_and_use(aligner) for aligner in aligners]
    before, filters = pools(), list(warnings.filters)
    found = in_threads(*(lambda a=a: fit_and_use(a) for a in aligners))
    for a, b in zip(found, expected, strict=True):
        assert_array_equal(a, b)
    assert pools() == before
    assert warnings.filters == filters


def test_the_random_numbers_of_another_thread_are_its_own():
    def draw():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            np.random.seed(0)
            return [(float(torch.rand(())), np.random.rand()) for _ in range(3000)]

    expected = draw()
    fits = [lambda: fit_and_use(ALIGNERS[0])] * 3
    assert in_threads(draw, *fits)[0] == expected


@pytest.fixture
def pipe():
    X, y = small_data()
    return adapt(clone(PIPE).fit(X, y), small_data(n_neurons=8, seed=1)[0])


def predict_both(pipe):
    return [pipe.predict(small_data(n_neurons=n, seed=n)[0]) for n in (6, 8)]


def assert_all_same(found, expected):
    for pair in found:
        for a, b in zip(pair, expected, strict=True):
            assert_array_equal(a, b)


def test_one_pipeline_is_used_by_threads(pipe):
    found = in_threads(*[lambda: predict_both(pipe)] * N_THREADS)
    assert_all_same(found, predict_both(pipe))


@pytest.mark.slow
def test_one_pipeline_is_used_by_processes(pipe):
    call = joblib.delayed(lambda pipe: [pipe.predict(A) for A in arrays])
    arrays = [small_data(n_neurons=n, seed=n)[0] for n in (6, 8)]
    found = joblib.Parallel(4)(call(pipe) for _ in range(8))
    assert_all_same(found, predict_both(pipe))


def test_threads_adapt_one_aligner_to_a_session_each():
    X, y = small_data()
    aligner = GeometryAligner(VAE, n_starts=1, random_state=0).fit(X, y)
    days = {f"day{n}": small_data(n_neurons=n, seed=n)[0] for n in range(7, 15)}
    alone = clone(aligner).fit(X, y)
    for name, A in days.items():
        alone.adapt(A, name)
    in_threads(*(lambda n=name: aligner.adapt(days[n], n) for name in days))
    assert set(aligner.sessions_) == {"source", *days}
    for name, A in days.items():
        assert_array_equal(aligner.transform(A, name), alone.transform(A, name))


def test_sessions_that_come_meanwhile_are_kept():
    """`rename` and `forget` lost what another thread had stored since they began."""
    X, y = small_data()
    aligner = GeometryAligner(LINEAR, n_starts=1, random_state=0).fit(X, y)
    reader, n = aligner.sessions_["source"], 300

    def come():
        for i in range(n):
            aligner._store({f"day{i}": reader})

    def change(i):
        aligner._store({f"own{i}": reader})
        for k in range(n):
            aligner.rename(f"own{i}", f"other{i}").rename(f"other{i}", f"own{i}")
            if k % 10 == 0:
                aligner.forget(f"own{i}")
                aligner._store({f"own{i}": reader})

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        in_threads(come, lambda: change(0), lambda: change(1))
    finally:
        sys.setswitchinterval(before)
    expected = {"source", "own0", "own1", *(f"day{i}" for i in range(n))}
    assert set(aligner.sessions_) == expected
    assert aligner.source_ == "source" and aligner.sources_ == ["source"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_child_can_fit_while_a_thread_of_its_parent_does():
    stop = threading.Event()

    def fit_on():
        while not stop.is_set():
            fit_and_use(ALIGNERS[0])

    thread = threading.Thread(target=fit_on)
    thread.start()
    context = multiprocessing.get_context("fork")
    try:
        for _ in range(5):
            child = context.Process(target=fit_and_use, args=(ALIGNERS[0],))
            child.start()
            child.join(60)
            code = child.exitcode
            child.kill()
            assert code == 0, "the child was stuck" if code is None else code
    finally:
        stop.set()
        thread.join()


# -- limits ----------------------------------------------------------------------------
def blas():
    found = threadpool_info()
    return {pool["num_threads"] for pool in found if pool["user_api"] == "blas"}


@pytest.fixture
def two_threads():
    """All pools have two threads, as if nobody had limited them."""
    before, everything = pools(), ThreadpoolController().lib_controllers
    for pool in everything:
        pool.set_num_threads(2)
    OpenBLASController.clear_controlling_thread()
    if blas() != {2}:
        pytest.skip("BLAS has one thread here")
    yield
    for pool, n_threads in zip(everything, before, strict=True):
        pool.set_num_threads(n_threads)
    OpenBLASController.clear_controlling_thread()


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("first, second", [(1, 1), (2, 1), (1, 2)])
def test_limits_of_threads_that_overlap_do_not_stay(first, second):
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with limit_threads(second):
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    with limit_threads(first):
        thread.start()
        inside.wait(60)
        assert blas() == {1}
    assert blas() == {second}
    leave.set()
    thread.join()
    assert blas() == {2}
    with limit_threads(1):  # and another thread can still set one
        assert in_threads(limited) == [{1}]
    assert in_threads(limited) == [{1}]


def limited():
    with limit_threads(1):
        return blas()


@pytest.mark.usefixtures("two_threads")
def test_limits_of_others_that_overlap_do_not_stay():
    with limit_threads(1), threadpool_limits(1):
        assert blas() == {1}
    assert blas() == {2}
    others = threadpool_limits(1, user_api="blas")
    with others:
        entered = limit_threads(1)
        entered.__enter__()
    assert blas() == {2}
    entered.__exit__(None, None, None)
    assert blas() == {2}


@pytest.mark.usefixtures("two_threads")
def test_fits_that_overlap_leave_the_number_of_threads():
    X, y = small_data()
    aligners = [GeometryAligner(LINEAR, n_starts=n, random_state=0) for n in (1, 9, 4)]
    for _ in range(3):
        in_threads(*(lambda a=a: clone(a).fit(X, y).adapt(X[::-1]) for a in aligners))
        assert blas() == {2}


@pytest.mark.usefixtures("two_threads")
def test_the_limit_of_one_thread_is_not_that_of_torch_in_another():
    def look():
        torch.get_num_threads()  # the first call of a thread sets it to the process's
        # all libraries that are loaded by now, not those that threadpoolctl remembers
        everything = ThreadpoolController()
        with everything.limit(limits={"openmp": 2}), limit_threads(2):
            return torch.get_num_threads()

    with limit_threads(1):
        assert in_threads(look) == [2]
        assert torch.get_num_threads() == 1


@pytest.mark.usefixtures("two_threads")
def test_limits_are_nested_and_never_raise_one():
    with limit_threads(1):
        with limit_threads(2):
            assert set(pools()) == {1}
        assert set(pools()) == {1}
    assert blas() == {2}
    with limit_threads(5):
        assert blas() == {2}
