"""What a report of a problem should hold."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version

import torch
from threadpoolctl import threadpool_info

from ._version import VERSION


def show_versions():
    """Print the versions of Python, of this package and of all that it depends on.

    Paste it into the report of a problem. It also tells what the machine computes with:
    its processors, the numeric libraries and their threads, and whether torch sees a
    GPU. Optional packages that are not installed are listed as such.

    Examples
    --------
    >>> import skerdiff
    >>> skerdiff.show_versions()  # doctest: +ELLIPSIS
    System
        python: ...
    """
    print("System")
    print(f"    python: {sys.version.split()[0]} ({platform.python_implementation()})")
    print(f"   machine: {platform.platform()}")
    print("\nPackages")
    for name, found in versions_of(("skerdiff", *_dependencies())).items():
        print(f"{name:>20}: {found}")
    print("\nNumerics")
    for library in threadpool_info():
        print(
            f"{library['internal_api']:>20}: {library['version']}, "
            f"{library['num_threads']} threads"
        )
    cuda = torch.cuda.is_available()
    print(f"{'GPU':>20}: {torch.cuda.get_device_name() if cuda else 'none'}")


def versions_of(names):
    """Versions of packages by name; "not installed" of those that are missing."""
    found = {}
    for name in names:
        try:
            found[name] = VERSION if name == "skerdiff" else version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _dependencies():
    """Names of the packages that this one needs, and those of its extras for users."""
    try:
        lines = requires("skerdiff") or []
    except PackageNotFoundError:  # a checkout that is not installed
        lines = []
    needed = [line for line in lines if "extra ==" not in line]
    wanted = "extra == .(plot|distributed|benchmark)"
    extras = [line for line in lines if re.search(wanted, line)]
    return [re.match(r"[\w.-]+", line)[0] for line in needed + extras]
