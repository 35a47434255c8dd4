"""The network of `SequentialVAE`."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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

    def encode(self, activations: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log-variance per bin from read-in activations."""
        state, _ = self.encoder(activations)
        mean, log_var = self.posterior(state).chunk(2, dim=-1)
        return mean, log_var.clamp(-10.0, 5.0)

    def decode(self, z: Tensor) -> Tensor:
        """Expected activity (rates per bin, or means) from latents."""
        out = self.spikes(z)
        return F.softplus(out) if self.likelihood == "poisson" else out

    def loss(self, features, counts, y=None, *, generator) -> Tensor:
        """Negative evidence bound per bin and neuron, plus the behaviour error."""
        if self.training and self.dropout:
            keep = 1.0 - self.dropout
            mask = torch.empty_like(features).bernoulli_(keep, generator=generator)
            features = features * mask / keep
        activations = self.read_in(features)
        if self.training and self.readin_noise:
            noise = torch.empty_like(activations).normal_(generator=generator)
            activations = activations + self.readin_noise * noise
        mean, log_var = self.encode(activations)
        noise = torch.empty_like(mean).normal_(generator=generator)
        z = mean + (0.5 * log_var).exp() * noise
        out = self.decode(z)
        if self.likelihood == "poisson":
            nll = poisson_nll(out, counts)
        else:
            nll = gaussian_nll(out, self.log_noise, counts)
        kl = kl_to_standard_normal(mean, log_var)
        loss = nll.sum(-1).mean() + self.kl_weight * kl.sum(-1).mean()
        if self.behaviour is not None:
            error = F.mse_loss(self.behaviour(z), y)
            loss = loss + self.behaviour_weight * error * y.shape[-1]
        return loss
