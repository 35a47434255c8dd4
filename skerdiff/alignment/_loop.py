"""The one gradient loop that moves a target read-in."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from copy import deepcopy

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from ..utils._random import derive_seed, make_generator
from ._objective import Objective

_LEVEL = 0.05  # of the paired t-test that a state must pass against the start


class TrainableReadIn(nn.Module):
    """Trainable read-in of a target session, a change added to where it starts.

    Parameters
    ----------
    weights : Tensor of shape (n_readin, n_neurons)
        Weights at the start.
    bias : Tensor of shape (n_readin,)
        Bias at the start.
    unit : Tensor of shape ()
        Typical size of a feature; the trained change is in units of its inverse.
    """

    def __init__(self, weights: Tensor, bias: Tensor, unit: Tensor):
        super().__init__()
        self.register_buffer("weights", weights)
        self.register_buffer("bias", bias)
        self.register_buffer("unit", unit)
        self.change = nn.Parameter(torch.zeros_like(weights))
        self.shift = nn.Parameter(torch.zeros_like(bias))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (., n_neurons) to activations (., n_readin)."""
        weights, bias = self.current()
        return features @ weights.T + bias

    def current(self) -> tuple[Tensor, Tensor]:
        """Return weights and bias as they are now."""
        return self.weights + self.change / self.unit, self.bias + self.shift


def adapt_readin(
    readin,
    features,
    held_out,
    source,
    encode,
    objective: Objective,
    criterion,
    *,
    max_steps,
    batch_size,
    learning_rate,
    adversary_learning_rate=None,
    check_every,
    patience,
    seed,
    progress=None,
):
    """Minimise an objective over the read-in, and accept the best state.

    Every step draws a batch of each session, trains the adversaries, if there are any,
    and then the read-in together with the objective's own networks. The best state is
    that of the lowest criterion on held-out target trials, the same for all methods,
    if its mean over these trials is below the start's by a paired t-test at the level
    of 0.05; else it is the start.

    Parameters
    ----------
    readin : TrainableReadIn
        Changed in place; on return it is the state accepted, which may be the start.
    features : Tensor of shape (n_trials, n_bins, n_neurons)
        Target trials for the gradient.
    held_out : Tensor of shape (n_held_out, n_bins, n_neurons)
        Target trials that choose the state.
    source : Tensor of shape (n_source_trials, n_bins, d)
        Standardised latents of the source.
    encode : callable
        Maps activations (n, n_bins, n_readin) to standardised latents (n, n_bins, d).
    objective : Objective
        What to minimise; changed in place like the read-in.
    criterion : callable
        Maps the latents of the held-out trials, after the objective's `map`, to an
        ndarray of one number per trial, lower is better. It reads no labels.
    max_steps : int
        Most gradient steps.
    batch_size : int
        Trials per step and session.
    learning_rate : float
        Step size of Adam.
    adversary_learning_rate : float or None
        The same for the adversaries; None where there are none.
    check_every : int
        Steps between two looks at the criterion.
    patience : int
        Looks without improvement before stopping.
    seed : int
        Seed of batches and noise.
    progress : callable or None
        Called with the number of steps done.

    Returns
    -------
    losses : list of dict
        Named losses of every step.
    curve : list of tuple
        Step and mean criterion at every look.
    best : int
        The step that was accepted.

    Raises
    ------
    ValueError
        If a loss is not finite.
    """
    shuffler = make_generator(derive_seed(seed, "batches"))
    generator = make_generator(derive_seed(seed, "noise"), features.device)
    own, theirs = objective.groups()
    trained = [*readin.parameters(), *own]
    optimizer = torch.optim.Adam(trained, lr=learning_rate)
    opponent = torch.optim.Adam(theirs, lr=adversary_learning_rate) if theirs else None
    both = nn.ModuleList([readin, objective])

    def draw(trials):
        index = torch.randperm(len(trials), generator=shuffler)[:batch_size]
        return trials[index.to(trials.device)]

    def look():
        objective.eval()
        with torch.no_grad():
            z = objective.map(encode(readin(held_out)))
        objective.train()
        if not torch.isfinite(z).all():
            return np.full(len(held_out), np.inf)
        return criterion(z)

    start = look()
    losses, curve, best = [], [(0, float(start.mean()))], 0
    start_state = best_state = deepcopy(both.state_dict())
    values = start
    for step in range(1, max_steps + 1):
        batch = draw(source)
        z = encode(readin(draw(features)))
        if opponent is not None:
            opponent.zero_grad()
            _finite(objective.adversary(batch, z.detach(), generator)).backward()
            opponent.step()
        parts = objective.losses(batch, z, step / max_steps, generator)
        optimizer.zero_grad()
        _finite(sum(parts.values())).backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append({name: float(part.detach()) for name, part in parts.items()})
        if progress is not None:
            progress(step)
        if step % check_every == 0 or step == max_steps:
            now = look()
            curve.append((step, float(now.mean())))
            if curve[-1][1] < min(value for _, value in curve[:-1]):
                best, best_state, values = step, deepcopy(both.state_dict()), now
            elif len(curve) - 1 - [s for s, _ in curve].index(best) >= patience:
                break
    if not _clearly_lower(values, start):
        best, best_state = 0, start_state
    both.load_state_dict(best_state)
    return losses, curve, best


def _clearly_lower(values, start):
    """Whether values of trials are lower than those at the start, beyond chance."""
    if np.isinf(start).any():
        return np.isfinite(values).all()
    gain = start - values
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    return gain.mean() > stats.t.isf(_LEVEL / 2, len(gain) - 1) * error


def _finite(loss):
    if not torch.isfinite(loss):
        raise ValueError(
            f"The alignment objective became {loss.item()}. Lower learning_rate, or "
            "look for extreme values in X."
        )
    return loss
