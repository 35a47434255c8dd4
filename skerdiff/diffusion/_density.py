"""What a fitted diffusion model of trajectories can be asked."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers
from functools import partial

import numpy as np
import torch
from sklearn.base import DensityMixin
from sklearn.utils.validation import check_is_fitted

from ..base import Form
from ..trials import Trials
from ..utils._random import derive_seed, draw_seed, make_generator, numpy_generator
from ..utils._torch import as_tensor, limit_threads
from ._conditions import NoCondition, as_denoiser
from ._divergence import draw_probes, exact_divergence, hutchinson_divergence
from ._likelihood import (
    adaptive_log_likelihood,
    evidence_bound,
    paired_lengths,
    probability_flow_log_likelihood,
)
from ._objectives import denoising_loss
from ._samplers import (
    FLOW_SOLVERS,
    SOLVERS,
    ancestral,
    probability_flow,
    remove_noise,
)
from ._sde import T_MIN, time_grid

_CHUNK = 64  # trials evaluated together


class TrajectoryDensity(DensityMixin):
    """Sampling, inversion and likelihoods of a fitted `DiffusionPrior`."""

    def sample(
        self,
        n_samples=1,
        y=None,
        *,
        solver="dpm2",
        n_steps=25,
        guidance=1.0,
        random_state=None,
    ):
        """Draw trajectories.

        Parameters
        ----------
        n_samples : int, default=1
            Number of trajectories.
        y : array-like of shape (n_samples, n_bins, n_outputs) or (n_samples,), \
                default=None
            Behaviour or labels to condition on, as `condition` says; not read by an
            unconditional prior. None draws from the unconditional model.
        solver : {"dpm2", "heun", "ddim", "ancestral"}, default="dpm2"
            ``"dpm2"`` (DPM-Solver-2, Lu et al., 2022) and ``"heun"`` (Karras et al.,
            2022) follow the probability flow in second order; ``"ddim"`` (Song, Meng
            and Ermon, 2021) in first order, at half the cost a step; ``"ancestral"``
            (Ho, Jain and Abbeel, 2020) simulates the reverse SDE. The last two draw
            with too little variance unless steps are many.
        n_steps : int, default=25
            Number of steps of the solver.
        guidance : float, default=1.0
            Weight of the condition (classifier-free guidance): 1 is the conditional
            model, more exaggerates the condition.
        random_state : int, RandomState instance or None, default=None
            Determines the draws. None takes the seed of the fit: every call alike.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_bins, n_components)
            Trajectories.

        Raises
        ------
        ValueError
            If the solver is unknown, a number is not a positive integer, or y does not
            fit the condition.
        """
        check_is_fitted(self)
        _check_count("n_samples", n_samples)
        if y is not None and np.shape(y)[:1] != (n_samples,):
            raise ValueError(
                f"y must hold the condition of each of n_samples={n_samples} "
                f"trajectories, got shape {np.shape(y)}."
            )
        _check_solver(solver, SOLVERS)
        seed = self._seed if random_state is None else draw_seed(random_state)
        rng = numpy_generator(derive_seed(seed, "sample"))
        shape = (n_samples, self.n_bins_, self.n_features_in_)

        def draw():
            return as_tensor(rng.standard_normal(shape), torch.float64)

        denoiser = self._denoiser(y, np.empty(shape), Form("array"), guidance)
        times = self._times(n_steps, 1.0, T_MIN)
        sde = self.module_.sde
        with limit_threads(2):
            if solver == "ancestral":
                z = ancestral(denoiser, sde, draw(), times, draw)
            else:
                z = probability_flow(denoiser, sde, draw(), times, solver)
            z = remove_noise(denoiser, sde, z, T_MIN)
        return self.mean_ + self.scale_ * z.numpy()

    def invert(self, Z, y=None, *, t_stop=1.0, solver="heun", n_steps=50, guidance=1.0):
        """Carry trajectories along the probability flow towards noise.

        `decode` is the way back. At ``t_stop=1`` trajectories of the model become
        standard normal.

        Parameters
        ----------
        Z : array-like of shape (n_trials, n_bins, n_components), Trials or 2-D array
            Latents.
        y : array-like, default=None
            Condition of each trial, see `fit`; None for the unconditional model. If
            what is found is to be compared with y, y must not enter here.
        t_stop : float, default=1.0
            Diffusion time to stop at.
        solver : {"ddim", "dpm2", "heun"}, default="heun"
            See `sample`.
        n_steps : int, default=50
            Number of steps of the solver.
        guidance : float, default=1.0
            Weight of the condition.

        Returns
        -------
        Z_noised : ndarray of shape (n_trials, n_bins, n_components)
            Trajectories at `t_stop`, in standardised latents; 2-D for 2-D input.
        """
        z, form, Z = self._standardise(Z)
        denoiser = self._denoiser(y, Z, form, guidance)
        z = self._carry(denoiser, z, T_MIN, t_stop, solver, n_steps)
        return form.restore(z.numpy())

    def decode(
        self, Z_noised, y=None, *, t_start=1.0, solver="heun", n_steps=50, guidance=1.0
    ):
        """Carry noised trajectories along the probability flow back to latents.

        Parameters
        ----------
        Z_noised : array-like of shape (n_trials, n_bins, n_components) or 2-D array
            Trajectories at diffusion time `t_start`, in standardised latents.
        y : array-like, default=None
            Condition of each trial, see `fit`.
        t_start : float, default=1.0
            Diffusion time of the trajectories.
        solver : {"ddim", "dpm2", "heun"}, default="heun"
            See `sample`.
        n_steps : int, default=50
            Number of steps of the solver.
        guidance : float, default=1.0
            Weight of the condition.

        Returns
        -------
        Z : ndarray of shape (n_trials, n_bins, n_components)
            Latents; 2-D for 2-D input.
        """
        z, form, Z = self._read(Z_noised)
        denoiser = self._denoiser(y, Z, form, guidance)
        z = self._carry(denoiser, z, t_start, T_MIN, solver, n_steps)
        return form.restore(self.mean_ + self.scale_ * z.numpy())

    def score_samples(self, Z, y=None):
        """Log-likelihood of each trajectory by the probability-flow ODE.

        Parameters
        ----------
        Z : array-like of shape (n_trials, n_bins, n_components), Trials or 2-D array
            Latents.
        y : array-like, default=None
            Condition of each trial, see `fit`. None scores under the unconditional
            model.

        Returns
        -------
        log_likelihood : ndarray of shape (n_trials,)
            Log-likelihood in nats per trial, in the units of Z.
        """
        z, form, Z = self._standardise(Z)
        self._validate_params()  # integrator and probes may have been set since fit
        divergence = exact_divergence
        if self.n_probes:
            generator = make_generator(derive_seed(self._seed, "probes"))
            probes = draw_probes(self.probes, self.n_probes, z, generator)
            divergence = partial(hutchinson_divergence, probes=probes)
        if self.integrator == "adaptive":
            integrate = partial(adaptive_log_likelihood, tolerance=self.tolerance)
        else:
            integrate = partial(probability_flow_log_likelihood, n_steps=self.n_steps)

        net = self.module_

        def run(part, condition):
            def noise_and_trace(z, t):
                return net.noise_and_trace(z, t, divergence, condition)

            return integrate(noise_and_trace, net.sde, part)

        return self._in_units(self._by_chunk(run, z, y, Z, form))

    def score(self, Z, y=None):
        """Mean log-likelihood of the trajectories.

        Parameters
        ----------
        Z : array-like of shape (n_trials, n_bins, n_components), Trials or 2-D array
            Latents.
        y : array-like, default=None
            Condition of each trial; not read by an unconditional prior.

        Returns
        -------
        score : float
            Mean log-likelihood in nats per trial, which changes with the units of Z.
        """
        return float(self.score_samples(Z, y).mean())

    def evidence_bound(self, Z, y=None, *, n_times=100):
        """Lower bound of the log-likelihood of the reverse SDE.

        The bound that ERDiff's objective comes from, with its divergence term. For a
        linear drift that term is the same for every trajectory.

        Parameters
        ----------
        Z : array-like of shape (n_trials, n_bins, n_components), Trials or 2-D array
            Latents.
        y : array-like, default=None
            Condition of each trial, see `fit`.
        n_times : int, default=100
            Diffusion times, spread over the log signal-to-noise ratios, each with one
            noise for all trials.

        Returns
        -------
        bound : ndarray of shape (n_trials,)
            Estimate of the bound, in nats per trial in the units of Z.
        """
        _check_count("n_times", n_times)
        z, form, Z = self._standardise(Z)
        sde = self.module_.sde
        generator = make_generator(derive_seed(self._seed, "bound"))
        ends = sde.log_snr(torch.tensor([T_MIN, 1.0], dtype=z.dtype))
        u = torch.rand(1, generator=generator, dtype=z.dtype)
        u = (u + torch.arange(n_times, dtype=z.dtype) / n_times) % 1.0
        times = sde.time_at(ends[0] + u * (ends[1] - ends[0]))
        noises = torch.randn(n_times, *z.shape[1:], generator=generator, dtype=z.dtype)
        noises = paired_lengths(noises, generator)

        def run(part, condition):
            denoiser = as_denoiser(self.module_, condition)
            return evidence_bound(denoiser, sde, part, times, noises)

        return self._in_units(self._by_chunk(run, z, y, Z, form))

    def denoising_error(self, Z, t=None, y=None):
        """Squared error of the predicted noise of each trajectory.

        Parameters
        ----------
        Z : array-like of shape (n_trials, n_bins, n_components), Trials or 2-D array
            Latents.
        t : float or array-like of shape (n_times,), default=None
            Diffusion times in [0, 1] to average over, each with one noise for all
            trials. None takes 60, evenly spaced. Times below 0.001 count as that.
        y : array-like, default=None
            Condition of each trial, see `fit`.

        Returns
        -------
        error : ndarray of shape (n_trials,)
            Mean squared error over bins, dims and diffusion times.
        """
        z, form, Z = self._standardise(Z)
        times = (np.arange(60) + 0.5) / 60 if t is None else np.atleast_1d(t)
        times = [max(_check_time("t", time), T_MIN) for time in times]
        if not times:
            raise ValueError("t holds no diffusion time.")
        generator = make_generator(derive_seed(self._seed, "error"))
        noises = torch.randn(
            len(times), *z.shape[1:], generator=generator, dtype=z.dtype
        )

        def run(part, condition):
            denoiser = as_denoiser(self.module_, condition)
            error = torch.zeros_like(part[:, 0, 0])
            for time, noise in zip(times, noises):
                now = torch.full_like(error, time)
                noise = noise.expand(part.shape)
                error += denoising_loss(denoiser, self.module_.sde, part, now, noise)
            return error / len(times)

        with torch.no_grad():
            return self._by_chunk(run, z, y, Z, form).numpy()

    def _by_chunk(self, run, z, y, Z, form):
        """Apply a function of trials and their conditions, a few trials at a time."""
        condition = self._encode(y, Z, form)
        parts = []
        with limit_threads(2):
            for rows in torch.arange(len(z)).split(_CHUNK):
                given = None if condition is None else condition[rows]
                parts.append(run(z[rows], given))
        return torch.cat(parts)

    def _in_units(self, log_density):
        """Log-density of Z from that of standardised latents."""
        return log_density.numpy() - self.n_bins_ * np.log(self.scale_).sum()

    def _carry(self, denoiser, z, t_start, t_stop, solver, n_steps):
        _check_solver(solver, FLOW_SOLVERS)
        times = self._times(n_steps, t_start, t_stop)
        with limit_threads(2):
            return probability_flow(denoiser, self.module_.sde, z, times, solver)

    def _times(self, n_steps, t_start, t_stop):
        _check_count("n_steps", n_steps)
        ends = (
            max(_check_time(name, t), T_MIN)
            for name, t in (("t_start", t_start), ("t_stop", t_stop))
        )
        return time_grid(self.module_.sde, n_steps, *ends)

    def _denoiser(self, y, Z, form, guidance):
        if not isinstance(guidance, numbers.Real) or not np.isfinite(guidance):
            raise ValueError(f"guidance must be a finite number, got {guidance!r}.")
        if guidance != 1.0 and (y is None or isinstance(self._condition, NoCondition)):
            raise ValueError(
                f"guidance={guidance} weighs a condition, but there is none: fit the "
                "prior with condition='concat' or 'label' and give y."
            )
        return as_denoiser(self.module_, self._encode(y, Z, form), float(guidance))

    def _encode(self, y, Z, form):
        """Condition of each trial as a tensor, None for none."""
        if y is None or isinstance(self._condition, NoCondition):
            return None
        used = np.ones(len(Z), bool)
        y = self._condition.read(self, y, Z, form, used)
        return as_tensor(self._condition.encode(y), torch.float64)

    def _read(self, Z):
        """Latents as a float64 tensor, their form, and as they were validated."""
        check_is_fitted(self)
        Z, form = self._check_X(Z, reset=False)
        array = Z.to_array() if isinstance(Z, Trials) else Z
        if array.shape[1] != self.n_bins_:
            raise ValueError(
                f"Trials have {array.shape[1]} bins, but {type(self).__name__} was "
                f"fitted on trials of {self.n_bins_} bins."
            )
        return as_tensor(array, torch.float64), form, Z

    def _standardise(self, Z):
        z, form, Z = self._read(Z)
        mean, scale = (as_tensor(a, torch.float64) for a in (self.mean_, self.scale_))
        return (z - mean) / scale, form, Z


def _check_count(name, value):
    if not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}.")


def _check_time(name, t):
    if not isinstance(t, numbers.Real) or not 0 <= t <= 1:
        raise ValueError(f"{name} must be a diffusion time in [0, 1], got {t!r}.")
    return float(t)


def _check_solver(solver, known):
    if solver not in known:
        raise ValueError(
            f"solver must be one of {', '.join(map(repr, known))}, got {solver!r}."
        )
