"""The network of `SequentialVAE`."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import rnn

from ._objectives import gaussian_nll, kl_to_standard_normal, poisson_nll


class SequentialVAEModule(nn.Module):
    """Read-in, recurrent encoder, spike decoder and behaviour read-out.

    Tensors are (n_trials, n_bins, .). The read-in maps features of neurons to
    activations, and everything behind it is shared by all sessions.
    """

    def __init__(
        self,
        readin: Tensor,  # (n_readin, n_neurons), initial weights
        mean_activity: Tensor,  # (n_neurons,), mean count per bin
        n_components: int,
        n_hidden: int,
        n_outputs: int = 0,
        bidirectional: bool = False,
        likelihood: str = "poisson",
        kl_weight: float = 1.0,
        behaviour_weight: float = 1.0,
        readin_noise: float = 0.0,
        dropout: float = 0.0,
    ):
        super().__init__()
        n_readin, n_neurons = readin.shape
        self.likelihood = likelihood
        self.kl_weight = kl_weight
        self.behaviour_weight = behaviour_weight
        self.readin_noise = readin_noise
        self.dropout = dropout
        self.readin = nn.Linear(n_neurons, n_readin, bias=False)
        self.readin.weight.data.copy_(readin)
        self.encoder = nn.GRU(
            n_readin, n_hidden, batch_first=True, bidirectional=bidirectional
        )
        n_state = n_hidden * (2 if bidirectional else 1)
        self.posterior = nn.Linear(n_state, 2 * n_components)
        self.spikes = nn.Linear(n_components, n_neurons)
        if likelihood == "poisson":
            # softplus of the bias is the mean count
            start = mean_activity.clamp(min=1e-4)
            self.spikes.bias.data.copy_(start + torch.log(-torch.expm1(-start)))
        else:
            self.spikes.bias.data.copy_(mean_activity)
            self.log_noise = nn.Parameter(torch.zeros(n_neurons))
        self.behaviour = nn.Linear(n_components, n_outputs) if n_outputs else None

    def read_in(self, features: Tensor) -> Tensor:
        """Map features (., n_neurons) to activations (., n_readin)."""
        return self.readin(features)

    def encode(
        self, activations: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Posterior mean and log-variance per bin from read-in activations.

        With the lengths of trials (n_trials,) nothing behind a trial is read.
        """
        if lengths is None:
            state, _ = self.encoder(activations)
        else:
            packed = rnn.pack_padded_sequence(
                activations, lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            state, _ = rnn.pad_packed_sequence(
                self.encoder(packed)[0],
                batch_first=True,
                total_length=activations.shape[1],
            )
        mean, log_var = self.posterior(state).chunk(2, dim=-1)
        return mean, log_var.clamp(-10.0, 5.0)

    def decode(self, z: Tensor) -> Tensor:
        """Expected activity (rates per bin, or means) from latents."""
        out = self.spikes(z)
        return F.softplus(out) if self.likelihood == "poisson" else out

    def loss(self, features, counts, y=None, within=None, *, generator) -> Tensor:
        """Negative evidence bound per bin and neuron, plus the behaviour error.

        A mask (n_trials, n_bins) says which bins are within trials, if not all are.
        """
        if self.training and self.dropout:
            keep = 1.0 - self.dropout
            mask = torch.empty_like(features).bernoulli_(keep, generator=generator)
            features = features * mask / keep
        activations = self.read_in(features)
        if self.training and self.readin_noise:
            noise = torch.empty_like(activations).normal_(generator=generator)
            activations = activations + self.readin_noise * noise
        lengths = None if within is None else within.sum(1)
        mean, log_var = self.encode(activations, lengths)
        noise = torch.empty_like(mean).normal_(generator=generator)
        z = mean + (0.5 * log_var).exp() * noise
        out = self.decode(z)
        if self.likelihood == "poisson":
            nll = poisson_nll(out, counts)
        else:
            nll = gaussian_nll(out, self.log_noise, counts)
        kl = kl_to_standard_normal(mean, log_var)
        loss = _mean(nll.sum(-1), within) + self.kl_weight * _mean(kl.sum(-1), within)
        if self.behaviour is not None:
            guess = self.behaviour(z)
            if within is not None:
                guess, y = guess[within], y[within]
            error = F.mse_loss(guess, y)
            loss = loss + self.behaviour_weight * error * y.shape[-1]
        return loss


class PosteriorMean(nn.Module):
    """The encoder alone: activations to posterior means of the latents."""

    def __init__(self, module: SequentialVAEModule):
        super().__init__()
        self.encoder = deepcopy(module.encoder)
        self.posterior = deepcopy(module.posterior)

    def forward(self, activations: Tensor) -> Tensor:
        """Map activations (n, n_bins, n_readin) to means (n, n_bins, n_components)."""
        return self.posterior(self.encoder(activations)[0]).chunk(2, dim=-1)[0]


def _mean(values: Tensor, within: Tensor | None) -> Tensor:
    """Mean over the bins (n_trials, n_bins) that are within trials."""
    return values.mean() if within is None else values[within].mean()
