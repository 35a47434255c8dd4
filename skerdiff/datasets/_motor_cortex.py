"""Public recordings from monkey motor cortex, two days each."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import io
import os

import numpy as np
from scipy.io import loadmat
from sklearn.utils import Bunch, check_random_state

from ..trials import Trials
from ..utils._sklearn import StrOptions, validate_params
from ._fetch import PublishedFile, load_arrays, read_published_file

__all__ = ["load_motor_cortex"]

_ERDIFF = ("yulewang97/ERDiff", "e4f5518586ca9881acd342ce70e6d215851ecaeb")
_INDL = (
    "SachsLab/IntracranialNeurophysDL",
    "4848f04a252a9b4328796b21f59a8a30705b4364",
)

FILES = {
    "mihi": {
        "day0": PublishedFile(
            "mihi_day0.pkl",
            *_ERDIFF,
            "datasets/source_data_inte14_aligned.pkl",
            "0c3cd098d8c44a19d4ec862c1b0c1dfdbf2d3be745641b631da94864879a3b70",
        ),
        "day1": PublishedFile(
            "mihi_day1.pkl",
            *_ERDIFF,
            "datasets/target_data_inte14_aligned.pkl",
            "193271db7be70d1219feaafb703aa139378c38b1604103172090a0e3fcb6ff3b",
        ),
    },
    "jango": {
        "day0": PublishedFile(
            "jango_day0.mat",
            *_INDL,
            "data/ADAN/Day0.mat",
            "9f90f64a285ba277721204d2b9e6b90fac61fb2dd30a17152b5e6a48a9749b4b",
        ),
        "day16": PublishedFile(
            "jango_day16.mat",
            *_INDL,
            "data/ADAN/Day16.mat",
            "dd8a99aa30b3fdf051b3912b34fe8353fa07079d1e3de9dd63919337123fe3ad",
        ),
    },
}

BEHAVIOURS = {"mihi": ("position", "velocity"), "jango": ("velocity", "force")}

# Jango: bins of 50 ms, a trial runs from 5 bins before force onset to 15 after it.
BIN_SIZE = 0.05
BEFORE, AFTER = 5, 15
REST_BINS = 4
ONSET_FRACTION = 0.2
REWARDED = ord("R")

DESCR = {
    "mihi": """\
Monkey Mihi, primary motor cortex, eight-direction centre-out reaches, two days
-------------------------------------------------------------------------------
As published with the code of ERDiff (GitHub, yulewang97/ERDiff, MIT licence):
Wang, Wu, Li and Wu, Extraction and recovery of spatio-temporal structure in latent
dynamics alignment with diffusion models, NeurIPS 2023, arXiv:2306.06138.
Sessions day0 (187 neurons) and day1 (172 neurons), 168 trials each, 21 per
direction. Trials of different length were interpolated by the publishers to 14 bins:
bins have no fixed duration and counts are multiples of 1/13. 36 and 27 neurons never
fire. The columns of the two days are not matched.
""",
    "jango": """\
Monkey Jango, primary motor cortex, isometric wrist force towards eight targets
-------------------------------------------------------------------------------
As published in a workshop of SachsLab (GitHub, SachsLab/IntracranialNeurophysDL, MIT
licence); recordings of Farshchian, Gallego, Cohen, Bengio, Miller and Solla,
Adversarial domain adaptation for stable brain-machine interfaces, ICLR 2019,
arXiv:1810.00045. The files are dated 2016-06-26 and 2016-07-11.
Sessions day0 (296 trials) and day16 (224 trials), 96 electrodes, the same on both
days, two of them silent on day16. Trials are cut from continuous recordings: 20
bins of 50 ms, 5 before and 15 from force onset on. The force columns of day0 are
published in swapped order and are put right here.
""",
}


@validate_params(
    {
        "name": [StrOptions({"mihi", "jango"})],
        "behaviour": [StrOptions({"position", "velocity", "force"}), None],
        "source": [str, None],
        "data_home": [str, os.PathLike, None],
        "download_if_missing": ["boolean"],
        "return_X_y": ["boolean"],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def load_motor_cortex(
    name,
    *,
    behaviour=None,
    source=None,
    data_home=None,
    download_if_missing=True,
    return_X_y=False,
    shuffle=True,
    random_state=0,
):
    """Load two days of recordings from a monkey's primary motor cortex.

    ==========  ===================  =======================
    name        ``"mihi"``           ``"jango"``
    task        centre-out reaches   isometric wrist force
    sessions    day0, day1           day0, day16
    trials      168, 168             296, 224
    bins        14, time-warped      20 of 50 ms
    neurons     187, 172             96, 96 (electrodes)
    behaviour   position, velocity   velocity, force
    ==========  ===================  =======================

    The files are searched in the folders named by the environment variable
    ``SKERDIFF_DATA`` (as ``mihi_day0.pkl``, ``mihi_day1.pkl``, ``jango_day0.mat``,
    ``jango_day16.mat``; several folders are separated as in ``PATH``), then in
    `data_home`. What is missing is downloaded once, 2 to 4 MB a file, from the
    repositories where the recordings were published. The SHA-256 is checked
    whenever a file is read.

    Parameters
    ----------
    name : {"mihi", "jango"}
        The recording.

    behaviour : {"position", "velocity", "force"}, default=None
        What `y` holds. "mihi" has "position" (default) and "velocity", its
        difference along the bins; "jango" has "velocity" (default), the derivative
        of the force, and "force". See Notes for the units.

    source : str, default=None
        Name of the source session. By default ``"day0"``.

    data_home : str or path-like, default=None
        Folder for downloaded files. By default skerdiff's folder in the user's
        cache.

    download_if_missing : bool, default=True
        Whether to download files that are not found. If False, raise an OSError
        instead.

    return_X_y : bool, default=False
        Whether to return ``(trials, y)`` only.

    shuffle : bool, default=True
        Whether to shuffle the trials of each session, independently. The Mihi files
        list the directions in the same order on both days; unshuffled, the trials
        of the two days share their labels by index, which a method may pick up.

    random_state : int, RandomState instance or None, default=0
        Seed of the shuffling. Calls with the same int return the same order.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``n`` the trials of both sessions together, in the order of `trials`:

        trials : Trials of shape (n,)
            Spike counts per bin. Fractional for "mihi", where the publishers
            interpolated them.
        y : ndarray of shape (n, n_bins, 2)
            Behaviour, z-scored per session and axis.
        direction : ndarray of shape (n,)
            Direction of the target, 0 to 7; direction k is 45 k degrees,
            counterclockwise from the right.
        behaviour : str
            What `y` holds.
        bin_size : float or None
            Width of a bin in seconds. None for "mihi", whose trials are warped to
            one length.
        DESCR : str
            Description and origin of the recording.

    (trials, y) : tuple if ``return_X_y=True``
        The first two of the above.

    Raises
    ------
    OSError
        If a file is not found and cannot be downloaded. The message says where to
        get it and where to put it.
    ValueError
        If a file does not have the published SHA-256, if the recording has no such
        `behaviour` or if `source` is not one of its sessions.
    pickle.UnpicklingError
        If a file holds anything but NumPy arrays.

    See Also
    --------
    make_reaching_sessions : Simulated sessions, nothing to download.

    Notes
    -----
    **Units.** `y` is in standard deviations of its session, with mean zero over the
    trials and bins of the session. For "mihi", position before scaling is in the
    unpublished unit of the file and velocity is that unit per bin (central
    differences, one-sided at the first and last bin); for "jango", force is in the
    unpublished unit of the file and velocity that unit per second. This scales
    labels only and uses all trials of a session: the activity is as
    published, and a decoder evaluated across days is spared the difference in mean
    and scale between the days' behaviour, nothing else.

    **Jango trials.** Rewarded trials only. Rest is the mean force over the 0.2 s
    before the go cue. Force onset is the first bin from the go cue on in which the
    force is further from rest than 20 % of the furthest it gets before the end of
    the trial. Electrodes keep their place between the days, so that a decoder works
    in part without adaptation.

    References
    ----------
    .. [1] Y. Wang, Z. Wu, C. Li, A. Wu, "Extraction and Recovery of Spatio-Temporal
       Structure in Latent Dynamics Alignment with Diffusion Models", NeurIPS 2023,
       :arxiv:`2306.06138`.
    .. [2] A. Farshchian, J. A. Gallego, J. P. Cohen, Y. Bengio, L. E. Miller,
       S. A. Solla, "Adversarial Domain Adaptation for Stable Brain-Machine
       Interfaces", ICLR 2019, :arxiv:`1810.00045`.

    Examples
    --------
    Needs the files or a network::

        from skerdiff.datasets import load_motor_cortex

        data = load_motor_cortex("jango")
        X_source, X_target = data.trials["day0"], data.trials["day16"]
    """
    files = FILES[name]
    behaviour = BEHAVIOURS[name][0] if behaviour is None else behaviour
    if behaviour not in BEHAVIOURS[name]:
        raise ValueError(
            f"behaviour={behaviour!r} is not recorded in {name!r}; choose one of "
            f"{list(BEHAVIOURS[name])}."
        )
    source = "day0" if source is None else source
    if source not in files:
        raise ValueError(
            f"source={source!r} is not a session of {name!r}; choose one of "
            f"{list(files)}."
        )

    counts, y, direction = {}, [], []
    rng = check_random_state(random_state) if shuffle else None
    for session, file in files.items():
        content = read_published_file(file, data_home, download_if_missing)
        if name == "mihi":
            X, moved, towards = _read_mihi(content, behaviour)
        else:
            X, moved, towards = _read_jango(content, behaviour, session == "day0")
        order = np.arange(len(X)) if rng is None else rng.permutation(len(X))
        counts[session] = X[order]
        y.append(_zscore(moved)[order])
        direction.append(towards[order])

    trials = Trials(counts, source=source)
    y = np.concatenate(y)
    if return_X_y:
        return trials, y
    return Bunch(
        trials=trials,
        y=y,
        direction=np.concatenate(direction),
        behaviour=behaviour,
        bin_size=None if name == "mihi" else BIN_SIZE,
        DESCR=DESCR[name],
    )


def _read_mihi(content, behaviour):
    """Counts, behaviour and direction of each trial of a Mihi file."""
    data = load_arrays(content)
    moved = np.asarray(data["pos"], dtype=np.float64)
    if behaviour == "velocity":
        moved = np.gradient(moved, axis=1)
    # published labels run clockwise from the top
    direction = (2 - np.ravel(data["label"]).astype(int)) % 8
    return np.asarray(data["neural"], dtype=np.float64), moved, direction


def _read_jango(content, behaviour, swapped):
    """Counts, behaviour and direction of each rewarded trial of a Jango file."""
    data = loadmat(io.BytesIO(content), simplify_cells=True)["binnedData"]
    column = {label: i for i, label in enumerate(data["trialtablelabels"])}
    table = data["trialtable"]
    table = table[table[:, column["Result(R,A,I,orN)"]] == REWARDED]
    force = np.asarray(data["forcedatabin"], dtype=np.float64)
    if swapped:
        force = force[:, ::-1]

    start = data["timeframe"][0]
    go, end = (
        np.ceil((table[:, column[label]] - start) / BIN_SIZE).astype(int)
        for label in ("go/catch", "trial end time")
    )
    onset = np.array([_force_onset(force, *limits) for limits in zip(go, end)])
    fits = (onset >= BEFORE) & (onset + AFTER <= len(force))
    rows = onset[fits, None] + np.arange(-BEFORE, AFTER)

    counts = np.rint(data["spikeratedata"] * BIN_SIZE)
    moved = force if behaviour == "force" else np.gradient(force, BIN_SIZE, axis=0)
    direction = table[fits, column["tgt_id"]].astype(int) - 1
    return counts[rows], moved[rows], direction


def _force_onset(force, go, end):
    """Bin of force onset in a trial from bin `go` to bin `end`, see Notes."""
    rest = force[max(go - REST_BINS, 0) : go].mean(axis=0)
    distance = np.linalg.norm(force[go:end] - rest, axis=1)
    return go + np.argmax(distance > ONSET_FRACTION * distance.max())


def _zscore(y):
    return (y - y.mean(axis=(0, 1))) / y.std(axis=(0, 1))
