"""Divergences between two sets of latents."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.distributions import MultivariateNormal, kl_divergence

from skerdiff.alignment._divergences import gaussian_kl, moments, transport_cost


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
