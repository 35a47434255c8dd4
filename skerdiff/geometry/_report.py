"""How far an alignment can be trusted, from what the search reports."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers
from collections.abc import Mapping

THIN_MARGIN = 0.03  # below, another alignment fits nearly as well
LITTLE_VARIANCE = 0.3  # below, target trials resemble all source trials alike


def confidence(report):
    """How far an alignment is from being ambiguous.

    Parameters
    ----------
    report : mapping
        With ``margin``, ``variance_explained`` and, if a start was given,
        ``followed_start``.

    Returns
    -------
    confidence : float
        The lesser of margin and variance over their thresholds: below 1 the alignment
        is ambiguous. Of a start that was followed the margin may be as low as zero, and
        counts from there.

    Raises
    ------
    TypeError
        If the report is no mapping, or what it has of these is no number.
    ValueError
        If it lacks one of the two, or it is NaN.
    """
    _check(report, "margin", "variance_explained")
    margin = 1 + (report["margin"] - _least_margin(report)) / THIN_MARGIN
    return min(margin, report["variance_explained"] / LITTLE_VARIANCE)


def _check(report, *keys):
    """Raise if a report lacks a number."""
    if not isinstance(report, Mapping):
        raise TypeError(
            "report must be what an aligner reports of a session (one value of its "
            f"alignment_report_), got {type(report).__name__}."
        )
    for key in keys:
        if key not in report:
            raise ValueError(
                f"The report lacks {key!r}: no geometry was searched for this session."
            )
        if not isinstance(report[key], numbers.Real):
            raise TypeError(f"{key} must be a number, got {report[key]!r}.")
        if report[key] != report[key]:
            raise ValueError(f"{key} must be a number, got NaN.")


def _least_margin(report):
    return 0.0 if report.get("followed_start", False) else THIN_MARGIN


def is_ambiguous(report):
    """Whether an alignment may be another than the right one, see `confidence`.

    Parameters
    ----------
    report : mapping
        Of a session. Without a search there is no confidence, and nothing to tell.

    Returns
    -------
    ambiguous : bool
        Whether the confidence is below 1.

    Raises
    ------
    TypeError
        If the report is no mapping, or its confidence no number.
    ValueError
        If its confidence is NaN.
    """
    _check(report)
    if "confidence" not in report:
        return False
    _check(report, "confidence")
    return report["confidence"] < 1.0


def ambiguity_reasons(report):
    """Why an alignment may be another than the right one.

    Parameters
    ----------
    report : mapping
        Of a session.

    Returns
    -------
    reasons : list of str
        Empty if the alignment is not ambiguous.

    Raises
    ------
    TypeError, ValueError
        See `is_ambiguous` and, if it is ambiguous, `confidence`.
    """
    if not is_ambiguous(report):
        return []
    _check(report, "margin", "variance_explained")
    reasons = []
    least = _least_margin(report)
    if report["margin"] < least:
        reasons.append(
            (
                "it follows the given start, though a different one fits better"
                if report.get("followed_start", False)
                else "a different one fits nearly as well"
            )
            + f" (margin {report['margin']:.3g}, below {least:g})"
        )
    if report["variance_explained"] < LITTLE_VARIANCE:
        reasons.append(
            "the source trials that its trials resemble hardly differ (they explain "
            f"{report['variance_explained']:.3f} of the source's variance, below "
            f"{LITTLE_VARIANCE})"
        )
    return reasons
