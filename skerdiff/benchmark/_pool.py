"""One pool of candidate alignments, and all that is needed to decode by any of them."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import Ridge

from ..alignment import GeometryAligner
from ..alignment._start import by_column
from ..decoding import PerBinRegressor
from ..geometry._readin import RigidMap
from ..geometry._search import find_candidates
from ..geometry._similarity import principal_axes, project
from ..metrics import behaviour_r2_score


@dataclass
class Pool:
    """Candidates between a source and a target, and the way from one to a score."""

    split: object
    aligner: GeometryAligner  # fitted on the source
    decoder: PerBinRegressor  # of source latents
    features: np.ndarray  # (n_trials, n_bins, n_neurons), of the adapted trials
    axes: tuple  # mean (n_neurons,) and principal axes (n_neurons, d) of these
    target: np.ndarray  # (n_trials, n_bins, d), their principal coordinates
    candidates: list  # best first

    @property
    def coordinates(self):
        """Principal coordinates of the source, (n_source_trials, n_bins, d)."""
        return self.aligner._coordinates

    @property
    def activations(self):
        """Read-in activations of the source, (n_source_trials, n_bins, n_readin)."""
        return self.aligner._activations

    def search(self, seed=0, **settings):
        """Search for alignments; settings are those of `find_candidates`."""
        guess = by_column(self.features, self.aligner._axes)
        return find_candidates(
            self.coordinates, self.target, seed=seed, guess=guess, **settings
        )

    def rigid(self, candidate):
        """Map of features to source coordinates by a candidate."""
        return RigidMap(*self.axes, candidate.map)

    def score(self, readin):
        """R2 of held-out target trials in directions that both sessions hold."""
        model = self.aligner.latent_model_
        X, y = self.split.test
        guess = self.decoder.predict(model.encode(model.features(X), readin))
        seen = self.split.present
        return behaviour_r2_score(y[seen], guess[seen])


def search_pool(split, seed=0, memory=None):
    """Fit the source, and search for alignments of the target.

    Parameters
    ----------
    split : Split
        The trials, see `make_split`.
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
    features = aligner.latent_model_.features(split.train[0])
    mean, axes = principal_axes(features, aligner._coordinates.shape[2])
    target = project(features, mean, axes)
    pool = Pool(split, aligner, decoder, features, (mean, axes), target, [])
    pool.candidates = pool.search(seed)
    return pool
