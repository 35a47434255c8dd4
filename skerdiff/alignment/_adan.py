"""ADAN: alignment against an autoencoder of the source's latents."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..utils._random import make_generator
from ..utils._sklearn import COUNT, NON_NEGATIVE, POSITIVE, at_least
from ..utils._threads import limit_threads
from ._gradient import AdversarialAligner
from ._objective import Objective
from ._parameters import aligner, parameter


class Autoencoder(nn.Module):
    """Denoising autoencoder of the latents of a bin.

    Parameters
    ----------
    n_components : int
        Latent dims.
    n_hidden : int
        Width of the outer hidden layers; the inner ones have half of it.
    n_code : int
        Width of the code.
    noise : float
        Standard deviation of the input noise in training.
    """

    def __init__(self, n_components: int, n_hidden: int, n_code: int, noise: float):
        super().__init__()
        widths = [n_components, n_hidden, n_hidden // 2, n_code]
        widths += widths[-2::-1]
        layers = []
        for n_in, n_out in zip(widths, widths[1:]):
            layers += [nn.Linear(n_in, n_out), nn.ELU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.noise = noise

    def forward(self, x: Tensor, generator=None) -> Tensor:
        """Reconstruct latents (., d); noise in training with a generator."""
        if self.training and generator is not None:
            x = x + self.noise * torch.empty_like(x).normal_(generator=generator)
        return self.layers(x)

    def error(self, x: Tensor, generator=None) -> Tensor:
        """Mean absolute error over the dims of x (., d)."""
        return (self(x, generator) - x).abs().mean(-1)

    def pretrain(self, rows: Tensor, n_steps: int, batch_size: int = 128):
        """Lower the error of rows (n_rows, d), always by one seed."""
        generator = make_generator(0, rows.device)
        optimizer = torch.optim.Adam(self.parameters(), lr=3e-3)
        for _ in range(n_steps):
            index = torch.randint(
                len(rows), (batch_size,), generator=generator, device=rows.device
            )
            optimizer.zero_grad()
            self.error(rows[index], generator).mean().backward()
            optimizer.step()
        optimizer.zero_grad()


class Shift(nn.Module):
    """Residual map of the latents of a bin, at first the identity."""

    def __init__(self, n_components: int, n_hidden: int):
        super().__init__()
        self.hidden = nn.Linear(n_components, n_hidden)
        self.out = nn.Linear(n_hidden, n_components)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map latents (., d) to latents (., d)."""
        return x + self.out(F.elu(self.hidden(x)))


class ADANObjective(Objective):
    """A map of the target's bins, and an autoencoder that is to fail on them.

    Parameters
    ----------
    n_components : int
        Latent dims.
    n_hidden, n_code : int
        Widths of the networks.
    noise : float
        Standard deviation of the autoencoder's input noise.
    margin : float
        Error of a target bin from which on the autoencoder need not raise it.
    n_pretraining : int
        Steps of the autoencoder on the source alone.
    """

    adversaries = ("autoencoder",)

    def __init__(
        self,
        n_components,
        n_hidden=64,
        n_code=10,
        noise=0.5,
        margin=1.0,
        n_pretraining=200,
    ):
        super().__init__()
        self.generator = Shift(n_components, n_hidden)
        self.autoencoder = Autoencoder(n_components, n_hidden, n_code, noise)
        self.margin, self.n_pretraining = margin, n_pretraining

    def prepare(self, source):
        """Train the autoencoder on the source alone."""
        with limit_threads(1):
            self.autoencoder.pretrain(source.flatten(0, 1), self.n_pretraining)

    def map_network(self):
        """Map from target to source."""
        return self.generator

    def losses(self, source, target, progress, generator):
        """Error of the autoencoder on mapped target bins."""
        error = self.autoencoder.error(self.generator(target), generator)
        return {"reconstruction": error.mean()}

    def adversary(self, source, target, generator):
        """Error on the source, and what the error on the target lacks to the margin."""
        with torch.no_grad():
            mapped = self.generator(target)
        lacking = F.relu(self.margin - self.autoencoder.error(mapped, generator))
        return self.autoencoder.error(source, generator).mean() + lacking.mean()


@aligner
class ADANAligner(AdversarialAligner):
    r"""Align sessions against an autoencoder of the source's latents (ADAN).

    An autoencoder D, first trained on the source, is the adversary: its error
    :math:`r(z) = \lvert D(z) - z \rvert`, a mean over dims, is to be low on bins of the
    source and high on those of the target. A map G of the target's latents and the
    target read-in bring the latter down [1]_:

    .. math:: L_D = E\, r(z_s) + E \max(0, m - r(G(z_t))), \qquad L_G = E\, r(G(z_t)).

    The aligned latents are :math:`G(z_t)`.

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    n_hidden : int, default=64
        Width of the map's hidden layer and of the autoencoder's outer ones; its inner
        ones have half of it.
    n_code : int, default=10
        Width of the autoencoder's code.
    noise : float, default=0.5
        Standard deviation of the noise on the autoencoder's input in training, for
        latents of unit variance.
    margin : float, default=1.0
        The margin m.
    n_pretraining : int, default=200
        Steps of the autoencoder on the source alone.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.

    See Also
    --------
    CycleGANAligner : Least-squares adversaries and maps in both directions.
    DANNAligner : A classifier of sessions, and no map.

    Notes
    -----
    The published loss of the autoencoder, :math:`r(z_s) - r(G(z_t))`, has no lower
    bound: it falls for ever as the autoencoder maps target bins further away. The
    margin ends that, as in energy-based adversarial networks [2]_: a target bin counts
    until its error is m. A map to the mean of standardised latents has an error of 0.8
    if they are Gaussian, so that the default lies just above that. With fewer dims than
    units in the code it is the noise, not the width, that keeps the autoencoder from
    copying its input.

    At equal step sizes of 1e-3 the read-in outran the autoencoder on simulated sessions
    (`make_reaching_sessions`, three seeds), and the start was accepted; at 1e-4 it did
    not.

    Differences from the published method: latents of a source model take the place of
    firing rates; the margin; noise of half a standard deviation; the map is
    :math:`x + f(x)` with the last layer of f at zero, the identity before the first
    step; the read-in is trained with the map; the autoencoder is trained on the source
    by its error alone, without a decoder of behaviour; a batch holds all bins of its
    trials; autoencoder and map have step sizes of 1e-3 and 1e-4, where the published
    values are 5e-5 and 1e-4.

    References
    ----------
    .. [1] Farshchian, A. et al. "Adversarial domain adaptation for stable brain-machine
       interfaces." ICLR 2019. :arxiv:`1810.00045`
    .. [2] Zhao, J., Mathieu, M. and LeCun, Y. "Energy-based generative adversarial
       networks." ICLR 2017. :arxiv:`1609.03126`

    Examples
    --------
    >>> from skerdiff import SequentialVAE
    >>> from skerdiff.alignment import ADANAligner
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> trials, y = make_reaching_sessions(
    ...     n_trials=60, n_neurons=40, random_state=0, return_X_y=True
    ... )
    >>> model = SequentialVAE(max_iter=2, n_hidden=8)
    >>> aligner = ADANAligner(model, n_starts=4, max_steps=2, random_state=0)
    >>> aligner = aligner.fit(trials["day0"]).adapt(trials["day1"])
    >>> aligner.transform(trials["day1"]).shape
    (60, 20, 8)
    """

    n_hidden: int = parameter(64, [at_least(2)])
    n_code: int = parameter(10, COUNT)
    noise: float = parameter(0.5, NON_NEGATIVE)
    margin: float = parameter(1.0, POSITIVE)
    n_pretraining: int = parameter(200, [at_least(0)])

    def _make_objective(self, source):
        return ADANObjective(
            source.shape[2],
            self.n_hidden,
            self.n_code,
            self.noise,
            self.margin,
            self.n_pretraining,
        )
