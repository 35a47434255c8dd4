"""The cache behind ``memory``."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed
from numpy.testing import assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skerdiff import GeometryAligner, PerBinRegressor, SequentialVAE, Trials
from skerdiff.alignment import _cache
from skerdiff.alignment._cache import fit_model
from skerdiff.alignment._cache import run_once as run_once_with
from skerdiff.latent import LinearLatentModel
from skerdiff.metrics import r2_scorer
from skerdiff.model_selection import TargetKFold


def run_once(memory, func, arguments, unkeyed=None):
    return run_once_with(memory, func, arguments, unkeyed or {})


def double(x, folder, progress=None):
    """Note down that it ran."""
    (Path(folder) / f"{os.getpid()}-{time.perf_counter_ns()}").touch()
    time.sleep(0.2)
    if progress is not None:
        progress(1)
    return 2 * x


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "calls").mkdir()
    return tmp_path / "calls"


def n_calls(folder):
    return len(list(folder.iterdir()))


def test_same_arguments_are_computed_once(tmp_path, folder):
    memory = str(tmp_path / "memory")
    x = np.arange(3.0)
    for _ in range(2):
        assert_array_equal(run_once(memory, double, {"x": x, "folder": folder}), 2 * x)
    assert n_calls(folder) == 1
    run_once(joblib.Memory(memory, verbose=0), double, {"x": x, "folder": folder})
    assert n_calls(folder) == 1
    run_once(memory, double, {"x": x + 1, "folder": folder})
    assert n_calls(folder) == 2
    for _ in range(2):
        run_once(None, double, {"x": x, "folder": folder})
    assert n_calls(folder) == 4


def test_progress_is_no_part_of_the_key(tmp_path, folder):
    done = []
    for _ in range(2):
        arguments = {"x": 1, "folder": folder}
        assert (
            run_once(str(tmp_path / "m"), double, arguments, {"progress": done.append})
            == 2
        )
    assert done == [1]


def test_other_code_is_another_key(tmp_path, folder, monkeypatch):
    arguments = {"x": 1, "folder": folder}
    run_once(str(tmp_path / "m"), double, arguments)
    monkeypatch.setattr(_cache, "code_digest", lambda *objects: "another version")
    run_once(str(tmp_path / "m"), double, arguments)
    assert n_calls(folder) == 2
    monkeypatch.undo()
    run_once(str(tmp_path / "m"), double, arguments)
    assert n_calls(folder) == 2, "the first is still there"
    monkeypatch.setattr(_cache, "library_versions", lambda: ["numpy 0"])
    run_once(str(tmp_path / "m"), double, arguments)
    assert n_calls(folder) == 3


class OwnModel(SequentialVAE):
    """A model of a user."""


def test_code_of_a_model_is_part_of_the_key():
    own, ours = (
        _cache.code_of(fit_model, {"model": model, "X": np.ones(3)})
        for model in (OwnModel(), SequentialVAE())
    )
    assert own[1:] == ours[1:] and own[0] != ours[0]
    assert _cache.code_of(fit_model, {"model": None}) != ours


def test_verbosity_is_no_part_of_the_key(tmp_path, capsys):
    X = np.random.default_rng(0).poisson(1.0, (6, 3, 4)).astype(float)
    loud = {"verbose": True}

    def fit(folder, unkeyed=None):
        model = SequentialVAE(max_iter=1, n_hidden=2, random_state=0)
        arguments = {"model": model, "X": X}
        return run_once(str(tmp_path / folder), fit_model, arguments, unkeyed)

    quiet, again = fit("one"), fit("one", loud)
    assert capsys.readouterr().err == ""
    assert_array_equal(quiet.transform(X), again.transform(X))
    fit("other", loud)
    assert capsys.readouterr().err != ""


@pytest.mark.slow
def test_workers_wait_for_the_first(tmp_path, folder):
    memory = str(tmp_path / "m")
    arguments = {"x": 3, "folder": folder}
    found = Parallel(n_jobs=2)(
        delayed(run_once)(memory, double, arguments) for _ in range(4)
    )
    assert found == [6] * 4
    assert n_calls(folder) == 1


@pytest.mark.parametrize("damage", ["cut", "lost", "empty"])
def test_a_damaged_entry_is_computed_anew(tmp_path, folder, damage):
    memory = str(tmp_path / "m")
    arguments = {"x": np.arange(1000.0), "folder": folder}
    run_once(memory, double, arguments)
    (entry,) = Path(memory).rglob("output.pkl")
    if damage == "lost":
        entry.unlink()
    else:
        entry.write_bytes(entry.read_bytes()[:500] if damage == "cut" else b"")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # joblib says what it met
        again = run_once(memory, double, arguments)
    assert_array_equal(again, 2 * arguments["x"])
    assert n_calls(folder) == 2
    run_once(memory, double, arguments)
    assert n_calls(folder) == 2, "and it is kept"


def test_a_killed_worker_holds_nobody_up(tmp_path, folder):
    memory = str(tmp_path / "m")
    arguments = {"x": 5, "folder": folder}
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=run_once, args=(memory, double, arguments))
    worker.start()
    while n_calls(folder) == 0:
        time.sleep(0.01)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert run_once(memory, double, arguments) == 10
    assert n_calls(folder) == 2


def test_an_error_is_not_kept(tmp_path, folder):
    memory = str(tmp_path / "m")
    for _ in range(2):
        with pytest.raises(TypeError):
            run_once(memory, double, {"x": object(), "folder": folder})
    assert n_calls(folder) == 2


@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
def test_geometry_is_searched_once(reaching, tmp_path, computed):
    model = SequentialVAE(max_iter=1, n_hidden=4)
    settings = {"memory": str(tmp_path), "n_starts": 1, "random_state": 0}
    found = [
        GeometryAligner(model, **settings)
        .fit(reaching.source)
        .adapt(reaching.adapt)
        .transform(reaching.adapt)
        for _ in range(2)
    ]
    assert_array_equal(*found)
    assert computed == ["fit_model", "find_candidates"]


@pytest.mark.filterwarnings("ignore::skerdiff.AmbiguousAlignmentWarning")
def test_a_search_over_latent_dims_searches_the_geometry_once(
    reaching, tmp_path, computed
):
    trials = Trials({"day0": reaching.source, "day1": reaching.adapt})
    y = np.concatenate([reaching.y_source, reaching.y_adapt])
    model = SequentialVAE(max_iter=1, n_hidden=4)
    aligner = GeometryAligner(model, n_starts=1, memory=str(tmp_path), random_state=0)
    pipe = make_pipeline(aligner, PerBinRegressor(Ridge()))
    grid = {"geometryaligner__n_components": [2, 3, 4]}
    search = GridSearchCV(pipe, grid, cv=TargetKFold(2), scoring=r2_scorer, refit=False)
    search.fit(trials, y)
    # each of its own model
    assert len(set(search.cv_results_["mean_test_score"])) == 3
    # three models, and one search for each of the two folds
    assert sorted(computed) == ["find_candidates"] * 2 + ["fit_model"] * 3


@pytest.mark.parametrize("place", np.linspace(0, 1, 12).round(2))
def test_a_flipped_bit_is_noticed(tmp_path, folder, place):
    memory = str(tmp_path / "m")
    arguments = {"x": np.arange(1000.0), "folder": folder}
    run_once(memory, double, arguments)
    (entry,) = Path(memory).rglob("output.pkl")
    content = bytearray(entry.read_bytes())
    content[round(place * (len(content) - 1))] ^= 4
    entry.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ours, or joblib's if it cannot even unpickle
        assert_array_equal(run_once(memory, double, arguments), 2 * arguments["x"])
    calls = n_calls(folder)
    assert_array_equal(run_once(memory, double, arguments), 2 * arguments["x"])
    assert n_calls(folder) == calls, "the entry was mended"


def test_damage_of_the_content_is_announced(tmp_path, folder):
    memory = str(tmp_path / "m")
    arguments = {"x": np.zeros(1000), "folder": folder}
    run_once(memory, double, arguments)
    (entry,) = Path(memory).rglob("output.pkl")
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 1
    entry.write_bytes(content)
    with pytest.warns(UserWarning, match="in the cache .* is damaged .*computed anew"):
        assert_array_equal(run_once(memory, double, arguments), np.zeros(1000))


def test_a_complete_cache_is_read_without_a_lock(tmp_path, folder, monkeypatch):
    memory, arguments = str(tmp_path / "m"), {"x": 1, "folder": folder}
    run_once(memory, double, arguments)
    monkeypatch.setattr(_cache, "FileLock", None)
    assert run_once(memory, double, arguments) == 2
    assert n_calls(folder) == 1


def test_where_nothing_can_be_written_it_is_computed(tmp_path, folder, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("No space left on device")

    arguments = {"x": 1, "folder": folder}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", full)
        with pytest.warns(UserWarning, match="not cached: in memory=.*No space left"):
            assert run_once(str(tmp_path / "a"), double, arguments) == 2
    monkeypatch.setattr(_cache.FileLock, "acquire", full)
    with pytest.warns(UserWarning, match="not cached: in memory=.*No space left"):
        assert run_once(str(tmp_path / "m"), double, arguments) == 2
    assert n_calls(folder) == 2


def test_a_file_is_no_cache(tmp_path, folder):
    (tmp_path / "m").write_text("a file")
    with pytest.raises(ValueError, match="memory=.* is a file. Name a folder"):
        run_once(str(tmp_path / "m"), double, {"x": 1, "folder": folder})
    assert (tmp_path / "m").read_text() == "a file"


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_nobody_else_can_write_to_a_new_cache(tmp_path, folder):
    run_once(str(tmp_path / "new" / "m"), double, {"x": 1, "folder": folder})
    assert (tmp_path / "new" / "m").stat().st_mode & 0o777 == 0o700
    (tmp_path / "own").mkdir(mode=0o755)
    run_once(str(tmp_path / "own"), double, {"x": 1, "folder": folder})
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o755, "the user's own"


def test_a_relative_path_stays_where_it_was_in_fit(tmp_path, monkeypatch):
    X = np.random.default_rng(0).poisson(3.0, (12, 4, 5)).astype(float)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    model = SequentialVAE(max_iter=1, n_hidden=2)
    aligner = GeometryAligner(model, n_starts=1, memory="cache", random_state=0).fit(X)
    assert aligner.memory == "cache"
    monkeypatch.chdir(tmp_path / "b")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        aligner.adapt(X[:, :, ::-1])
        assert not list((tmp_path / "b").iterdir())
        aligner.set_params(memory="other").adapt(X[:, ::-1])
    assert (tmp_path / "b" / "other").is_dir()


def test_a_folder_of_the_user_is_found_by_its_sign(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert _cache.locate("~/m") == str(tmp_path / "m")
    with pytest.raises(ValueError, match="memory='' names no folder"):
        _cache.locate("")


# -- models whose results cannot be kept, or could be of other code --------------------
class Lambda(LinearLatentModel):
    def fit(self, X, y=None, **params):
        self.mark_ = lambda: 1
        return super().fit(X, y, **params)


def fit_with_memory(model, tmp_path):
    X = np.random.RandomState(0).poisson(2.0, (12, 5, 6)).astype(float)
    memory = str(tmp_path / "m")
    return GeometryAligner(model, n_starts=1, random_state=0, memory=memory).fit(X)


def test_a_model_that_cannot_be_pickled_is_fitted_all_the_same(tmp_path):
    class Local(LinearLatentModel):
        pass

    for model in (Local(), Lambda()):
        with pytest.warns(UserWarning, match="not cached: a .*model cannot be pickled"):
            fitted = fit_with_memory(model, tmp_path)
        assert fitted.latent_model_.readin_[0].shape == (16, 6)


def test_a_class_whose_code_is_not_at_hand_is_not_cached(tmp_path):
    """One that was defined again in an interpreter was answered with the first."""
    code = """
import sys, warnings, numpy as np
from skerdiff import GeometryAligner
from skerdiff.latent import LinearLatentModel
X = np.random.RandomState(0).poisson(2.0, (12, 5, 6)).astype(float)
for mark in (1, 2):
    exec(f"class Mine(LinearLatentModel):\\n"
         f"    def fit(self, X, y=None, **params):\\n"
         f"        self.mark_ = {mark}\\n"
         f"        return super().fit(X, y, **params)")
    aligner = GeometryAligner(Mine(), n_starts=1, random_state=0, memory=sys.argv[1])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        aligner.fit(X)
    assert any("source of a class of yours" in str(w.message) for w in caught)
    print(aligner.latent_model_.mark_)
"""
    done = subprocess.run(
        [sys.executable, "-", str(tmp_path / "m")],
        input=code.replace("\\\\n", "\\n"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "2"]


# -- a fit that is killed, again and again ---------------------------------------------
KILLED = """
import sys, numpy as np
from skerdiff import ERDiffAligner
from tests.estimators import PRIOR, VAE
from sklearn.base import clone
vae, prior = clone(VAE).set_params(max_iter=30), clone(PRIOR).set_params(max_iter=30)
X = np.random.RandomState(0).poisson(2.0, (60, 10, 6)).astype(float)
memory = sys.argv[1] if len(sys.argv) > 1 else None
aligner = ERDiffAligner(
    vae, prior, n_starts=20, max_steps=20, random_state=0, memory=memory
)
print("ready", flush=True)
print(aligner.fit(X).adapt(X[:, :, ::-1]).transform(X).sum().hex())
"""


@pytest.mark.slow
def test_killed_ten_times_a_fit_ends_as_if_undisturbed(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(*args):
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", KILLED, *args],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    process = start()
    process.stdout.readline()
    begin = time.perf_counter()
    expected = process.communicate()[0]
    duration = time.perf_counter() - begin
    memory = str(tmp_path / "m")
    for share in np.random.RandomState(0).uniform(0.02, 0.98, 10):
        process = start(memory)
        process.stdout.readline()
        time.sleep(share * duration)
        process.kill()
        process.communicate()
    assert start(memory).communicate()[0].split()[-1] == expected.split()[-1]
    assert any((tmp_path / "m").rglob("output.pkl"))
