"""What configurations of the evidence can name."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from pathlib import Path

from skerdiff.benchmark import Catalogue

from . import experiments
from .methods import GROUPS, METHODS

CATALOGUE = Catalogue(
    experiments={
        "decoding": experiments.PublishedDecoding(),
        "main": experiments.MainDecoding(),
        "cost": experiments.PublishedCost(),
        "latents": experiments.Latents(),
        "dynamics": experiments.KnownDynamics(),
        "published protocol": experiments.PublishedProtocol(),
        "equal time": experiments.EqualTime(),
        "prior": experiments.PriorQuality(),
        "criteria": experiments.Criteria(),
        "headroom": experiments.Headroom(),
        "constants": experiments.Constants(),
    },
    methods=METHODS,
    groups=GROUPS,
    folder=Path(__file__).with_name("configs"),
)
