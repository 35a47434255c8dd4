"""What a result was made by: versions, revision, hardware."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from ..alignment._cache import CODE, PACKAGE

PACKAGES = ("skerdiff", "scikit-learn", "torch", "skorch", "numpy", "scipy", "POT")


@cache
def made_by():
    """Versions, git revision and hardware of this process.

    Returns
    -------
    facts : dict of str to str or int
        The ``revision`` ends in ``+`` if files differ from it, and is None outside of
        a checkout; ``code`` is a digest of this package's files.
    """
    return {
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in PACKAGES},
        "revision": _revision(),
        "code": CODE[:12],
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "n_cores": os.cpu_count(),
    }


def _revision():
    def git(*args):
        command = ["git", "-C", str(PACKAGE), *args]
        found = subprocess.run(command, capture_output=True, text=True, timeout=20)
        return found.stdout.strip() if found.returncode == 0 else None

    try:
        tracked = git("ls-files", "--error-unmatch", "__init__.py")
        if tracked is None:  # an installed package inside some other checkout
            return None
        head = git("rev-parse", "--short=10", "HEAD")
        return head and head + ("+" if git("status", "--porcelain", ".") else "")
    except (OSError, subprocess.TimeoutExpired):
        return None


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()
