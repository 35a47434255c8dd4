"""
Write your own method or latent model
=====================================

A method needs an objective and a class of a few lines; a latent model needs three
methods. Both then work in every pipeline and search.
"""

# %%
# Write your own method
# ---------------------
# A method that makes gradient steps is an :class:`~skerdiff.alignment.Objective`, what
# to minimise, and an aligner that makes it. The loop, the start, the steps that are
# accepted and the report are those of :class:`~skerdiff.alignment.GradientAligner`.
# This method moves the target's mean trajectory, and its spread over trials in each
# bin, to the source's. Latents come as torch tensors of shape (n_trials, n_bins,
# n_components), standardised by the source's mean and standard deviation. No target
# trial belongs to a source trial.

from numbers import Real

from skerdiff.alignment import GradientAligner, Objective, aligner, parameter


class TrajectoryMoments(Objective):
    """Squared distance between means and deviations of each bin."""

    def __init__(self, source, spread_weight):
        super().__init__()
        self.mean, self.spread = source.mean(0), source.std(0)
        self.spread_weight = spread_weight

    def losses(self, source, target, progress, generator):
        mean = (target.mean(0) - self.mean).square().mean()
        spread = (target.std(0) - self.spread).square().mean()
        return {"mean": mean, "spread": self.spread_weight * spread}


@aligner
class TrajectoryMomentsAligner(GradientAligner):
    """Align sessions by the moments of each bin.

    Parameters
    ----------
    spread_weight : float, default=1.0
        Weight of the spread over trials.
    inherited : parameters
        See `GradientAligner`.
    """

    spread_weight: float = parameter(1.0, [Real])

    def _make_objective(self, source):
        return TrajectoryMoments(source, self.spread_weight)


# %%
# ``@aligner`` writes the constructor from the parameters declared here and in the
# bases, and puts the inherited ones in place of the line ``inherited``.
# :func:`~skerdiff.alignment.parameter` takes the default and what the parameter may be,
# as in scikit-learn's ``_parameter_constraints``. The module
# ``skerdiff.alignment.divergences`` has divergences to build on. Networks of an
# objective are its submodules and are trained with the read-in; adversaries are named
# in ``adversaries``, and need :class:`~skerdiff.alignment.AdversarialAligner`. A method
# without gradient steps derives from :class:`~skerdiff.alignment.StartingAligner` and
# writes ``_align``; ``skerdiff/alignment/_coral.py`` is a short one.

from sklearn.pipeline import make_pipeline

from skerdiff import GeometryAligner, PerBinRegressor, SequentialVAE, adapt
from skerdiff.datasets import make_reaching_sessions
from skerdiff.metrics import behaviour_r2_score

data = make_reaching_sessions(random_state=0)
day0, day1 = (data.trials.session == name for name in ("day0", "day1"))
X_source, X_target = data.trials["day0"], data.trials["day1"]


def held_out_r2(method):
    pipe = make_pipeline(method, PerBinRegressor())
    pipe.fit(X_source, data.y[day0])
    adapt(pipe, X_target[:-40])
    return behaviour_r2_score(data.y[day1][-40:], pipe.predict(X_target[-40:]))


model = SequentialVAE(max_iter=30)
mine = TrajectoryMomentsAligner(model, spread_weight=0.5, random_state=0)
print(f"geometry alone    R2 {held_out_r2(GeometryAligner(model, random_state=0)):.3f}")
print(f"own method        R2 {held_out_r2(mine):.3f}")
print(f"steps accepted    {mine.alignment_report_['target'].n_steps}")

# %%
# Write your own latent model
# ---------------------------
# :class:`skerdiff.latent.LatentModel` lists what aligners call of a model. Only the
# read-in, a linear map, depends on the neurons of a session: ``features`` comes before
# and acts on each neuron by itself; ``encode`` includes it and what comes after. This
# model is a principal component analysis of smoothed square roots of counts. Its
# latents are the activations of the read-in, so nothing comes after it.

import numpy as np
from sklearn.decomposition import PCA
from torch import nn

from skerdiff.latent import LatentModel, check_latent_model
from skerdiff.preprocessing import smooth


class PrincipalComponents(LatentModel):
    """Principal components of smoothed square roots of counts."""

    def __init__(self, n_components=8):
        self.n_components = n_components

    def fit(self, X, y=None, *, conditions=None, lengths=None):
        self.n_bins_, self.n_features_in_ = X.shape[1:]
        rows = self.features(X, lengths)[within(X, lengths)]
        pca = PCA(self.n_components).fit(rows)
        self.readin_ = pca.components_, -pca.components_ @ pca.mean_
        return self

    def features(self, X, lengths=None):
        features = np.zeros(X.shape)
        for row, trial, inside in zip(features, X, within(X, lengths)):
            row[inside] = smooth(np.sqrt(trial[inside])[None], 1.0)[0]
        return features

    def encode(self, features, readin=None, lengths=None):
        Z = self.activations(features, readin)
        Z[~within(Z, lengths)] = 0
        return Z

    def torch_encoder(self):
        return nn.Identity()


def within(X, lengths):
    """Which bins (n_trials, n_bins) are not padding behind trials."""
    lengths = np.full(len(X), X.shape[1]) if lengths is None else lengths
    return np.arange(X.shape[1]) < np.asarray(lengths)[:, None]


# %%
# ``torch_encoder`` is what comes after the read-in, as a torch module; only gradient
# methods need it. :func:`~skerdiff.latent.check_latent_model` checks that the model
# keeps to the contract.

check_latent_model(PrincipalComponents(n_components=3))
model = PrincipalComponents()
print(f"geometry alone    R2 {held_out_r2(GeometryAligner(model, random_state=0)):.3f}")
mine = TrajectoryMomentsAligner(model, random_state=0)
print(f"own method        R2 {held_out_r2(mine):.3f}")
