"""The contract between the gradient loop and what a method minimises."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod

from torch import Tensor, nn


class Objective(nn.Module):
    """What a method minimises over the read-in of a target session.

    Latents are whole trials (n_trials, n_bins, d), standardised by the source's mean
    and standard deviation per dim. Source and target batches are drawn independently:
    no row of one belongs to a row of the other. Networks of a method are submodules.
    Those named in `adversaries` are trained by `adversary`, all others together with
    the read-in by `losses`.
    """

    adversaries: tuple = ()  # names of submodules

    def __init__(self):
        super().__init__()

    def prepare(self, source: Tensor) -> None:
        """Train what must be trained on all source latents before the first step.

        Parameters
        ----------
        source : Tensor of shape (n_source_trials, n_bins, d)
            Standardised latents of the source.
        """

    def map_network(self) -> nn.Module | None:
        """Network through which target latents go to the decoder.

        Returns
        -------
        network : Module or None
            The identity before the first step; None if there is no such network.
        """
        return None

    def map(self, target: Tensor) -> Tensor:
        """Latents of the target as the decoder is to read them.

        Parameters
        ----------
        target : Tensor of shape (n_target, n_bins, d)
            Latents behind the encoder.

        Returns
        -------
        mapped : Tensor of shape (n_target, n_bins, d)
            The same through the `map_network`, if there is one.
        """
        network = self.map_network()
        return target if network is None else network(target)

    @abstractmethod
    def losses(self, source: Tensor, target: Tensor, progress: float, generator):
        """Give the losses whose sum the read-in and the own networks minimise.

        Parameters
        ----------
        source, target : Tensor of shape (n_source, n_bins, d) and (n_target, n_bins, d)
            Latents of a batch of each session; gradients flow into `target`.
        progress : float
            Share of the steps that are done, 0 to 1.
        generator : torch.Generator
            Source of noise.

        Returns
        -------
        losses : dict of str to Tensor
            Scalars.
        """

    def adversary(self, source: Tensor, target: Tensor, generator) -> Tensor | None:
        """Give the adversaries' loss.

        Parameters
        ----------
        source, target : Tensor of shape (n_source, n_bins, d) and (n_target, n_bins, d)
            Latents of a batch of each session, detached.
        generator : torch.Generator
            Source of noise.

        Returns
        -------
        loss : Tensor or None
            A scalar; None without adversaries.
        """
        return None

    def groups(self) -> tuple[list, list]:
        """List parameters by who trains them.

        Returns
        -------
        own, theirs : list of Parameter
            Those that are trained with the read-in, and those of the adversaries.
        """
        theirs = [
            p for name in self.adversaries for p in getattr(self, name).parameters()
        ]
        opposed = {id(p) for p in theirs}
        own = [p for p in self.parameters() if id(p) not in opposed]
        return [p for p in own if p.requires_grad], theirs
