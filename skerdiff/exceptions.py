"""Warnings of skerdiff."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

__all__ = ["AmbiguousAlignmentWarning", "NewSessionWarning"]


class NewSessionWarning(UserWarning):
    """A session that the aligner has not met was aligned on the fly."""


class AmbiguousAlignmentWarning(UserWarning):
    """A second, different alignment fits the target session nearly as well."""
