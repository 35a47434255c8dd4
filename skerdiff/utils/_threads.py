"""Limits of the threads that libraries compute with."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from contextlib import contextmanager
from functools import cache
from threading import get_ident

from threadpoolctl import ThreadpoolController

from ._atomic import ProcessLock


@cache
def _pools(api):
    # scanning the loaded libraries takes milliseconds
    return ThreadpoolController().select(user_api=api)


class _BlasLimits(ProcessLock):
    """Limits of BLAS, whose number of threads is the process's, not a thread's.

    The lowest that is in force counts. With the last of them comes back what was set
    before, unless somebody else has set another number meanwhile.
    """

    def __init__(self):
        self.active, self.changed = {}, {}
        super().__init__()

    def _open(self):
        super()._open()
        # of a fork's threads only the one that forked is there
        self.active = {k: v for k, v in self.active.items() if k[0] == get_ident()}

    def enter(self, key, n_threads):
        with self.lock:
            self.active[key] = n_threads
            self._set()

    def leave(self, key):
        with self.lock:
            if self.active.pop(key, None) is not None:
                self._set()

    def _set(self):
        for i, pool in enumerate(_pools("blas").lib_controllers):
            now = pool.num_threads
            before, ours = self.changed.pop(i, (now, now))
            before = before if now == ours else now
            wanted = min([before, *self.active.values()])
            if wanted != now:
                pool.set_num_threads(wanted)
            if wanted != before:
                self.changed[i] = before, wanted
            # or threadpoolctl would let no other thread set it from now on
            getattr(pool, "clear_controlling_thread", lambda: None)()


_BLAS = _BlasLimits()


@contextmanager
def limit_threads(n_threads):
    """Limit BLAS and OpenMP to `n_threads`, restored on leaving; never raises a limit.

    The networks here are small: a recurrent one runs fastest on one thread, and no one
    gains from more than a few. Workers that joblib has already limited stay so. Limits
    of OpenMP are of each thread by itself. Those of BLAS are of the process: where
    several threads set one, the lowest is in force until its thread leaves.

    Parameters
    ----------
    n_threads : int
        Most threads.
    """
    openmp = _pools("openmp")
    now = [pool["num_threads"] for pool in openmp.info()]
    key = get_ident(), object()
    try:
        _BLAS.enter(key, n_threads)
        with openmp.limit(limits=min([n_threads, *now])):
            yield
    finally:
        _BLAS.leave(key)
