"""CORAL: the closed form gives the source's moments."""

import numpy as np

from skerdiff.alignment import CORALAligner
from skerdiff.alignment._coral import moment_map


def test_moment_map_gives_the_moments_and_no_rotation():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((500, 3)) @ rng.standard_normal((3, 3)) + 4.0
    source = rng.standard_normal((400, 3)) @ rng.standard_normal((3, 3)) - 1.0
    moved = moment_map(Z, source, 0.0)(Z)
    np.testing.assert_allclose(moved.mean(0), source.mean(0), atol=1e-9)
    np.testing.assert_allclose(
        np.cov(moved.T, bias=True), np.cov(source.T, bias=True), atol=1e-9
    )
    same = moment_map(Z, Z, 1e-3)
    np.testing.assert_allclose(same.matrix, np.eye(3), atol=1e-9)
    scaled = moment_map(Z * [1.0, 1.0, 1.0] * 2.0, Z, 0.0)
    np.testing.assert_allclose(scaled.matrix, np.eye(3) / 2, atol=1e-9)


def test_coral_matches_the_moments_of_the_latents(reaching, settings):
    aligner = CORALAligner(shrinkage=0.0, init="source", **settings)
    aligner.fit(reaching.source, reaching.y_source).adapt(reaching.adapt)
    rows = aligner.transform(reaching.adapt).reshape(-1, 8)
    source = aligner.transform(reaching.source, session="source").reshape(-1, 8)
    np.testing.assert_allclose(rows.mean(0), source.mean(0), atol=1e-6)
    np.testing.assert_allclose(np.cov(rows.T), np.cov(source.T), rtol=1e-3, atol=1e-3)
