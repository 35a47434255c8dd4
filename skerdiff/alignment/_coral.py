"""CORAL: second-order alignment of latents in closed form."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import replace

import numpy as np

from ..sessions import AffineMap
from ..utils._sklearn import NON_NEGATIVE
from ._base import StartingAligner
from ._parameters import aligner, parameter


def moment_map(Z, Z_source, shrinkage):
    """Affine map that gives rows the mean and covariance of others.

    Parameters
    ----------
    Z, Z_source : ndarray of shape (n_rows, d) and (n_source_rows, d)
        Rows to map, and those whose moments they are to have.
    shrinkage : float
        Multiple of the mean variance added to the diagonal of both covariances.

    Returns
    -------
    map : AffineMap
        Whitens the rows, then colours them like the others.
    """

    def root(rows, power):
        covariance = np.atleast_2d(np.cov(rows.T, bias=True))
        ridge = shrinkage * np.trace(covariance) / len(covariance) + 1e-12
        values, vectors = np.linalg.eigh(covariance + ridge * np.eye(len(covariance)))
        return vectors * values**power @ vectors.T

    matrix = root(Z_source, 0.5) @ root(Z, -0.5)
    return AffineMap(matrix, Z_source.mean(0) - matrix @ Z.mean(0))


@aligner
class CORALAligner(StartingAligner):
    r"""Align sessions by the moments of their latents, in closed form (CORAL).

    Behind the read-in it starts from and the frozen encoder, the target's latents go
    through the affine map

    .. math:: z \mapsto \mu_s + \Sigma_s^{1/2} \Sigma_t^{-1/2} (z - \mu_t),

    after which all their bins together have the source's mean and covariance. Of the
    maps that do so it is the one without a rotation beyond the two whitenings: what a
    rotation has changed it cannot undo.

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    shrinkage : float, default=1e-3
        Multiple of the mean variance added to the diagonal of both covariances.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.

    See Also
    --------
    JSDAligner : The same moments, by gradient steps on the read-in.
    GeometryAligner : Matches whole trials.

    Notes
    -----
    The map goes from target to source, because the decoder was trained on the source;
    the published method maps the source and trains a new decoder.

    References
    ----------
    .. [1] Sun, B., Feng, J. and Saenko, K. "Return of frustratingly easy domain
       adaptation." AAAI 2016. :arxiv:`1511.05547`

    Examples
    --------
    >>> from skerdiff import SequentialVAE
    >>> from skerdiff.alignment import CORALAligner
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> trials, y = make_reaching_sessions(
    ...     n_trials=60, n_neurons=40, random_state=0, return_X_y=True
    ... )
    >>> model = SequentialVAE(max_iter=2, n_hidden=8)
    >>> aligner = CORALAligner(model, n_starts=4, random_state=0)
    >>> aligner = aligner.fit(trials["day0"]).adapt(trials["day1"])
    >>> aligner.transform(trials["day1"]).shape
    (60, 20, 8)
    """

    shrinkage: float = parameter(1e-3, NON_NEGATIVE)

    def _align(self, features, seed, start=None):
        reader = self._start(features, seed, start)
        Z = reader.encode(features)
        rows = (a.reshape(-1, a.shape[2]) for a in (Z, self._latents))
        return replace(reader, latent_map=moment_map(*rows, self.shrinkage))
