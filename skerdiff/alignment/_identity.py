"""No adaptation: the row that every table starts with."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from ._base import BaseAligner
from ._parameters import aligner


@aligner
class IdentityAligner(BaseAligner):
    """Read every session with the source's read-in, without adaptation.

    The control of every comparison. Neurons are taken column by column: where a
    session has more than the source the surplus is left out, where it has fewer the
    missing ones count as silent. That is meaningful where columns are electrodes that
    stay in place, and a random guess elsewhere.

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.

    See Also
    --------
    GeometryAligner : Alignment by the geometry of trials.
    ERDiffAligner : Alignment under a diffusion prior.

    Examples
    --------
    >>> from skerdiff import IdentityAligner, SequentialVAE
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> trials, y = make_reaching_sessions(
    ...     n_trials=20, n_neurons=15, random_state=0, return_X_y=True
    ... )
    >>> aligner = IdentityAligner(SequentialVAE(max_iter=2, n_hidden=8), random_state=0)
    >>> aligner = aligner.fit(trials["day0"]).adapt(trials["day1"])
    >>> aligner.transform(trials["day1"]).shape
    (20, 20, 8)
    """

    _min_trials = 1

    def _align(self, features, seed, start=None):
        return self._start(features, seed)
