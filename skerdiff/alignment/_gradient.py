"""What all aligners share that move a read-in by gradient steps."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers
from abc import abstractmethod
from copy import deepcopy
from dataclasses import replace
from time import perf_counter

import numpy as np

from ..geometry import is_ambiguous, relative_distances
from ..latent import LatentModel
from ..sessions import NetworkMap
from ..utils._arrays import mean_and_variance
from ..utils._random import SeededTorch, derive_seed, numpy_generator
from ..utils._sklearn import COUNT, POSITIVE, HasMethods, Interval, at_least
from ..utils._threads import limit_threads
from ..utils._torch import as_tensor, resolve_device
from ..utils._training import progress_bar
from ._base import StartingAligner
from ._loop import TrainableReadIn, adapt_readin
from ._parameters import aligner, parameter


@aligner
class GradientAligner(StartingAligner):
    """Base of aligners that minimise an objective over the target read-in.

    A subclass builds its objective in `_make_objective`; batches, steps, stopping and
    what is accepted are the same for all.

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.
    """

    latent_model: object = parameter(
        None,
        [HasMethods([*LatentModel.required, "torch_encoder"]), None],
        """LatentModel, default=None
        Latent-variable model of the source: `skerdiff.SequentialVAE`,
        `skerdiff.latent.LinearLatentModel`, or one of your own with a
        ``torch_encoder``, see `skerdiff.latent.LatentModel`. None is
        ``SequentialVAE()``. It is cloned.
        """,
        keyword_only=False,
    )
    learning_rate: float = parameter(
        1e-4,
        POSITIVE,
        """float, default=1e-4
        Step size of Adam, for features of unit variance. From ``init="source"`` take
        1e-3, or 3e-4 against an adversary, and more steps.
        """,
    )
    batch_size: int = parameter(
        32,
        [at_least(2)],
        """int, default=32
        Trials per step, of the target and of the source.
        """,
    )
    max_steps: int = parameter(
        100,
        [at_least(0)],
        """int, default=100
        Most gradient steps; 0 stays at the start. None are made from an ambiguous
        geometry, as they cannot mend it.
        """,
    )
    check_every: int = parameter(
        10,
        COUNT,
        """int, default=10
        Steps between two looks at the held-out trials.
        """,
    )
    patience: int = parameter(
        10,
        COUNT,
        """int, default=10
        Looks without improvement before stopping.
        """,
    )
    held_out: float = parameter(
        0.2,
        [Interval(numbers.Real, 0, 1, closed="neither")],
        """float, default=0.2
        Share of the target trials that chooses the step: the one with the lowest
        relative residual of these trials is accepted if that is below the start's by a
        paired t-test at the level of 0.05; else the start is. No label is read.
        """,
    )

    _attributes_doc = """
    n_parameters_added_ : int
        Parameters of the networks that the method adds to the source model.
    loss_curve_ : dict of str to list of dict
        For each target session the named losses of every gradient step; empty where no
        steps were made. `alignment_report_` has ``criterion_curve``, step and relative
        residual of the held-out trials, and ``n_steps``, the step that was accepted.
    steps_per_second_ : dict of str to float
        For each target session the gradient steps per second.
    """

    adversary_learning_rate = None  # there is no adversary

    @abstractmethod
    def _make_objective(self, source):
        """Build the objective from the standardised source latents, on their device.

        Initial weights come from torch's global generator, which is seeded.
        """

    def _fit_source(self, features):
        mean, scale = self._latents.mean((0, 1)), self._latents.std((0, 1))
        self._source_mean, self._source_scale = mean, np.where(scale == 0, 1.0, scale)
        with SeededTorch(0):
            objective = self._make_objective(as_tensor(self._standard_latents()))
        self.n_parameters_added_ = sum(p.numel() for p in objective.parameters())

    def _standard_latents(self):
        return (self._latents - self._source_mean) / self._source_scale

    def _align(self, features, seed, start=None):
        reader = self._start(features, seed, start)
        if self.max_steps == 0 or is_ambiguous(reader.report):
            return reader
        device = resolve_device(self.device)
        order = numpy_generator(derive_seed(seed, "held out")).permutation(
            len(features)
        )
        n_held_out = min(max(2, round(self.held_out * len(order))), len(order) - 2)
        x = as_tensor(features, device=device)
        size = np.sqrt(mean_and_variance(features)[1].mean())
        readin = TrainableReadIn(
            *(as_tensor(a, device=device) for a in (*reader.readin, size))
        ).to(device)
        source = self._standard_latents()
        z_source = as_tensor(source, device=device)
        with SeededTorch(derive_seed(seed, "objective")):
            objective = self._make_objective(z_source)
        objective = objective.to(device).train()
        objective.prepare(z_source)
        bar = progress_bar(self.verbose, self.max_steps, "alignment", "step")
        begin = perf_counter()
        with limit_threads(2), bar as progress:
            losses, curve, n_steps = adapt_readin(
                readin,
                x[order[n_held_out:]],
                x[order[:n_held_out]],
                z_source,
                self._encoder(device),
                objective,
                lambda z: relative_distances.unchecked(
                    source, z.cpu().double().numpy()
                ),
                max_steps=self.max_steps,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                check_every=self.check_every,
                patience=self.patience,
                seed=seed,
                progress=progress,
                adversary_learning_rate=self.adversary_learning_rate,
            )
        speed = len(losses) / (perf_counter() - begin)
        reader = reader.with_report(
            criterion_curve=curve, n_steps=n_steps, loss_curve=losses
        )
        reader = replace(reader, steps_per_second=speed)
        if n_steps == 0:
            return reader
        moved = tuple(a.detach().cpu().double().numpy() for a in readin.current())
        return replace(reader, readin=moved, latent_map=self._latent_map(objective))

    def _latent_map(self, objective):
        """What an objective does to latents besides the read-in; None for nothing."""
        network = objective.map_network()
        if network is None:
            return None
        network = deepcopy(network).cpu().double().eval().requires_grad_(False)
        return NetworkMap(network, self._source_mean, self._source_scale)

    def _encoder(self, device):
        """Activations to standardised latents, frozen."""
        module = self.latent_model_.torch_encoder().float().to(device)
        # the gradient of a recurrent network on a GPU needs its training mode, in which
        # an encoder computes the same
        module.train(device.type == "cuda")
        mean, scale = (
            as_tensor(a, device=device) for a in (self._source_mean, self._source_scale)
        )
        return lambda activations: (module(activations) - mean) / scale

    @property
    def loss_curve_(self):
        """Named losses of every gradient step, for each target session."""
        return {k: r.report.loss_curve or [] for k, r in self._targets().items()}

    @property
    def steps_per_second_(self):
        """Gradient steps per second, for each target session."""
        return {k: r.steps_per_second for k, r in self._targets().items()}

    def _targets(self):
        return {k: r for k, r in self.sessions_.items() if k not in self.sources_}


@aligner
class AdversarialAligner(GradientAligner):
    """Base of aligners whose objective trains against an adversary.

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.
    """

    adversary_learning_rate: float = parameter(
        1e-3,
        POSITIVE,
        """float, default=1e-3
        Step size of Adam for the adversary.
        """,
    )
