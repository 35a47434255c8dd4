"""How well latents or rates predict spikes."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from scipy.special import xlogy
from sklearn.linear_model import PoissonRegressor
from sklearn.model_selection import KFold

from ..utils._arrays import check_numbers
from ..utils._settings import own_settings
from ..utils._threads import limit_threads
from ._label_free import whiten
from ._trajectories import check_folds


@own_settings()
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
        check_numbers(A, name) for A, name in ((counts, "counts"), (rates, "rates"))
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


@own_settings()
def latent_bits_per_spike(Z, counts, *, alpha=1e-3, cv=5, random_state=None):
    """Held-out bits per spike of activity that is read out from latents.

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
    Z, _ = whiten(Z, Z, floor=1e-10)
    counts = check_numbers(counts, "counts")
    if counts.ndim != 3 or counts.shape[:2] != Z.shape[:2]:
        raise ValueError(
            "Z and counts must be of the same trials and bins, got shapes "
            f"{Z.shape} and {counts.shape}."
        )
    check_folds(cv, len(Z))
    if counts.min() < 0:
        raise ValueError(
            f"counts must not be negative, got {counts.min():.4g}: bits per spike are "
            "for spike counts."
        )
    if not counts.any():
        raise ValueError("counts holds no spike: there is nothing to predict.")
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
