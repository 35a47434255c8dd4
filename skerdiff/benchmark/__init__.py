"""The benchmark under the honest protocol: what every figure is made with."""

from ._cross_day import cross_day, table
from ._methods import BASELINES, METHODS
from ._sessions import PAIRS, load_pair

__all__ = ["BASELINES", "METHODS", "PAIRS", "cross_day", "load_pair", "table"]
