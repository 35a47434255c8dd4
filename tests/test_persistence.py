"""Saved models: the same to the bit, and no code in a file is run."""

import json
import os
import pickle
import re
import subprocess
import sys
import threading
import zipfile
from collections import defaultdict, deque
from enum import StrEnum
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import sklearn
import torch
from numpy.testing import assert_array_equal
from scipy.special import expit
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV, SGDRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVR

import skerdiff
from skerdiff import GeometryAligner, LoadError, PerBinRegressor, VersionWarning, adapt
from skerdiff.persistence import load, read_header, save
from skerdiff.preprocessing import SquareRoot
from tests.estimators import (
    ESTIMATORS,
    LINEAR,
    VAE,
    each,
    fit_small,
    small_data,
    use,
)
from tests.test_interruption import assert_interrupted, points

pytestmark = [
    pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning"),
    pytest.mark.filterwarnings("ignore::skerdiff.OneBinTrialsWarning"),
]
X, Y = small_data()
TARGET, NEXT = (small_data(n_neurons=n, seed=n)[0] for n in (8, 9))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "day0.skerdiff"


@pytest.fixture
def saved(path):
    """An aligner and its file."""
    aligner = GeometryAligner(VAE, n_starts=1, random_state=0).fit(X, Y).adapt(TARGET)
    save(aligner, path)
    return aligner


def again(estimator, path, **params):
    save(estimator, path)
    return load(path, **params)


@pytest.mark.usefixtures("any_step_is_accepted")
@each(ESTIMATORS)
def test_every_estimator_makes_the_round_trip(estimator, path):
    fitted, _ = fit_small(estimator)
    if hasattr(fitted, "adapt"):
        fitted.adapt(TARGET)
    found = again(fitted, path)
    assert repr(found) == repr(fitted)
    assert_array_equal(use(found, X), use(fitted, X))
    if hasattr(fitted, "adapt"):
        assert list(found.sessions_) == list(fitted.sessions_)
        assert_array_equal(found.transform(TARGET), fitted.transform(TARGET))
        # and the loaded one goes on where the other stands
        assert_array_equal(
            found.adapt(NEXT).transform(NEXT), fitted.adapt(NEXT).transform(NEXT)
        )
    if hasattr(fitted, "sample"):
        assert_array_equal(found.sample(3), fitted.sample(3))
    # fitting anew is the same, too
    assert_array_equal(use(clone(found).fit(X, Y), X), use(clone(fitted).fit(X, Y), X))


@each(ESTIMATORS)
def test_an_unfitted_estimator_is_saved_as_well(estimator, path):
    found = again(estimator, path)
    assert repr(found) == repr(estimator)


DECODERS = [
    Ridge(),
    RidgeCV(),
    LinearRegression(),
    make_pipeline(StandardScaler(), PCA(2), Ridge()),
    RandomForestRegressor(3, random_state=0),
    KNeighborsRegressor(2, algorithm="kd_tree"),
    KNeighborsRegressor(2, algorithm="ball_tree"),
    MultiOutputRegressor(GradientBoostingRegressor(n_estimators=2, random_state=0)),
    MultiOutputRegressor(SGDRegressor(random_state=0)),
    GaussianProcessRegressor(),
    KernelRidge(),
    MLPRegressor(
        hidden_layer_sizes=(3,), max_iter=2, random_state=np.random.RandomState(0)
    ),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("decoder", DECODERS, ids=lambda d: type(d).__name__)
def test_whole_pipelines_make_the_round_trip(decoder, path):
    aligner = GeometryAligner(LINEAR, n_starts=1, random_state=0)
    pipe = make_pipeline(SquareRoot(), aligner, PerBinRegressor(decoder)).fit(X, Y)
    adapt(pipe, TARGET)
    found = again(pipe, path)
    assert_array_equal(found.predict(TARGET), pipe.predict(TARGET))
    assert_array_equal(
        adapt(found, NEXT).predict(NEXT), adapt(pipe, NEXT).predict(NEXT)
    )


@pytest.mark.parametrize(
    "decoder", [SVR(), HistGradientBoostingRegressor(max_iter=3)], ids=["svr", "trees"]
)
def test_decoders_of_one_output_make_the_round_trip(decoder, path):
    pipe = PerBinRegressor(decoder).fit(X, Y[..., 0])
    assert_array_equal(again(pipe, path).predict(X), pipe.predict(X))


def test_steps_of_numpys_functions_and_searches_are_saved(path):
    pipe = make_pipeline(
        FunctionTransformer(np.sqrt),
        GeometryAligner(LINEAR, n_starts=1, random_state=0),
        PerBinRegressor(Ridge()),
    )
    grid = {"perbinregressor__estimator__alpha": [0.1, 1.0]}
    search = GridSearchCV(pipe, grid, cv=2).fit(X, Y)
    found = again(search, path)
    assert found.best_params_ == search.best_params_
    assert_array_equal(found.predict(X), search.predict(X))
    assert_array_equal(
        found.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"]
    )


def test_the_reader_of_a_session_is_saved_by_itself(saved, path):
    reader = again(saved.sessions_["target"], path)
    assert_array_equal(reader.transform(TARGET), saved.transform(TARGET))
    assert not reader.readin[0].flags.writeable


def test_shared_parts_are_stored_once_and_stay_shared(saved, path):
    found = load(path)
    assert found.sessions_["target"].latent_model is found.latent_model_
    gru = found.latent_model_.module_.encoder
    assert gru._flat_weights[0] is gru.weight_ih_l0


def test_columns_of_data_frames_keep_their_names(path):
    import pandas as pd

    rows = pd.DataFrame(X[:, 0], columns=[f"unit{i}" for i in range(X.shape[2])])
    found = again(clone(LINEAR).fit(rows), path)
    assert list(found.feature_names_in_) == list(rows.columns)
    with pytest.raises(ValueError, match="feature names"):
        found.transform(rows[rows.columns[::-1]])


def test_caches_of_this_machine_are_left_behind(tmp_path, path):
    aligner = GeometryAligner(LINEAR, n_starts=1, random_state=0)
    aligner.set_params(memory=str(tmp_path / "cache")).fit(X, Y)
    found = again(make_pipeline(aligner, memory=str(tmp_path / "pipe")), path)
    assert found.memory is None and found[0].memory is None
    assert str(tmp_path).encode() not in path.read_bytes()
    found[0].adapt(TARGET)


def test_a_model_is_loaded_for_another_device(path):
    aligner = GeometryAligner(VAE, n_starts=1, device="cuda")
    pipe = make_pipeline(aligner, PerBinRegressor())
    save(pipe, path)
    assert load(path)[0].device == "cuda"
    found = load(path, device="cpu")
    assert found[0].device == found[0].latent_model.device == "cpu"
    reader = clone(aligner).set_params(device="cpu").fit(X).sessions_["source"]
    assert again(reader, path, device="cpu").latent_model.device == "cpu"
    with pytest.raises(ValueError, match="device='nonsense' is no device of torch"):
        load(path, device="nonsense")
    assert isinstance(
        again(clone(VAE).set_params(device=torch.device("cpu")), path).device,
        torch.device,
    )


# -- what the file says ----------------------------------------------------------------
def test_the_header_says_what_is_in_the_file(saved, path):
    header = read_header(path)
    assert header["format"] == 1
    assert header["packages"]["skerdiff"] == skerdiff.__version__
    assert header["packages"]["scikit-learn"] == sklearn.__version__
    first = header["estimators"][0]
    assert first["class"].endswith("GeometryAligner")
    assert first["params"]["n_starts"] == "1"
    assert header["written"].endswith("+00:00")
    assert "skerdiff.sessions.SessionReader" in header["classes"]


def test_the_fingerprint_is_that_of_the_data(path):
    def of(X, y):
        save(clone(LINEAR).fit(X, y), path)
        return read_header(path)["estimators"][0]["data"]

    assert of(X, Y) == of(X.copy(), Y.copy())
    other = X.copy()
    other[3, 2, 1] += 1
    assert len({of(X, Y), of(other, Y), of(X, 2 * Y), of(X, None)}) == 4


def test_a_file_is_small(path):
    X = np.random.RandomState(0).poisson(1.0, (150, 40, 300)).astype(np.float32)
    save(GeometryAligner(LINEAR, n_starts=1, random_state=0).fit(X), path)
    assert path.stat().st_size <= max(5e6, X.nbytes / 6)
    save(GeometryAligner(VAE, n_starts=1, random_state=0).fit(X[:20]), path)
    assert path.stat().st_size <= 5e6


# -- saving is all or nothing ----------------------------------------------------------
def test_what_cannot_be_saved_is_named_and_nothing_is_written(path):
    step = FunctionTransformer(lambda X: X)
    with pytest.raises(TypeError, match=r"steps\[0\]\[1\].func is of .*be saved"):
        save(make_pipeline(step, Ridge()), path)
    assert not list(path.parent.iterdir())


def test_a_class_that_cannot_be_imported_cannot_be_saved(path):
    class Local(BaseEstimator):
        pass

    with pytest.raises(TypeError, match="Local, which cannot be imported"):
        save(Local(), path)


class OwnPipeline(Pipeline):
    """A pipeline of a user."""


class OwnDict(dict):
    """More than its attributes."""


def test_saving_changes_nothing(path):
    own = OwnPipeline([("ridge", Ridge())], memory="cache")
    save(own, path)
    assert own.memory == "cache"
    assert load(path, trusted=[OwnPipeline]).memory is None


@pytest.mark.parametrize("value", [5, None, Ridge, [Ridge()], X])
def test_what_is_no_estimator_is_not_saved(path, value):
    with pytest.raises(TypeError, match="save takes an estimator"):
        save(value, path)
    assert not path.exists()


def _bits(i):
    return getattr(np.random, ["PCG64", "MT19937", "SFC64"][i])(0)


RECORDS = np.zeros(2, dtype=[("a", "f8"), ("b", "f4", (2,))])


PART_OF_ITSELF = ([],)
PART_OF_ITSELF[0].append(PART_OF_ITSELF)
NOT_KEPT = [OwnDict(a=1), b"bytes", RECORDS, print, iter(""), deque([1]), 10**5000]
NOT_KEPT += [torch.float32, re.compile("a"), defaultdict(list), threading.Lock(), ...]
NOT_KEPT += [PureWindowsPath("a"), StrEnum("Day", ["MON"]).MON, PART_OF_ITSELF]


@pytest.mark.parametrize("value", NOT_KEPT, ids=lambda v: type(v).__name__)
def test_what_cannot_be_loaded_is_not_saved(path, value):
    with pytest.raises(TypeError, match=r"kw_args.*be saved"):
        save(FunctionTransformer(kw_args={"a": value}), path)
    assert not path.exists()


KEPT = [
    np.sqrt,
    np.mean,
    expit,
    np.zeros(3, dtype=np.dtype([("a", "u1"), ("b", "f8")], align=True)),
    np.dtype("f4"),
    np.datetime64("2026-11-27"),
    np.eye(2).view(np.matrix),
    np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    np.ma.masked_array([1.0, 2.0], [True, False], fill_value=-1.0),
    Path("day0"),
    (1 + 2j),
    range(3),
]


@pytest.mark.parametrize("value", KEPT)
def test_what_estimators_may_hold_is_kept(path, value):
    found = again(FunctionTransformer(kw_args={"a": value}), path).kw_args["a"]
    assert_array_equal(found, value)
    assert type(found) is type(value)
    for name in ("dtype", "fill_value"):
        assert getattr(found, name, None) == getattr(value, name, None)


@pytest.mark.parametrize(
    "made",
    [np.random.RandomState(3), *map(np.random.Generator, map(_bits, range(3)))],
    ids=["RandomState", "PCG64", "MT19937", "SFC64"],
)
def test_generators_go_on_where_they_were(path, made):
    made.standard_normal(3)
    found = again(FunctionTransformer(kw_args={"a": made}), path).kw_args["a"]
    assert_array_equal(found.standard_normal(5), made.standard_normal(5))


@pytest.mark.skipif(os.name == "nt", reason="modes and links of files")
def test_a_file_that_was_there_keeps_its_mode_and_links(path):
    path.touch(mode=0o600)
    link = path.with_name("link")
    link.symlink_to(path)
    save(VAE, link)
    assert link.is_symlink() and path.stat().st_mode & 0o777 == 0o600
    assert repr(load(path)) == repr(VAE)


@pytest.mark.parametrize("missing", ["folder/day0.skerdiff"])
def test_a_missing_folder_is_named(tmp_path, missing):
    with pytest.raises(FileNotFoundError, match="There is no folder .*folder to save"):
        save(VAE, tmp_path / missing)
    with pytest.raises(FileNotFoundError, match="day0.skerdiff"):
        load(tmp_path / missing)


@pytest.mark.slow
def test_an_interrupted_save_leaves_the_file_that_was_there(saved, path):
    before = path.read_bytes()
    other = clone(saved).fit(X[:, :, ::-1], Y)
    for n in np.unique([points(save, other, path.with_name("x")) for _ in range(4)]):
        assert_interrupted(n, save, other, path)
        assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, "x"]


def test_a_full_disk_leaves_the_file_that_was_there(saved, path, monkeypatch):
    before = path.read_bytes()

    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match="No space left"):
        save(saved, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.slow
def test_an_interrupted_load_surfaces(saved, path):
    for n in points(load, path):
        assert_interrupted(n, load, path)


# -- versions --------------------------------------------------------------------------
def rewrite(path, **members):
    """Replace members of a file by functions of their content."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    for name, change in members.items():
        name = name.replace("_", ".")
        content[name] = json.dumps(change(json.loads(content[name]))).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def test_a_newer_format_asks_for_an_upgrade(saved, path):
    def newer(header):
        packages = header["packages"] | {"skerdiff": "9.9"}
        return header | {"format": 2, "packages": packages}

    rewrite(path, header_json=newer)
    for func in (load, read_header):
        with pytest.raises(LoadError, match=r"by skerdiff 9\.9 in a newer format .2"):
            func(path)


@pytest.mark.parametrize("package", ["skerdiff", "scikit-learn"])
def test_another_version_is_announced(saved, path, package):
    def older(header):
        return header | {"packages": header["packages"] | {package: "0.0.1"}}

    rewrite(path, header_json=older)
    with pytest.warns(VersionWarning, match=rf"written with {package} 0\.0\.1 .here "):
        found = load(path)
    assert_array_equal(found.transform(TARGET), saved.transform(TARGET))


def test_a_class_of_a_later_version_asks_for_it(saved, path):
    def rename(content):
        for node in content["nodes"]:
            if node[0] == "object" and node[1][1] == "GeometryAligner":
                node[1][1] = "ConDA"
        return content

    rewrite(path, content_json=rename)
    with pytest.raises(LoadError, match="there is no skerdiff.*ConDA here"):
        load(path)


def test_pickles_say_which_version_they_are_of(saved, monkeypatch):
    content = pickle.dumps(saved), pickle.dumps(saved.sessions_["target"])
    for part in content:
        pickle.loads(part)
    from skerdiff.utils import _warnings

    monkeypatch.setattr(_warnings, "VERSION", "0.2.0")
    for part in content:
        with pytest.warns(VersionWarning, match="by skerdiff 0.1.0; here is 0.2.0"):
            found = pickle.loads(part)
        assert "_skerdiff_version" not in vars(found)


# -- classes of the user's own ---------------------------------------------------------
class OwnDecoder(RegressorMixin, BaseEstimator):
    """A decoder of a user."""

    def __init__(self, scale=1.0):
        self.scale = scale

    def fit(self, X, y):
        self.mean_ = y.mean(0)
        return self

    def predict(self, X):
        return np.broadcast_to(self.scale * self.mean_, (len(X), len(self.mean_)))


NAME = f"{OwnDecoder.__module__}.OwnDecoder"


def test_classes_of_ones_own_must_be_trusted(path):
    pipe = PerBinRegressor(OwnDecoder(2.0)).fit(X, Y)
    save(pipe, path)
    with pytest.raises(LoadError, match=rf"objects of {NAME}.*trusted=\['{NAME}'\]"):
        load(path)
    for trusted in ([OwnDecoder], [NAME], NAME, OwnDecoder):
        assert_array_equal(load(path, trusted=trusted).predict(X), pipe.predict(X))
    with pytest.raises(TypeError, match="trusted takes classes, or names"):
        load(path, trusted=[3])


def scale_down(X):
    return X / 2


def test_functions_of_ones_own_must_be_trusted(path):
    step = FunctionTransformer(scale_down)
    save(step, path)
    name = f"{__name__}.scale_down"
    with pytest.raises(LoadError, match="which are not trusted"):
        load(path)
    assert_array_equal(load(path, trusted=[name]).transform(X[0]), X[0] / 2)


# -- damage and attacks ----------------------------------------------------------------
@pytest.mark.parametrize("content", [b"", b"PK", b"no archive", b"\x80\x04N."])
def test_what_is_no_file_of_ours_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(LoadError, match="is damaged, or no file of skerdiff.save"):
        load(path)


def test_another_archive_is_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    with pytest.raises(LoadError, match="is damaged, or no file of skerdiff.save"):
        load(path)


@pytest.mark.parametrize("share", np.linspace(0.01, 0.99, 12).round(2))
def test_a_cut_file_is_refused(saved, path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(LoadError, match="is damaged"):
        load(path)


def test_a_flipped_bit_is_refused_or_does_no_harm(saved, path):
    content, rng = path.read_bytes(), np.random.RandomState(0)
    expected, refused = saved.transform(TARGET), 0
    for place in rng.randint(len(content), size=150):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.randint(8)
        path.write_bytes(damaged)
        try:
            found = load(path)
        except LoadError:
            refused += 1
        else:  # in a date, or a name that is there twice
            assert_array_equal(found.transform(TARGET), expected)
    assert refused > 75


def graph(path, *nodes, root=None):
    """Write a file of a hand-made graph."""
    save(VAE, path)
    root = {"@": len(nodes) - 1} if root is None else root
    rewrite(path, content_json=lambda _: {"root": root, "nodes": list(nodes)})


ATTACKS = {
    "a function of the system": ["function", ["os", "system"]],
    "an object of subprocess": ["object", ["subprocess", "Popen"], "state", {}],
    "builtins": ["class", ["builtins", "eval"]],
    "a function of skerdiff": ["function", ["skerdiff.alignment._cache", "run"]],
    "an import that skerdiff makes": ["class", ["skerdiff.persistence", "os"]],
    "another module's function": ["class", ["skerdiff.cli", "main"]],
    "a module that runs": ["class", ["skerdiff.benchmark.__main__", "main"]],
    "a class of skerdiff that is imported": ["class", ["skerdiff.persistence", "Path"]],
    "a function of scikit-learn": ["function", ["sklearn.utils", "shuffle"]],
    "no estimator": ["object", ["sklearn.utils.fixes", "Path"], "state", {}],
    "a function of torch": ["function", ["torch", "load"]],
    "no layer": [
        "object",
        ["torch.nn.modules.module", "_IncompatibleKeys"],
        "state",
        {},
    ],
    "a dunder of skerdiff": ["class", ["skerdiff.__init__", "import_module"]],
    "a dotted name": ["class", ["skerdiff.persistence", "os.system"]],
    "a module alone": ["class", ["skerdiff", "base"]],
    "an unknown type": ["code", "print(1)"],
    "an array of objects": ["array", 0, "|O", [1], "C", False],
    "an array without end": ["array", 0, "<f8", [10**12], "C", False],
    "an array of records": ["array", 0, "|V8", [1], "C", False],
    "a member elsewhere": ["array", "../../etc/passwd", "<f8", [1], "C", False],
    "no such node": ["list", [{"@": 99}]],
    "a list as a value": ["list", [[1, 2]]],
    "part of itself": ["tuple", [{"@": 0}]],
    "a call of a function": [
        "compiled",
        ["sklearn.utils._testing", "check_output"],
        [],
    ],
    "a compiled class of text": [
        "compiled",
        ["sklearn._loss._loss", "CyHalfTweedieLoss"],
        ["power"],
    ],
    "a call of a class": ["compiled", ["sklearn.pipeline", "Pipeline"], []],
    "a function among compiled classes": [
        "compiled",
        ["sklearn.tree._tree", "_build_pruned_tree_ccp"],
        [],
    ],
    "an import of a compiled module": ["compiled", ["sklearn.tree._tree", "np"], []],
    "a module of tests": ["class", ["sklearn.utils.tests.test_bunch", "Bunch"]],
    "a class of tests": ["class", ["sklearn.utils._testing", "MinimalClassifier"]],
    "a function of NumPy that reads files": ["numpy", "load"],
    "a function of NumPy elsewhere": ["numpy", "lib.npyio.load"],
    "a generator of no kind": ["random", "Generator", {"@": 1}],
    "one array of a range": ["masked", [{"@": 1}, {"@": 1}]],
    "a dtype of objects": ["dtype", "|O"],
    "no estimator at all": ["list", []],
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_crafted_files_are_refused(path, attack):
    nodes = [ATTACKS[attack], ["dict", [["bit_generator", "default_rng"]]]]
    graph(path, *nodes, root={"@": 0})
    modules = set(sys.modules)
    with pytest.raises(LoadError):
        load(path)
    assert not any("__main__" in name for name in set(sys.modules) - modules)


def test_what_is_trusted_is_not_called(path):
    """With arguments of the file it could do anything."""
    class_or_function = [OwnDecoder.__module__, "scale_down"]
    for how in ("compiled", "object"):
        graph(path, [how, class_or_function, "state", {}])
        with pytest.raises(LoadError):
            load(path, trusted=[scale_down])
    graph(path, ["function", [OwnDecoder.__module__, "OwnDecoder"]])
    with pytest.raises(LoadError, match="nothing that a file may hold as function"):
        load(path, trusted=[OwnDecoder])


def test_one_member_is_one_array(path):
    """Or a file of a megabyte could fill the memory."""
    save(clone(LINEAR).fit(X), path)
    arrays = [["array", 0, "|u1", [-1], "C", False] for _ in range(2)]
    rewrite(
        path,
        content_json=lambda _: {
            "root": {"@": 2},
            "nodes": [*arrays, ["list", [{"@": 0}, {"@": 1}]]],
        },
    )
    with pytest.raises(LoadError, match="two arrays are in one member"):
        load(path)
    graph(path, ["masked", [{"@": 1}]], ["range", [0, 10**9, 1]], root={"@": 0})
    with pytest.raises(LoadError, match="not made of arrays"):
        load(path)


def test_a_hidden_cache_is_not_used(tmp_path, path):
    """What is in a cache is run; one of a file could be planted."""
    fitted = GeometryAligner(LINEAR, n_starts=1, random_state=0).fit(X, Y)
    save(make_pipeline(fitted), path)

    def plant(content):
        for node in content["nodes"]:
            if node[0] == "object" and "memory" in node[3]:
                node[3]["memory"] = str(tmp_path)
            if node[0] == "object" and "_memory" in node[3]:
                content["nodes"].append(["tuple", [None, str(tmp_path)]])
                node[3]["_memory"] = {"@": len(content["nodes"]) - 1}
        return content

    rewrite(path, content_json=plant)
    found = load(path)
    assert found.memory is None and found[0].memory is None
    found[0].adapt(TARGET)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_deep_graph_is_no_crash(path):
    nodes = [["list", [{"@": i + 1}]] for i in range(20_000)] + [["list", []]]
    graph(path, *nodes, root={"@": 0})
    with pytest.raises(LoadError):
        load(path)


def test_members_that_unfold_are_refused(saved, path):
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with pytest.raises(LoadError, match="a member is compressed"):
        load(path)


def test_members_that_overlap_are_refused(saved, path, monkeypatch):
    """Each could be the rest of the file, and all of them be far more than it."""
    monkeypatch.setattr(os.path, "getsize", lambda path: path_size // 2)
    path_size = path.stat().st_size
    with pytest.raises(LoadError, match="its members are larger than the file"):
        load(path)


class Planted:
    def __init__(self, made):
        self.made = made

    def __reduce__(self):
        return Path.touch, (self.made,)


def test_a_planted_pickle_is_never_read(saved, path):
    made = path.with_name("made")
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    for name in ("arrays/0", "content.json", "header.json"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for member, data in (content | {name: pickle.dumps(Planted(made))}).items():
                archive.writestr(member, data)
        with pytest.raises(LoadError):
            load(path)
    assert not made.exists()


def test_loading_in_a_fresh_process(saved, path):
    np.save(path.with_name("target.npy"), TARGET)
    np.save(path.with_name("expected.npy"), saved.transform(TARGET))
    code = (
        "import sys, numpy as np, skerdiff\n"
        "folder = sys.argv[1]\n"
        "aligner = skerdiff.load(folder + '/day0.skerdiff')\n"
        "Z = aligner.transform(np.load(folder + '/target.npy'))\n"
        "np.testing.assert_array_equal(Z, np.load(folder + '/expected.npy'))\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    args = [sys.executable, "-c", code, str(path.parent)]
    subprocess.run(args, check=True, env=environment)
