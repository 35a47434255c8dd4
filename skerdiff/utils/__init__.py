"""Tools shared by the subpackages."""
