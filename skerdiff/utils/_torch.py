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
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} was asked for, but torch sees no CUDA device here. Use "
            "device='auto' or device='cpu'."
        )
    return resolved


@cache
def _thread_pools():
    return ThreadpoolController()  # scanning the loaded libraries takes milliseconds


def limit_threads(n_threads):
    """Limit BLAS and OpenMP to `n_threads`, restored on leaving; never raises a limit.

    The networks here are small: a recurrent one runs fastest on one thread, and no one
    gains from more than a few. Workers that joblib has already limited stay so.
    """
    now = [pool["num_threads"] for pool in _thread_pools().info()]
    return _thread_pools().limit(limits=min([n_threads, *now]))


def as_tensor(X, dtype=torch.float32, device="cpu") -> torch.Tensor:
    """Copy an array into a tensor, whatever its strides and flags."""
    return torch.tensor(np.ascontiguousarray(X), dtype=dtype, device=device)
