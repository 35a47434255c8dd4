"""What is left to gain by moving aligned latents.

A decoder that is trained with labels on the target's own aligned latents says what
these hold. Where the source's decoder is as good, the latents are where they belong,
and what an oracle has more was lost before, on the way from the neurons to the latents.
Target labels are read: this is a diagnosis, like the oracle.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from sklearn.base import clone
from sklearn.linear_model import Ridge

from skerdiff.decoding import PerBinRegressor
from skerdiff.metrics import behaviour_r2_score


def headroom(split, aligner, seed=0, memory=None):
    """Decode aligned latents by the source's decoder, and by one of their own.

    Parameters
    ----------
    split : Split
        The trials, see `make_split`.
    aligner : aligner
        The method; it is cloned.
    seed : int, default=0
        Seed of all models.
    memory : str, default=None
        Cache of source models and searches.

    Returns
    -------
    row : dict
        ``r2`` of held-out target trials by the decoder of the source, and
        ``r2_refitted`` by one trained on the latents of the adapted trials with their
        labels.
    """
    aligner = clone(aligner).set_params(memory=memory, random_state=seed)
    Z = aligner.fit_transform(*split.source)
    aligner.adapt(split.train[0], session=split.target_name)
    Z_train, Z_test = (
        aligner.transform(side[0], session=split.target_name)
        for side in (split.train, split.test)
    )
    scores = []
    for latents, y in ((Z, split.source[1]), (Z_train, split.train[1])):
        guess = PerBinRegressor(Ridge()).fit(latents, y).predict(Z_test)
        scores.append(behaviour_r2_score(split.test[1], guess))
    return dict(zip(("r2", "r2_refitted"), scores, strict=True))
