"""
Cross-validation and search across sessions
===========================================

Source and target have different numbers of neurons, so no single array can hold both.
:class:`skerdiff.Trials` can, and scikit-learn splits it like any list of samples.
"""

# %%
# Score an aligner on held-out target trials
# ------------------------------------------
# The two Mihi days, where the recording is at hand, else two simulated days.
# :class:`~skerdiff.model_selection.TargetKFold` puts all source trials into the
# training part and holds out target trials, here with every direction in each fold.
# Behaviour of the target is used for the score only: ``fit`` never reads it.

import tempfile
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from skerdiff import (
    DiffusionPrior,
    ERDiffAligner,
    GeometryAligner,
    IdentityAligner,
    PerBinRegressor,
)
from skerdiff.alignment import DANNAligner, MMDAligner
from skerdiff.datasets import load_motor_cortex, make_reaching_sessions
from skerdiff.metrics import agreement_scorer, r2_scorer
from skerdiff.model_selection import TargetKFold

try:
    data = load_motor_cortex("mihi", random_state=0, download_if_missing=False)
except OSError:
    data = make_reaching_sessions(n_neurons=[60, 45], random_state=0)
trials, velocity = data.trials, data.y
print(trials)

pipe = make_pipeline(GeometryAligner(random_state=0), PerBinRegressor(Ridge()))
scores = cross_val_score(
    pipe, trials, velocity, cv=TargetKFold(3), groups=data.direction
)
print(scores.round(3))

# %%
# Search over methods, without labels
# -----------------------------------
# One aligner can replace another. R2 is reported, but the choice is made by a score
# that reads no behaviour of the target: ``refit`` names it. With ``memory`` all methods
# and folds share one source model, which would otherwise be trained for each of them.

folder = tempfile.TemporaryDirectory()
shared = {"memory": folder.name, "random_state": 0}
erdiff = ERDiffAligner(**shared)
methods = [
    IdentityAligner(**shared),
    GeometryAligner(**shared),
    erdiff,
    DANNAligner(**shared),
    MMDAligner(**shared),
]
pipe = make_pipeline(erdiff, PerBinRegressor(Ridge()))
scoring = {"agreement": agreement_scorer, "R2": r2_scorer}
search = GridSearchCV(
    pipe,
    {"erdiffaligner": methods},
    scoring=scoring,
    refit="agreement",
    cv=TargetKFold(3),
)


def show(search, names):
    """Print and draw the scores of a search, one row for each setting."""
    found = search.cv_results_
    table = np.stack([found["mean_test_agreement"], found["mean_test_R2"]], axis=1)
    for name, (agreement, r2) in zip(names, table, strict=True):
        chosen = "   chosen" if name == names[search.best_index_] else ""
        print(f"{name:28} agreement {agreement:6.3f}   R2 {r2:6.3f}{chosen}")
    fig, ax = plt.subplots(figsize=(6, 0.3 * len(names) + 1), layout="constrained")
    rows = np.arange(len(names))
    ax.barh(rows + 0.2, table[:, 0], 0.4, label="agreement, no labels")
    ax.barh(rows - 0.2, table[:, 1], 0.4, label="R2, with labels")
    ax.set_yticks(rows, names)
    ax.set_xlim(-1, 1)
    ax.legend(fontsize="small")


start = perf_counter()
search.fit(trials, velocity)
print(f"{perf_counter() - start:.0f} s")
show(search, [type(method).__name__ for method in methods])

# %%
# Search over latent dimensions, starts and noise scales
# ------------------------------------------------------
# Parameters of the models inside an aligner have nested names. The score does not
# depend on the units of the latents, so it can be compared across latent dimensions and
# noise scales; a likelihood cannot. (A small prior and few steps make this page quick.)

small = ERDiffAligner(prior=DiffusionPrior(max_iter=10), max_steps=20, **shared)
grid = [
    {"erdiffaligner__n_components": [4, 8]},
    {"erdiffaligner__init": ["source", "random"]},
    {"erdiffaligner__noise_scale": [0.7, 1.3]},
    {"erdiffaligner__prior__n_blocks": [2]},
]
search = GridSearchCV(
    make_pipeline(small, PerBinRegressor(Ridge())),
    grid,
    scoring=scoring,
    refit="agreement",
    cv=TargetKFold(2),
)
search.fit(trials, velocity)
names = [
    ", ".join(f"{k.removeprefix('erdiffaligner__')} {v}" for k, v in setting.items())
    for setting in search.cv_results_["params"]
]
show(search, names)
print(search.best_estimator_[0])
folder.cleanup()
