"""Tools shared by the subpackages."""

from ._discovery import all_estimators
from ._show_versions import show_versions

__all__ = ["all_estimators", "show_versions"]
