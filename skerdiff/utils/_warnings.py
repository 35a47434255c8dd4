"""Warnings that point to the caller's code."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import sys
import warnings

from ..exceptions import VersionWarning
from ._version import VERSION

_INSIDE = ("skerdiff", "sklearn", "joblib", "contextlib")


def warn_caller(message, category):
    """Warn, and name the line outside this package that led here.

    Parameters
    ----------
    message : str
        What to say.
    category : type
        Class of the warning.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _package(frame) in _INSIDE:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def warn_of_version(version, what):
    """Warn if another version of skerdiff has pickled something."""
    if version != VERSION:
        warn_caller(
            f"This {what} was pickled by skerdiff {version or 'before 0.1.0'}; here is "
            f"{VERSION}. What it computes may differ; fit anew if in doubt.",
            VersionWarning,
        )


def _package(frame):
    return frame.f_globals.get("__name__", "").split(".")[0]
