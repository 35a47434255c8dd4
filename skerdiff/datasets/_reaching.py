"""Simulated centre-out reaches, recorded on days with other neurons."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral, Real

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.stats import ortho_group
from sklearn.utils import Bunch, check_random_state

from ..trials import Trials
from ..utils._sklearn import Interval, validate_params

__all__ = ["make_reaching_sessions"]

N_DIRECTIONS = 8
REACH = 0.1  # m, typical extent of a reach
SILENT = 0.05  # fraction of the neurons that never fire
LEAD = 0.05  # neural activity leads the hand by this fraction of a trial

# How reaches differ between directions, the same on every day: extent in units of
# REACH, duration and lateral bow. No rotation or reflection maps them to themselves.
EXTENT = np.array([1.15, 1.0, 0.8, 0.9, 1.05, 0.75, 0.95, 1.25])
DURATION = np.array([0.46, 0.52, 0.58, 0.5, 0.44, 0.56, 0.6, 0.48])
BOW = np.array([0.05, 0.18, -0.1, 0.02, -0.15, 0.12, -0.04, 0.2])

# Muscle-like components: pull direction in degrees, strength, preparatory share.
MUSCLES = np.array(
    [
        (25.0, 1.6, 0.6),
        (160.0, 1.1, 0.1),
        (255.0, 1.4, 0.3),
        (85.0, 0.9, 0.8),
        (310.0, 1.2, 0.0),
        (200.0, 0.8, 0.5),
    ]
)
MAX_COMPONENTS = 6 + len(MUSCLES)

DESCR = """\
Simulated eight-direction centre-out reaches with Poisson neurons
-----------------------------------------------------------------
{n_sessions} sessions of {n_bins} bins of {bin_size} s; trials per session
{n_trials}, neurons per session {n_neurons}. All sessions share the behaviour's
dynamics and the latents, each has its own neurons. Direction k is k * 45 degrees,
counterclockwise from the right. Hand velocity in m/s, position in m.
Later sessions differ from day0 by turnover={turnover},
tuning_rotation={tuning_rotation} rad, gain={gain}, direction_skew={direction_skew}
and noise={noise}.
"""


@validate_params(
    {
        "n_sessions": [Interval(Integral, 1, None, closed="left")],
        "n_trials": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "n_neurons": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "n_bins": [Interval(Integral, 1, None, closed="left")],
        "bin_size": [Interval(Real, 0, None, closed="neither")],
        "n_components": [Interval(Integral, 2, MAX_COMPONENTS, closed="both")],
        "turnover": [Interval(Real, 0, 1, closed="both")],
        "tuning_rotation": [Interval(Real, None, None, closed="neither")],
        "gain": [Interval(Real, 0, None, closed="neither")],
        "direction_skew": [Interval(Real, 0, 1, closed="both")],
        "noise": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
        "return_X_y": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def make_reaching_sessions(
    n_sessions=2,
    n_trials=160,
    n_neurons=60,
    n_bins=20,
    *,
    bin_size=0.05,
    n_components=8,
    turnover=1.0,
    tuning_rotation=0.0,
    gain=1.0,
    direction_skew=0.0,
    noise=0.0,
    random_state=None,
    return_X_y=False,
):
    """Simulate reaches in eight directions, recorded on several days.

    Every session holds centre-out reaches of the same subject. A latent state
    shared by all sessions follows the movement: its direction-dependent extent,
    duration and curvature break the symmetry of the eight targets, so that one
    session's population activity can be laid over another's in one way only,
    without labels. Each session reads this state with neurons of its own.

    ``"day0"`` is the source session. The parameters from `turnover` to `noise`
    say how every later session (``"day1"``, ``"day2"``, ...) differs from it and
    leave day 0 as it is.

    Parameters
    ----------
    n_sessions : int, default=2
        Number of sessions.

    n_trials : int or array-like of shape (n_sessions,), default=160
        Number of trials, one for all sessions or one per session.

    n_neurons : int or array-like of shape (n_sessions,), default=60
        Number of neurons, one for all sessions or one per session. One in twenty
        never fires.

    n_bins : int, default=20
        Number of bins per trial. A reach fills the trial, whatever its length.

    bin_size : float, default=0.05
        Width of a bin in seconds.

    n_components : int, default=8
        Number of latent components, 2 to 12: velocity (2), position (2), speed,
        a condition-independent time course, then muscle-like components, which
        are half-rectified along unequally spaced pull directions.

    turnover : float, default=1.0
        Fraction of the neurons of day 0 replaced by new ones in each later
        session, from 0 (the same neurons) to 1 (none in common). Neurons that
        are kept stay in their column.

    tuning_rotation : float, default=0.0
        Angle in radians by which the preferred directions of the neurons that are
        kept turn, counterclockwise, the same for all of them. Without effect when
        ``turnover=1``.

    gain : float, default=1.0
        Factor on all firing rates of the later sessions.

    direction_skew : float, default=0.0
        Unevenness of the directions in later sessions. With 0 all eight are
        equally frequent; with 1 more than nine reaches in ten go to three
        neighbouring directions, drawn for each session.

    noise : float, default=0.0
        Extra variability between the trials of later sessions: standard deviation
        of smooth fluctuations added to each latent component. The movement's own
        standard deviation is about 0.4 to 0.7 in each.

    random_state : int, RandomState instance or None, default=None
        Seed of everything that is drawn. With None, seeds come from NumPy's global
        generator, which is otherwise neither read nor moved.

    return_X_y : bool, default=False
        Whether to return ``(trials, y)`` only.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``n`` the trials of all sessions together, in the order of `trials`:

        trials : Trials of shape (n,)
            Spike counts per bin, float64, of the sessions ``"day0"``, ``"day1"``,
            ...; trials are in random order within each session.
        y : ndarray of shape (n, n_bins, 2)
            Hand velocity in m/s.
        position : ndarray of shape (n, n_bins, 2)
            Hand position relative to the centre in m.
        direction : ndarray of shape (n,)
            Direction of the reach, 0 to 7; direction k is 45 k degrees,
            counterclockwise from the right.
        latents : ndarray of shape (n, n_bins, n_components)
            The latent state that drives the neurons, `noise` included.
        loadings : dict of str to ndarray of shape (n_neurons, n_components)
            Loadings of the neurons of each session on the latents.
        kept : dict of str to ndarray of shape (n_neurons,)
            For each session, which columns hold the neuron of day 0.
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
    load_motor_cortex : Recordings from monkey motor cortex.

    Notes
    -----
    Neuron i fires as a Poisson process of rate
    ``r_i * softplus(1 + w_i @ z) / softplus(1)``, where ``z`` is the latent state,
    ``w_i`` the neuron's loadings and ``r_i`` is log-normal with a median of 10 Hz.
    The loadings cover all directions of the latent space evenly. Reaction time,
    extent, duration, aim and curvature vary from trial to trial.

    Examples
    --------
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> data = make_reaching_sessions(n_neurons=[60, 45], random_state=0)
    >>> data.trials
    Trials(day0: 160 x 20 x 60 [source], day1: 160 x 20 x 45)
    >>> data.y.shape
    (320, 20, 2)
    """
    n_trials = _per_session(n_trials, n_sessions, "n_trials")
    n_neurons = _per_session(n_neurons, n_sessions, "n_neurons")
    names = [f"day{k}" for k in range(n_sessions)]
    # four independent streams per session, so that one knob moves one thing
    seeds = check_random_state(random_state).randint(2**31 - 1, size=(n_sessions, 4))

    first = None
    counts, loadings, kept, behaviour = {}, {}, {}, []
    for name, trials, neurons, seed in zip(names, n_trials, n_neurons, seeds):
        later = first is not None
        reach_rng, neuron_rng, noise_rng, spike_rng = map(np.random.default_rng, seed)
        direction = _draw_directions(
            trials, direction_skew if later else 0.0, reach_rng
        )
        velocity, position, latents = _reaches(
            direction, n_bins, n_components, reach_rng
        )
        weights, rate = _draw_neurons(neurons, n_components, neuron_rng)
        kept[name] = np.full(neurons, not later)
        if later:
            latents = latents + noise * _smooth_noise(latents.shape, noise_rng)
            kept[name] = _keep(first, weights, rate, turnover, neuron_rng)
            _rotate(weights, kept[name], tuning_rotation)
            rate = rate * gain
        else:
            first = (weights, rate)
        drive = np.logaddexp(0, 1 + latents @ weights.T) / np.logaddexp(0, 1)
        counts[name] = spike_rng.poisson(bin_size * rate * drive).astype(np.float64)
        loadings[name] = weights
        behaviour.append((velocity, position, direction, latents))

    velocity, position, direction, latents = map(np.concatenate, zip(*behaviour))
    trials = Trials(counts, source=names[0])
    y = velocity * (REACH / (n_bins * bin_size))
    if return_X_y:
        return trials, y
    return Bunch(
        trials=trials,
        y=y,
        position=position * REACH,
        direction=direction,
        latents=latents,
        loadings=loadings,
        kept=kept,
        bin_size=bin_size,
        DESCR=DESCR.format(
            n_sessions=n_sessions,
            n_bins=n_bins,
            bin_size=bin_size,
            n_trials=n_trials,
            n_neurons=n_neurons,
            turnover=turnover,
            tuning_rotation=tuning_rotation,
            gain=gain,
            direction_skew=direction_skew,
            noise=noise,
        ),
    )


def _per_session(value, n_sessions, name):
    """One positive whole number per session, as a list."""
    if isinstance(value, Integral):
        return [int(value)] * n_sessions
    values = list(value)
    if len(values) != n_sessions:
        raise ValueError(
            f"{name}={value!r} has {len(values)} entries for n_sessions={n_sessions}. "
            "Give one whole number for all sessions or one per session."
        )
    if not all(isinstance(v, Integral) and v >= 1 for v in values):
        raise ValueError(
            f"{name}={value!r} must hold whole numbers of at least 1, one per session."
        )
    return [int(v) for v in values]


def _draw_directions(n_trials, skew, rng):
    """Directions in random order, as close to their frequencies as can be."""
    angle = 2 * np.pi * np.arange(N_DIRECTIONS) / N_DIRECTIONS
    favoured = np.exp(3 * np.cos(angle - angle[rng.integers(N_DIRECTIONS)]))
    p = (1 - skew) / N_DIRECTIONS + skew * favoured / favoured.sum()
    share = n_trials * p
    quota = np.floor(share + 1e-9).astype(int)
    tie_break = 1e-9 * rng.random(N_DIRECTIONS)
    rest = np.argsort(quota - share + tie_break)[: n_trials - quota.sum()]
    quota[rest] += 1
    return rng.permutation(np.repeat(np.arange(N_DIRECTIONS), quota))


def _reaches(direction, n_bins, n_components, rng):
    """Velocity, position and latents of each trial, in reaches and trial lengths."""
    n_trials = len(direction)
    draws = rng.standard_normal((5, n_trials, 1))
    onset = 0.24 + 0.03 * np.clip(draws[0], -3, 3)
    duration = DURATION[direction, None] * np.exp(0.06 * draws[1])
    extent = EXTENT[direction, None] * np.exp(0.06 * draws[2])
    bow = BOW[direction, None] + 0.03 * draws[3]
    aim = 2 * np.pi * direction[:, None] / N_DIRECTIONS + 0.05 * draws[4]

    time = (np.arange(n_bins) + 0.5) / n_bins
    reach = onset, duration, extent, bow, aim
    velocity, position = _hand(time, *reach)
    leading = _hand(time + LEAD, *reach)
    latents = _latents(time + LEAD, *leading, onset, aim, n_components)
    return velocity, position, latents


def _hand(time, onset, duration, extent, bow, aim):
    """Minimum-jerk reach with a lateral bow, each (n_trials, n_bins, 2)."""
    s = np.clip((time - onset) / duration, 0, 1)
    along = s**3 * (10 - 15 * s + 6 * s**2)
    d_along = 30 * s**2 * (1 - s) ** 2 / duration
    across = bow * 64 * s**3 * (1 - s) ** 3
    d_across = bow * 192 * s**2 * (1 - s) ** 2 * (1 - 2 * s) / duration
    forward = np.stack([np.cos(aim), np.sin(aim)], axis=-1)
    sideways = np.stack([-np.sin(aim), np.cos(aim)], axis=-1)
    position = along[..., None] * forward + across[..., None] * sideways
    velocity = d_along[..., None] * forward + d_across[..., None] * sideways
    return extent[..., None] * velocity, extent[..., None] * position


def _latents(time, velocity, position, onset, aim, n_components):
    """Latent state of shape (n_trials, n_bins, n_components)."""
    velocity = velocity / 2
    since = time - onset
    # the same time course in all directions: up before the movement, slowly down
    condition_independent = 2 / (np.exp(-since / 0.04) + np.exp(since / 0.25))
    speed = np.linalg.norm(velocity, axis=-1)
    ready = 1 / (1 + np.exp(-(since + 0.15) / 0.03) + np.exp(since / 0.05))
    aimed = ready[..., None] * np.stack([np.cos(aim), np.sin(aim)], axis=-1)

    parts = [velocity, position, speed[..., None], condition_independent[..., None]]
    for pull, strength, preparatory in MUSCLES:
        pull = np.deg2rad(pull)
        force = 0.6 * velocity + 0.7 * position + preparatory * aimed
        tension = force @ np.array([np.cos(pull), np.sin(pull)])
        parts.append(strength * np.logaddexp(0, 6 * tension)[..., None] / 6)
    return np.concatenate(parts, axis=-1)[..., :n_components]


def _smooth_noise(shape, rng):
    """Fluctuations of unit variance, smooth along the bins."""
    n_bins = shape[1]
    width = n_bins / 8
    pad = int(np.ceil(4 * width))
    white = rng.standard_normal((shape[0], n_bins + 2 * pad, shape[2]))
    impulse = np.zeros(8 * pad + 1)
    impulse[4 * pad] = 1
    scale = np.linalg.norm(gaussian_filter1d(impulse, width))
    return gaussian_filter1d(white, width, axis=1)[:, pad : pad + n_bins] / scale


def _draw_neurons(n_neurons, n_components, rng):
    """Loadings (n_neurons, n_components) and baseline rates in Hz (n_neurons,)."""
    n_blocks = -(-n_neurons // n_components)
    blocks = ortho_group.rvs(n_components, size=n_blocks, random_state=rng)
    weights = np.sqrt(n_components) * blocks.reshape(-1, n_components)[:n_neurons]
    weights *= np.exp(0.2 * np.clip(rng.standard_normal((n_neurons, 1)), -2, 2))
    rate = 10 * np.exp(0.6 * np.clip(rng.standard_normal(n_neurons), -2, 2))
    rate[rng.permutation(n_neurons)[: round(SILENT * n_neurons)]] = 0
    return weights, rate


def _keep(first, weights, rate, turnover, rng):
    """Put neurons of day 0 in place of new ones, in their columns."""
    n_common = min(len(first[0]), len(weights))
    n_kept = round((1 - turnover) * n_common)
    columns = rng.permutation(n_common)[:n_kept]
    weights[columns] = first[0][columns]
    rate[columns] = first[1][columns]
    kept = np.zeros(len(weights), dtype=bool)
    kept[columns] = True
    return kept


def _rotate(weights, neurons, angle):
    """Turn the tuning of some neurons to velocity and position, in place."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    for plane in (slice(0, 2), slice(2, 4)):
        if weights[:, plane].shape[1] == 2:
            weights[neurons, plane] = weights[neurons, plane] @ turn
