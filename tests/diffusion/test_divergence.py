"""Divergences of fields over trajectories."""

import math

import pytest
import torch

from skerdiff.diffusion._divergence import (
    PROBES,
    draw_probes,
    exact_divergence,
    hutchinson_divergence,
)

N_BINS, D = 3, 2
SIZE = N_BINS * D


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def probes(kind, n, seed=0):
    like = torch.zeros(1, N_BINS, D, dtype=torch.float64)
    return draw_probes(kind, n, like, generator(seed))


W = randn(SIZE, SIZE, seed=5)
V = randn(SIZE, SIZE, seed=6)


def mixing(z):
    """A field in which every coordinate of a trial depends on every other."""
    return (torch.tanh(z.flatten(1) @ W) @ V).view_as(z)


def diagonal(z):
    return torch.sin(3 * z) + z**3


def traces(field, z):
    def one(flat):
        return field(flat.view(1, N_BINS, D)).flatten()

    return torch.stack([torch.func.jacrev(one)(row).trace() for row in z.flatten(1)])


@pytest.mark.parametrize("kind", PROBES)
def test_probes_have_identity_covariance(kind):
    n = 20_000
    flat = probes(kind, n).flatten(1)
    assert flat.mean(0).abs().max() < 4.5 / math.sqrt(n)
    error = flat.T @ flat / n - torch.eye(SIZE)
    assert error.abs().max() < 4.5 * math.sqrt(2 / n)


def test_rademacher_probes_are_signs():
    assert set(probes("rademacher", 50).flatten().tolist()) == {-1.0, 1.0}
    assert len(probes("gaussian", 50).unique()) == 50 * SIZE


@pytest.mark.parametrize("kind", PROBES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_probes_keep_the_shape_dtype_and_their_generator(kind, dtype):
    like = torch.zeros(7, N_BINS, D, dtype=dtype)
    a, b = (draw_probes(kind, 5, like, generator(3)) for _ in range(2))
    assert a.shape == (5, N_BINS, D)
    assert a.dtype == dtype
    assert torch.equal(a, b)


def test_rademacher_probes_have_the_smaller_variance():
    # 2 |S|^2 less twice the squared diagonal, S the symmetric part (Hutchinson, 1990)
    n = 4000
    S = 0.5 * (W + W.T)
    squared, diagonal = float((S**2).sum()), float((S.diagonal() ** 2).sum())
    expected = {"rademacher": 2 * (squared - diagonal), "gaussian": 2 * squared}
    for kind in PROBES:
        flat = probes(kind, n).flatten(1)
        variance = float(((flat @ W) * flat).sum(1).var())
        assert variance == pytest.approx(expected[kind], rel=0.15)
    assert expected["rademacher"] < 0.8 * expected["gaussian"]


@pytest.mark.parametrize("field", [mixing, diagonal])
def test_exact_divergence_is_the_trace_of_the_jacobian(field):
    z = randn(4, N_BINS, D)
    value, divergence = exact_divergence(field, z)
    torch.testing.assert_close(value, field(z))
    torch.testing.assert_close(divergence, traces(field, z))


@pytest.mark.parametrize("seed", range(3))
def test_one_rademacher_probe_is_exact_on_a_diagonal_jacobian(seed):
    z = randn(4, N_BINS, D)
    value, divergence = hutchinson_divergence(
        diagonal, z, probes("rademacher", 1, seed)
    )
    torch.testing.assert_close(value, diagonal(z))
    torch.testing.assert_close(divergence, traces(diagonal, z))


def test_gaussian_probes_are_not_exact_on_a_diagonal_jacobian():
    z = randn(4, N_BINS, D)
    _, divergence = hutchinson_divergence(diagonal, z, probes("gaussian", 1, 1))
    assert (divergence - traces(diagonal, z)).abs().min() > 1e-3


def test_all_sign_patterns_together_are_exact():
    # their second moments are those of the distribution: no tolerance needed
    z = randn(2, N_BINS, D)
    signs = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    patterns = torch.cartesian_prod(*[signs] * SIZE).view(-1, N_BINS, D)
    _, divergence = hutchinson_divergence(mixing, z, patterns)
    torch.testing.assert_close(divergence, traces(mixing, z))


@pytest.mark.parametrize("kind", PROBES)
def test_hutchinson_is_unbiased(kind):
    n = 4000
    z = randn(2, N_BINS, D)
    drawn = probes(kind, n, 2)
    single = torch.stack(
        [hutchinson_divergence(mixing, z, probe[None])[1] for probe in drawn[:500]]
    )
    error = single.std(0) / math.sqrt(n)
    _, divergence = hutchinson_divergence(mixing, z, drawn)
    assert ((divergence - traces(mixing, z)).abs() < 4 * error).all()
    assert (single.std(0) > 0.1).all()


@pytest.mark.parametrize("method", ["exact", "hutchinson"])
def test_trials_do_not_mix(method):
    z = randn(5, N_BINS, D)

    def run(z):
        if method == "exact":
            return exact_divergence(mixing, z)[1]
        return hutchinson_divergence(mixing, z, probes("rademacher", 3))[1]

    torch.testing.assert_close(run(z)[2:3], run(z[2:3]))


@pytest.mark.parametrize("method", ["exact", "hutchinson"])
def test_nothing_is_left_to_differentiate(method):
    z = randn(2, N_BINS, D)
    with torch.no_grad():
        if method == "exact":
            value, divergence = exact_divergence(mixing, z)
        else:
            probe = probes("rademacher", 1)
            value, divergence = hutchinson_divergence(mixing, z, probe)
    assert divergence.abs().min() > 0
    assert not value.requires_grad
    assert not divergence.requires_grad
    assert not z.requires_grad
