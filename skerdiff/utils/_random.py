"""Random streams that leave the global generators alone."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import zlib

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch.utils._python_dispatch import TorchDispatchMode

_MAX_SEED = 2**31 - 1


def draw_seed(random_state) -> int:
    """Draw one integer seed from a scikit-learn ``random_state``."""
    return int(check_random_state(random_state).randint(_MAX_SEED))


def derive_seed(seed: int, *keys) -> int:
    """Derive a seed from a seed and names, the same on every platform and run."""
    text = "/".join(str(key) for key in (seed, *keys))
    return zlib.crc32(text.encode()) % _MAX_SEED


def make_generator(seed: int, device="cpu") -> torch.Generator:
    """Make a torch generator of its own."""
    return torch.Generator(device=device).manual_seed(seed)


class SeededTorch(TorchDispatchMode):
    """Let what torch draws in this thread come from a generator of our own.

    Modules draw their initial weights from torch's global generator and take no other.
    Inside this context they draw from one of a seed: the numbers that the global one
    would give after ``torch.manual_seed(seed)``, without touching it.

    Parameters
    ----------
    seed : int
        Seed.
    """

    def __init__(self, seed: int):
        super().__init__()
        self.generator = make_generator(seed)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        random = torch.Tag.nondeterministic_seeded in func.tags
        if random and kwargs.get("generator") is None:
            func = _taking_generator(func)
            kwargs = {**kwargs, "generator": self.generator}
        return func(*args, **kwargs)


def _taking_generator(func):
    """The same operation of torch, drawing from a given generator."""
    packet, names = func.overloadpacket, _names(func)
    if "generator" in names:
        return func
    overloads = (getattr(packet, name) for name in packet.overloads())
    same = (o for o in overloads if _names(o) == names | {"generator"})
    return next(same, func)


def _names(overload):
    return {argument.name for argument in overload._schema.arguments}


def numpy_generator(seed: int) -> np.random.RandomState:
    """Make a NumPy generator of its own."""
    return np.random.RandomState(seed)
