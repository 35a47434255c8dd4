"""
Selecting without target labels
===============================

On a new day there is no behaviour to score an alignment with. These scores need none; the
example shows how well each of them ranks alignments by their true R2.
"""

# %%
# The runs
# --------
# Two recordings, 14 methods and starts, two numbers of latent dimensions, three seeds: good
# alignments and bad ones. The file was made by
# ``python -m skerdiff.benchmark.label_free --output label_free_runs.csv``. True R2 is
# that of held-out target trials; no score saw it.

import matplotlib.pyplot as plt
import numpy as np

from skerdiff.benchmark.label_free import SCORES, correlations, read_runs

runs = read_runs("label_free_runs.csv")
table = correlations(runs)
print(f"{len(runs)} runs; Spearman correlation with R2, and R2 given up by choosing")
for score in sorted(SCORES, key=lambda name: -table[name]["all"]):
    line = ", ".join(f"{name} {value:.3f}" for name, value in table[score].items())
    print(f"{score:20} {line}")

# %%
# Agreement with the geometry
# ---------------------------
# The geometry of the activity, and nothing else, pairs target trials with source trials. The
# default ``score`` of every aligner measures whether the latents of both agree. In a
# pipeline :data:`skerdiff.metrics.agreement_scorer` measures the same of the decoded
# behaviour.

fig, axes = plt.subplots(3, 3, figsize=(9, 8), layout="constrained", sharey=True)
for ax, score in zip(axes.flat, SCORES, strict=True):
    for pair, colour in (("mihi", "C0"), ("jango", "C1")):
        mine = [run for run in runs if run["pair"] == pair]
        x = np.array([run[score] for run in mine])
        y = np.array([run["r2"] for run in mine])
        low = np.quantile(x[np.isfinite(x)], 0.05)
        ax.plot(np.clip(x, low, None), y, ".", color=colour, label=pair)
    ax.set_title(f"{score}: {table[score]['all']:.2f}", fontsize="medium")
    ax.axhline(0, color="0.8", zorder=0)
axes[0, 0].legend()
for ax in axes[:, 0]:
    ax.set_ylabel("true R2")
fig.supxlabel("score (cut at its 5 % quantile); in the titles, rank correlation")
