"""Copies of fitted pipelines, however they are made, are the same and stand alone."""

import copy
import pickle

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from skerdiff import PerBinRegressor, adapt, load, save
from skerdiff.preprocessing import SquareRoot
from tests.estimators import ALIGNERS, each, small_data

cloudpickle = pytest.importorskip("cloudpickle")
pytestmark = [
    pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning"),
]
X, Y = small_data()
TARGET, NEXT = (small_data(n_neurons=n, seed=n)[0] for n in (8, 9))


def by_joblib(pipe, path):
    joblib.dump(pipe, path)
    return joblib.load(path)


def by_file(pipe, path):
    save(pipe, path)
    return load(path)


WAYS = {
    "copy": lambda pipe, path: copy.copy(pipe),
    "deepcopy": lambda pipe, path: copy.deepcopy(pipe),
    "pickle, first protocol": lambda pipe, path: pickle.loads(pickle.dumps(pipe, 2)),
    "pickle": lambda pipe, path: pickle.loads(pickle.dumps(pipe, 5)),
    "cloudpickle": lambda pipe, path: cloudpickle.loads(cloudpickle.dumps(pipe)),
    "joblib": by_joblib,
    "save": by_file,
    "clone": lambda pipe, path: adapt(clone(pipe).fit(X, Y), TARGET),
}


@each(ALIGNERS)
def test_copies_are_the_same_and_stand_alone(estimator, tmp_path):
    aligner = clone(estimator).set_params(random_state=0)
    pipe = make_pipeline(SquareRoot(), aligner, PerBinRegressor()).fit(X, Y)
    adapt(pipe, TARGET)
    expected = pipe.predict(TARGET)
    sessions = list(aligner.sessions_)
    found = {}
    for name, way in WAYS.items():
        twin = way(pipe, tmp_path / "pipe")
        assert_array_equal(twin.predict(TARGET), expected, err_msg=name)
        if name != "copy":  # which shares the aligner
            found[name] = adapt(twin, NEXT, "next").predict(NEXT)
            assert list(aligner.sessions_) == sessions, name
    once = adapt(pipe, NEXT, "next").predict(NEXT)
    for name, again in found.items():
        assert_array_equal(again, once, err_msg=name)


# -- neurons as recordings have them ---------------------------------------------------
def silent(A):
    return np.concatenate([A, np.zeros((*A.shape[:2], 3))], axis=2)


def repeated(A):
    return np.concatenate([A, A[:, :, :3]], axis=2)


def loud(A):
    return A * np.where(np.arange(A.shape[2]) == 1, 100.0, 1.0)


@pytest.mark.parametrize("change", [silent, repeated, loud], ids=lambda f: f.__name__)
@each(ALIGNERS)
def test_silent_repeated_and_loud_neurons_are_taken(estimator, change):
    aligner = clone(estimator).set_params(random_state=0).fit(change(X), Y)
    Z = aligner.adapt(change(TARGET)).transform(change(TARGET))
    assert np.isfinite(Z).all() and Z.shape[:2] == TARGET.shape[:2]
