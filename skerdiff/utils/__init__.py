"""Tools shared by the subpackages."""

from ._discovery import all_estimators

__all__ = ["all_estimators"]
