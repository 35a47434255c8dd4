"""Devices, threads and tensors."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import threading
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

from ._atomic import ProcessLock


def resolve_device(device) -> torch.device:
    """Turn ``"auto"``, a name or a `torch.device` into a `torch.device`."""
    if isinstance(device, str) and device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device={device!r} is no device of torch. Use 'auto', 'cpu', 'cuda' or a "
            "torch.device."
        ) from error
    if resolved.type not in ("cpu", "cuda"):
        raise ValueError(
            f"device={device!r}: models are trained on the CPU or on a CUDA device. "
            "Use device='auto' or device='cpu'."
        )
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if resolved.type == "cuda" and (resolved.index or 0) >= n_devices:
        raise ValueError(
            f"device={device!r} was asked for, but torch sees "
            f"{n_devices or 'no'} CUDA device{'' if n_devices == 1 else 's'} here. Use "
            "device='auto' or device='cpu'."
        )
    return resolved


class _BlasLimits:
    """Limits that are asked for at present: those of BLAS hold for the whole process.

    The lowest of all threads is in force; when the last is lifted, each library is as
    it was before the first. (Those of OpenMP are of each thread by itself.)
    """

    def __init__(self):
        self.process = ProcessLock(self._after_fork)
        self.asked = []  # (thread, limit), one for each context that is entered
        self.before = {}  # library to number of threads without limits

    def _after_fork(self):
        """Go on with the one thread that a child has."""
        me = threading.get_ident()
        lost = [entry for entry in self.asked if entry[0] != me]
        if lost:
            self.asked = [entry for entry in self.asked if entry[0] == me]
            self._enforce()

    def threads(self, pools):
        """Numbers of threads without the limits that are in force."""
        with self.process.lock:
            return [self.before.get(pool, pool.num_threads) for pool in pools]

    def ask(self, pools, entry):
        with self.process.lock:
            if not self.asked:
                self.before = {pool: pool.num_threads for pool in pools}
            self.asked.append(entry)
            self._enforce()

    def lift(self, entry):
        with self.process.lock:
            if entry in self.asked:  # an interrupt may have come before
                self.asked.remove(entry)
            self._enforce()

    def _enforce(self):
        for pool, before in self.before.items():
            wanted = min([before, *(limit for _, limit in self.asked)])
            if pool.num_threads != wanted:
                pool.set_num_threads(wanted)
        if not self.asked:
            self.before = {}


@cache
def _thread_pools():
    """Libraries with threads: of OpenMP, and the others."""
    found = ThreadpoolController().lib_controllers  # scanning takes milliseconds
    return [
        [pool for pool in found if (pool.user_api == "openmp") is openmp]
        for openmp in (True, False)
    ]


_limits = _BlasLimits()


@contextmanager
def limit_threads(n_threads):
    """Limit BLAS and OpenMP to `n_threads`, restored on leaving; never raises a limit.

    The networks here are small: a recurrent one runs fastest on one thread, and no one
    gains from more than a few. Workers that joblib has already limited stay so. Any
    number of threads may do this at once.
    """
    openmp, blas = _thread_pools()
    own = [pool.num_threads for pool in openmp]
    n_threads = min([n_threads, *own, *_limits.threads(blas)])
    entry = (threading.get_ident(), n_threads)
    try:
        _limits.ask(blas, entry)
        for pool in openmp:
            pool.set_num_threads(n_threads)
        yield
    finally:
        _limits.lift(entry)
        for pool, before in zip(openmp, own, strict=True):
            pool.set_num_threads(before)


def as_tensor(X, dtype=torch.float32, device="cpu") -> torch.Tensor:
    """Copy an array into a tensor, whatever its strides and flags."""
    return torch.tensor(np.ascontiguousarray(X), dtype=dtype, device=device)
