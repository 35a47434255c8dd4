"""Devices, threads and tensors."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from functools import cache

import numpy as np
import torch
from threadpoolctl import ThreadpoolController


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


@cache
def _thread_pools():
    return ThreadpoolController()  # scanning the loaded libraries takes milliseconds


def limit_threads(n_threads):
    """Limit BLAS and OpenMP to `n_threads`, restored on leaving; never raises a limit.

    The networks here are small: a recurrent one runs fastest on one thread, and no one
    gains from more than a few. Workers that joblib has already limited stay so. Limits
    of OpenMP are of each thread by itself. Those of BLAS are of the process: where
    several threads set one, that of the first is in force.
    """
    now = {"openmp": [n_threads], "blas": [n_threads]}
    for pool in _thread_pools().info():
        now[pool["user_api"]].append(pool["num_threads"])
    limits = {api: min(found) for api, found in now.items()}
    return _thread_pools().limit(limits=limits)


def as_tensor(X, dtype=torch.float32, device="cpu") -> torch.Tensor:
    """Copy an array into a tensor, whatever its strides and flags."""
    return torch.tensor(np.ascontiguousarray(X), dtype=dtype, device=device)


def shared_tensor(X) -> torch.Tensor:
    """Tensor of single precision that shares the memory of an array, where it can."""
    if X.dtype == np.float32 and X.flags.c_contiguous and X.flags.writeable:
        return torch.from_numpy(X)
    return as_tensor(X)
