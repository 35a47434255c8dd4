"""A check of priors, for users who write one."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch
from scipy.stats import multivariate_normal
from sklearn.base import clone

from ._objectives import denoising_loss
from ._sde import T_MIN

_N_TRIALS, _N_NEW, _N_BINS, _N_COMPONENTS = 60, 40, 6, 2
_SIZE = _N_BINS * _N_COMPONENTS
# Units of the latents: with the first densities are far below one, with the second far
# above, so that a log-density in other units or of another base is too large in one.
_SCALES = (8.0, 0.02)
_OFFSET = 5.0  # mean of the latents, in standard deviations


def check_trajectory_prior(estimator):
    """Check that an estimator does what `TrajectoryPrior` promises.

    Clones are fitted to small synthetic trajectories. If there is a parameter
    `random_state` and it is None, the clones have it set to 0.

    Parameters
    ----------
    estimator : estimator
        The prior to check. It need not derive from `TrajectoryPrior`, and it is left as
        it is. Settings with which it fits fast will do.

    Raises
    ------
    AssertionError
        If a promise is broken. The message says which.

    See Also
    --------
    TrajectoryPrior : The promises.
    sklearn.utils.estimator_checks.check_estimator : Checks of what every estimator
        promises.

    Examples
    --------
    >>> from skerdiff.diffusion import DiffusionPrior, check_trajectory_prior
    >>> check_trajectory_prior(DiffusionPrior(max_iter=0, n_steps=8))
    """
    for scale in _SCALES:
        law = _law(scale)
        Z, new = _draw(law, _N_TRIALS, 0), _draw(law, _N_NEW, 1)
        prior = _fit(estimator, Z)
        _check_density(prior, new, law)
        _check_module(prior.denoiser())
        _check_sde(prior.denoiser())
        z = (new - Z.mean((0, 1))) / Z.std((0, 1))
        _check_calls(prior, torch.tensor(z))
        _check_gradient(prior, torch.tensor(z))
        _check_noise(prior.denoiser().double(), torch.tensor(z))
        _check_copy(prior, new)
    _check_constant_dim(estimator)


def _promise(is_kept, promise):
    """Raise unless a promise is kept; `assert` would be lost under ``python -O``."""
    if not is_kept:
        raise AssertionError(f"A TrajectoryPrior promises: {promise}")


def _law(scale):
    """A Gaussian law of smooth trajectories with correlated latent dims."""
    k = np.arange(_N_BINS)
    in_time = np.exp(-0.5 * ((k[:, None] - k) / 2.0) ** 2) + 0.1 * np.eye(_N_BINS)
    across = np.array([[1.0, 0.4], [0.4, 0.5]])
    mean = _OFFSET * scale * np.ones(_SIZE)
    return multivariate_normal(mean, scale**2 * np.kron(in_time, across))


def _draw(law, n_trials, seed):
    rows = law.rvs(n_trials, random_state=np.random.RandomState(seed))
    return rows.reshape(n_trials, _N_BINS, _N_COMPONENTS)


def _fit(estimator, Z):
    """Fit a clone, and check what `fit` promises."""
    prior = clone(estimator)
    if prior.get_params(deep=False).get("random_state", 0) is None:
        prior.set_params(random_state=0)
    given = Z.copy()
    result = prior.fit(given, None)
    _promise(result is prior, "fit(Z, None) returns the estimator itself.")
    _promise(np.array_equal(given, Z), "fit leaves Z as it is.")
    _promise(
        getattr(prior, "n_bins_", None) == Z.shape[1],
        "fit sets n_bins_ to the number of bins per trial.",
    )
    return prior


def _check_density(prior, Z, law):
    """Check `score_samples` on new trials of the law that `fit` saw."""
    scores = prior.score_samples(Z)
    _promise(
        np.shape(scores) == (len(Z),),
        f"score_samples returns one value per trial, shape {(len(Z),)}; got "
        f"{np.shape(scores)}.",
    )
    _promise(np.isfinite(scores).all(), "score_samples is finite.")
    alone = np.concatenate([prior.score_samples(Z[[i]]) for i in range(3)])
    _promise(
        np.allclose(alone, scores[:3], rtol=1e-4, atol=1e-3),
        "score_samples of a trial does not depend on the other trials.",
    )
    # Gibbs' inequality: the mean is highest for the log-density of the law itself
    excess = scores - law.logpdf(Z.reshape(len(Z), -1))
    chance = 3 * excess.std() / np.sqrt(len(Z)) + 0.02 * _SIZE
    _promise(
        excess.mean() <= chance,
        "score_samples is the log-density of the whole trial, in nats and in the units "
        f"of Z. On trials drawn from a Gaussian it is {excess.mean():.3g} nats per "
        "trial above that of the Gaussian, which no density can be.",
    )
    far = prior.score_samples(Z + 10 * Z.std((0, 1)))
    _promise(
        far.mean() < scores.mean(),
        "score_samples is higher for trials like those of fit than for trials far "
        "from them.",
    )


def _check_module(module):
    """Check the state in which the denoiser comes."""
    _promise(
        isinstance(module, torch.nn.Module),
        f"denoiser() returns a torch.nn.Module, not {type(module).__name__}.",
    )
    _promise(
        not any(part.training for part in module.modules()),
        "denoiser() is in evaluation mode.",
    )
    _promise(
        not any(p.requires_grad for p in module.parameters()),
        "no parameter of denoiser() requires gradients.",
    )
    _promise(
        all(a.device.type == "cpu" for a in _tensors(module)),
        "denoiser() is on the CPU.",
    )


def _tensors(module):
    return [*module.parameters(), *module.buffers()]


def _check_sde(module):
    """Check ``denoiser().sde``."""
    sde = getattr(module, "sde", None)
    _promise(hasattr(sde, "marginal"), "denoiser().sde has the method marginal(t).")
    for dtype in (torch.float32, torch.float64):
        t = torch.linspace(T_MIN, 1.0, 20, dtype=dtype)
        for name, a in zip(("alpha", "sigma"), sde.marginal(t)):
            _promise(
                a.shape == t.shape and a.dtype == dtype,
                f"{name} of sde.marginal(t) has the shape and dtype of t; got "
                f"{tuple(a.shape)}, {a.dtype} for {tuple(t.shape)}, {dtype}.",
            )
            _promise(
                bool((a > 0).all() and a.isfinite().all()),
                f"{name} of sde.marginal(t) is positive and finite.",
            )
    alpha, sigma = sde.marginal(t)
    _promise(
        bool(((alpha / sigma).diff() < 0).all()),
        "alpha / sigma of sde.marginal(t) falls with t.",
    )


def _check_calls(prior, z):
    """Check what the denoiser returns at standardised latents."""
    module = prior.denoiser().double()
    t = torch.linspace(T_MIN, 1.0, len(z), dtype=z.dtype)
    given = z.clone(), t.clone()
    out = module(*given)
    _promise(
        torch.equal(given[0], z) and torch.equal(given[1], t),
        "the denoiser leaves z_t and t as they are.",
    )
    _promise(
        out.shape == z.shape,
        f"the denoiser's output has the shape of z_t, {tuple(z.shape)}; got "
        f"{tuple(out.shape)}.",
    )
    _promise(
        bool(out.isfinite().all()),
        "the denoiser's output is finite for t in (0, 1].",
    )
    _promise(torch.equal(module(z, t), out), "the denoiser draws no random numbers.")
    alone = torch.cat([module(z[[i]], t[[i]]) for i in range(len(z))])
    _promise(
        torch.allclose(alone, out, rtol=1e-5, atol=1e-6),
        "the denoiser treats each trial by itself, with the diffusion time of that "
        "trial.",
    )
    for dtype in (torch.float32, torch.float64):
        same = prior.denoiser().to(dtype)(z.to(dtype), t.to(dtype))
        _promise(
            same.dtype == dtype and torch.allclose(same.to(out), out, 0.01, 0.01),
            "the denoiser works in float32 after .float() and in float64 after "
            ".double(), with the same result.",
        )


def _check_gradient(prior, z):
    """Compare the gradient along a direction with differences."""
    module = prior.denoiser().double()
    t = torch.linspace(0.1, 0.9, len(z), dtype=z.dtype)
    weights, direction = (
        torch.sin(torch.arange(2.0 * z.numel())).to(z).view(2, *z.shape)
    )

    def value(z):
        return (weights * module(z, t)).sum(dim=(1, 2))

    z = z.clone().requires_grad_()
    total = value(z).sum()
    gradient = None
    if total.requires_grad:
        (gradient,) = torch.autograd.grad(total, z, allow_unused=True)
    gradient = torch.zeros_like(z) if gradient is None else gradient
    with torch.no_grad():
        h = 1e-4
        expected = (value(z + h * direction) - value(z - h * direction)) / (2 * h)
    found = (gradient * direction).sum(dim=(1, 2))
    _promise(
        bool((found - expected).norm() <= 0.01 * expected.norm()),
        "gradients flow from the denoiser's output to z_t.",
    )


def _check_noise(module, z):
    """Check that the output is the expected noise in standardised latents."""
    generator = torch.Generator().manual_seed(0)
    errors = []
    for time in torch.linspace(0.05, 0.5, 10).tolist():
        t = torch.full((len(z),), time, dtype=z.dtype)
        noise = torch.empty_like(z).normal_(generator=generator)
        with torch.no_grad():
            error = denoising_loss(module, module.sde, z, t, noise).mean()
        errors.append(float(error))
    error = np.mean(errors)
    _promise(
        error < 0.9,
        "the denoiser predicts the noise in latents that are standardised by the mean "
        "and standard deviation of each dim. On new trials its mean squared error is "
        f"{error:.3g}, and that of predicting zero is 1.",
    )


def _check_copy(prior, Z):
    """Overwrite a denoiser, and look whether the prior has changed."""
    scores = prior.score_samples(Z[:3])
    module = prior.denoiser()
    t = torch.full((3,), 0.3, dtype=torch.float64)
    z = torch.tensor(Z[:3] / Z.std())
    before = prior.denoiser().double()(z, t)
    with torch.no_grad():
        for a in _tensors(module):
            a.fill_(1)
    after = prior.denoiser()
    same = after is not module and torch.equal(after.double()(z, t), before)
    _promise(
        same and np.array_equal(prior.score_samples(Z[:3]), scores),
        "denoiser() returns a new copy at every call, which shares nothing with the "
        "prior.",
    )


def _check_constant_dim(estimator):
    """Check trajectories of which one latent dim never changes."""
    Z = _draw(_law(1.0), _N_TRIALS, 0)
    Z[..., 1] = 3.0
    prior = _fit(estimator, Z)
    module = prior.denoiser().double()
    t = torch.linspace(T_MIN, 1.0, len(Z), dtype=torch.float64)
    z = torch.tensor(Z - Z.mean((0, 1)))
    _promise(
        bool(module(z, t).isfinite().all())
        and np.isfinite(prior.score_samples(Z)).all(),
        "a standard deviation of zero counts as one: score_samples and the denoiser "
        "are finite where a latent dim never changes.",
    )
