"""The version that is installed."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("skerdiff")
except PackageNotFoundError:  # a checkout that is not installed
    VERSION = "unknown"
