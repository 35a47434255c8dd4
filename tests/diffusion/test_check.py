"""The contract of a prior: a prior written on it alone, and every way to break it."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from torch import nn

from skerdiff import DiffusionPrior, ERDiffAligner, SequentialVAE
from skerdiff.datasets import make_reaching_sessions
from skerdiff.diffusion import TrajectoryPrior, check_trajectory_prior
from skerdiff.latent import LinearLatentModel


class QuarterCircle:
    """alpha and sigma are cosine and sine."""

    def marginal(self, t):
        return torch.cos(1.55 * t), torch.sin(1.55 * t)


class GaussianDenoiser(nn.Module):
    """sigma (alpha^2 S + sigma^2 I)^-1 (z_t - alpha mu)."""

    def __init__(self, mean, covariance):
        super().__init__()
        self.sde = QuarterCircle()
        self.mean = nn.Parameter(torch.tensor(mean))
        self.register_buffer("covariance", torch.tensor(covariance))

    def forward(self, z_t, t):
        alpha, sigma = (a[:, None, None] for a in self.sde.marginal(t))
        noised = alpha**2 * self.covariance
        noised = noised + sigma**2 * torch.eye(len(self.mean)).to(z_t)
        residual = z_t.flatten(1)[..., None] - alpha * self.mean[:, None]
        return (sigma * torch.linalg.solve(noised, residual)).view_as(z_t)


class GaussianPrior(TrajectoryPrior, BaseEstimator):
    """Trajectories are jointly normal; `ridge` is added to the standard deviations."""

    def __init__(self, ridge=0.01):
        self.ridge = ridge

    def fit(self, Z, y=None):
        self.n_bins_, d = Z.shape[1:]
        scale = Z.std((0, 1))
        self.scale_ = np.tile(np.where(scale == 0, 1.0, scale), self.n_bins_)
        self.offset_ = np.tile(Z.mean((0, 1)), self.n_bins_)
        z = (Z.reshape(len(Z), -1) - self.offset_) / self.scale_
        self.mean_ = z.mean(0)
        self.covariance_ = np.cov(z.T) + self.ridge * np.eye(self.n_bins_ * d)
        self.denoiser_ = GaussianDenoiser(self.mean_, self.covariance_)
        self.denoiser_.eval().requires_grad_(False)
        return self

    def score_samples(self, Z):
        z = (Z.reshape(len(Z), -1) - self.offset_) / self.scale_
        law = multivariate_normal(self.denoiser_.mean.numpy(), self.covariance_)
        return np.atleast_1d(law.logpdf(z)) - np.log(self.scale_).sum()

    def denoiser(self):
        return copy.deepcopy(self.denoiser_)


def test_a_prior_written_on_the_contract_passes():
    check_trajectory_prior(GaussianPrior())


@pytest.mark.parametrize(
    "settings", [{"sde": "vp"}, {"sde": "sub-vp", "noise_scale": 0.7}]
)
def test_the_diffusion_prior_passes(settings):
    prior = DiffusionPrior(
        max_iter=2, n_channels=8, n_heads=2, n_steps=8, n_probes=1, **settings
    )
    check_trajectory_prior(prior)
    assert not hasattr(prior, "n_bins_")  # clones are fitted


def test_there_is_no_denoiser_before_fit():
    with pytest.raises(NotFittedError):
        DiffusionPrior().denoiser()


def test_a_prior_need_not_derive_from_the_base_class():
    methods = {
        name: vars(GaussianPrior)[name]
        for name in ("__init__", "fit", "score_samples", "denoiser")
    }
    check_trajectory_prior(type("Other", (BaseEstimator,), methods)())


# -- broken priors ---------------------------------------------------------------------
def changed_output(change):
    """A prior whose denoiser's output is changed by a function of it, z_t and t."""

    class Changed(GaussianDenoiser):
        def forward(self, z_t, t):
            return change(super().forward(z_t, t), z_t, t)

    return with_denoiser(Changed)


def with_denoiser(module_class):
    class Broken(GaussianPrior):
        def denoiser(self):
            module = module_class(self.mean_, self.covariance_)
            return module.eval().requires_grad_(False)

    return Broken


def with_marginal(marginal):
    """A prior with another alpha and sigma."""

    class Broken(GaussianPrior):
        def denoiser(self):
            module = super().denoiser()
            module.sde.marginal = marginal
            return module

    return Broken


def with_score(score):
    """A prior whose log-densities are a function of them, the prior and Z."""

    class Broken(GaussianPrior):
        def score_samples(self, Z):
            return score(super().score_samples(Z), self, Z)

    return Broken


class FitReturnsNothing(GaussianPrior):
    def fit(self, Z, y=None):
        super().fit(Z)


class FitStandardisesInPlace(GaussianPrior):
    def fit(self, Z, y=None):
        Z -= Z.mean((0, 1))
        return super().fit(Z)


class WrongNumberOfBins(GaussianPrior):
    def fit(self, Z, y=None):
        super().fit(Z)
        self.n_bins_ += 1
        return self


class NoNumberOfBins(GaussianPrior):
    def fit(self, Z, y=None):
        super().fit(Z)
        self.n_bins = vars(self).pop("n_bins_")
        return self


class ConstantDimsDivideByZero(GaussianPrior):
    def fit(self, Z, y=None):
        if (Z.std((0, 1)) == 0).any():
            with np.errstate(invalid="ignore"):
                super().fit(Z)
                self.denoiser_.mean /= torch.tensor(np.tile(Z.std((0, 1)), Z.shape[1]))
            return self
        return super().fit(Z)


class StandardisedByNothing(GaussianPrior):
    """The denoiser expects latents in the units of Z."""

    def denoiser(self):
        spread = self.scale_[:, None] * self.scale_
        module = GaussianDenoiser(
            self.offset_ + self.scale_ * self.mean_, spread * self.covariance_
        )
        return module.eval().requires_grad_(False)


class StandardisedByMeanOnly(GaussianPrior):
    def denoiser(self):
        spread = self.scale_[:, None] * self.scale_
        module = GaussianDenoiser(self.scale_ * self.mean_, spread * self.covariance_)
        return module.eval().requires_grad_(False)


class StandardisedByScaleOnly(GaussianPrior):
    def denoiser(self):
        mean = self.offset_ / self.scale_ + self.mean_
        return GaussianDenoiser(mean, self.covariance_).eval().requires_grad_(False)


class NoModule(GaussianPrior):
    def denoiser(self):
        return super().denoiser().forward


class InTrainingMode(GaussianPrior):
    def denoiser(self):
        return super().denoiser().train()


class WithGradients(GaussianPrior):
    def denoiser(self):
        return super().denoiser().requires_grad_()


class OnAnotherDevice(GaussianPrior):
    def denoiser(self):
        return super().denoiser().to("meta")


class WithoutSDE(GaussianPrior):
    def denoiser(self):
        module = super().denoiser()
        del module.sde
        return module


class SameObject(GaussianPrior):
    def denoiser(self):
        return self.denoiser_


class SharedWeights(GaussianPrior):
    def denoiser(self):
        module = super().denoiser()
        module.mean = self.denoiser_.mean
        return module


class SharedBuffer(GaussianPrior):
    def denoiser(self):
        module = super().denoiser()
        module.covariance = self.denoiser_.covariance
        return module


class WithNumpyInside(GaussianDenoiser):
    """Not converted by .float() and .double()."""

    def forward(self, z_t, t):
        return super().forward(z_t, t) + torch.zeros(1, dtype=torch.float64)


def in_place(out, z_t, t):
    z_t.mul_(2.0)
    return out


def mixing_trials(out, z_t, t):
    return out + 0.1 * out.mean(0)


def one_time_for_all(out, z_t, t):
    return out * (1 + t[0])


def in_part_detached(out, z_t, t):
    return 0.5 * (out + out.detach())


def random(out, z_t, t):
    generator = torch.Generator()
    generator.seed()
    return out + 0.01 * torch.empty_like(out).normal_(generator=generator)


def half_marginal(t):
    return torch.cos(1.55 * t).double(), torch.sin(1.55 * t).double()


def rank_of_trial(scores, prior, Z):
    return scores + np.arange(len(Z))


def centred_by_batch(scores, prior, Z):
    return scores - scores.mean()


BREAKS = [
    (FitReturnsNothing, r"fit\(Z, None\) returns the estimator itself"),
    (FitStandardisesInPlace, "fit leaves Z as it is"),
    (WrongNumberOfBins, "fit sets n_bins_"),
    (NoNumberOfBins, "fit sets n_bins_"),
    (with_score(lambda s, prior, Z: s.mean()), r"one value per trial, shape \(40,\)"),
    (with_score(lambda s, prior, Z: s[:, None]), r"got \(40, 1\)"),
    (with_score(lambda s, prior, Z: s * np.nan), "score_samples is finite"),
    (with_score(rank_of_trial), "does not depend on the other trials"),
    (with_score(centred_by_batch), "does not depend on the other trials"),
    # bits, the mean of bins and dims, standardised units, a constant
    (with_score(lambda s, prior, Z: s / np.log(2)), "in nats and in the units"),
    (with_score(lambda s, prior, Z: s / Z[0].size), "log-density of the whole trial"),
    (
        with_score(lambda s, prior, Z: s + np.log(prior.scale_).sum()),
        "in the units of Z. On trials .* nats per trial above",
    ),
    (with_score(lambda s, prior, Z: 0 * s), "in nats and in the units of Z"),
    (with_score(lambda s, prior, Z: -s - 1000), "higher for trials like those of fit"),
    (NoModule, "returns a torch.nn.Module, not method"),
    (InTrainingMode, "is in evaluation mode"),
    (WithGradients, "no parameter of denoiser.. requires gradients"),
    (OnAnotherDevice, "is on the CPU"),
    (WithoutSDE, "sde has the method marginal"),
    (with_marginal(half_marginal), "alpha of sde.marginal.t. has the shape and dtype"),
    (
        with_marginal(lambda t: (torch.cos(t), torch.sin(t)[:, None])),
        "sigma of sde.marginal.t. has the shape and dtype",
    ),
    (
        with_marginal(lambda t: (torch.cos(1.6 * t), torch.sin(t))),
        "alpha of sde.marginal.t. is positive",
    ),
    (
        with_marginal(lambda t: (torch.cos(t), torch.sin(t) / 0.0)),
        "sigma of sde.marginal.t. is positive and finite",
    ),
    (
        with_marginal(lambda t: (torch.sin(1.5 * t), torch.cos(1.5 * t))),
        "alpha / sigma of sde.marginal.t. falls",
    ),
    (changed_output(in_place), "leaves z_t and t as they are"),
    (changed_output(lambda out, z, t: out.flatten(1)), "has the shape of z_t"),
    (
        changed_output(lambda out, z, t: out / (t[:, None, None] < 1)),
        r"finite for t in \(0, 1\]",
    ),
    (changed_output(random), "draws no random numbers"),
    (changed_output(mixing_trials), "treats each trial by itself"),
    (changed_output(one_time_for_all), "with the diffusion time of that trial"),
    (with_denoiser(WithNumpyInside), "works in float32 after .float"),
    (changed_output(lambda out, z, t: out.detach()), "gradients flow"),
    (changed_output(in_part_detached), "gradients flow"),
    (changed_output(lambda out, z, t: -out), "predicts the noise"),
    (changed_output(lambda out, z, t: 0.01 * z), "predicts the noise"),
    (StandardisedByNothing, "standardised by the mean and standard deviation"),
    (StandardisedByMeanOnly, "standardised by the mean and standard deviation"),
    (StandardisedByScaleOnly, "standardised by the mean and standard deviation"),
    (SameObject, "a new copy at every call"),
    (SharedWeights, "shares nothing with the prior"),
    (SharedBuffer, "shares nothing with the prior"),
    (ConstantDimsDivideByZero, "a standard deviation of zero counts as one"),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("prior, promise", BREAKS, ids=[text for _, text in BREAKS])
def test_a_broken_promise_is_named(prior, promise):
    with pytest.raises(AssertionError, match=promise):
        check_trajectory_prior(prior())


@pytest.mark.parametrize("name", ["fit", "score_samples", "denoiser"])
def test_every_method_is_needed(name):
    methods = {
        other: vars(GaussianPrior)[other]
        for other in ("__init__", "fit", "score_samples", "denoiser")
        if other != name
    }
    with pytest.raises(TypeError, match=name):
        type("Incomplete", (TrajectoryPrior, BaseEstimator), methods)()
    lacking = type("Incomplete", (BaseEstimator,), methods)()
    X = np.random.default_rng(0).poisson(3.0, (12, 5, 4))
    aligner = ERDiffAligner(LinearLatentModel(n_components=2), lacking, random_state=0)
    if name == "score_samples":  # a density is not what an aligner asks for
        assert aligner.fit(X).prior_ is not lacking
    else:
        with pytest.raises(ValueError, match="'prior' parameter of ERDiffAligner"):
            aligner.fit(X)


def test_a_random_state_of_none_is_set_and_others_are_kept():
    seen = []

    class Seeded(GaussianPrior):
        def __init__(self, random_state=None):
            self.random_state = random_state
            self.ridge = 0.01

        def fit(self, Z, y=None):
            seen.append(self.random_state)
            return super().fit(Z)

    for given in (None, 5):
        prior = Seeded(given)
        check_trajectory_prior(prior)
        assert prior.random_state is given
    assert seen == [0, 0, 0, 5, 5, 5]


# -- in the aligner --------------------------------------------------------------------
@pytest.fixture(scope="module")
def sessions():
    return make_reaching_sessions(n_trials=60, n_neurons=30, random_state=0).trials


@pytest.fixture(scope="module")
def aligner(sessions):
    # a random start is far from the source, so that there is something to gain
    aligner = ERDiffAligner(
        SequentialVAE(max_iter=5, n_hidden=8, n_components=3),
        GaussianPrior(),
        anchor=None,
        init="random",
        learning_rate=0.01,
        max_steps=40,
        random_state=0,
    )
    return aligner.fit(sessions["day0"])


def test_gradient_steps_under_a_prior_of_ones_own_lower_its_loss(aligner, sessions):
    aligner = copy.deepcopy(aligner).adapt(sessions["day1"])
    losses = [row["score_matching"] for row in aligner.loss_curve_["target"]]
    assert len(losses) == 40
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_the_aligner_uses_the_contract_only(aligner, sessions):
    class Strict:
        """Lets through what the contract names."""

        def __init__(self, prior):
            self.prior = prior

        def __getattr__(self, name):
            if name not in ("score_samples", "denoiser", "n_bins_"):
                raise AssertionError(f"{name} is not in the contract")
            return getattr(self.prior, name)

    expected = copy.deepcopy(aligner).adapt(sessions["day1"])
    aligner = copy.deepcopy(aligner)
    scores = aligner.prior_.score_samples(np.ones((2, 20, 3)))
    aligner.prior_ = Strict(aligner.prior_)
    aligner.adapt(sessions["day1"])
    assert aligner.loss_curve_["target"] == expected.loss_curve_["target"]
    np.testing.assert_array_equal(
        aligner.prior_.score_samples(np.ones((2, 20, 3))), scores
    )


def test_the_prior_of_the_user_is_cloned(aligner):
    assert isinstance(aligner.prior_, GaussianPrior)
    assert aligner.prior_ is not aligner.prior
    assert not hasattr(aligner.prior, "n_bins_")
    assert aligner.prior_.n_bins_ == 20
    assert repr(clone(aligner.prior_)) == repr(aligner.prior)
