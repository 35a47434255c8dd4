"""How well a target session is aligned, judged without its behaviour.

All of these compare the latents of target trials with those of the source, whitened by
the source: a model's own likelihood or error is not comparable across latent dims,
because its units change with them.
"""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers

import numpy as np
import ot
from scipy.special import xlogy
from sklearn.linear_model import PoissonRegressor
from sklearn.model_selection import KFold
from sklearn.utils import check_array, check_random_state

from ..utils._similarity import assign_trials, fit_similarity
from ..utils._similarity import relative_residual as _relative_residual
from ..utils._torch import limit_threads
from ._trajectories import check_pair


def whiten(Z, Z_target):
    """Give the bins of Z zero mean and unit covariance, and map Z_target likewise.

    Parameters
    ----------
    Z : array-like of shape (n_trials, n_bins, n_components)
        Source latents.
    Z_target : array-like of shape (n_target_trials, n_bins, n_components)
        Target latents.

    Returns
    -------
    Z : ndarray of shape (n_trials, n_bins, n_components)
        Whitened source latents. Directions that do not vary stay near zero.
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
    floor = max(1e-10 * variances.max(), np.finfo(float).tiny)
    scaled = axes / np.sqrt(np.maximum(variances, floor))
    return (Z - mean) @ scaled, (Z_target - mean) @ scaled


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
    a, b = (A.reshape(len(A), -1) for A in whiten(Z, Z_target))
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    directions = ot.sliced.get_random_projections(a.shape[1], n_projections, seed)
    scale = np.sqrt(np.mean(np.var(a @ directions, axis=0))) or 1.0
    distance = ot.sliced_wasserstein_distance(a, b, projections=directions)
    return float(distance / scale)


def bits_per_spike(counts, rates):
    r"""How much better rates predict spikes than each neuron's mean rate does.

    The Poisson log-likelihood of the counts in excess of that of a constant rate per
    neuron, in bits, over the number of spikes (Pei et al., "Neural Latents Benchmark
    '21", 2021).

    Parameters
    ----------
    counts : array-like of shape (n_trials, n_bins, n_neurons)
        Spike counts per bin, not negative; fractions are taken as they are.
    rates : array-like of the same shape
        Predicted counts per bin, positive where there are spikes.

    Returns
    -------
    bits : float
        0 for the mean rates, higher is better.

    Raises
    ------
    ValueError
        If the shapes differ, values are negative or not finite, or there is no spike.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.metrics import bits_per_spike
    >>> counts = np.array([[[4.0], [0.0]]])
    >>> bits_per_spike(counts, np.array([[[2.0], [2.0]]]))
    0.0
    >>> bits_per_spike(counts, np.array([[[4.0], [1e-300]]]))
    1.0
    """
    counts, rates = (
        check_array(A, allow_nd=True, dtype=np.float64, input_name=name)
        for A, name in ((counts, "counts"), (rates, "rates"))
    )
    if counts.shape != rates.shape or counts.ndim != 3:
        raise ValueError(
            "counts and rates must both be of shape (n_trials, n_bins, n_neurons), got "
            f"{counts.shape} and {rates.shape}."
        )
    if counts.min() < 0 or rates.min() < 0:
        raise ValueError("counts and rates must not be negative.")
    n_spikes = counts.sum()
    if n_spikes == 0:
        raise ValueError("counts holds no spike: there is nothing to predict.")
    mean = counts.mean((0, 1))
    gain = xlogy(counts, rates) - rates - xlogy(counts, mean) + mean
    return float(gain.sum() / n_spikes / np.log(2))


def latent_bits_per_spike(Z, counts, *, alpha=1e-3, cv=5, random_state=None):
    """Bits per spike of activity read out from latents, held out by trial.

    Each neuron's count is a Poisson regression on the whitened latents of its bin. It
    tells how much of the activity the latents keep, not whether they are aligned:
    latents turned the wrong way score the same.

    Parameters
    ----------
    Z : array-like of shape (n_trials, n_bins, n_components)
        Latents.
    counts : array-like of shape (n_trials, n_bins, n_neurons)
        Spike counts of the same trials, not negative. Silent neurons are left out.
    alpha : float, default=1e-3
        Penalty of the regression.
    cv : int, default=5
        Number of folds of trials, shuffled.
    random_state : int, RandomState instance or None, default=None
        Determines the folds.

    Returns
    -------
    bits : float
        See `bits_per_spike`.

    Raises
    ------
    ValueError
        If the shapes do not fit, values are negative or not finite, or there are fewer
        trials than folds.

    Examples
    --------
    >>> import numpy as np
    >>> from skerdiff.metrics import latent_bits_per_spike
    >>> rng = np.random.RandomState(0)
    >>> Z = rng.randn(60, 10, 2)
    >>> counts = rng.poisson(np.exp(Z @ rng.randn(2, 5)))
    >>> latent_bits_per_spike(Z, counts, random_state=0) > 0.5
    True
    """
    Z, _ = whiten(Z, Z)
    counts = check_array(counts, allow_nd=True, dtype=np.float64, input_name="counts")
    if counts.ndim != 3 or counts.shape[:2] != Z.shape[:2]:
        raise ValueError(
            "Z and counts must be of the same trials and bins, got shapes "
            f"{Z.shape} and {counts.shape}."
        )
    if counts.min() < 0:
        raise ValueError(
            f"counts must not be negative, got {counts.min():.4g}: bits per spike are "
            "for spike counts."
        )
    counts = counts[..., counts.any((0, 1))]
    rates = np.empty_like(counts)
    with limit_threads(1):  # many fits, each of them small
        for train, test in KFold(cv, shuffle=True, random_state=random_state).split(Z):
            rows = Z[train].reshape(-1, Z.shape[2])
            for k in range(counts.shape[2]):
                seen = counts[train][..., k].ravel()
                if not seen.any():  # silent here: half a spike is what that leaves open
                    rates[test, :, k] = 0.5 / len(seen)
                    continue
                model = PoissonRegressor(alpha=alpha, solver="newton-cholesky")
                model.fit(rows, seen)
                guess = model.predict(Z[test].reshape(-1, Z.shape[2]))
                rates[test, :, k] = guess.reshape(len(test), -1)
    return bits_per_spike(counts, rates)


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
    predictions = check_array(predictions, allow_nd=True, input_name="predictions")
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
