"""The closed-form denoisers."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import multivariate_normal

from skerdiff.diffusion._closed_form import (
    ConditionalDenoiser,
    MixtureDenoiser,
    StandardDenoiser,
    fit_closed_forms,
)
from skerdiff.diffusion._mixture import Clustering, Mixture, fit_mixtures, to_blocks
from skerdiff.diffusion._objectives import denoising_loss
from skerdiff.diffusion._sde import DiffusionSDE

N_BINS, D = 4, 2
SIZE = N_BINS * D
FLAGS = [(True, True), (True, False), (False, True), (False, False)]
flags = pytest.mark.parametrize(
    "spatial, temporal", FLAGS, ids=["both", "no time", "no space", "neither"]
)
T = torch.tensor([0.02, 0.1, 0.3, 0.6, 0.95], dtype=torch.float64)


def trajectories(n=60, seed=0):
    """Two groups of trajectories whose bins and dims all covary."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((SIZE, SIZE)) / SIZE**0.5
    rows = rng.standard_normal((n, SIZE)) @ mixing
    return (rows + 2.0 * (np.arange(n) % 2)[:, None]).reshape(n, N_BINS, D)


def make_mixture(spatial=True, temporal=True, n_clusters=3, seed=0):
    Z = trajectories(seed=seed)
    return Clustering(Z, n_clusters, spatial, temporal, 0).mixture(0.3)


def make_denoiser(*args, **kwargs):
    return MixtureDenoiser(make_mixture(*args, **kwargs)).double()


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def marginal(t=T):
    return tuple(a[:, None, None] for a in DiffusionSDE().marginal(t))


def jacobian_traces(function, z, alpha, sigma, *rest):
    """Trace of the Jacobian of the noise, trial by trial."""

    def noise(one, *others):
        return function(one[None], *(a[None] for a in others))[0][0]

    J = [torch.func.jacrev(noise)(*args) for args in zip(z, alpha, sigma, *rest)]
    return torch.stack(J).view(-1, SIZE, SIZE).diagonal(dim1=1, dim2=2).sum(1)


def posterior(mixture, z, alpha, sigma, spatial, temporal):
    """E[noise | z] and E[z_0 | z] of one trial, from the joint normal of each cluster.

    Returned block by block.
    """
    noises, cleans = [], []
    for block, log_weights, centres, S in zip(
        to_blocks(z[None], spatial, temporal),
        mixture.log_weights,
        mixture.centres,
        mixture.covariance,
    ):
        eye = np.eye(len(S))
        joint = np.block(
            [
                [S, np.zeros_like(S), alpha * S],
                [np.zeros_like(S), eye, sigma * eye],
                [alpha * S, sigma * eye, alpha**2 * S + sigma**2 * eye],
            ]
        )
        m = len(S)
        seen = joint[2 * m :, 2 * m :]
        gain = joint[: 2 * m, 2 * m :] @ np.linalg.inv(seen)
        logits, expected = [], []
        for log_weight, centre in zip(log_weights, centres):
            law = multivariate_normal(alpha * centre, seen)
            logits.append(log_weight + law.logpdf(block[0]))
            start = np.concatenate([centre, np.zeros(m)])
            expected.append(start + gain @ (block[0] - alpha * centre))
        clean, noise = np.split(softmax(logits) @ np.array(expected), 2)
        cleans.append(clean)
        noises.append(noise)
    return np.array(noises), np.array(cleans)


@flags
def test_mixture_denoiser_is_the_posterior_expectation(spatial, temporal):
    # one diffusion time per trial
    mixture = make_mixture(spatial, temporal)
    z = torch.tensor(trajectories(len(T), seed=1)) + 0.5 * randn(len(T), N_BINS, D)
    alpha, sigma = marginal()
    noise, clean = MixtureDenoiser(mixture).double()(z, alpha, sigma)
    assert noise.shape == clean.shape == z.shape
    for i in range(len(T)):
        expected = posterior(
            mixture,
            z[i].numpy(),
            float(alpha[i]),
            float(sigma[i]),
            spatial,
            temporal,
        )
        for one, blocks in zip((noise, clean), expected):
            found = to_blocks(one[[i]].numpy(), spatial, temporal)[:, 0]
            np.testing.assert_allclose(found, blocks, rtol=1e-4, atol=1e-5)


@flags
def test_expected_noise_is_minus_sigma_times_the_score(spatial, temporal):
    mixture = make_mixture(spatial, temporal)
    z = randn(len(T), N_BINS, D)
    alpha, sigma = marginal()

    def log_density(z, alpha, sigma):
        blocks = z[0].numpy()[None]
        total = 0.0
        for block, weights, centres, S in zip(
            to_blocks(blocks, spatial, temporal),
            mixture.log_weights,
            mixture.centres,
            mixture.covariance,
        ):
            seen = alpha**2 * S + sigma**2 * np.eye(len(S))
            parts = [
                weight + multivariate_normal(alpha * centre, seen).logpdf(block[0])
                for weight, centre in zip(weights, centres)
            ]
            total += np.logaddexp.reduce(parts)
        return total

    noise, _ = MixtureDenoiser(mixture).double()(z, alpha, sigma)
    direction, h = randn(N_BINS, D, seed=3), 1e-5
    for i in range(len(T)):
        up, down = (
            log_density(z[[i]] + s * h * direction, float(alpha[i]), float(sigma[i]))
            for s in (1, -1)
        )
        slope = -float(sigma[i]) * (up - down) / (2 * h)
        assert float((noise[i] * direction).sum()) == pytest.approx(slope, rel=1e-3)


@flags
@pytest.mark.parametrize("n_clusters", [1, 3])
def test_trace_is_that_of_the_jacobian(spatial, temporal, n_clusters):
    denoiser = make_denoiser(spatial, temporal, n_clusters)
    z = randn(len(T), N_BINS, D)
    expected = jacobian_traces(denoiser, z, *marginal())
    torch.testing.assert_close(denoiser.trace(z, *marginal()), expected)


@pytest.mark.parametrize("make", [make_denoiser, StandardDenoiser])
def test_noise_and_clean_make_up_the_trajectory(make):
    z = randn(len(T), N_BINS, D)
    alpha, sigma = marginal()
    noise, clean = make()(z, alpha, sigma)
    torch.testing.assert_close(alpha * clean + sigma * noise, z)


@flags
def test_output_of_a_trial_does_not_depend_on_the_batch(spatial, temporal):
    denoiser = make_denoiser(spatial, temporal)
    z = randn(len(T), N_BINS, D)
    alpha, sigma = marginal()
    together = *denoiser(z, alpha, sigma), denoiser.trace(z, alpha, sigma)
    for i in range(len(T)):
        one = z[[i]], alpha[[i]], sigma[[i]]
        alone = *denoiser(*one), denoiser.trace(*one)
        for a, b in zip(together, alone):
            torch.testing.assert_close(a[[i]], b)


def test_standard_denoiser_is_that_of_a_standard_normal():
    mixture = Mixture(
        np.zeros((1, 1)), np.zeros((1, 1, SIZE)), np.eye(SIZE)[None], True
    )
    z = randn(len(T), N_BINS, D)
    standard, same = StandardDenoiser(), MixtureDenoiser(mixture).double()
    # noise of any size: alpha^2 + sigma^2 need not be one
    for sde in (DiffusionSDE(), DiffusionSDE(kind="sub-vp")):
        at = tuple(a[:, None, None] for a in sde.marginal(T))
        for a, b in zip(standard(z, *at), same(z, *at)):
            torch.testing.assert_close(a, b)
        torch.testing.assert_close(standard.trace(z, *at), same.trace(z, *at))
        torch.testing.assert_close(
            standard.trace(z, *at), jacobian_traces(standard, z, *at)
        )


def conditional(n_inputs=3):
    torch_rng = torch.Generator().manual_seed(4)
    weights = torch.randn(n_inputs, SIZE, generator=torch_rng)
    offset = torch.randn(N_BINS, D, generator=torch_rng)
    parts = (
        MixtureDenoiser(make_mixture()),
        MixtureDenoiser(make_mixture(n_clusters=2, seed=7)),
    )
    return ConditionalDenoiser(*parts, weights, offset).double()


def test_conditional_denoiser_is_the_expectation_given_the_condition():
    # a mixture whose centres the condition moves
    form = conditional()
    condition, z = randn(len(T), 3, seed=1), randn(len(T), N_BINS, D)
    at = marginal()
    noise, clean = form(z, *at, condition)
    for i in range(len(T)):
        shift = condition[i].numpy() @ form.weights.numpy()
        shift = shift + form.offset.numpy().ravel()
        moved = make_mixture(n_clusters=2, seed=7)
        moved.centres = moved.centres + shift
        expected = posterior(
            moved, z[i].numpy(), float(at[0][i]), float(at[1][i]), True, True
        )
        for one, blocks in zip((noise, clean), expected):
            np.testing.assert_allclose(
                one[i].numpy().ravel(), blocks[0], rtol=1e-4, atol=1e-4
            )


def test_without_a_condition_it_is_the_marginal():
    form, z = conditional(), randn(len(T), N_BINS, D)
    for a, b in zip(form(z, *marginal()), form.marginal(z, *marginal())):
        assert torch.equal(a, b)
    trace = form.trace(z, *marginal())
    assert torch.equal(trace, form.marginal.trace(z, *marginal()))


def test_each_trial_keeps_its_condition_or_goes_without():
    form = conditional()
    condition, z = randn(len(T), 3, seed=1), randn(len(T), N_BINS, D)
    keep = torch.tensor([True, False, False, True, False])
    mixed = form(z, *marginal(), condition, keep)
    given, free = form(z, *marginal(), condition), form(z, *marginal())
    for a, b, c in zip(mixed, given, free):
        assert torch.equal(a[keep], b[keep])
        assert torch.equal(a[~keep], c[~keep])
        assert (b - c).abs().amin((1, 2)).max() > 1e-6


def test_trace_given_a_condition():
    form = conditional()
    condition, z = randn(len(T), 3, seed=1), randn(len(T), N_BINS, D)
    expected = jacobian_traces(form, z, *marginal(), condition)
    torch.testing.assert_close(form.trace(z, *marginal(), condition), expected)


def test_behaviour_counts_in_the_order_bins_inputs():
    form = conditional(N_BINS * 2)
    condition, z = randn(len(T), N_BINS, 2, seed=1), randn(len(T), N_BINS, D)
    for a, b in zip(
        form(z, *marginal(), condition), form(z, *marginal(), condition.flatten(1))
    ):
        assert torch.equal(a, b)


def driven(n=80, seed=0, shape=(N_BINS, 2)):
    """Conditions, and trajectories that are linear in them but for some noise."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((n, *shape))
    weights = np.random.default_rng(50).standard_normal((np.prod(shape), SIZE))
    Z = y.reshape(n, -1) @ weights / np.prod(shape) ** 0.5
    return y, (Z + 0.1 * rng.standard_normal((n, SIZE))).reshape(n, N_BINS, D)


def fit(Z, y, fold=None, n_clusters="auto", **kwargs):
    settings = {"spatial": True, "temporal": True, "seed": 0} | kwargs
    fold = np.arange(len(Z)) % 5 if fold is None else fold
    return fit_closed_forms(Z, y, fold, n_clusters, **settings)


def denoising_error(form, Z, y=None):
    sde, z = DiffusionSDE(), torch.tensor(Z)
    t = torch.linspace(0.02, 0.6, len(z), dtype=torch.float64)
    given = None if y is None else torch.tensor(y)

    def denoiser(z, t):
        alpha, sigma = (a[:, None, None] for a in sde.marginal(t))
        return form.double()(z, alpha, sigma, given)[0]

    return float(denoising_loss(denoiser, sde, z, t, randn(*z.shape, seed=2)).mean())


@flags
@pytest.mark.parametrize("n_clusters", ["auto", 1, 0])
def test_conditions_lower_the_error_on_new_trials(spatial, temporal, n_clusters):
    y, Z = driven()
    if n_clusters == 0:
        Z = Z / Z.std()
    form, *_ = fit(Z, y, n_clusters=n_clusters, spatial=spatial, temporal=temporal)
    y, Z = driven(seed=1)
    given, free = denoising_error(form, Z, y), denoising_error(form, Z)
    # with no clusters, residuals count as standard normal, far more than they are
    assert given < (0.6 if n_clusters else 0.9) * free


def test_closed_form_without_conditions_is_that_of_the_mixtures():
    Z, fold = trajectories(), np.arange(60) % 5
    form, parts, n_clusters = fit(Z, None, fold, 2)
    mixture, mixtures = fit_mixtures(Z, fold, 2, True, True, 0)
    assert n_clusters == 2
    assert len(parts) == 5
    z = randn(len(T), N_BINS, D)
    for one, expected in zip((form, *parts), (mixture, *mixtures)):
        expected = MixtureDenoiser(expected).double()(z, *marginal())
        for a, b in zip(one.double()(z, *marginal()), expected):
            assert torch.equal(a, b)


def test_no_clusters_are_standard_normal_latents():
    form, parts, n_clusters = fit(trajectories(), None, n_clusters=0)
    assert n_clusters == 0
    assert len(parts) == 5
    assert all(isinstance(one.marginal, StandardDenoiser) for one in (form, *parts))


@pytest.mark.parametrize("n_clusters", [1, 2])
def test_maps_and_marginals_of_a_fold_do_not_see_its_trials(n_clusters):
    y, Z = driven()
    fold = np.arange(len(Z)) % 5
    changed = Z.copy()
    changed[fold == 2] = changed[fold == 2][::-1] * 3 + 1
    before, after = (fit(one, y, fold, n_clusters)[1] for one in (Z, changed))
    assert torch.equal(before[2].weights, after[2].weights)
    assert torch.equal(before[2].offset, after[2].offset)
    assert not torch.equal(before[1].weights, after[1].weights)
    centres = [
        form[2].marginal.centres @ form[2].marginal.vectors.mT
        for form in (before, after)
    ]
    torch.testing.assert_close(*centres)


@pytest.mark.parametrize("n", [2, 3, 4, 6])
@pytest.mark.parametrize("shape", [(N_BINS, 2), (3,)], ids=["concat", "label"])
def test_few_trials_give_finite_closed_forms(n, shape):
    y, Z = driven(n, shape=shape)
    fold = np.arange(n) % max(1, n - 2)
    form, parts, _ = fit(Z, y, fold)
    z = torch.tensor(Z)
    at = marginal(torch.full((n,), 0.3).double())
    for one in (form, *parts):
        for a in one.double()(z, *at, torch.tensor(y)):
            assert a.isfinite().all()


def test_labels_as_one_hot_rows_move_the_mean():
    rng = np.random.default_rng(0)
    label = np.arange(90) % 3
    means = 3 * np.random.default_rng(1).standard_normal((3, N_BINS, D))
    Z = means[label] + 0.3 * rng.standard_normal((90, N_BINS, D))
    form, *_ = fit(Z, np.eye(3)[label], n_clusters=1)
    shift = form._shift(torch.eye(3)).numpy()
    np.testing.assert_allclose(shift, means, atol=0.2)
