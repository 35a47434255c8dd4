"""What the functions of the geometry say of wrong arguments, and what they leave."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest

from skerdiff import geometry
from skerdiff.geometry import (
    Candidate,
    RigidMap,
    SimilarityMap,
    assign_trials,
    confidence,
    coverage,
    denoise_trials,
    distinct_alignments,
    find_partners,
    fit_readin,
    fit_similarity,
    geometric_readin,
    is_ambiguous,
    margin,
    principal_axes,
    project,
    relative_residual,
    rigid_readin,
    variance_explained,
)

RNG = np.random.default_rng(0)
A, B = RNG.standard_normal((6, 4, 3)), RNG.standard_normal((5, 4, 3))
NAN = np.where(np.arange(6)[:, None, None] == 2, np.nan, A)
MAP = SimilarityMap(1.0, np.eye(3), np.zeros(3))
RIGID = RigidMap(np.zeros(3), np.eye(3), MAP)
BEST = Candidate(MAP, 0.5, "target")


@pytest.mark.parametrize(
    "func, args, message",
    [
        (principal_axes, (NAN, 2), "features contains NaN, in 1 of 6 trials .trial 2"),
        (principal_axes, (A, 0), "'n_components' parameter of principal_axes"),
        (principal_axes, (A[0], 2), r"features must be .* got shape \(4, 3\)"),
        (principal_axes, (1e300 * A, 2), "features holds values of up to"),
        (denoise_trials, (A, 2.5), "'n_modes' parameter of denoise_trials"),
        (denoise_trials, (A[:0],), "Z must be .* not empty"),
        (project, (A, np.zeros(2), np.eye(3)), r"mean must be of shape \(3,\)"),
        (project, (A, np.zeros(3), np.eye(2)), r"axes must be of shape \(3, 2\)"),
        (fit_similarity, (A, B, np.ones(6)), "coupling must be two-dimensional"),
        (assign_trials, (A, B, 0.5), "'share' parameter of assign_trials"),
        (assign_trials, (A, B, 2, 1.0), "masses must be a tuple of 2 arrays, got f"),
        (
            assign_trials,
            (A, B, 2, (None, np.full(6, 1 / 6))),
            r"masses\[1\] must be of shape \(5,\)",
        ),
        (relative_residual, (A, B, np.ones(6)), r"masses must be of shape \(5,\)"),
        (relative_residual, (A, B, np.zeros(5)), "one of the masses must be positive"),
        (relative_residual, (A, B[:, :3]), "the same n_bins and d"),
        (find_partners, (-np.eye(3),), "distances must be at least 0, got -1"),
        (find_partners, (np.eye(3), 0.0), "'entropy' parameter of find_partners"),
        (
            coverage,
            (np.eye(3) / 2,),
            "sum one for each target trial, got sums from 0.5",
        ),
        (variance_explained, (np.eye(5), A), r"distances must be of shape \(6, 5\)"),
        (fit_readin, (A, B), r"activations must be of shape \(6, 4, 3\)"),
        (fit_readin, (A[:1], A[:1]), "at least 2 are needed, got 1"),
        (fit_readin, (A, A, (np.eye(2), np.zeros(3))), r"anchor\[0\] must be of shape"),
        (fit_readin, (A, A, (np.eye(3), None)), r"anchor\[1\] must be one-dim"),
        (rigid_readin, (MAP, A, A), "rigid must be a RigidMap, got SimilarityMap"),
        (rigid_readin, (RIGID, A[:, :, :2], A), r"map's shift must be of shape \(2,\)"),
        (geometric_readin, (A, RIGID, A, B), r"activations must be of shape \(6, 4, 3"),
        (margin, ([],), "list with at least one Candidate, got list of 0"),
        (margin, ([BEST, 0.5],), r"alignments\[1\] must be a Candidate, got float"),
        (distinct_alignments, ([BEST], A[:, :, :2]), r"with \[3\] dims, but B has 2"),
        (confidence, ({"margin": 0.1},), "lacks 'variance_explained'"),
        (confidence, ({"margin": np.nan},), "margin must be a number, got NaN"),
        (is_ambiguous, (0.5,), "report must be what an aligner reports"),
    ],
)
def test_a_wrong_argument_is_named(func, args, message):
    with pytest.raises((ValueError, TypeError), match=message):
        func(*args)


def test_what_is_no_array_is_converted():
    lists = relative_residual(A.tolist(), tuple(B), [1, 1, 1, 1, 1])
    assert lists == relative_residual(A, B)
    masked = np.ma.masked_equal(A, A.flat[0])
    with pytest.raises(ValueError, match="A contains NaN, in 1 of 6 trials"):
        relative_residual(masked, B)
    readin = fit_readin(A, A, (pd.DataFrame(np.eye(3)), pd.Series(np.zeros(3))))
    for mine, same in zip(readin, fit_readin(A, A, (np.eye(3), np.zeros(3)))):
        np.testing.assert_array_equal(mine, same)


def test_settings_of_the_process_do_not_matter():
    expected = geometry.rigid_partners(A, B, n_starts=2)
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        found = geometry.rigid_partners(A, B, n_starts=2)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", geometry.__all__)
def test_functions_are_pickled_by_name(name):
    """Workers and the cache are sent them; a decorated function stays importable."""
    value = getattr(geometry, name)
    assert pickle.loads(pickle.dumps(value)) is value or isinstance(value, int | float)


def test_an_infinite_penalty_gives_all_source_trials_the_same():
    distances = np.random.default_rng(1).random((6, 5))
    partners = find_partners(distances, mass_penalty=np.inf)
    np.testing.assert_allclose(coverage(partners), 1, atol=1e-3)
    np.testing.assert_allclose(partners.sum(0), 1)
