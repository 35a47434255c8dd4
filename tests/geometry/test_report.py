"""When an alignment is called ambiguous, and why."""

import numpy as np
import pytest

from skerdiff.geometry import ambiguity_reasons, confidence, is_ambiguous


@pytest.mark.parametrize(
    ("margin", "explained", "words"),
    [
        (0.3, 0.6, []),
        (0.01, 0.6, ["margin 0.01, below 0.03"]),
        (0.3, 0.1, ["explain 0.10"]),
        (0.01, 0.1, ["margin 0.01, below 0.03", "explain 0.10"]),
        (np.inf, 0.6, []),
    ],
)
def test_reasons_say_why(margin, explained, words):
    report = {"margin": margin, "variance_explained": explained}
    report["confidence"] = confidence(report)
    assert is_ambiguous(report) == bool(words)
    reasons = ambiguity_reasons(report)
    assert len(reasons) == len(words)
    for word, reason in zip(words, reasons):
        assert word in reason


@pytest.mark.parametrize(
    ("margin", "ambiguous"), [(-0.01, True), (0.0, False), (0.01, False)]
)
def test_a_followed_start_is_ambiguous_if_another_fits_better(margin, ambiguous):
    report = {"margin": margin, "variance_explained": 0.9, "followed_start": True}
    report["confidence"] = confidence(report)
    assert is_ambiguous(report) == ambiguous
    reasons = ambiguity_reasons(report)
    assert len(reasons) == ambiguous
    assert all(
        "follows the given start" in r and "-0.01, below 0)" in r for r in reasons
    )
    assert confidence(report | {"variance_explained": 0.0}) == 0


def test_without_a_search_no_ambiguity_is_known():
    assert ambiguity_reasons({"init": "source"}) == []


@pytest.mark.parametrize(
    ("margin", "explained", "followed", "expected"),
    [
        (0.03, 0.9, False, 1.0),
        (0.06, 0.9, False, 2.0),
        (0.0, 0.9, False, 0.0),
        (0.3, 0.6, False, 2.0),
        (0.3, 0.3, False, 1.0),
        (0.0, 0.9, True, 1.0),
        (0.03, 0.9, True, 2.0),
        (-0.03, 0.9, True, 0.0),
        (np.inf, 0.3, True, 1.0),
    ],
)
def test_confidence_against_values_by_hand(margin, explained, followed, expected):
    report = {"margin": margin, "variance_explained": explained}
    if followed:
        report["followed_start"] = True
    assert confidence(report) == pytest.approx(expected)


def test_a_confidence_of_one_is_not_ambiguous():
    assert not is_ambiguous({"confidence": 1.0})
    assert is_ambiguous({"confidence": np.nextafter(1.0, 0.0)})
    assert not is_ambiguous({})


def test_reasons_name_only_what_is_below_its_threshold():
    # margin and variance at their thresholds, and ambiguous by the other
    thin = {"margin": 0.0299, "variance_explained": 0.3, "confidence": 0.9}
    assert len(ambiguity_reasons(thin)) == 1
    assert "margin 0.0299, below 0.03" in ambiguity_reasons(thin)[0]
    little = {"margin": 0.03, "variance_explained": 0.2999, "confidence": 0.9}
    assert len(ambiguity_reasons(little)) == 1
    assert "0.300 of the source's variance, below 0.3" in ambiguity_reasons(little)[0]
    followed = little | {"margin": 0.0, "followed_start": True}
    assert ambiguity_reasons(followed) == ambiguity_reasons(little)
