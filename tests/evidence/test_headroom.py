"""What is left to gain by moving aligned latents."""

import numpy as np

from benchmarks.headroom import headroom
from skerdiff import IdentityAligner, SequentialVAE
from skerdiff.benchmark import load_pair, make_split

MODEL = SequentialVAE(n_components=4, n_hidden=16, max_iter=10)


def test_without_drift_there_is_nothing_to_gain():
    split = make_split(load_pair("synthetic", turnover=0.0))
    row = headroom(split, IdentityAligner(MODEL))
    assert row["r2"] > 0.6
    assert abs(row["r2_refitted"] - row["r2"]) < 0.05


def test_latents_turned_around_are_read_by_a_refitted_decoder_alone():
    split = make_split(load_pair("synthetic", turnover=0.0))
    turned = -split.train[1], -split.test[1]
    split.train, split.test = (split.train[0], turned[0]), (split.test[0], turned[1])
    row = headroom(split, IdentityAligner(MODEL))
    assert row["r2"] < 0 < 0.6 < row["r2_refitted"]
    assert np.isfinite(list(row.values())).all()


def test_it_is_determined_by_its_seed():
    split = make_split(load_pair("synthetic", turnover=0.0))
    rows = [headroom(split, IdentityAligner(MODEL), seed=1) for _ in range(2)]
    assert rows[0] == rows[1]
