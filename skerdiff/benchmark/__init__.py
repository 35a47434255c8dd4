"""The benchmark under the honest protocol: what every figure is made with."""

from ._config import read_configuration
from ._cross_day import cross_day, table
from ._methods import BASELINES, METHODS
from ._report import compare, write_report
from ._runner import run
from ._sessions import PAIRS, load_pair

__all__ = [
    "BASELINES",
    "METHODS",
    "PAIRS",
    "compare",
    "cross_day",
    "load_pair",
    "read_configuration",
    "run",
    "table",
    "write_report",
]
