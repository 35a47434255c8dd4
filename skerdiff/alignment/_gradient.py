"""What all aligners share that move a read-in by gradient steps."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers
from abc import abstractmethod
from copy import deepcopy
from dataclasses import replace
from time import perf_counter

import numpy as np

from ..utils._random import derive_seed, numpy_generator, seeded_torch
from ..utils._similarity import relative_distances
from ..utils._sklearn import Interval, StrOptions
from ..utils._torch import as_tensor, limit_threads, resolve_device
from ..utils._training import progress_bar
from ._base import BaseAligner
from ._loop import ReadIn, adapt_readin
from ._report import in_doubt
from ._start import LatentMap


class GradientAligner(BaseAligner):
    """Base of aligners that minimise an objective over the target read-in.

    A subclass builds its objective in `_make_objective`; batches, steps, stopping and
    what is kept are the same for all.
    """

    _parameter_constraints = BaseAligner._parameter_constraints | {
        "init": [StrOptions({"geometry", "source", "random"})],
        "n_starts": [Interval(numbers.Integral, 1, None, closed="left")],
        "learning_rate": [Interval(numbers.Real, 0, None, closed="neither")],
        "batch_size": [Interval(numbers.Integral, 2, None, closed="left")],
        "max_steps": [Interval(numbers.Integral, 0, None, closed="left")],
        "check_every": [Interval(numbers.Integral, 1, None, closed="left")],
        "patience": [Interval(numbers.Integral, 1, None, closed="left")],
        "held_out": [Interval(numbers.Real, 0, 1, closed="neither")],
    }

    def __init__(
        self,
        latent_model=None,
        *,
        n_components=None,
        init="geometry",
        n_starts=200,
        learning_rate=1e-4,
        batch_size=32,
        max_steps=100,
        check_every=10,
        patience=10,
        held_out=0.2,
        on_new_session="align",
        memory=None,
        trial_length=None,
        device="auto",
        random_state=None,
        verbose=False,
    ):
        self.latent_model = latent_model
        self.n_components = n_components
        self.init = init
        self.n_starts = n_starts
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.check_every = check_every
        self.patience = patience
        self.held_out = held_out
        self.on_new_session = on_new_session
        self.memory = memory
        self.trial_length = trial_length
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @abstractmethod
    def _make_objective(self, source):
        """Build the objective from the standardised source latents, on their device.

        Initial weights come from torch's global generator, which is seeded.
        """

    def _fit_source(self, Z):
        self._source_mean, scale = Z.mean((0, 1)), Z.std((0, 1))
        self._source_scale = np.where(scale == 0, 1.0, scale)
        self.n_parameters_added_ = self._count_parameters()
        self.loss_curve_, self.steps_per_second_ = {}, {}

    def _count_parameters(self):
        with seeded_torch(0):
            objective = self._make_objective(as_tensor(self._standard_latents()))
        return sum(p.numel() for p in objective.parameters())

    def _standard_latents(self):
        return (self._latents - self._source_mean) / self._source_scale

    def _align(self, features, seed, known=None):
        start = self._start(features, seed, self.init, self.n_starts, known)
        if self.max_steps == 0 or in_doubt(start.report):
            return start
        device = resolve_device(self.device)
        order = numpy_generator(derive_seed(seed, "held out")).permutation(
            len(features)
        )
        n_held_out = min(max(2, round(self.held_out * len(order))), len(order) - 2)
        x = as_tensor(features, device=device)
        size = np.sqrt(features.var((0, 1)).mean())
        readin = ReadIn(
            *(as_tensor(a, device=device) for a in (*start.readin, size))
        ).to(device)
        source = self._standard_latents()
        z_source = as_tensor(source, device=device)
        with seeded_torch(derive_seed(seed, "objective")):
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
                lambda z: relative_distances(source, z.cpu().double().numpy()),
                max_steps=self.max_steps,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                check_every=self.check_every,
                patience=self.patience,
                seed=seed,
                progress=progress,
                adversary_learning_rate=getattr(self, "adversary_learning_rate", None),
            )
        speed = len(losses) / (perf_counter() - begin)
        report = start.report | {"criterion_curve": curve, "n_steps": n_steps}
        session = replace(start, report=report, losses=losses, steps_per_second=speed)
        if n_steps > 0:
            session.readin = tuple(
                a.detach().cpu().double().numpy() for a in readin.current()
            )
            session.map = self._latent_map(objective)
        return session

    def _latent_map(self, objective):
        """What an objective does to latents besides the read-in; None for nothing."""
        network = objective.map_network()
        if network is None:
            return None
        network = deepcopy(network).cpu().double().eval().requires_grad_(False)
        return LatentMap(network, self._source_mean, self._source_scale)

    def _encoder(self, device):
        """Activations to standardised latents, frozen."""
        module = deepcopy(self.latent_model_.module_).float().to(device)
        module.requires_grad_(False)
        # the gradient of a recurrent network on a GPU needs its training mode, which
        # changes nothing else: there is no dropout behind the read-in
        module.train(device.type == "cuda")
        mean, scale = (
            as_tensor(a, device=device) for a in (self._source_mean, self._source_scale)
        )
        return lambda activations: (module.encode(activations)[0] - mean) / scale

    def _keep(self, name, session):
        super()._keep(name, session)
        known = {k: s for k, s in self.sessions_.items() if k not in self.sources_}
        self.loss_curve_ = {k: s.losses for k, s in known.items()}
        self.steps_per_second_ = {k: s.steps_per_second for k, s in known.items()}
