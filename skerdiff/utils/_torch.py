"""Devices and tensors."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch


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


def as_tensor(X, dtype=torch.float32, device="cpu") -> torch.Tensor:
    """Copy an array into a tensor, whatever its strides and flags."""
    return torch.tensor(np.ascontiguousarray(X), dtype=dtype, device=device)


def shared_tensor(X) -> torch.Tensor:
    """Tensor of single precision that shares the memory of an array, where it can."""
    if X.dtype == np.float32 and X.flags.c_contiguous and X.flags.writeable:
        return torch.from_numpy(X)
    return as_tensor(X)
