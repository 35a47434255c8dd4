"""Divergences between two sets of latents."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.distributions import MultivariateNormal, kl_divergence

from skerdiff.alignment.divergences import (
    gaussian_jsd,
    gaussian_kl,
    moments,
    sinkhorn_divergence,
    squared_mmd,
    transport_cost,
)


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def gaussian(seed, d=3):
    A = randn(d, d, seed=seed)
    return randn(d, seed=seed + 100), A @ A.T + 0.2 * torch.eye(d).double()


@pytest.mark.parametrize("seed", range(4))
def test_gaussian_kl_is_that_of_torch(seed):
    p, q = gaussian(seed), gaussian(seed + 10)
    expected = kl_divergence(MultivariateNormal(*p), MultivariateNormal(*q))
    torch.testing.assert_close(gaussian_kl(p, q), expected)


def test_gaussian_kl_by_hand():
    # of N(0, 1) from N(1, 4): log 2 + (1 + 1) / 8 - 1/2
    one = torch.ones(1, dtype=torch.float64)
    p, q = (0 * one, one[:, None]), (one, 4 * one[:, None])
    assert float(gaussian_kl(p, q)) == pytest.approx(np.log(2) + 0.25 - 0.5)


def test_gaussian_kl_is_zero_only_for_equal_moments():
    mean, covariance = gaussian(0)
    same = float(gaussian_kl((mean, covariance), (mean, covariance)))
    assert same == pytest.approx(0, abs=1e-12)
    for changed in (
        (mean + torch.tensor([0.1, 0.0, 0.0]), covariance),
        (mean, 1.1 * covariance),
        (mean, covariance + 0.05 * torch.eye(3)),
    ):
        assert gaussian_kl((mean, covariance), changed) > 1e-4
        assert gaussian_kl(changed, (mean, covariance)) > 1e-4


def test_moments_are_those_of_all_bins():
    z = randn(20, 6, 3) @ randn(3, 3, seed=1) + 2.0
    rows = z.reshape(-1, 3).numpy()
    mean, covariance = moments(z, shrinkage=0.0)
    np.testing.assert_allclose(mean.numpy(), rows.mean(0))
    np.testing.assert_allclose(covariance.numpy(), np.cov(rows.T, ddof=0), atol=1e-7)


def test_moments_of_collapsed_latents_are_positive_definite():
    z = randn(20, 6, 1).expand(-1, -1, 3).clone()
    for latents in (z, z.float(), torch.zeros(4, 5, 3)):
        torch.linalg.cholesky(moments(latents)[1])


def test_kl_of_moments_rises_with_contraction():
    z = randn(30, 6, 3)
    source = moments(z)
    values = [float(gaussian_kl(source, moments(c * z))) for c in (1, 0.8, 0.5, 0.2)]
    assert values[0] == pytest.approx(0, abs=1e-9)
    assert (np.diff(values) > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [6, 40])
def test_transport_cost_is_zero_on_identical_sets(dtype, n):
    a = randn(n, 5, 2).to(dtype)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    assert abs(float(transport_cost(a, a))) < tolerance
    assert abs(float(transport_cost(a, a[order]))) < tolerance


def test_transport_cost_is_that_of_the_best_assignment():
    a, b = randn(9, 5, 2), randn(9, 5, 2, seed=1)
    cost = ((a[:, None] - b[None]) ** 2).mean(dim=(2, 3)).numpy()
    expected = cost[linear_sum_assignment(cost)].mean()
    assert float(transport_cost(a, b)) == pytest.approx(expected)


def test_transport_cost_of_a_shift():
    a = randn(9, 5, 2)
    shift = torch.tensor([0.3, -0.1], dtype=torch.float64)
    expected = (0.3**2 + 0.1**2) / 2
    assert float(transport_cost(a, a + shift)) == pytest.approx(expected)


def test_transport_cost_does_not_depend_on_the_order():
    a, b = randn(9, 5, 2), randn(7, 5, 2, seed=1)
    generator = torch.Generator().manual_seed(0)
    shuffled = transport_cost(
        a[torch.randperm(9, generator=generator)],
        b[torch.randperm(7, generator=generator)],
    )
    torch.testing.assert_close(shuffled, transport_cost(a, b))
    torch.testing.assert_close(transport_cost(b, a), transport_cost(a, b))


def test_gradient_of_the_transport_cost():
    # against finite differences, on which the plan does not change
    a, b = randn(5, 3, 2).requires_grad_(), randn(4, 3, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(transport_cost, (a, b), eps=1e-6, atol=1e-6)


def test_gradient_of_the_transport_cost_vanishes_on_identical_sets():
    a = randn(6, 3, 2)
    b = a.clone().requires_grad_()
    transport_cost(a, b).backward()
    torch.testing.assert_close(b.grad, torch.zeros_like(a))


def test_jensen_shannon_by_hand():
    # N(0, 1) and N(2, 1): the middle is N(1, 2), and each KL is
    # (log 2 + 1/2 + 1/2 - 1) / 2
    one = torch.ones(1, dtype=torch.float64)
    p, q = (0 * one, one[:, None]), (2 * one, one[:, None])
    expected = 0.5 * (np.log(2) + 0.5 + 0.5 - 1)
    assert float(gaussian_jsd(p, q)) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_jensen_shannon_is_symmetric_and_zero_only_for_equal_moments(seed):
    p, q = gaussian(seed), gaussian(seed + 10)
    torch.testing.assert_close(gaussian_jsd(p, q), gaussian_jsd(q, p))
    assert gaussian_jsd(p, q) > 0.01
    assert float(gaussian_jsd(p, p)) == pytest.approx(0, abs=1e-12)
    mean, covariance = p
    for changed in ((mean + 0.1, covariance), (mean, 1.1 * covariance)):
        assert gaussian_jsd(p, changed) > 1e-5


def test_middle_gaussian_has_the_moments_of_the_mixture():
    # the divergence is half the KL to that Gaussian, from each side
    p, q = gaussian(0), gaussian(1)
    draws = [MultivariateNormal(*g).sample((200_000,)) for g in (p, q)]
    rows = torch.cat(draws)
    middle = rows.mean(0), torch.cov(rows.T)
    expected = 0.5 * (gaussian_kl(p, middle) + gaussian_kl(q, middle))
    assert float(gaussian_jsd(p, q)) == pytest.approx(float(expected), rel=0.02)


def test_mmd_by_hand():
    # one row each, squared distance 1, which is the median too
    a, b = torch.zeros(1, 1).double(), torch.ones(1, 1).double()
    assert float(squared_mmd(a, b, (1.0,))) == pytest.approx(2 - 2 * np.exp(-1))
    expected = 2 - 2 * (np.exp(-1) + np.exp(-0.5)) / 2
    assert float(squared_mmd(a, b, (1.0, 2.0))) == pytest.approx(expected)


def test_mmd_of_a_set_with_itself_is_zero_and_grows_with_a_shift():
    a = randn(30, 4)
    assert float(squared_mmd(a, a)) == pytest.approx(0, abs=1e-12)
    values = [float(squared_mmd(a, a + shift)) for shift in (0.1, 0.3, 1.0, 3.0)]
    assert values == sorted(values) and values[0] > 0
    assert values[-1] > 0.5


def test_mmd_is_symmetric_and_does_not_know_units_or_order():
    a, b = randn(20, 3), randn(25, 3, seed=1) + 0.5
    value = squared_mmd(a, b)
    torch.testing.assert_close(squared_mmd(b, a), value)
    torch.testing.assert_close(squared_mmd(100 * a, 100 * b), value)
    torch.testing.assert_close(squared_mmd(a[torch.randperm(20)], b), value)


def test_mmd_sees_more_than_moments():
    # a normal and two points of the same mean and variance
    normal = randn(400, 1)
    normal = (normal - normal.mean()) / normal.std()
    signs = torch.sign(randn(400, 1, seed=1))
    signs = (signs - signs.mean()) / signs.std()
    same = float(squared_mmd(normal[:200], normal[200:]))
    assert float(squared_mmd(normal, signs)) > 10 * same


def test_sinkhorn_divergence_of_equal_sets_is_zero():
    a = randn(12, 5, 2)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    assert float(sinkhorn_divergence(a, a[order])) == pytest.approx(0, abs=1e-4)
    assert sinkhorn_divergence(a, a + 1.0) > 0.5


def test_sinkhorn_divergence_is_symmetric_and_permutation_invariant():
    a, b = randn(12, 5, 2), randn(15, 5, 2, seed=1) + 0.3
    value = sinkhorn_divergence(a, b)
    assert value > 0
    torch.testing.assert_close(sinkhorn_divergence(b, a), value, rtol=1e-3, atol=1e-5)
    order = torch.randperm(15, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        sinkhorn_divergence(a, b[order]), value, rtol=1e-5, atol=1e-7
    )


def test_sinkhorn_divergence_of_shifted_sets_is_the_shift_squared():
    # exact for a translation of clouds that lie far from each other's points
    a = randn(10, 4, 2)
    value = float(sinkhorn_divergence(a, a + 2.0, 0.005))
    assert value == pytest.approx(4.0, rel=0.02)


def test_sinkhorn_divergence_tends_to_the_transport_cost():
    a, b = randn(10, 3, 2), randn(10, 3, 2, seed=1)
    value = float(sinkhorn_divergence(a, b, 0.002))
    assert value == pytest.approx(float(transport_cost(a, b)), rel=0.02)


def test_gradient_of_the_sinkhorn_divergence_is_that_of_finite_differences():
    a, b = randn(6, 2, 2), randn(7, 2, 2, seed=1)
    largest = float((a.flatten(1)[:, None] - b.flatten(1)).square().mean(-1).max())

    def value(b):
        # the entropy's weight is a share of the largest cost: hold its product fixed
        now = float(
            (a.flatten(1)[:, None] - b.detach().flatten(1)).square().mean(-1).max()
        )
        return sinkhorn_divergence(a, b, 0.2 * largest / now)

    b.requires_grad_()
    (gradient,) = torch.autograd.grad(value(b), b)
    for index in [(0, 0, 0), (3, 1, 1), (6, 0, 1)]:
        step = torch.zeros_like(b)
        step[index] = 1e-3
        with torch.no_grad():
            slope = (value(b + step) - value(b - step)) / 2e-3
        assert float(slope) == pytest.approx(float(gradient[index]), rel=0.02, abs=1e-4)
