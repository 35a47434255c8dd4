"""Containers in which recordings come: what is in them counts, not what they are."""

from tempfile import TemporaryFile
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
import xarray as xr
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skerdiff import GeometryAligner, PerBinRegressor
from skerdiff.utils._arrays import as_array, fingerprint
from tests.estimators import ESTIMATORS, LINEAR, each, small_data, use

pytestmark = [
    pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning"),
    pytest.mark.filterwarnings("ignore::skerdiff.OneBinTrialsWarning"),
]
X, Y = small_data()
ROWS, Y_ROWS = X.reshape(-1, X.shape[2]), Y.reshape(-1, Y.shape[2])
NAMES = [f"unit{i}" for i in range(X.shape[2])]
ALIGNER = GeometryAligner(LINEAR, n_starts=1, random_state=0, trial_length=X.shape[1])


def memory_map(A):
    """Read-only, as recordings are opened that do not fit the memory."""
    with TemporaryFile() as file:
        A.tofile(file)
        return np.memmap(file, A.dtype, "r", shape=A.shape)


TRIALS = {
    "list": lambda A: A.tolist(),
    "xarray": lambda A: xr.DataArray(A, dims=("trial", "bin", "neuron")),
    "xarray with a dim of that name": lambda A: xr.DataArray(
        A, dims=("trial", "bin", "columns"), coords={"columns": NAMES}
    ),
    "memory map": memory_map,
    "big-endian": lambda A: A.astype(">f8"),
    "strided": lambda A: np.repeat(A, 3, axis=1)[:, ::3],
    "reversed": lambda A: A[:, ::-1][:, ::-1],
    "cells": lambda A: _objects(A, (len(A), 1)),
    "grid of vectors": lambda A: _objects(A.reshape(-1, A.shape[2]), A.shape[:2]),
}
TABLES = {
    "pandas": lambda A: pd.DataFrame(A, columns=NAMES),
    "nullable integers": lambda A: pd.DataFrame(A, columns=NAMES).astype("Int64"),
    "polars": lambda A: pl.DataFrame(A, schema=NAMES),
    "xarray": lambda A: xr.DataArray(A, dims=("bin", "neuron")),
    "Fortran": np.asfortranarray,
}


def _objects(parts, shape):
    out = np.empty(len(parts), dtype=object)
    out[:] = list(parts)
    return out.reshape(shape)


@pytest.mark.parametrize("container", TRIALS)
@each([ALIGNER, LINEAR])
def test_trials_come_in_any_container(estimator, container):
    expected = clone(estimator).fit(X, Y).transform(X)
    found = clone(estimator).fit(TRIALS[container](X), Y)
    assert_array_equal(found.transform(TRIALS[container](X)), expected)


@pytest.mark.parametrize("container", TABLES)
@each(ESTIMATORS)
def test_rows_come_in_any_table(estimator, container):
    params = estimator.get_params()
    seed = {k: v for k, v in {"random_state": 0}.items() if k in params}
    length = {"trial_length": X.shape[1]} if "trial_length" in params else {}
    model = clone(estimator).set_params(**seed, **length)
    table = TABLES[container](ROWS)
    model.fit(table, Y_ROWS)
    if container in ("pandas", "polars", "nullable integers"):
        assert list(model.feature_names_in_) == NAMES
    expected = use(clone(model).fit(ROWS, Y_ROWS), ROWS)
    assert_array_equal(np.asarray(use(model, table)), np.asarray(expected))


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_a_pipeline_hands_on_frames(output):
    steps = StandardScaler(), clone(ALIGNER), PerBinRegressor()
    expected = make_pipeline(*steps).fit(ROWS, Y_ROWS).predict(ROWS)
    pipe = clone(make_pipeline(*steps)).set_output(transform=output)
    assert_array_equal(pipe.fit(ROWS, Y_ROWS).predict(ROWS), expected)
    frame = pipe[:2].transform(ROWS)
    assert type(frame).__module__.split(".")[0] == output


@pytest.mark.parametrize(
    "value, message",
    [
        (
            torch.empty(2, device="meta"),
            "tensor with layout torch.strided on .* 'meta'",
        ),
        (torch.eye(2).to_sparse(), "layout torch.sparse_coo on the device 'cpu'"),
        (SimpleNamespace(a=1), "objects that are no numbers .types SimpleNamespace"),
        (
            _objects([1.0, pd.NA], (2,)),
            "types NAType, float.*Missing values must be NaN",
        ),
        (_objects([10**400, 1], (2,)), "objects that are no numbers"),
        (np.array([1 + 2j]), "x holds complex numbers, but real numbers are needed"),
        (_objects([[[1.0], [1.0, 2.0]], [[1.0]]], (2,)), "x is ragged"),
        (csr_array(np.eye(2)), "x is a sparse matrix.*toarray"),
    ],
)
def test_what_holds_no_numbers_is_named(value, message):
    with pytest.raises((ValueError, TypeError), match=message):
        as_array(value, "x")


def test_views_of_tensors_are_numbers():
    z = torch.tensor([1 + 2j, 3 - 1j])
    assert_array_equal(as_array(z.conj().imag, "x"), [-2.0, 1.0])  # a negative view


def test_columns_of_periods_are_refused():
    table = pd.DataFrame(ROWS, columns=NAMES)
    table["unit1"] = pd.period_range("2026-01", periods=len(table), freq="D")
    with pytest.raises(TypeError, match="X holds objects that are no numbers .*Period"):
        clone(LINEAR).fit(table)


def test_fingerprints_of_long_lists_of_names_differ():
    one = np.array(["left"] * 2000, dtype=object)
    two = one.copy()
    two[1000] = "right"
    assert fingerprint(one) != fingerprint(two)


@pytest.mark.parametrize("offset", [1e3, -1e5, 1e7])
def test_an_offset_changes_nothing_but_rounding(offset):
    """Sums of squares took the digits: 2.8 standard deviations at 1e7, silently."""
    rng = np.random.RandomState(0)
    A, y = small_data(n_trials=30)
    A = A + 0.1 * rng.standard_normal(A.shape)
    B = np.concatenate([A[::-1, :, ::2], A[::-1, :, 1::2]], axis=2)
    model = clone(LINEAR).set_params(likelihood="gaussian")
    aligner = GeometryAligner(model, n_starts=4, random_state=0)
    plain = clone(aligner).fit(A, y).adapt(B, "new")
    moved = clone(aligner).fit(A + offset, y).adapt(B + offset, "new")
    for session, Z in (("source", A), ("new", B)):
        expected = plain.transform(Z, session)
        found = moved.transform(Z + offset, session)
        np.testing.assert_allclose(found, expected, atol=1e-6 * expected.std())
    noise = plain.latent_model_.noise_variance_, moved.latent_model_.noise_variance_
    np.testing.assert_allclose(*noise, rtol=1e-6)
