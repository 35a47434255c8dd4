"""Published recordings: what is loaded, how files are found, checked and opened."""

import hashlib
import io
import os
import pickle

import numpy as np
import pytest
import requests
from numpy.testing import assert_allclose, assert_array_equal
from scipy.io import loadmat
from scipy.ndimage import gaussian_filter1d
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from skerdiff.datasets import _fetch, _motor_cortex, load_motor_cortex
from skerdiff.datasets._fetch import PublishedFile, load_arrays, read_published_file

RECORDINGS = [
    ("mihi", "position"),
    ("mihi", "velocity"),
    ("jango", "velocity"),
    ("jango", "force"),
]


def of(data, session, key):
    return data[key][data.trials.session == session]


def held_out_r2(X, y):
    test = np.arange(len(X)) % 4 == 0
    X = gaussian_filter1d(np.sqrt(X), 1.0, axis=1)
    ridge = Ridge(alpha=10.0)
    ridge.fit(X[~test].reshape(-1, X.shape[2]), y[~test].reshape(-1, 2))
    predicted = ridge.predict(X[test].reshape(-1, X.shape[2]))
    return r2_score(y[test].reshape(-1, 2), predicted)


# -- the recordings themselves ---------------------------------------------------------
@pytest.fixture(scope="module")
def recordings(motor_cortex_home):
    return {
        (name, behaviour): load_motor_cortex(name, behaviour=behaviour)
        for name, behaviour in RECORDINGS
    }


def test_mihi_is_as_published(recordings):
    data = recordings["mihi", "position"]
    assert data.trials.names == ["day0", "day1"]
    assert data.trials["day0"].shape == (168, 14, 187)
    assert data.trials["day1"].shape == (168, 14, 172)
    assert data.bin_size is None
    for name, n_silent in (("day0", 36), ("day1", 27)):
        X = data.trials[name]
        assert_allclose(13 * X, np.rint(13 * X), atol=1e-9)
        assert (X.sum(axis=(0, 1)) == 0).sum() == n_silent
        assert_array_equal(np.bincount(of(data, name, "direction")), np.full(8, 21))


def test_jango_holds_every_rewarded_trial(recordings):
    data = recordings["jango", "velocity"]
    assert data.trials.names == ["day0", "day16"]
    assert data.trials["day0"].shape == (296, 20, 96)
    assert data.trials["day16"].shape == (224, 20, 96)
    assert data.bin_size == 0.05
    for X in (data.trials["day0"], data.trials["day16"]):
        assert_array_equal(X, np.rint(X))
        assert 1 < X.mean() < 3
    assert_array_equal(np.bincount(of(data, "day16", "direction")), np.full(8, 28))


@pytest.mark.parametrize("name, behaviour", RECORDINGS)
def test_behaviour_is_z_scored_in_each_session(recordings, name, behaviour):
    data = recordings[name, behaviour]
    assert data.behaviour == behaviour
    for session in data.trials.names:
        y = of(data, session, "y")
        assert_allclose(y.mean(axis=(0, 1)), 0, atol=1e-10)
        assert_allclose(y.std(axis=(0, 1)), 1)


@pytest.mark.parametrize("name, behaviour", RECORDINGS)
def test_each_direction_points_the_same_way_on_both_days(recordings, name, behaviour):
    data = recordings[name, behaviour]
    for session in data.trials.names:
        y, direction = of(data, session, "y"), of(data, session, "direction")
        for k in range(8):
            mean = y[direction == k].mean(axis=0)
            if behaviour == "velocity":
                towards = mean[5:10].mean(axis=0)
            else:
                towards = mean[-3:].mean(axis=0) - mean[:3].mean(axis=0)
            error = np.arctan2(towards[1], towards[0]) - k * np.pi / 4
            assert np.cos(error) > np.cos(np.deg2rad(15))


def test_force_columns_of_day_0_are_published_in_swapped_order(motor_cortex_home):
    content = (motor_cortex_home / "jango_day0.mat").read_bytes()

    def late_force(swapped):
        _, force, direction = _motor_cortex._read_jango(content, "force", swapped)
        late = force[:, -3:].mean(axis=1) - force[:, :3].mean(axis=1)
        return np.array([late[direction == k].mean(axis=0) for k in range(8)])

    angle = np.arange(8) * np.pi / 4
    target = np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def agreement(force):
        return np.sum(force * target) / np.linalg.norm(force) / np.linalg.norm(target)

    assert agreement(late_force(True)) > 0.95
    assert abs(agreement(late_force(False))) < 0.2


@pytest.mark.parametrize("session", ["day0", "day16"])
def test_force_starts_at_the_onset_and_not_before(motor_cortex_home, session):
    content = (motor_cortex_home / f"jango_{session}.mat").read_bytes()
    _, force, _ = _motor_cortex._read_jango(content, "force", session == "day0")
    distance = np.linalg.norm(force - force[:, :3].mean(axis=1, keepdims=True), axis=2)
    profile = distance.mean(axis=0) / distance.mean(axis=0).max()
    assert profile[:4].max() < 0.05
    assert profile[5] > 0.2
    assert profile[10:].min() > 0.8
    data = loadmat(io.BytesIO(content), simplify_cells=True)["binnedData"]
    rewarded = data["trialtable"][:, 8] == 82
    assert len(force) == rewarded.sum()


@pytest.mark.parametrize(
    "name, behaviour, low",
    [
        ("mihi", "position", 0.4),
        ("mihi", "velocity", 0.6),
        ("jango", "velocity", 0.4),
        ("jango", "force", 0.7),
    ],
)
def test_behaviour_can_be_decoded_within_a_session(recordings, name, behaviour, low):
    data = recordings[name, behaviour]
    for session, X in data.trials.items():
        assert held_out_r2(X, of(data, session, "y")) > low


@pytest.mark.parametrize("name", ["mihi", "jango"])
def test_sessions_are_shuffled_independently(motor_cortex_home, recordings, name):
    default = recordings[name, _motor_cortex.BEHAVIOURS[name][0]]
    again = load_motor_cortex(name)
    other = load_motor_cortex(name, random_state=1)
    raw = load_motor_cortex(name, shuffle=False)
    assert_array_equal(again.y, default.y)
    assert not np.array_equal(other.y, default.y)
    a, b = (of(default, session, "direction") for session in default.trials.names)
    n = min(len(a), len(b))
    assert (a[:n] == b[:n]).mean() < 0.25
    if name == "mihi":  # what shuffling protects from
        days = [of(raw, session, "direction") for session in raw.trials.names]
        assert_array_equal(*days)
    for session in raw.trials.names:
        x, y = (np.sort(d.trials[session].sum(axis=(1, 2))) for d in (raw, default))
        assert_allclose(x, y)


def test_shuffling_keeps_trials_and_labels_together(motor_cortex_home, recordings):
    shuffled = recordings["mihi", "position"]
    raw = load_motor_cortex("mihi", shuffle=False)
    for session in raw.trials.names:
        before = raw.trials[session].sum(axis=1)
        after = shuffled.trials[session].sum(axis=1)
        distance = np.abs(after[:, None] - before[None]).max(axis=2)
        order = distance.argmin(axis=1)
        assert_array_equal(np.sort(order), np.arange(168))
        for key in ("y", "direction"):
            assert_array_equal(of(shuffled, session, key), of(raw, session, key)[order])


def test_source_and_return_X_y(motor_cortex_home, recordings):
    assert recordings["jango", "force"].trials.source == "day0"
    trials, y = load_motor_cortex("jango", source="day16", return_X_y=True)
    assert trials.source == "day16"
    assert trials.names == ["day0", "day16"]
    assert_array_equal(y, recordings["jango", "velocity"].y)


def test_published_files_are_the_ones_expected(motor_cortex_home):
    for files in _motor_cortex.FILES.values():
        for file in files.values():
            content = (motor_cortex_home / file.name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == file.sha256


def test_numpys_global_generator_is_untouched(motor_cortex_home):
    before = np.random.get_state()[1].copy()
    load_motor_cortex("mihi")
    assert_array_equal(np.random.get_state()[1], before)


# -- parameters ------------------------------------------------------------------------
@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"name": "chewie"}, "'name' parameter"),
        ({"name": "mihi", "behaviour": "emg"}, "'behaviour' parameter"),
        ({"name": "mihi", "behaviour": "force"}, "'force' is not recorded in 'mihi'"),
        ({"name": "jango", "behaviour": "position"}, "is not recorded in 'jango'"),
        ({"name": "jango", "source": "day1"}, r"one of \['day0', 'day16'\]"),
    ],
)
def test_wrong_parameters_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        load_motor_cortex(**kwargs)


# -- finding, checking and downloading files -------------------------------------------
CONTENT = b"the published content"
FILE = PublishedFile(
    "tiny.bin",
    "owner/name",
    "0123456789abcdef",
    "some/folder/tiny.bin",
    hashlib.sha256(CONTENT).hexdigest(),
)


class Server:
    """In place of pooch's choice of a downloader: no network, known answers."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    def __call__(self, url, output_file, pooch, check_only=False):
        self.asked.append(url)
        answer = self.answers.pop(0)
        with open(output_file, "wb") as f:
            f.write(answer if isinstance(answer, bytes) else b"half of the conte")
        if isinstance(answer, Exception):
            raise answer


@pytest.fixture
def server(monkeypatch):
    def start(*answers):
        server = Server(list(answers))
        monkeypatch.setattr(
            "pooch.core.choose_downloader", lambda url, progressbar=False: server
        )
        return server

    monkeypatch.delenv("SKERDIFF_DATA", raising=False)
    return start


def test_a_file_is_downloaded_once_from_the_fixed_commit(server, tmp_path):
    site = server(CONTENT)
    home = tmp_path / "not" / "yet"
    assert read_published_file(FILE, home) == CONTENT
    assert site.asked == [
        "https://raw.githubusercontent.com/owner/name/0123456789abcdef/"
        "some/folder/tiny.bin"
    ]
    assert os.listdir(home) == ["tiny.bin"]
    assert read_published_file(FILE, home) == CONTENT
    assert len(site.asked) == 1


def test_the_newest_commit_is_tried_when_the_fixed_one_fails(server, tmp_path):
    site = server(requests.HTTPError("404"), CONTENT)
    assert read_published_file(FILE, tmp_path) == CONTENT
    assert site.asked[1] == (
        "https://raw.githubusercontent.com/owner/name/HEAD/some/folder/tiny.bin"
    )


@pytest.mark.parametrize(
    "error", [requests.ConnectionError("no route"), PermissionError("read-only")]
)
def test_offline_the_message_says_what_to_put_where(server, tmp_path, error):
    server(error, error)
    with pytest.raises(OSError, match="could not be downloaded") as caught:
        read_published_file(FILE, tmp_path)
    message = str(caught.value)
    for part in (
        "some/folder/tiny.bin",
        "owner/name",
        "save it as tiny.bin",
        str(tmp_path),
        "SKERDIFF_DATA",
        str(error),
    ):
        assert part in message
    assert os.listdir(tmp_path) == []


def test_a_download_that_is_not_the_file_is_not_kept(server, tmp_path):
    server(b"something else", b"a page that says no")
    with pytest.raises(ValueError, match="not the expected file") as caught:
        read_published_file(FILE, tmp_path)
    found = hashlib.sha256(b"a page that says no").hexdigest()
    assert FILE.sha256 in str(caught.value)
    assert found in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_an_interrupted_download_leaves_nothing(monkeypatch, server, tmp_path):
    def interrupted(url, output_file, pooch, check_only=False):
        with open(output_file, "wb") as f:
            f.write(CONTENT[:5])
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "pooch.core.choose_downloader", lambda url, progressbar=False: interrupted
    )
    with pytest.raises(KeyboardInterrupt):
        read_published_file(FILE, tmp_path)
    assert os.listdir(tmp_path) == []


def test_nothing_is_downloaded_against_the_users_will(server, tmp_path):
    site = server()
    with pytest.raises(OSError, match="download_if_missing=False.*owner/name"):
        read_published_file(FILE, tmp_path, download_if_missing=False)
    assert site.asked == []


def test_the_folders_of_the_variable_come_first(server, monkeypatch, tmp_path):
    site = server()
    first, second, cache = (tmp_path / name for name in "abc")
    for folder in (first, second, cache):
        folder.mkdir()
    (second / FILE.name).write_bytes(CONTENT)
    (cache / FILE.name).write_bytes(b"spoilt, but never read")
    monkeypatch.setenv("SKERDIFF_DATA", os.pathsep.join(map(str, (first, second))))
    assert read_published_file(FILE, cache) == CONTENT
    assert site.asked == []


def test_the_default_cache_is_the_users(server, monkeypatch, tmp_path):
    server(CONTENT)
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / project)
    assert read_published_file(FILE) == CONTENT
    assert (tmp_path / "skerdiff" / "tiny.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("through_variable", [True, False])
def test_a_wrong_hash_is_never_accepted(
    server, monkeypatch, tmp_path, through_variable
):
    site = server()
    (tmp_path / FILE.name).write_bytes(b"other")
    home = tmp_path
    if through_variable:
        monkeypatch.setenv("SKERDIFF_DATA", str(tmp_path))
        home = tmp_path / "cache"
    with pytest.raises(ValueError, match="not the published file") as caught:
        read_published_file(FILE, home)
    found = hashlib.sha256(b"other").hexdigest()
    for part in (str(tmp_path / FILE.name), FILE.sha256, found):
        assert part in str(caught.value)
    assert site.asked == []


def test_the_loader_checks_what_it_is_given(server, monkeypatch, tmp_path):
    server()
    (tmp_path / "mihi_day0.pkl").write_bytes(pickle.dumps({"neural": 1}))
    monkeypatch.setenv("SKERDIFF_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="mihi_day0.pkl is not the published file"):
        load_motor_cortex("mihi")


# -- unpickling ------------------------------------------------------------------------
@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_survive_the_restricted_unpickler(protocol):
    data = {
        "float": np.arange(6.0).reshape(2, 3),
        "int": np.arange(4, dtype=np.int16),
        "scalar": np.float64(1.5),
        "list": [0, 1, "text", None, True],
    }
    loaded = load_arrays(pickle.dumps(data, protocol))
    assert loaded.keys() == data.keys()
    assert_array_equal(loaded["float"], data["float"])
    assert_array_equal(loaded["int"], data["int"])
    assert loaded["scalar"] == 1.5
    assert loaded["list"] == data["list"]


@pytest.mark.parametrize(
    "module", [b"numpy.core.multiarray", b"numpy._core.multiarray"]
)
def test_pickles_of_both_numpy_generations_are_read(module):
    content = pickle.dumps(np.arange(3.0), protocol=3)
    written = b"numpy._core.multiarray"
    if written not in content:
        written = b"numpy.core.multiarray"
    assert_array_equal(load_arrays(content.replace(written, module)), np.arange(3.0))


class Hostile:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 4, 5])
def test_a_hostile_pickle_is_refused_before_it_runs(tmp_path, protocol):
    target = tmp_path / "made"
    content = pickle.dumps({"neural": Hostile(os.mkdir, str(target))}, protocol)
    with pytest.raises(pickle.UnpicklingError, match="refused to load .*mkdir"):
        load_arrays(content)
    assert not target.exists()


@pytest.mark.parametrize(
    "function, args",
    [(eval, ("1",)), (getattr, (1, "real")), (np.load, ("x",)), (np.fromfile, ("x",))],
)
def test_only_array_reconstruction_is_admitted(function, args):
    with pytest.raises(pickle.UnpicklingError, match="NumPy arrays of numbers"):
        load_arrays(pickle.dumps(Hostile(function, *args)))


def test_nested_names_and_objects_in_arrays_are_refused():
    dotted = b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93."
    with pytest.raises(pickle.UnpicklingError, match="refused"):
        load_arrays(dotted)
    inside = np.array([Hostile(os.getcwd)], dtype=object)
    with pytest.raises(pickle.UnpicklingError, match="refused"):
        load_arrays(pickle.dumps(inside))
    assert np.ndarray not in _fetch._ADMITTED.values()
    assert np.dtype not in _fetch._ADMITTED.values()


def opcodes(*parts):
    """A pickle of opcodes and of names that are pushed on the stack."""
    pushed = [
        b"\x8c" + bytes([len(p)]) + p.encode() if isinstance(p, str) else p
        for p in parts
    ]
    return b"\x80\x04" + b"".join(pushed) + b"."


def blob(content):
    return b"C" + bytes([len(content)]) + content


MARK, TUPLE, TUPLE1, TUPLE2, TUPLE3 = b"(", b"t", b"\x85", b"\x86", b"\x87"
GLOBAL, CALL, BUILD, NONE, FALSE = b"\x93", b"R", b"b", b"N", b"\x89"
NDARRAY = ("numpy", "ndarray", GLOBAL)
RECONSTRUCT = ("numpy.core.multiarray", "_reconstruct", GLOBAL)
ZERO = b"K\x00"
DTYPE = ("numpy", "dtype", GLOBAL)
EMPTY = (*RECONSTRUCT, *NDARRAY, ZERO, TUPLE1, blob(b"b"), TUPLE3, CALL)


def of_type(name):
    return (*DTYPE, name, FALSE, b"\x88", TUPLE3, CALL)


def array_of(dtype, content, n=1):
    state = (MARK, b"K\x01", b"K" + bytes([n]), TUPLE1, *dtype, FALSE, *content, TUPLE)
    return (*EMPTY, *state, BUILD)


DOUBLE = of_type("f8")
FLAGS = (MARK, b"K\x03", "|", NONE, NONE, NONE, b"K\x08", b"K\x01", b"K\x3f", TUPLE)
ATTACKS = {
    "addresses as objects": array_of(of_type("O8"), [blob(b"\x41" * 8)]),
    "addresses in a buffer": (
        *NDARRAY,
        *(b"K\x01", TUPLE1, "O", blob(b"A" * 8), TUPLE3, CALL),
    ),
    "array called": (*NDARRAY, b"K\x01", TUPLE1, TUPLE1, CALL),
    "flags of objects": array_of((*of_type("V8"), *FLAGS, BUILD), [blob(b"A" * 8)]),
    "structured type": array_of((*of_type("V8"),), [blob(b"A" * 8)]),
    "more than there is": array_of(DOUBLE, [blob(b"A" * 8)], 200),
    "part of a number": array_of(DOUBLE, [blob(b"A" * 7)]),
    "a list as content": array_of(DOUBLE, [b"]"]),
    "no state": EMPTY,
    "type by reference": (*DTYPE,),
    "array by reference": (*NDARRAY,),
    "scalar with a state": (
        *("numpy.core.multiarray", "scalar", GLOBAL),
        *(b"}", "__name__", "x", b"s", BUILD),
    ),
    "another class of array": (
        *(*RECONSTRUCT, *DTYPE, ZERO, TUPLE1, blob(b"b"), TUPLE3, CALL),
    ),
    "a type that is text": array_of(("f8",), [blob(b"A" * 8)]),
    "a huge memo": (NONE, b"r\xff\xff\xff\x7f"),
    "nothing": (),
    "nested without end": (b"]" * 100_000, b"\x85" * 100_000),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_crafted_pickles_are_refused(attack):
    with pytest.raises(pickle.UnpicklingError):
        load_arrays(opcodes(*ATTACKS[attack]))


def test_what_the_attacks_are_made_of_is_read_when_it_is_harmless():
    content = np.array([1.5, 2.5]).tobytes()
    found = load_arrays(opcodes(*array_of(DOUBLE, [blob(content)], 2)))
    assert_array_equal(found, [1.5, 2.5])
    assert found.flags.writeable and found.flags.owndata


@pytest.mark.parametrize("place", range(0, 200, 7))
def test_a_damaged_pickle_is_no_crash(place):
    content = bytearray(pickle.dumps({"a": np.arange(6.0), "b": np.int16(3)}, 4))
    content[place % len(content)] ^= 1 << place % 8
    try:
        load_arrays(bytes(content))
    except pickle.UnpicklingError:
        pass


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.empty((0, 3)),
        np.arange(3, dtype=">i2"),
        np.array([True, False]),
        np.array(["a", "bcd"]),
        np.array(2.5),
        np.arange(3, dtype=np.complex64),
    ],
    ids=lambda a: f"{a.dtype.str} {a.shape}",
)
def test_all_plain_arrays_are_read(array):
    found = load_arrays(pickle.dumps([array, (array, {"x": array})], 4))
    for a in (found[0], found[1][0], found[1][1]["x"]):
        assert_array_equal(a, array)
        assert a.dtype == array.dtype
