"""Warnings and errors of skerdiff."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

__all__ = [
    "AmbiguousAlignmentWarning",
    "BenchmarkError",
    "ConfigurationError",
    "LoadError",
    "NewSessionWarning",
    "OneBinTrialsWarning",
    "VersionWarning",
]


class NewSessionWarning(UserWarning):
    """A session that had not been adapted to was aligned on the fly."""


class OneBinTrialsWarning(UserWarning):
    """Rows of 2-D X count as trials of one bin each, as no `trial_length` is set."""


class AmbiguousAlignmentWarning(UserWarning):
    """Another alignment fits as well, or the one found explains little.

    Either a different alignment fits nearly as well, or better than the given start
    that was followed. Or the source trials that target trials resemble hardly differ.
    """


class VersionWarning(UserWarning):
    """A pickle or file was written by another version than the one that reads it."""


class LoadError(ValueError):
    """A file cannot be loaded: damaged, of a newer version, or not trusted."""


class ConfigurationError(ValueError):
    """A benchmark's configuration holds something that it cannot run."""


class BenchmarkError(RuntimeError):
    """A benchmark cannot go on, or its results cannot be read or written.

    What was finished is safe.
    """
