"""What an aligner reports of a target session, and when it warns."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np

from ..metrics import bits_per_spike

THIN_MARGIN = 0.03  # below, another alignment fits nearly as well
LITTLE_VARIANCE = 0.3  # below, target trials resemble all source trials alike
_N_FOLDS = 5
_FLOOR = 0.1  # of its mean rate, the least that is predicted of a neuron


def describe(X, Z):
    """Count trials and neurons of a session, and score what its latents keep.

    Parameters
    ----------
    X : ndarray of shape (n_trials, n_bins, n_neurons)
        Activity.
    Z : ndarray of shape (n_trials, n_bins, n_components)
        Aligned latents.

    Returns
    -------
    report : dict
        ``n_trials``, ``n_neurons``, ``n_active_neurons`` (not constant) and, of counts,
        ``bits_per_spike``.
    """
    report = {
        "n_trials": len(X),
        "n_neurons": X.shape[2],
        "n_active_neurons": int(np.ptp(X, axis=(0, 1)).astype(bool).sum()),
    }
    if X.min() >= 0:
        report["bits_per_spike"] = held_out_bits_per_spike(X, Z)
    return report


def held_out_bits_per_spike(X, Z):
    """Compute bits per spike of held-out trials, from rates linear in the latents.

    The readout to each neuron is fitted to four fifths of the trials and scored on the
    rest. It says how much of the activity the aligned latents keep; latents that are
    turned the wrong way keep as much.

    Parameters
    ----------
    X : ndarray of shape (n_trials, n_bins, n_neurons)
        Counts.
    Z : ndarray of shape (n_trials, n_bins, n_components)
        Latents.

    Returns
    -------
    bits : float
        Bits per spike in excess of constant rates, or NaN for a single trial or if no
        held-out trial has a spike.
    """
    step = min(_N_FOLDS, len(X))
    scored = slice(step - 1, None, step)  # views: sessions may be large
    if step < 2 or not X[scored].any():
        return np.nan
    first, offset = Z[0, 0], np.ones((*Z.shape[:2], 1))
    z = np.concatenate([Z - first, offset], axis=2)
    # normal equations of the trials that are not held out
    gram, cross = (
        np.tensordot(z, A, ([0, 1], [0, 1]))
        - np.tensordot(z[scored], A[scored], ([0, 1], [0, 1]))
        for A in (z, X)
    )
    readout = np.linalg.lstsq(gram, cross, rcond=None)[0]
    mean = cross[-1] / gram[-1, -1]
    floor = np.maximum(_FLOOR * mean, np.finfo(float).tiny)
    rates = np.maximum(z[scored] @ readout, floor)
    return bits_per_spike(X[scored], rates)


def confidence(report):
    """How far an alignment is from where it would be doubted.

    Parameters
    ----------
    report : dict
        With ``margin`` and ``variance_carried``, see `start_session`.

    Returns
    -------
    confidence : float
        The lesser of both over their thresholds: below 1 there is doubt. Of a start
        that was followed the margin may be as low as zero, and counts from there.
    """
    margin = 1 + (report["margin"] - _least_margin(report)) / THIN_MARGIN
    return min(margin, report["variance_carried"] / LITTLE_VARIANCE)


def _least_margin(report):
    return 0.0 if report.get("followed_start", False) else THIN_MARGIN


def in_doubt(report):
    """Whether an alignment may be another than the right one, see `confidence`."""
    return report.get("confidence", 1.0) < 1.0


def doubts(report):
    """Why an alignment may be another than the right one.

    Parameters
    ----------
    report : dict
        Of a session. Without a search there is no doubt to speak of.

    Returns
    -------
    reasons : list of str
        Empty if there is no doubt.
    """
    if not in_doubt(report):
        return []
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
    if report["variance_carried"] < LITTLE_VARIANCE:
        reasons.append(
            "the source trials that its trials resemble hardly differ (they carry "
            f"{report['variance_carried']:.3f} of the source's variance, below "
            f"{LITTLE_VARIANCE})"
        )
    return reasons
