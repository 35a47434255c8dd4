"""Simulated sessions whose latents follow continuous Bernoulli dynamics."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral, Real

import numpy as np
from scipy.optimize import root
from sklearn.utils import Bunch, check_random_state

from ..trials import Trials
from ..utils._sklearn import Interval, validate_params
from ..utils.bernoulli import natural_parameter, sample
from ._reaching import _draw_neurons, _per_session

# Attractors of the mean map, their strengths, and the width of their pull. They stand
# at the corners of a triangle without symmetry.
ATTRACTORS = np.array([[0.16, 0.24], [0.84, 0.38], [0.34, 0.86]])
STRENGTHS = np.array([1.0, 1.6, 0.7])
WIDTH = 0.24
STEP = 0.2
N_DIMS = 2
LOADING = 4.0  # latents span 0 to 1; this makes neurons as tuned as those of reaches

DESCR = """\
Simulated continuous Bernoulli dynamics with Poisson neurons
------------------------------------------------------------
{n_sessions} sessions of {n_bins} bins of {bin_size} s; trials per session
{n_trials}, neurons per session {n_neurons}. Two latent dims in [0, 1], the same
dynamics in all sessions, each with its own neurons. In every bin the latent state
goes the share step={step} of its way to a draw from a continuous Bernoulli
distribution, whose mean has three attractors.
"""


class BernoulliDynamics:
    """The true dynamics of `make_bernoulli_dynamics`.

    Parameters
    ----------
    step : float
        Share of its way to the draw that the state goes per bin.

    Attributes
    ----------
    step : float
        As given.
    """

    def __init__(self, step):
        self.step = step

    def mean_draw(self, Z):
        """Mean of the draw towards which the state moves.

        Parameters
        ----------
        Z : ndarray of shape (..., 2)
            States.

        Returns
        -------
        mean : ndarray of shape (..., 2)
            A mean of the attractors, weighted by strength and nearness.
        """
        distance = ((Z[..., None, :] - ATTRACTORS) ** 2).sum(-1)
        log_weight = np.log(STRENGTHS) - distance / (2 * WIDTH**2)
        weight = np.exp(log_weight - log_weight.max(-1, keepdims=True))
        return weight @ ATTRACTORS / weight.sum(-1, keepdims=True)

    def velocity(self, Z):
        """Mean change per bin of states (..., 2), the vector field."""
        return self.step * (self.mean_draw(Z) - Z)

    def natural_parameter(self, Z):
        """Natural parameters of the draw at states (..., 2), one per dim."""
        return natural_parameter(self.mean_draw(Z))

    def fixed_points(self):
        """Find where the vector field vanishes.

        Returns
        -------
        points : ndarray of shape (n, 2)
            Fixed points, from left to right.
        stable : ndarray of shape (n,)
            Whether states nearby move towards them.
        """
        return find_fixed_points(self.velocity)

    def sample(self, n_trials, n_bins, rng):
        """Draw trajectories (n_trials, n_bins, 2) that start evenly in the square."""
        z = np.empty((n_trials, n_bins, N_DIMS))
        z[:, 0] = rng.uniform(size=(n_trials, N_DIMS))
        for i in range(1, n_bins):
            draw = sample(self.natural_parameter(z[:, i - 1]), rng)
            z[:, i] = z[:, i - 1] + self.step * (draw - z[:, i - 1])
        return z


def find_fixed_points(velocity, n_starts=12):
    """Find where a vector field over the unit square vanishes.

    Parameters
    ----------
    velocity : callable
        Maps states (..., 2) to velocities (..., 2).
    n_starts : int, default=12
        Starts of the search per axis.

    Returns
    -------
    points : ndarray of shape (n, 2)
        Fixed points within the square, from left to right.
    stable : ndarray of shape (n,)
        Whether all eigenvalues of the Jacobian have a negative real part.
    """
    axis = (np.arange(n_starts) + 0.5) / n_starts
    points, stable = [], []
    for start in np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2):
        found = root(velocity, start, tol=1e-10)
        inside = np.all((found.x >= 0) & (found.x <= 1))
        still = np.abs(velocity(found.x)).max() < 1e-8
        seen = any(np.abs(found.x - p).max() < 1e-3 for p in points)
        if found.success and inside and still and not seen:
            points.append(found.x)
            h = 1e-5 * np.eye(2)
            jacobian = (velocity(found.x + h) - velocity(found.x - h)).T / 2e-5
            stable.append(bool(np.linalg.eigvals(jacobian).real.max() < 0))
    order = np.argsort([p[0] for p in points])
    return np.array(points).reshape(-1, 2)[order], np.array(stable, dtype=bool)[order]


@validate_params(
    {
        "n_sessions": [Interval(Integral, 1, None, closed="left")],
        "n_trials": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "n_neurons": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "n_bins": [Interval(Integral, 2, None, closed="left")],
        "bin_size": [Interval(Real, 0, None, closed="neither")],
        "step": [Interval(Real, 0, 1, closed="right")],
        "random_state": ["random_state"],
        "return_X_y": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def make_bernoulli_dynamics(
    n_sessions=2,
    n_trials=160,
    n_neurons=60,
    n_bins=24,
    *,
    bin_size=0.05,
    step=STEP,
    random_state=None,
    return_X_y=False,
):
    r"""Simulate sessions whose latents follow known, noisy dynamics.

    Two latent dims live in the unit square. From bin to bin they go a part of the way
    to a draw from a continuous Bernoulli distribution,

    .. math:: Z_{i+1} = Z_i + \mathrm{step} \, (U_i - Z_i) , \qquad
              U_i \sim \mathrm{CB}(\eta(Z_i)) ,

    independently per dim. The mean of the draw is a mean of three attractors, weighted
    by strength and nearness, so that the vector field and its fixed points are known.
    All sessions share the dynamics and each has its own neurons. ``"day0"`` is the
    source.

    Parameters
    ----------
    n_sessions : int, default=2
        Number of sessions.

    n_trials : int or array-like of shape (n_sessions,), default=160
        Number of trials, one for all sessions or one per session.

    n_neurons : int or array-like of shape (n_sessions,), default=60
        Number of neurons, one for all sessions or one per session. One in twenty
        never fires.

    n_bins : int, default=24
        Number of bins per trial.

    bin_size : float, default=0.05
        Width of a bin in seconds.

    step : float, default=0.2
        Share of the way to the draw. With 1 the state is the draw itself, which leaves
        little to see of the dynamics in a single trial.

    random_state : int, RandomState instance or None, default=None
        Seed of everything that is drawn.

    return_X_y : bool, default=False
        Whether to return ``(trials, y)`` only.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``n`` the trials of all sessions together, in the order of `trials`:

        trials : Trials of shape (n,)
            Spike counts per bin, float64, of the sessions ``"day0"``, ``"day1"``, ...
        y : ndarray of shape (n, n_bins, 2)
            The latents, in [0, 1]: what a decoder is to recover.
        dynamics : object
            The truth: ``velocity(Z)``, the mean change per bin; ``mean_draw(Z)``;
            ``natural_parameter(Z)`` of the draw; and ``fixed_points()``.
        loadings : dict of str to ndarray of shape (n_neurons, 2)
            Loadings of the neurons of each session on the latents.
        bin_size : float
            Width of a bin in seconds.
        DESCR : str
            Description of the data.

    (trials, y) : tuple if ``return_X_y=True``
        The first two of the above.

    Raises
    ------
    ValueError
        If `n_trials` or `n_neurons` is a sequence that does not hold one positive
        whole number per session, or if a parameter is out of its range.

    See Also
    --------
    make_reaching_sessions : Simulated reaches in eight directions.

    Notes
    -----
    Continuous Bernoulli dynamics are those of the synthetic experiment of ERDiff [1]_.
    Its constants are not published as numbers; attractors, step and neurons are this
    package's own, so that figures cannot be compared with the paper's. Neuron i fires
    as a Poisson process of rate ``r_i * softplus(1 + w_i @ (Z - 0.5)) / softplus(1)``
    with log-normal ``r_i``, of a median of 10 Hz.

    References
    ----------
    .. [1] Wang, Y., Wu, Z., Li, C. and Wu, A. "Extraction and recovery of
       spatio-temporal structure in latent dynamics alignment with diffusion models."
       NeurIPS 2023.
    .. [2] Loaiza-Ganem, G. and Cunningham, J. P. "The continuous Bernoulli: fixing a
       pervasive error in variational autoencoders." NeurIPS 2019.

    Examples
    --------
    >>> from skerdiff.datasets import make_bernoulli_dynamics
    >>> data = make_bernoulli_dynamics(n_neurons=[60, 45], random_state=0)
    >>> data.trials
    Trials(day0: 160 x 24 x 60 [source], day1: 160 x 24 x 45)
    >>> points, stable = data.dynamics.fixed_points()
    >>> int(stable.sum())
    3
    """
    n_trials = _per_session(n_trials, n_sessions, "n_trials")
    n_neurons = _per_session(n_neurons, n_sessions, "n_neurons")
    names = [f"day{k}" for k in range(n_sessions)]
    seeds = check_random_state(random_state).randint(2**31 - 1, size=(n_sessions, 3))
    dynamics = BernoulliDynamics(step)
    counts, loadings, latents = {}, {}, []
    for name, trials, neurons, seed in zip(names, n_trials, n_neurons, seeds):
        latent_rng, neuron_rng, spike_rng = map(np.random.default_rng, seed)
        z = dynamics.sample(trials, n_bins, latent_rng)
        weights, rate = _draw_neurons(neurons, N_DIMS, neuron_rng)
        weights = LOADING * weights
        drive = np.logaddexp(0, 1 + (z - 0.5) @ weights.T) / np.logaddexp(0, 1)
        counts[name] = spike_rng.poisson(bin_size * rate * drive).astype(np.float64)
        loadings[name] = weights
        latents.append(z)
    trials, y = Trials(counts, source=names[0]), np.concatenate(latents)
    if return_X_y:
        return trials, y
    return Bunch(
        trials=trials,
        y=y,
        dynamics=dynamics,
        loadings=loadings,
        bin_size=bin_size,
        DESCR=DESCR.format(
            n_sessions=n_sessions,
            n_bins=n_bins,
            bin_size=bin_size,
            n_trials=n_trials,
            n_neurons=n_neurons,
            step=step,
        ),
    )
