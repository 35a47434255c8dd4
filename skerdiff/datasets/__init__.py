"""Simulated sessions and public recordings from monkey motor cortex."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from ._bernoulli import find_fixed_points, make_bernoulli_dynamics
from ._motor_cortex import load_motor_cortex
from ._reaching import make_reaching_sessions

__all__ = [
    "find_fixed_points",
    "load_motor_cortex",
    "make_bernoulli_dynamics",
    "make_reaching_sessions",
]
