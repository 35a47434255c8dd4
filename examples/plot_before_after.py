"""
Before and after
================

This example draws the picture of the README: hand positions on day 1, read by a decoder
that was trained on day 0, without adaptation and after ``adapt``.
"""

# %%
# Two days
# --------
# Monkey Mihi reached in eight directions on two days. The neurons of the two days are
# not matched. Where the recording is not at hand, two simulated days take its place.
# The last fifth of day 1 is held out for the score.

import matplotlib.pyplot as plt
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from skerdiff import ERDiffAligner, IdentityAligner, PerBinRegressor, adapt
from skerdiff.datasets import load_motor_cortex, make_reaching_sessions
from skerdiff.metrics import behaviour_r2_score

try:
    data = load_motor_cortex("mihi", random_state=0, download_if_missing=False)
    behaviour = "position"
except OSError:
    data = make_reaching_sessions(random_state=0)
    behaviour = "velocity"

day0, day1 = (data.trials.session == name for name in ("day0", "day1"))
X_day0, y_day0 = data.trials["day0"], data.y[day0]
X_day1, y_day1 = data.trials["day1"], data.y[day1]
n = round(0.8 * len(X_day1))
X_adapt, X_later, y_later = X_day1[:n], X_day1[n:], y_day1[n:]
direction = data.direction[day1][n:]
print(data.trials)

# %%
# Decode day 1
# ------------
# Both pipelines learn the same latent model and the same decoder on day 0. Without
# adaptation, the columns of day 1 are read as if they were those of day 0. ``adapt``
# reads the activity of day 1 and no labels.

decoded = {}
for name, aligner in {
    "no adaptation": IdentityAligner(random_state=0),
    "adapted, no labels": ERDiffAligner(random_state=0),
}.items():
    pipe = make_pipeline(aligner, PerBinRegressor(Ridge()))
    pipe.fit(X_day0, y_day0)
    adapt(pipe, X_adapt)
    decoded[name] = pipe.predict(X_later)
    print(f"{name:18} R2 {behaviour_r2_score(y_later, decoded[name]):.2f}")

# %%
# The picture
# -----------
# Each line is one held-out trial, and its colour the direction of the reach. The
# decoded panels show the true trials in grey. Of the recording this is seed 0 of the
# README's table, the worst of five both without adaptation and after it. The file
# ``doc/_static/before_after.png`` is this figure of the recording, saved with
# ``fig.savefig("before_after.png", dpi=100)``.

colours = plt.get_cmap("hsv")
panels = {f"true {behaviour}": y_later, **decoded}
fig, axes = plt.subplots(
    1, 3, figsize=(11, 4.5), sharex=True, sharey=True, layout="constrained"
)
for ax, (name, paths) in zip(axes, panels.items(), strict=True):
    for path, truth, k in zip(paths, y_later, direction, strict=True):
        colour = [0.85 * value for value in colours(k / 8)[:3]]
        if name in decoded:
            ax.plot(*truth.T, color="0.85", lw=1.5, zorder=0)
        ax.plot(*path.T, color=colour, lw=2)
        ax.plot(*path[-1], "o", color=colour, ms=6)
    if name in decoded:
        r2 = f"{behaviour_r2_score(y_later, paths):.2f}".replace("-", "\N{MINUS SIGN}")
        ax.set_xlabel(f"R² = {r2}", fontsize=26)
    else:
        ax.set_xlabel("day 1, held out", fontsize=26)
    ax.set_title(name, fontsize=26)
    ax.set(xticks=[], yticks=[], aspect="equal")
    ax.spines[:].set_visible(False)
limit = 1.05 * abs(y_later).max()
axes[0].set(xlim=(-limit, limit), ylim=(-limit, limit))
plt.show()
