"""Settings of the process: work under any, change none."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import os
from contextlib import ExitStack, contextmanager
from functools import cache

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

_FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn}
_NUMPY = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
_COMPILER_CACHE = "TORCHINDUCTOR_CACHE_DIR"


class _SinglePrecision(TorchFunctionMode):
    """Let tensors whose type is not given be of single precision, in this thread."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in _FACTORIES and kwargs.get("dtype") is None:
            kwargs = {**kwargs, "dtype": torch.float32}
        return func(*args, **kwargs)


@contextmanager
def own_settings():
    """Compute as NumPy and torch do out of the box, whatever the user has set.

    Gradients, autocast, default dtype and device of torch, and NumPy's handling of
    floating-point errors: all are changed for this thread alone, and only inside. It is
    a context manager and a decorator.
    """
    with ExitStack() as stack:
        enter = stack.enter_context
        enter(np.errstate(**_NUMPY))
        enter(torch.inference_mode(False))
        enter(torch.enable_grad())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                enter(torch.autocast(device, enabled=False))
        if torch.empty(0).device.type != "cpu":
            enter(torch.device("cpu"))
        if torch.get_default_dtype() != torch.float32:
            enter(_SinglePrecision())
        yield


@cache
def prepare_optimizers():
    """Let torch import what it does for the first optimizer, but set no variable.

    Its compiler, of which nothing is used here, names a folder for its cache in the
    environment as it is imported.
    """
    given = _COMPILER_CACHE in os.environ
    torch.optim.SGD([torch.zeros(1)], lr=1.0)
    if not given:
        os.environ.pop(_COMPILER_CACHE, None)
