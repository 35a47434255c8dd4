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
