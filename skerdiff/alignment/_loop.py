"""The one gradient loop that moves a target read-in."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import Tensor, nn

from ..utils._random import derive_seed, make_generator


class ReadIn(nn.Module):
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
    objective,
    *,
    max_steps,
    batch_size,
    learning_rate,
    check_every,
    patience,
    seed,
    progress=None,
):
    """Minimise an objective over the read-in, and keep the best held-out state.

    Parameters
    ----------
    readin : ReadIn
        Changed in place; on return it is the best state met, the start included.
    features : Tensor of shape (n_trials, n_bins, n_neurons)
        Target trials for the gradient.
    held_out : Tensor of shape (n_held_out, n_bins, n_neurons)
        Target trials that choose the state.
    objective : callable
        Maps activations (n, n_bins, n_readin) and a generator to the loss.
    max_steps : int
        Most gradient steps.
    batch_size : int
        Trials per step.
    learning_rate : float
        Step size of Adam.
    check_every : int
        Steps between two looks at the held-out criterion.
    patience : int
        Looks without improvement before stopping.
    seed : int
        Seed of batches and noise.
    progress : callable or None
        Called with the number of steps done.

    Returns
    -------
    curve : list of tuple
        Step and held-out criterion at every look.
    best : int
        The step that was kept.

    Raises
    ------
    ValueError
        If the objective is not finite.
    """
    shuffler = make_generator(derive_seed(seed, "batches"))
    generator = make_generator(derive_seed(seed, "noise"), features.device)
    optimizer = torch.optim.Adam(readin.parameters(), lr=learning_rate)

    def finite(loss):
        if not torch.isfinite(loss):
            raise ValueError(
                f"The alignment objective became {loss.item()}. Lower learning_rate, "
                "or look for extreme values in X."
            )
        return loss

    def criterion():
        # the same noise at every look, so that looks can be compared
        fixed = make_generator(derive_seed(seed, "criterion"), features.device)
        with torch.no_grad():
            return finite(objective(readin(held_out), fixed)).item()

    curve = [(0, criterion())]
    best, best_state = 0, {k: v.clone() for k, v in readin.state_dict().items()}
    for step in range(1, max_steps + 1):
        index = torch.randperm(len(features), generator=shuffler)[:batch_size]
        batch = features[index.to(features.device)]
        loss = finite(objective(readin(batch), generator))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(readin.parameters(), 1.0)
        optimizer.step()
        if progress is not None:
            progress(step)
        if step % check_every == 0 or step == max_steps:
            curve.append((step, criterion()))
            if curve[-1][1] < min(value for _, value in curve[:-1]):
                best = step
                best_state = {k: v.clone() for k, v in readin.state_dict().items()}
            elif len(curve) - 1 - [s for s, _ in curve].index(best) >= patience:
                break
    readin.load_state_dict(best_state)
    return curve, best
