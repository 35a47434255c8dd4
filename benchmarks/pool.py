"""One pool of candidate alignments, and all that is needed to decode by any of them."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import Ridge

from skerdiff.alignment import GeometryAligner
from skerdiff.decoding import PerBinRegressor
from skerdiff.geometry import RigidMap, find_candidates, principal_axes, project
from skerdiff.metrics import behaviour_r2_score

DIMS = 8  # principal axes in which trials are compared, as in the aligners


@dataclass
class Pool:
    """Candidates between a source and a target, and the way from one to a score."""

    split: object
    model: object  # latent model of the source
    decoder: PerBinRegressor  # of source latents
    coordinates: (
        np.ndarray
    )  # (n_source_trials, n_bins, d), principal ones of the source
    activations: np.ndarray  # (n_source_trials, n_bins, n_readin), of the source
    features: np.ndarray  # (n_trials, n_bins, n_neurons), of the adapted trials
    axes: tuple  # mean (n_neurons,) and principal axes (n_neurons, d) of these
    guess: np.ndarray | None  # (n_trials, n_bins, d), if neurons were the source's
    candidates: list = ()  # best first

    @property
    def target(self):
        """Principal coordinates of the adapted trials, (n_trials, n_bins, d)."""
        return project(self.features, *self.axes)

    def search(self, seed=0, **settings):
        """Search for alignments; settings are those of `find_candidates`."""
        guess = self.guess
        return find_candidates(
            self.coordinates, self.target, seed=seed, guess=guess, **settings
        )

    def rigid(self, candidate):
        """Map of features to source coordinates by a candidate."""
        return RigidMap(*self.axes, candidate.map)

    def score(self, readin):
        """R2 of held-out target trials in directions that both sessions hold."""
        X, y = self.split.test
        Z = self.model.encode(self.model.features(X), readin)
        guess, seen = self.decoder.predict(Z), self.split.present
        return behaviour_r2_score(y[seen], guess[seen])


def search_pool(split, seed=0, memory=None):
    """Fit the source, and search for alignments of the target.

    Parameters
    ----------
    split : Split
        The trials, see `skerdiff.benchmark.make_split`.
    seed : int, default=0
        Seed of the source model and of the search.
    memory : str, default=None
        Cache of source models.

    Returns
    -------
    pool : Pool
        All candidates found, best first.
    """
    X, y = split.source
    aligner = GeometryAligner(random_state=seed, memory=memory)
    decoder = PerBinRegressor(Ridge()).fit(aligner.fit_transform(X, y), y)
    model = aligner.latent_model_
    source, target = model.features(X), model.features(split.train[0])
    axes = principal_axes(source, min(DIMS, source.shape[2]))
    coordinates = project(source, *axes)
    shared = source.shape[2] == target.shape[2]
    pool = Pool(
        split,
        model,
        decoder,
        coordinates,
        model.activations(source),
        target,
        principal_axes(target, coordinates.shape[2]),
        project(target, *axes) if shared else None,
    )
    pool.candidates = pool.search(seed)
    return pool
