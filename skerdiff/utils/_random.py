"""Random streams that leave the global generators alone."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import threading
import zlib
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state

_FORK_LOCK = threading.Lock()
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


@contextmanager
def seeded_torch(seed: int):
    """Seed torch's global CPU generator and put it back on leaving.

    Modules draw their initial weights from the global generator and take no other.
    Forking it is not thread-safe, hence the lock: keep the body short.
    """
    with _FORK_LOCK, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def numpy_generator(seed: int) -> np.random.RandomState:
    """Make a NumPy generator of its own."""
    return np.random.RandomState(seed)
