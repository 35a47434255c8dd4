"""What a result was made by: versions, revision, hardware."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("skerdiff", "scikit-learn", "torch", "skorch", "numpy", "scipy", "POT")


@cache
def made_by():
    """Versions, git revision and hardware of this process.

    The revision ends in ``+`` if files differ from it, and is None outside of a
    checkout.
    """
    versions = {"python": platform.python_version()}
    return {
        "versions": versions | {name: version(name) for name in PACKAGES},
        "revision": _revision(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "n_cores": os.cpu_count(),
    }


def _revision():
    def git(*args):
        command = ["git", "-C", str(Path(__file__).parents[1]), *args]
        options = {"capture_output": True, "text": True, "timeout": 20}
        return subprocess.run(command, check=True, **options).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # this checkout, no other
        changed = git("status", "--porcelain", ".")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()
