"""Cross-day decoding under the honest protocol: what every figure is made with."""

from ._cross_day import METHODS, PAIRS, cross_day, load_pair, table

__all__ = ["METHODS", "PAIRS", "cross_day", "load_pair", "table"]
