"""Cross-day decoding under the honest protocol: what every figure is made with."""

from ._cross_day import BASELINES, METHODS, PAIRS, cross_day, load_pair, table

__all__ = ["BASELINES", "METHODS", "PAIRS", "cross_day", "load_pair", "table"]
