"""Warnings and errors of skerdiff."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

__all__ = [
    "AmbiguousAlignmentWarning",
    "BenchmarkError",
    "ConfigurationError",
    "NewSessionWarning",
]


class NewSessionWarning(UserWarning):
    """A session that the aligner has not met was aligned on the fly."""


class AmbiguousAlignmentWarning(UserWarning):
    """Another alignment fits as well, or the one found carries little.

    Either a different one fits nearly as well, or better than a known one that was
    followed; or the source trials that target trials resemble hardly differ.
    """


class ConfigurationError(ValueError):
    """A benchmark's configuration holds something that it cannot run."""


class BenchmarkError(RuntimeError):
    """A benchmark cannot go on, or its results cannot be read or written.

    What was finished is safe.
    """
