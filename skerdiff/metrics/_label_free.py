"""How well a target session is aligned, judged without its behaviour.

Most of these compare the latents of target trials with those of the source, whitened
by the source: a model's own likelihood or error is not comparable across latent dims,
because its units change with them.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers

import numpy as np
import ot
from sklearn.metrics import r2_score
from sklearn.utils import check_random_state

from ..geometry._similarity import assign_trials, fit_similarity
from ..geometry._similarity import relative_residual as _relative_residual
from ..utils._arrays import check_numbers
from ..utils._settings import own_settings
from ._trajectories import check_pair

FLOOR = 1e-2  # of the largest variance, below which a direction is not blown up to one
_ROUNDING = 1e-12  # of squared sizes


@own_settings()
def whiten(Z, Z_target, *, floor=FLOOR):
    """Give the bins of Z zero mean and unit covariance, and map Z_target likewise.

    Parameters
    ----------
    Z : array-like of shape (n_trials, n_bins, n_components)
        Source latents.
    Z_target : array-like of shape (n_target_trials, n_bins, n_components)
        Target latents.
    floor : float, default=0.01
        Directions whose variance is a smaller share of the largest stay small: what a
        model does not use must not count like what it does. Of a source that does not
        vary at all the units are left as they are.

    Returns
    -------
    Z : ndarray of shape (n_trials, n_bins, n_components)
        Whitened source latents.
    Z_target : ndarray of shape (n_target_trials, n_bins, n_components)
        Target latents, mapped by the same affine map.

    Raises
    ------
    ValueError
        If the shapes do not fit or values are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.metrics import whiten
    >>> Z = np.random.RandomState(0).randn(50, 10, 2) @ [[2.0, 1.0], [0.0, 1.0]]
    >>> Z, _ = whiten(Z, Z)
    >>> bool(np.allclose(np.cov(Z.reshape(-1, 2).T, bias=True), np.eye(2)))
    True
    """
    Z, Z_target = check_pair(Z, Z_target, ("Z", "Z_target"))
    mean, d = Z.mean((0, 1)), Z.shape[2]
    covariance = np.cov((Z - mean).reshape(-1, d).T, bias=True).reshape(d, d)
    variances, axes = np.linalg.eigh(covariance)
    varies = variances.max() > _ROUNDING * np.mean(Z**2)
    least = max(floor * variances.max(), np.finfo(float).tiny) if varies else 1.0
    scaled = axes / np.sqrt(np.maximum(variances, least))
    return (Z - mean) @ scaled, (Z_target - mean) @ scaled


@own_settings()
def relative_residual(Z, Z_target):
    r"""Distance of target trials to their nearest source trials, over their own spread.

    .. math:: \frac{\sum_j \min_i \lVert Z_i - Z'_j \rVert^2}
                   {\sum_j \lVert Z'_j - \bar Z' \rVert^2},

    with whitened source trials :math:`Z_i` and target trials :math:`Z'_j`. The division
    keeps contraction from winning: trials that shrink to a point are near to something,
    but spread over nothing.

    Parameters
    ----------
    Z : array-like of shape (n_trials, n_bins, n_components)
        Source latents.
    Z_target : array-like of shape (n_target_trials, n_bins, n_components)
        Aligned latents of at least two target trials.

    Returns
    -------
    residual : float
        0 where each target trial is a copy of a source trial; infinite if the target
        trials do not differ.

    Raises
    ------
    ValueError
        If the shapes do not fit, values are not finite or there is one target trial.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.metrics import relative_residual
    >>> Z = np.random.RandomState(0).randn(50, 10, 2)
    >>> round(relative_residual(Z, Z[:9]), 12)
    0.0
    """
    Z, Z_target = whiten(Z, Z_target)
    _check_several(Z_target)
    return _relative_residual(Z, Z_target)


@own_settings()
def geometric_agreement(Z, Z_target, coupling):
    r"""How well aligned latents agree with those of given source partners.

    .. math:: 1 - \frac{\sum_j \lVert Z'_j - T_j \rVert^2}
                       {\sum_j \lVert T_j - \bar T \rVert^2}, \qquad
              T_j = \sum_i P_{ij} Z_i \Big/ \sum_i P_{ij},

    the R2 of the target's latents as a guess of their partners'. A rotation or a change
    of scale of the latents does not change it, nor do dims that hardly vary.

    Parameters
    ----------
    Z : array-like of shape (n_trials, n_bins, n_components)
        Source latents.
    Z_target : array-like of shape (n_target_trials, n_bins, n_components)
        Aligned latents of target trials.
    coupling : array-like of shape (n_trials, n_target_trials)
        Masses of trial pairs, as found without the latents: by geometry alone, say.
        Each target trial needs a partner.

    Returns
    -------
    agreement : float
        1 where each target trial has the latents of its partners, 0 for latents that
        are the same for all, below 0 where they contradict.

    Raises
    ------
    ValueError
        If the shapes do not fit, values are not finite or a target trial has no
        partner.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.metrics import geometric_agreement
    >>> Z = np.random.RandomState(0).randn(9, 10, 2)
    >>> round(geometric_agreement(Z, Z[::-1], np.eye(9)[::-1]), 12)
    1.0
    """
    Z, Z_target = check_pair(Z, Z_target, ("Z", "Z_target"))
    partners = partner_mean(Z, coupling, len(Z_target))
    d = Z.shape[2]
    return pooled_r2(partners.reshape(-1, d), Z_target.reshape(-1, d))


def pooled_r2(truth, guess):
    """R2 over rows and dims together; minus infinity if the truth is constant.

    Parameters
    ----------
    truth, guess : ndarray of shape (n_rows, d)
        Latents.

    Returns
    -------
    r2 : float
        R2.
    """
    if not np.ptp(truth, axis=0).any():
        return -np.inf
    return r2_score(truth, guess, multioutput="variance_weighted")


def partner_mean(Z, coupling, n_target_trials):
    """Mean latents of the source partners of each target trial.

    Parameters
    ----------
    Z : ndarray of shape (n_trials, n_bins, n_components)
        Source latents.
    coupling : array-like of shape (n_trials, n_target_trials)
        Masses of trial pairs.
    n_target_trials : int
        Number of target trials.

    Returns
    -------
    Z_partners : ndarray of shape (n_target_trials, n_bins, n_components)
        Latents carried over.
    """
    coupling = check_numbers(coupling, "coupling", allow_nd=False)
    if coupling.shape != (len(Z), n_target_trials) or coupling.sum(0).min() <= 0:
        raise ValueError(
            f"coupling must be of shape (n_trials, n_target_trials) = "
            f"{(len(Z), n_target_trials)} with a partner for each target trial, got "
            f"{coupling.shape}."
        )
    return np.tensordot((coupling / coupling.sum(0)).T, Z, 1)


@own_settings()
def rigid_residual(Z, Z_target, coordinates, coordinates_target, *, share=2.0):
    r"""Whether trials that the alignment pairs have the same geometry in neural space.

    Each target trial is paired with source trials by optimal transport in whitened
    latents. If the pairs are right, then a rigid map (rotation, scale and shift) takes
    the principal coordinates of the target's activity, B, near those of its partners,
    A. With the masses :math:`P` of the pairs and the best such map :math:`g`,

    .. math:: \frac{\sum_{ij} P_{ij} \lVert A_i - g(B_j) \rVert^2}
                   {\sum_{ij} P_{ij} \lVert A_i - \bar A \rVert^2},

    one minus the squared Procrustes correlation. It is measured in the activity of both
    days, so that methods, latent dims and noise scales all have the same units, and an
    alignment cannot buy it by matching distributions.

    Parameters
    ----------
    Z : array-like of shape (n_trials, n_bins, n_components)
        Source latents.
    Z_target : array-like of shape (n_target_trials, n_bins, n_components)
        Aligned latents of at least two target trials.
    coordinates : array-like of shape (n_trials, n_bins, n_coordinates)
        Principal coordinates of the source's activity.
    coordinates_target : array-like of shape (n_target_trials, n_bins, n_coordinates)
        Principal coordinates of the target's activity, of the same trials.
    share : float, default=2.0
        Largest multiple of its equal share that a source trial may carry; above 1
        the days need not hold the same movements equally often.

    Returns
    -------
    residual : float
        Between 0, a perfect map, and 1, nothing in common. Single trials are noisy:
        the right alignment of a recording is well above 0.

    Raises
    ------
    ValueError
        If the shapes do not fit, values are not finite or there is one target trial.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.metrics import rigid_residual
    >>> Z = np.random.RandomState(0).randn(30, 10, 2)
    >>> turned = Z @ [[0.0, 1.0], [-1.0, 0.0]]
    >>> bool(rigid_residual(Z, Z, Z, 5 * turned) < 1e-12)
    True
    >>> bool(rigid_residual(Z, Z[::-1], Z, 5 * turned) > 0.5)
    True
    """
    Z, Z_target = whiten(Z, Z_target)
    _check_several(Z_target)
    names = ("coordinates", "coordinates_target")
    A, B = check_pair(coordinates, coordinates_target, names)
    for name, trials, latents in ((names[0], A, Z), (names[1], B, Z_target)):
        if len(trials) != len(latents):
            raise ValueError(
                f"{name} has {len(trials)} trials, the latents {len(latents)}: both "
                "must be of the same trials."
            )
    if not isinstance(share, numbers.Real) or share < 1:
        raise ValueError(f"share must be a number of at least 1, got {share!r}.")
    coupling = assign_trials(Z, Z_target, share)
    error = coupled_distance(A, fit_similarity(A, B, coupling)(B), coupling)
    mass = coupling.sum(1) / coupling.sum()
    centre = np.einsum("i,ild->d", mass, A) / A.shape[1]
    spread = mass @ np.sum((A - centre) ** 2, axis=(1, 2))
    return float(error / spread) if spread > 0 else 1.0


@own_settings()
def sliced_wasserstein_distance(Z, Z_target, *, n_projections=200, random_state=None):
    """Sliced Wasserstein distance between whole trajectories in whitened latents.

    The Wasserstein distance of order two between projections on random directions, root
    mean square over directions (Bonneel et al., "Sliced and Radon Wasserstein
    barycenters of measures", J. Math. Imaging Vis. 51, 2015), in standard deviations of
    the projected source.

    Parameters
    ----------
    Z : array-like of shape (n_trials, n_bins, n_components)
        Source latents.
    Z_target : array-like of shape (n_target_trials, n_bins, n_components)
        Aligned latents of target trials.
    n_projections : int, default=200
        Number of directions.
    random_state : int, RandomState instance or None, default=None
        Determines the directions.

    Returns
    -------
    distance : float
        0 for equal distributions; two finite samples of one differ too.

    Raises
    ------
    ValueError
        If the shapes do not fit or values are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.metrics import sliced_wasserstein_distance
    >>> Z = np.random.RandomState(0).randn(50, 10, 2)
    >>> sliced_wasserstein_distance(Z, Z[::-1], random_state=0) < 1e-9
    True
    """
    if not isinstance(n_projections, numbers.Integral) or n_projections < 1:
        raise ValueError(
            f"n_projections must be an integer of at least 1, got {n_projections!r}."
        )
    a, b = (A.reshape(len(A), -1) for A in whiten(Z, Z_target))
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    directions = ot.sliced.get_random_projections(a.shape[1], n_projections, seed)
    scale = np.sqrt(np.mean(np.var(a @ directions, axis=0))) or 1.0
    distance = ot.sliced_wasserstein_distance(a, b, projections=directions)
    return float(distance / scale)


@own_settings()
def seed_consistency(predictions):
    r"""Agreement of behaviour decoded by runs that differ in their seed alone.

    For runs i and j :math:`1 - \overline{(\hat y_i - \hat y_j)^2} /
    \overline{\operatorname{var} \hat y}`, with the mean of both variances over trials
    and bins, summed over outputs; of each run the mean over the others.

    Parameters
    ----------
    predictions : array-like of shape (n_seeds, n_trials, n_bins, n_outputs)
        Decoded behaviour of the same trials, by two runs at least.

    Returns
    -------
    consistency : ndarray of shape (n_seeds,)
        1 where all runs agree, 0 or less where they have nothing in common.

    Raises
    ------
    ValueError
        If there are fewer than two runs or values are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.metrics import seed_consistency
    >>> y = np.random.RandomState(0).randn(20, 5, 2)
    >>> seed_consistency([y, y])
    array([1., 1.])
    """
    predictions = check_numbers(predictions, "predictions")
    if predictions.ndim != 4 or len(predictions) < 2:
        raise ValueError(
            "predictions must be of shape (n_seeds, n_trials, n_bins, n_outputs) with "
            f"at least two seeds, got {predictions.shape}."
        )
    rows = predictions.reshape(len(predictions), -1, predictions.shape[3])
    variance = rows.var(axis=1).sum(axis=1)
    error = np.mean(np.sum((rows[:, None] - rows) ** 2, axis=3), axis=2)
    scale = (variance[:, None] + variance) / 2
    constant = scale == 0
    agreement = np.where(constant, 0.0, 1 - error / np.where(constant, 1, scale))
    np.fill_diagonal(agreement, 0)
    return agreement.sum(axis=1) / (len(rows) - 1)


def coupled_distance(A, B, coupling):
    """Mean squared distance of the pairs of trials of a coupling."""
    of_A, of_B = (np.sum(Z**2, axis=(1, 2)) for Z in (A, B))
    cross = np.einsum("ij,ikl,jkl->", coupling, A, B, optimize=True)
    terms = coupling.sum(1) @ of_A + coupling.sum(0) @ of_B
    return max(0.0, (terms - 2 * cross) / coupling.sum())


def _check_several(Z):
    if len(Z) < 2:
        raise ValueError(
            f"At least two target trials are needed, got {len(Z)} sample(s)."
        )
