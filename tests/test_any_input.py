"""A search for input that leads to anything but a result or an error that says why.

Of every public estimator and function, found by name, so that new ones are included.
"""

import inspect
import traceback
from copy import copy
from importlib import import_module

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.utils._param_validation import Interval, StrOptions

from skerdiff import GeometryAligner, Trials
from skerdiff.datasets import make_bernoulli_dynamics, make_reaching_sessions
from skerdiff.geometry import Candidate, RigidMap, SimilarityMap
from skerdiff.persistence import load, save
from tests.estimators import ESTIMATORS, LINEAR, each, name_of, small_data
from tests.test_settings import state_of_the_process

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("scores_search_little"),
    pytest.mark.filterwarnings("ignore"),
]
N_USES, N_CALLS, N_FITS = 460, 60, 16  # for each of 19 estimators and 37 functions
# where an error that was meant comes from
CHECKS = (
    "skerdiff",
    "sklearn.utils",
    "sklearn.base",
    "sklearn.metrics",
    "joblib.memory",
)
X, Y = small_data()
FAST = {
    "deadline": None,
    "derandomize": True,  # the same search every time
    "database": None,
    "phases": [Phase.generate],  # to shrink what is found takes minutes
    "suppress_health_check": list(HealthCheck),
}


# -- what is put in --------------------------------------------------------------------
def as_object(A):
    out = np.empty(len(A) if A.ndim else 1, dtype=object)
    out[:] = list(A) if A.ndim else [A]
    return out


def frozen(A):
    A = np.array(A)
    A.flags.writeable = False
    return A


CONTAINERS = {
    "array": lambda A: A,
    "Fortran": np.asfortranarray,
    "strided": lambda A: np.repeat(A, 2, axis=-1)[..., ::2] if A.ndim else A,
    "reversed": lambda A: A[::-1] if A.ndim else A,
    "frozen": frozen,
    "list": lambda A: A.tolist(),
    "tuple": lambda A: tuple(A) if A.ndim else A,
    "tensor": lambda A: torch.tensor(A) if A.dtype.kind in "fib" else A,
    "masked": lambda A: np.ma.masked_equal(A, A.flat[0]) if A.size else A,
    "objects": lambda A: A.astype(object),
    "object array": as_object,
    "data frame": lambda A: pd.DataFrame(A) if A.ndim == 2 else A,
    "named frame": lambda A: (
        pd.DataFrame(A, columns=[f"unit{i}" for i in range(A.shape[1])])
        if A.ndim == 2
        else A
    ),
    "sparse": lambda A: csr_array(A) if A.ndim == 2 and A.dtype.kind == "f" else A,
    "Trials": lambda A: Trials({"source": A}) if A.ndim == 3 and A.size else A,
    "days": lambda A: (
        Trials({"source": A, "day1": A[:, :, ::-1]}) if A.ndim == 3 and A.size else A
    ),
    "ragged": lambda A: [A[0], A[0][:1]] if A.ndim == 3 and len(A) else A,
    "mapping": lambda A: {"day0": A},
    "nothing": lambda A: None,
    "text": lambda A: "spikes.npy",
    "big-endian": lambda A: A.astype(A.dtype.newbyteorder(">")),
}
VALUES = {
    "counts": lambda rng, shape: rng.poisson(2.0, shape).astype(float),
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "zero": lambda rng, shape: np.zeros(shape),
    "constant": lambda rng, shape: np.full(shape, 3.0),
    "equal trials": lambda rng, shape: np.broadcast_to(
        rng.poisson(2.0, shape[1:]).astype(float), shape
    ).copy(),
    "tiny": lambda rng, shape: 1e-300 * rng.random(shape),
    "large": lambda rng, shape: 1e15 * rng.random(shape),
    "huge": lambda rng, shape: 1e300 * rng.random(shape),
    "with NaN": lambda rng, shape: np.where(rng.random(shape) < 0.1, np.nan, 1.0),
    "infinite": lambda rng, shape: np.full(shape, -np.inf),
}
DTYPES = ["f8", "f8", "f8", "f4", "f2", "i8", "i2", "u1", "?", "c16", "U4", "M8[s]"]


@st.composite
def arrays(draw, fitting=False):
    """An array-like; half of the time one that may well be right."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    if draw(st.booleans()):
        n = draw(st.integers(1, 9))
        shape, dtype = (n, *X.shape[1:]), draw(st.sampled_from(["f8", "f4", "i8"]))
        container = draw(st.sampled_from(list(CONTAINERS)[:16]))
    else:
        ndim = draw(st.integers(0, 4))
        shape = tuple(draw(st.integers(0, 6)) for _ in range(ndim))
        dtype = draw(st.sampled_from(DTYPES))
        container = draw(st.sampled_from(list(CONTAINERS)))
    values = draw(st.sampled_from(list(VALUES)))
    with np.errstate(all="ignore"):
        A = np.asarray(VALUES[values](rng, shape) if shape else rng.random())
        A = A.astype("i8").astype(dtype) if dtype.startswith("M") else A.astype(dtype)
    try:
        return CONTAINERS[container](A)
    except (ValueError, TypeError):  # Trials say what they do not take
        return A


def digest(*values):
    """Digests of inputs, to see whether they were changed."""
    return [joblib.hash(_plain(value)) for value in values]


def _plain(value):
    """What joblib can hash."""
    if isinstance(value, Trials):
        return list(value.items())
    if isinstance(value, np.ma.MaskedArray):
        return value.data, np.ma.getmaskarray(value)
    if isinstance(value, dict):
        return [(key, _plain(part)) for key, part in value.items()]
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value.numpy() if hasattr(value, "detach") else value


# -- what may come out -----------------------------------------------------------------
def is_meant(error):
    """Whether an error was raised on purpose, and says something."""
    frames = traceback.extract_tb(error.__traceback__)
    modules = [frame.filename.replace("/", ".") for frame in frames]
    named = any(f".{check}." in modules[-1] for check in CHECKS)
    return isinstance(error, ValueError | TypeError) and named and len(str(error)) > 10


def check_result(result, right=np.isfinite):
    """A result is finite, if it is numbers."""
    if isinstance(result, Trials):
        result = result.to_array()
    if isinstance(result, tuple | list):
        for part in result:
            check_result(part, right)
    elif isinstance(result, np.ndarray | float):
        numbers = np.asarray(result)
        assert numbers.dtype.kind not in "fc" or right(numbers).all()


def attempt(func, *args, may_be_infinite=False, **kwargs):
    """Give the result of a call, or None after an error that was meant."""
    before = digest(*args)
    try:
        result = func(*args, **kwargs)
    except (ValueError, TypeError) as error:
        assert is_meant(error), f"{type(error).__name__}: {error}"
        return None
    finally:
        assert digest(*args) == before, "an input was changed"
    check_result(result, (lambda a: a == a) if may_be_infinite else np.isfinite)
    return result


# -- fitted estimators -----------------------------------------------------------------
METHODS = (
    "transform",
    "predict",
    "score",
    "score_samples",
    "inverse_transform",
    "adapt",
)
METHODS += ("compare", "invert", "decode", "evidence_bound", "denoising_error")


@pytest.fixture(scope="module")
def fitted():
    found = {}
    for estimator in ESTIMATORS:
        model = clone(estimator)
        if "random_state" in model.get_params():
            model.set_params(random_state=0)
        found[name_of(estimator)] = model.fit(X, Y)
    return found


@each(ESTIMATORS)
def test_any_input_of_a_fitted_estimator(estimator, fitted):
    model = fitted[name_of(estimator)]
    methods = [name for name in METHODS if hasattr(model, name)]
    state = state_of_the_process()

    @settings(max_examples=N_USES, **FAST)
    @given(data=st.data())
    def search(data):
        method = data.draw(st.sampled_from(methods))
        args = [data.draw(arrays())]
        if method == "score" and hasattr(model, "predict"):
            args.append(data.draw(arrays()))
        used = copy(model)
        before = joblib.hash(vars(used))
        result = attempt(getattr(used, method), *args)
        if method != "adapt":
            assert joblib.hash(vars(used)) == before, "it has changed"
        if method == "transform" and isinstance(result, np.ndarray):
            assert len(result) == len(args[0])

    search()
    assert state_of_the_process() == state


# -- whole fits ------------------------------------------------------------------------
def values_of(constraint, default):
    """Values of a parameter, at the edges of what is allowed and beyond."""
    found = [default]
    for part in constraint:
        if isinstance(part, Interval):
            for edge in (part.left, part.right):
                if edge is not None and abs(edge) < 20:
                    found += [edge, edge + 1, edge - 1, float(edge) + 0.5]
            found += [1e-300, 1e300, -1, float("nan"), float("inf")]
        elif isinstance(part, StrOptions):
            found += [*part.options, "other"]
        elif part == "boolean":
            found += [True, False, 3]
        elif part is None:
            found.append(None)
    return found


@each(ESTIMATORS)
def test_any_parameters_and_input_of_fit(estimator):
    constraints = type(estimator)._parameter_constraints
    params = estimator.get_params(deep=False)
    skipped = {"latent_model", "prior", "memory", "verbose", "device", "max_iter"}
    names = sorted(set(constraints) - skipped)
    state = state_of_the_process()

    @settings(max_examples=N_FITS, **FAST)
    @given(data=st.data())
    def search(data):
        model = clone(estimator)
        for name in data.draw(st.lists(st.sampled_from(names), max_size=2)):
            choices = values_of(constraints[name], params[name])
            model.set_params(**{name: data.draw(st.sampled_from(choices))})
        A = data.draw(st.one_of(st.just(X), arrays()))
        y = data.draw(st.one_of(st.just(Y), st.none(), arrays()))
        before = dict(vars(model))
        done = attempt(model.fit, A, y, may_be_infinite=True)
        if done is None:
            assert vars(model) == before, "an estimator is half fitted"
        else:
            attempt(model.transform if hasattr(model, "transform") else len, A)

    search()
    assert state_of_the_process() == state


# -- functions -------------------------------------------------------------------------
def functions():
    """Public functions that take arrays."""
    for package in ("metrics", "preprocessing", "geometry"):
        module = import_module(f"skerdiff.{package}")
        for name in module.__all__:
            func = getattr(module, name)
            if inspect.isfunction(func):
                yield pytest.param(func, id=f"{package}.{name}")


SMALL = X[:6, :, :4]  # coordinates, and features
MAP = SimilarityMap(1.0, np.eye(4), np.zeros(4))
CANDIDATES = [Candidate(MAP, 0.5, "target"), Candidate(MAP.inverse(), 0.6, "source")]
# right arguments of functions of the geometry, of which one is then changed
RIGHT = {
    "n_components": 3,
    "features": SMALL,
    "mean": np.zeros(4),
    "axes": np.eye(4),
    "coupling": np.full((6, 6), 1 / 36),
    "share": 2.0,
    "masses": None,
    "distances": np.ones((6, 6)),
    "partners": np.full((6, 6), 1 / 6),
    "candidates": CANDIDATES,
    "alignments": CANDIDATES,
    "rigid": RigidMap(np.zeros(4), np.eye(4), MAP),
    "coordinates": SMALL + 1,
    "activations": SMALL[:, :, :2],
    "report": {"margin": 0.1, "variance_explained": 0.2, "confidence": 0.6},
} | {name: SMALL * (1 + i) for i, name in enumerate("ABZ")}
SCALARS = st.sampled_from([0, 1, 2, 3, -1, 0.5, 1e300, np.nan, None, "x", True])


@pytest.mark.parametrize("func", list(functions()))
def test_any_input_of_a_function(func):
    parameters = list(inspect.signature(func).parameters.values())
    state = state_of_the_process()

    @settings(max_examples=N_CALLS, **FAST)
    @given(data=st.data())
    def search(data):
        args, kwargs = [], {}
        wrong = data.draw(st.sampled_from([None, *parameters]))
        for p in parameters:
            if ".geometry." in func.__module__ and p is not wrong:
                if p.default is p.empty:
                    args.append(RIGHT[p.name])
            elif p.kind is p.KEYWORD_ONLY or p.default is not p.empty:
                if data.draw(st.booleans()):
                    kwargs[p.name] = data.draw(st.one_of(SCALARS, arrays()))
            else:
                args.append(data.draw(st.one_of(arrays(), arrays(), SCALARS)))
        attempt(func, *args, may_be_infinite=True, **kwargs)

    search()
    assert state_of_the_process() == state


@settings(max_examples=150, **FAST)
@given(data=st.data())
def test_any_parameters_of_the_simulators(data):
    for simulate in (make_reaching_sessions, make_bernoulli_dynamics):
        names = [
            name
            for name in inspect.signature(simulate).parameters
            if name not in ("return_X_y", "random_state")
        ]
        few = {"n_trials": 3, "n_neurons": 4, "n_bins": 3}
        kwargs = {k: v for k, v in few.items() if k in names}
        for name in data.draw(st.lists(st.sampled_from(names), max_size=3)):
            kwargs[name] = data.draw(SCALARS.filter(lambda v: v not in (1e300, True)))
        attempt(simulate, random_state=0, may_be_infinite=True, **kwargs)


@settings(max_examples=100, **FAST)
@given(data=st.data())
def test_any_sessions_of_trials(data):
    names = st.one_of(st.text(max_size=3), st.integers(), st.none())
    sessions = data.draw(st.dictionaries(names, arrays(), max_size=3))
    trials = attempt(Trials, sessions, data.draw(st.one_of(st.none(), names)))
    if trials is not None:
        key = data.draw(st.one_of(st.integers(-9, 9), st.lists(st.integers(-9, 9))))
        try:
            trials[key]
        except (IndexError, TypeError):
            pass


@settings(max_examples=60, **FAST)
@given(data=st.data())
def test_any_bytes_as_a_saved_model(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "x"
    aligner = GeometryAligner(LINEAR, n_starts=1, random_state=0)
    save(aligner, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
            st.integers(0, 255)
        )
    path.write_bytes(content)
    attempt(load, path)
