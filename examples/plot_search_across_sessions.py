"""
Cross-validation and search across sessions
===========================================

Source and target have different numbers of neurons, which no array can hold.
:class:`skerdiff.Trials` can, and scikit-learn splits it like any list of samples.
"""

# %%
# Score an aligner on held-out target trials
# ------------------------------------------
# ``TargetKFold`` keeps all source trials in the training part and leaves out target
# trials. Their behaviour is used for the score alone: in ``fit`` it is never read.

import tempfile

from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from skerdiff import GeometryAligner, IdentityAligner, PerBinRegressor
from skerdiff.datasets import make_reaching_sessions
from skerdiff.model_selection import TargetKFold

trials, velocity = make_reaching_sessions(
    n_neurons=[60, 45], random_state=0, return_X_y=True
)
memory = tempfile.TemporaryDirectory()
aligner = GeometryAligner(memory=memory.name, random_state=0)
pipe = make_pipeline(aligner, PerBinRegressor(Ridge()))
print(cross_val_score(pipe, trials, velocity, cv=TargetKFold(3)).round(3))

# %%
# Search over methods
# -------------------
# Aligners swap for each other. ``memory`` makes all of them share one source model.

search = GridSearchCV(
    pipe,
    {
        "geometryaligner": [
            aligner,
            IdentityAligner(memory=memory.name, random_state=0),
        ],
        "perbinregressor__estimator__alpha": [1.0, 100.0],
    },
    cv=TargetKFold(3),
)
search.fit(trials, velocity)
for params, score in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    method = type(params["geometryaligner"]).__name__
    alpha = params["perbinregressor__estimator__alpha"]
    print(f"{method:16} alpha {alpha:5.0f}   R2 {score:.3f}")

# %%
# Without labels
# --------------
# The score of an aligner alone reads no behaviour, so that an ordinary search chooses
# without any label of the target. y shapes the source's latents only.

search = GridSearchCV(aligner, {"n_components": [4, 8]}, cv=TargetKFold(2))
search.fit(trials, velocity)
print(search.best_params_, search.cv_results_["mean_test_score"].round(3))
memory.cleanup()
