"""The geometry warm start: similarity maps, assignments and their candidates."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import ortho_group

from skerdiff.datasets import make_reaching_sessions
from skerdiff.geometry import _search
from skerdiff.geometry._search import (
    Candidate,
    distinct_alignments,
    find_candidates,
    margin,
    refine,
    rigid_partners,
)
from skerdiff.geometry._similarity import (
    SimilarityMap,
    assign_trials,
    denoise_trials,
    fit_similarity,
    mean_spread,
    relative_residual,
    squared_distances,
)


def rotation(d, reflect, seed=0):
    Q = ortho_group.rvs(d, random_state=seed)
    if (np.linalg.det(Q) < 0) != reflect:
        Q[:, 0] *= -1
    return Q


@pytest.fixture(scope="module")
def reaches():
    """Latents of reaches, whose trials fit together in one way only."""
    return make_reaching_sessions(1, 48, 10, random_state=0).latents


def rotated_copy(A, noise, seed=0):
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(A))
    Q = rotation(A.shape[2], True, seed)
    B = 3.0 * A[order] @ Q + rng.standard_normal(A.shape[2])
    return B + noise * 3.0 * A.std() * rng.standard_normal(A.shape), order


def nearest(A, candidate, B):
    return squared_distances(A, candidate.map(B)).argmin(0)


@pytest.mark.parametrize("seed", range(2))
def test_search_finds_the_true_matching(reaches, seed):
    B, order = rotated_copy(reaches, 0.1, seed)
    candidates = find_candidates(reaches, B, n_starts=30, seed=seed)
    best = candidates[0]
    assert np.mean(nearest(reaches, best, B) == order) == 1.0
    assert margin(distinct_alignments(candidates, B)) > 1.0
    error = np.mean((best.map(B) - reaches[order]) ** 2) / reaches.var()
    assert error < 0.02
    assert 1 / best.map.scale == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("poorer", ["source", "target"])
def test_search_finds_movements_that_one_side_lacks(reaches, poorer):
    # a third of the trials along one latent is missing from one of the sessions
    here = reaches[:, :, 0].mean(1) < np.quantile(reaches[:, :, 0].mean(1), 0.67)
    A = reaches[here] if poorer == "source" else reaches
    whole = reaches[here] if poorer == "target" else reaches
    B, order = rotated_copy(whole, 0.05)
    best = find_candidates(A, B, n_starts=30)[0]
    assert best.nested == poorer
    error = np.mean((best.map(B) - whole[order]) ** 2) / whole.var()
    assert error < 0.02


def test_margin_is_thin_without_structure():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((2, 40, 6, 4))
    candidates = find_candidates(A, B, n_starts=30)
    assert margin(distinct_alignments(candidates, B)) < 0.05


def test_candidates_are_sorted_and_their_residuals_true(reaches):
    B, _ = rotated_copy(reaches[:40], 0.3)
    candidates = find_candidates(reaches, B, n_starts=6)
    order = [c.residual * (1.05 if c.nested == "source" else 1) for c in candidates]
    assert order == sorted(order)
    assert {c.nested for c in candidates} == {"source", "target"}
    A, B = denoise_trials(reaches), denoise_trials(B)
    for c in candidates:
        if c.nested == "target":
            expected = relative_residual(A, c.map(B))
        else:
            expected = relative_residual(B, c.map.inverse()(A))
        assert c.residual == pytest.approx(expected)


def test_search_is_determined_by_its_seed(reaches):
    B, _ = rotated_copy(reaches, 0.3)
    state = np.random.get_state()[1].copy()
    first, second = (find_candidates(reaches, B, n_starts=3, seed=5) for _ in range(2))
    assert [c.residual for c in first] == [c.residual for c in second]
    assert np.array_equal(first[0].map.rotation, second[0].map.rotation)
    assert np.array_equal(np.random.get_state()[1], state)


def test_search_on_a_subset_aligns_all_trials(reaches):
    B, order = rotated_copy(reaches, 0.05)
    candidates = find_candidates(reaches, B, n_starts=30, max_trials=40)
    assert np.mean(nearest(reaches, candidates[0], B) == order) == 1.0
    assert margin(distinct_alignments(candidates, B)) > 0.5


def test_search_of_sessions_with_few_distinct_trials(reaches):
    copies = np.repeat(reaches[:3], 4, axis=0)
    best = find_candidates(copies, 2 * copies, n_starts=6)[0]
    assert best.residual < 1e-6
    assert best.map.scale == pytest.approx(0.5)


def test_search_finds_what_noise_of_trials_hides(reaches):
    # noise of each bin with more than the variance of the trials
    B, order = rotated_copy(reaches, 1.1)
    noisy = reaches + 1.1 * reaches.std() * np.random.default_rng(1).normal(
        size=reaches.shape
    )
    best = find_candidates(noisy, B, n_starts=60)[0]
    error = np.mean((best.map(rotated_copy(reaches, 0.0)[0]) - reaches[order]) ** 2)
    assert error / reaches.var() < 0.15


def test_a_known_alignment_comes_first_unless_another_is_clearly_better(
    reaches, monkeypatch
):
    B, order = rotated_copy(reaches, 0.1)
    right = find_candidates(reaches, B, n_starts=1, start=reaches[order])
    assert right[0].followed and not any(c.followed for c in right[1:])
    assert np.mean(nearest(reaches, right[0], B) == order) == 1.0
    # trials in a random order lead elsewhere
    shuffled = reaches[np.random.default_rng(1).permutation(len(reaches))[: len(B)]]
    found = find_candidates(reaches, B, n_starts=30, start=shuffled)
    excess = next(c for c in found if c.followed).residual / found[0].residual - 1
    assert not found[0].followed and excess > 1
    for share, followed in ((0.99 * excess, False), (1.01 * excess, True)):
        monkeypatch.setattr(_search, "_FOLLOW", share * len(B))
        found = find_candidates(reaches, B, n_starts=30, start=shuffled)
        assert found[0].followed == followed


def test_a_guess_is_one_more_start_without_preference(reaches):
    B, order = rotated_copy(reaches, 0.1)
    alone = find_candidates(reaches, B, n_starts=1)
    right = find_candidates(reaches, B, n_starts=1, guess=reaches[order])
    wrong = find_candidates(reaches, B, n_starts=1, guess=reaches)
    assert len(right) == len(wrong) == len(alone) + 3
    assert np.mean(nearest(reaches, right[0], B) == order) == 1.0
    assert not any(c.followed for c in right)
    best = find_candidates(reaches, B, n_starts=30, guess=reaches)[0]
    assert np.mean(nearest(reaches, best, B) == order) == 1.0


def test_search_reports_its_progress(reaches):
    seen = []
    find_candidates(reaches, reaches, n_starts=3, progress=seen.append)
    assert seen == [1, 2, 3, 4, 5, 6]


def test_rigid_partners_are_the_true_ones(reaches):
    B, order = rotated_copy(reaches, 0.1)
    coupling = rigid_partners(reaches, B, n_starts=30)
    assert np.array_equal(coupling.argmax(0), order)
    np.testing.assert_allclose(coupling.sum(0), 1 / 48)
    assert coupling.sum(1).max() <= 2 / 48 + 1e-9


def test_unequal_directions_need_unequal_masses():
    # the target holds only half of the source's trials, twice each: with equal masses
    # half of its trials are forced onto strangers
    rng = np.random.default_rng(0)
    A = rng.standard_normal((12, 5, 3))
    order = np.r_[np.arange(6), np.arange(6)]
    B = A[order] + 0.01 * rng.standard_normal((12, 5, 3))
    start = np.zeros((12, 12))
    start[order, np.arange(12)] = 1 / 12
    (_, equal), (map_, free) = (refine(A, B, start, share) for share in (1.0, 2.0))
    assert np.array_equal(squared_distances(A, map_(B)).argmin(0), order)
    assert free < 0.1 * equal


def test_masses_stand_for_copies(reaches):
    times = np.random.default_rng(0).integers(1, 4, 48)
    B, _ = rotated_copy(reaches, 0.2)
    whole = np.repeat(B, times, axis=0)
    map_ = SimilarityMap(0.3, rotation(B.shape[2], False), np.ones(B.shape[2]))
    masses = times / times.sum()
    found = relative_residual(reaches, map_(B), masses)
    assert found == pytest.approx(relative_residual(reaches, map_(whole)))
    plan = assign_trials(reaches, map_(B), 2.0, (np.full(48, 1 / 48), masses))
    np.testing.assert_allclose(plan.sum(0), masses)
    cost, full = (squared_distances(reaches, map_(Z)) for Z in (B, whole))
    expected = np.sum(assign_trials(reaches, map_(whole), 2.0) * full)
    assert np.sum(plan * cost) == pytest.approx(expected)


def candidate(Q, residual, B):
    return Candidate(SimilarityMap(1.0, Q, np.zeros(2)), residual, "target")


def turn(degrees):
    a = np.deg2rad(degrees)
    return np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])


def test_distinct_alignments_are_no_variants_of_each_other():
    B = np.random.default_rng(0).standard_normal((20, 5, 2))
    best = candidate(turn(0), 0.10, B)
    variant = candidate(turn(15), 0.11, B)
    other = candidate(turn(180), 0.14, B)
    its_variant = candidate(turn(170), 0.16, B)
    last = candidate(turn(90), 0.20, B)
    found = distinct_alignments([best, variant, other, its_variant, last], B)
    assert found == [best, other, last]
    assert margin(found) == pytest.approx(0.4)
    assert distinct_alignments([best, variant], B) == [best]
    assert margin([best]) == np.inf
    assert margin([other, best]) == pytest.approx(0.10 / 0.14 - 1)  # it was followed


def test_margin_counts_the_handicap_and_has_its_limits():
    same = SimilarityMap(1.0, np.eye(2), np.zeros(2))
    best = Candidate(same, 0.1, "target")
    assert margin([best, Candidate(same, 0.1, "target")]) == pytest.approx(0.0)
    assert margin([best, Candidate(same, 0.1, "source")]) == pytest.approx(0.05)
    assert margin([Candidate(same, 0.1, "source"), best]) == pytest.approx(1 / 1.05 - 1)
    assert margin([Candidate(same, 0.0, "target"), best]) == np.inf
    assert margin([Candidate(same, np.inf, "target"), best]) == 0.0
    assert margin([Candidate(same, np.inf, "target")]) == 0.0


@pytest.mark.parametrize(("share", "distinct"), [(0.74, False), (0.76, True)])
def test_alignments_differ_from_three_quarters_of_the_spread_on(share, distinct):
    B = np.random.default_rng(0).standard_normal((20, 5, 2))
    size = np.sqrt(share * mean_spread(denoise_trials(B)) / 5)
    here, there = (
        Candidate(SimilarityMap(1.0, np.eye(2), shift), 0.1, "target")
        for shift in (np.zeros(2), np.array([size, 0.0]))
    )
    assert distinct_alignments([here, there], B) == [here, there][: 1 + distinct]
    assert distinct_alignments([here, there], B, 2.0) == [here]


def test_alignments_differ_by_the_spread_of_the_best():
    # the second is larger, and nearer than three quarters of its own spread
    B = np.random.default_rng(0).standard_normal((20, 5, 2))
    best, large = (
        Candidate(SimilarityMap(scale, np.eye(2), np.zeros(2)), 0.1, "target")
        for scale in (1.0, 2.0)
    )
    assert distinct_alignments([best, large], B) == [best, large]
    assert distinct_alignments([large, best], B) == [large]


def test_one_round_is_the_map_of_the_coupling_given():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((6, 4, 2)), rng.standard_normal((5, 4, 2))
    coupling = rng.dirichlet(np.ones(30)).reshape(6, 5)
    masses = np.full(6, 1 / 6), rng.dirichlet(np.ones(5))
    expected = fit_similarity(A, B, coupling)
    for n_rounds in (0, 1):
        map_, residual = refine(A, B, coupling, 2.0, n_rounds, masses)
        np.testing.assert_array_equal(map_(B), expected(B))
        assert residual == relative_residual(A, map_(B), masses[1])
    # the next round's is that of the assignment by it
    second = fit_similarity(A, B, assign_trials(A, expected(B), 2.0, masses))
    found, _ = refine(A, B, coupling, 2.0, 2, masses)
    np.testing.assert_array_equal(found(B), second(B))


def test_rounds_end_when_the_assignment_stays(reaches, monkeypatch):
    calls, original = [], assign_trials.unchecked

    def counted(*args):
        calls.append(args)
        return original(*args)

    monkeypatch.setattr(assign_trials, "unchecked", counted)
    B, order = rotated_copy(reaches, 0.0)
    coupling = np.zeros((len(reaches), len(B)))
    coupling[order, np.arange(len(B))] = 1 / len(B)
    _, residual = refine(reaches, B, coupling)
    assert len(calls) == 1 and residual < 1e-12
    refine(reaches, B, np.roll(coupling, 1, axis=0), n_rounds=1)
    assert len(calls) == 2


def test_most_rounds_go_to_the_better_half(monkeypatch):
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((24, 4, 3)), rng.standard_normal((20, 4, 3))
    rounds, shares, original = Counter(), Counter(), refine

    def counted(A, B, coupling, share=1.0, n_rounds=20, masses=(None, None)):
        rounds[n_rounds] += 1
        shares[share] += n_rounds == 12
        return original(A, B, coupling, share, n_rounds, masses)

    monkeypatch.setattr(_search, "refine", counted)
    found = find_candidates(A, B, n_starts=30, n_rounds=9)
    # twelve landmark alignments go on with each of three shares, both ways
    assert Counter(c.nested for c in found) == {"target": 36, "source": 36}
    assert rounds == {12: 60, 4: 72, 9: 36}
    assert shares == {1.0: 20, 2.0: 20, 4.0: 20}
    rounds.clear()
    find_candidates(A, B, n_starts=30, n_rounds=3)
    assert rounds == {12: 60, 3: 108}


def test_landmarks_are_means_of_clusters_with_their_masses(reaches):
    groups = np.repeat(reaches[:3] * 10, [5, 3, 2], axis=0)
    Z = groups + 1e-3 * np.random.default_rng(0).standard_normal(groups.shape)
    found, masses = _search._landmarks(Z, 3, np.random.RandomState(0))
    place = squared_distances(found, 10 * reaches[:3]).argmin(0)
    np.testing.assert_allclose(masses[place], [0.5, 0.3, 0.2])
    for k, rows in zip(place, (Z[:5], Z[5:8], Z[8:]), strict=True):
        np.testing.assert_allclose(found[k], rows.mean(0), atol=1e-9)
    # no more than there are trials, and none that is empty
    assert len(_search._landmarks(Z, 40, np.random.RandomState(0))[0]) == 10
    few, masses = _search._landmarks(groups, 8, np.random.RandomState(0))
    assert len(few) == len(masses) == 3 and masses.min() > 0


@pytest.mark.parametrize("nested", ["target", "source"])
@pytest.mark.parametrize(("excess", "followed"), [(1.74, True), (1.76, False)])
def test_a_start_may_be_worse_by_1_75_over_the_number_of_trials(
    reaches, monkeypatch, nested, excess, followed
):
    same = SimilarityMap(1.0, np.eye(reaches.shape[2]), np.zeros(reaches.shape[2]))
    best = 1.0 if nested == "target" else 1.05
    residuals = iter([1.0, 9.0] if nested == "target" else [9.0, 1.0])
    monkeypatch.setattr(
        _search, "_search", lambda *args: [(same, next(residuals), 1.0)]
    )
    near = [Candidate(same, best * (1 + excess / 20), "target")]
    near.insert(0, Candidate(same, 5.0, "target"))
    monkeypatch.setattr(_search, "_refine_all", lambda *args: near)
    found = find_candidates(reaches, reaches[:20], start=reaches[:20])
    assert found[0].followed == followed
    assert [c.followed for c in found].count(True) == 1
    assert [c.residual for c in found if not c.followed] == [1.0, 9.0]
    assert next(c for c in found if c.followed).residual == near[1].residual


def test_a_start_counts_if_nothing_else_fits_at_all(reaches, monkeypatch):
    same = SimilarityMap(0.0, np.eye(reaches.shape[2]), np.zeros(reaches.shape[2]))
    monkeypatch.setattr(_search, "_search", lambda *args: [(same, np.inf, 1.0)])
    near = [Candidate(same, 2.0, "target")]
    monkeypatch.setattr(_search, "_refine_all", lambda *args: near)
    found = find_candidates(reaches, reaches, start=reaches)
    # a map to one point has no inverse
    assert [(c.residual, c.followed) for c in found] == [(2.0, True), (np.inf, False)]
    near[0] = Candidate(same, np.inf, "target")
    assert len(find_candidates(reaches, reaches, start=reaches)) == 2


def test_a_guess_and_a_start_are_cut_like_the_trials(reaches):
    B, order = rotated_copy(reaches, 0.1)
    for given in ({"guess": reaches[order]}, {"start": reaches[order]}):
        found = find_candidates(reaches, B, n_starts=1, max_trials=30, **given)
        assert np.mean(nearest(reaches, found[0], B) == order) == 1.0
        assert found[0].nested == "target"


def test_a_guess_and_a_start_are_compared_by_as_many_modes_as_the_trials(
    reaches, monkeypatch
):
    seen = []
    monkeypatch.setattr(_search, "_search", lambda *args: [])
    same = SimilarityMap(1.0, np.eye(reaches.shape[2]), np.zeros(reaches.shape[2]))
    found = [Candidate(same, 1.0, "target")]
    monkeypatch.setattr(_search, "_refine_all", lambda A, B, Z: seen.append(Z) or found)
    for given in ({"guess": reaches}, {"start": reaches, "guess": reaches}):
        find_candidates(reaches, reaches, n_modes=3, **given)
    assert len(seen) == 3
    for places in seen:
        np.testing.assert_array_equal(places, denoise_trials(reaches, 3))


def test_trials_carry_their_equal_share_by_default():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((8, 4, 2)), rng.standard_normal((8, 4, 2))
    found, same, other = (
        refine(A, B, np.full((8, 8), 1 / 64), *share) for share in ((), (1.0,), (2.0,))
    )
    assert found[1] == same[1] != other[1]


def test_another_seed_starts_elsewhere():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((20, 4, 3)), rng.standard_normal((20, 4, 3))
    found = [find_candidates(A, B, n_starts=2, seed=seed) for seed in (0, 1)]
    assert [c.residual for c in found[0]] != [c.residual for c in found[1]]


def test_rigid_partners_may_carry_twice_their_share(reaches):
    B, order = rotated_copy(reaches[np.r_[:24, :24]], 0.02)
    coupling = rigid_partners(reaches, B, n_starts=30)
    assert np.array_equal(coupling.argmax(0), np.r_[:24, :24][order])
    np.testing.assert_allclose(coupling[:24].sum(1), 2 / 48)


def test_rigid_partners_follow_their_seed():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((2, 30, 4, 3))
    found = {seed: rigid_partners(A, B, n_starts=1, seed=seed) for seed in (0, 1, 7)}
    for seed, coupling in found.items():
        best = find_candidates(A, B, n_starts=1, seed=seed)[0]
        placed = best.map(denoise_trials(B))
        np.testing.assert_array_equal(
            coupling, assign_trials(denoise_trials(A), placed, 2.0)
        )
    np.testing.assert_array_equal(rigid_partners(A, B, n_starts=1), found[0])
    assert np.abs(found[1] - found[0]).max() > 0


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"B": np.zeros((5, 4))},
            r"B must be of shape \(n_trials, n_bins, d\).* got shape \(5, 4\)",
        ),
        ({"B": np.zeros((5, 3, 3))}, "same n_bins and d"),
        ({"B": np.zeros((5, 4, 2))}, "same n_bins and d"),
        ({"B": np.zeros((0, 4, 3))}, "B must be .* not empty"),
        ({"A": np.full((6, 4, 3), np.nan)}, "A contains NaN, in 6 of 6 trials"),
        ({"guess": np.full((5, 4, 3), np.inf)}, "guess contains infinity"),
        ({"start": np.zeros((4, 4, 3))}, r"start must be of shape \(5, 4, 3\), to fit"),
        ({"guess": np.zeros((5, 4, 2))}, r"guess must be of shape"),
        ({"n_starts": 0}, "'n_starts' parameter of find_candidates"),
    ],
)
def test_a_search_says_what_is_wrong(change, message):
    rng = np.random.default_rng(0)
    given = {"A": rng.standard_normal((6, 4, 3)), "B": rng.standard_normal((5, 4, 3))}
    with pytest.raises(ValueError, match=message):
        find_candidates(**given | {"n_starts": 1} | change)
