"""Methods by the names of the paper, and from which start."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from sklearn.base import clone

from skerdiff.alignment import (
    ADANAligner,
    CORALAligner,
    CycleGANAligner,
    DAFAligner,
    DANNAligner,
    ERDiffAligner,
    JSDAligner,
    MMDAligner,
    NeuronMomentsAligner,
    SASAAligner,
    SinkhornAligner,
)
from skerdiff.benchmark import METHODS as MAIN
from skerdiff.diffusion import DiffusionPrior
from skerdiff.latent import LinearLatentModel

SOURCE_START = ", source start"


def from_source(aligner):
    """Let an aligner start from the source's read-in, with more and larger steps.

    Parameters
    ----------
    aligner : aligner
        Left as it is.

    Returns
    -------
    aligner : aligner
        Its clone, with a budget that makes up for the start: the same for all methods,
        but for smaller steps where an adversary has to keep up.
    """
    aligner = clone(aligner).set_params(init="source")
    taken = aligner.get_params(deep=False)
    if "max_steps" in taken:
        rate = 3e-4 if "adversary_learning_rate" in taken else 1e-3
        aligner.set_params(max_steps=300, patience=30, learning_rate=rate)
    return aligner


# those of the paper and others one would try
_OTHERS = {
    "CORAL": CORALAligner(),
    "JSDM": JSDAligner(),
    "MMD": MMDAligner(),
    "RDA-MMD": MMDAligner(recurrent=True),
    "Sinkhorn": SinkhornAligner(),
    "DANN": DANNAligner(),
    "Cycle-GAN": CycleGANAligner(),
    "ADAN": ADANAligner(),
    "SASA": SASAAligner(),
    "DAF": DAFAligner(),
}
_ERDIFF = {
    "ERDiff": ERDiffAligner(),
    "ERDiff w/o S": ERDiffAligner(prior=DiffusionPrior(spatial=False)),
    "ERDiff w/o T": ERDiffAligner(prior=DiffusionPrior(temporal=False)),
}
LINEAR = ", linear model"
# in the order of tables: the way without, those that train, the upper end
METHODS = {name: MAIN[name] for name in ("no adaptation",)}
METHODS["neuron moments"] = NeuronMomentsAligner()
METHODS["geometry only"] = MAIN["geometry only"]
for _name, _aligner in (_OTHERS | _ERDIFF).items():
    METHODS[_name] = _aligner
    METHODS[_name + SOURCE_START] = from_source(_aligner)
for _name in ("geometry only", "ERDiff"):
    METHODS[_name + LINEAR] = clone(METHODS[_name]).set_params(
        latent_model=LinearLatentModel()
    )
METHODS["oracle"] = None

GROUPS = {
    "all": [name for name in METHODS if not name.endswith(LINEAR)],
    "main": ["no adaptation", "geometry only", "ERDiff", "ERDiff" + SOURCE_START]
    + ["oracle"],
}
