"""
Align a new day without labels
==============================

A decoder is trained on day 0. On day 1 the electrodes record other neurons, and
nobody has labelled the reaches. The aligner reads the new neurons into the latent space
of day 0, and the unchanged decoder works again.
"""

# %%
# Two sessions
# ------------
# Reaches in eight directions on two days; no neuron of day 0 is left on day 1. The last
# 40 trials of day 1 are held out for scoring.

from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from skerdiff import ERDiffAligner, IdentityAligner, PerBinRegressor, adapt
from skerdiff.datasets import make_reaching_sessions
from skerdiff.metrics import behaviour_r2_score, behaviour_rmse
from skerdiff.plotting import plot_latents_by_direction

data = make_reaching_sessions(random_state=0)
day0, day1 = (data.trials.session == name for name in ("day0", "day1"))
X_source, velocity_source = data.trials["day0"], data.y[day0]
X_target, velocity_target = data.trials["day1"], data.y[day1]
X_adapt, X_later, velocity_later = X_target[:-40], X_target[-40:], velocity_target[-40:]
print(data.trials)

# %%
# Fit on day 0, adapt to day 1
# ----------------------------
# ``fit`` learns the latent-variable model, the diffusion prior and the decoder.
# ``adapt`` reads the activity of day 1 and nothing else.

pipe = make_pipeline(ERDiffAligner(random_state=0), PerBinRegressor(Ridge()))
pipe.fit(X_source, velocity_source)
adapt(pipe, X_adapt)
predicted = pipe.predict(X_later)
print(f"R2 {behaviour_r2_score(velocity_later, predicted):.3f}")
print(f"RMSE {behaviour_rmse(velocity_later, predicted):.3f} m/s")

# %%
# Can it be trusted?
# ------------------
# The report says how the search went. The margin is how much better the best alignment
# fits than the next one of a different kind. The variance explained says how much the
# source reaches that were found again differ from each other. Both give the confidence;
# below 1 the aligner warns.

report = pipe[0].alignment_report_["target"]
for name in (
    "residual",
    "margin",
    "variance_explained",
    "confidence",
    "bits_per_spike",
    "n_trials",
    "n_active_neurons",
    "n_steps",
):
    print(f"{name:18} {report[name]:.3g}")

# %%
# Latents before and after
# ------------------------

control = IdentityAligner(random_state=0).fit(X_source, velocity_source).adapt(X_adapt)
direction = data.direction[day1][-40:]
plot_latents_by_direction(
    {
        "day 0": (pipe[0].transform(X_source, "source"), data.direction[day0]),
        "day 1, no adaptation": (control.transform(X_later), direction),
        "day 1, aligned": (pipe[0].transform(X_later), direction),
    }
)
