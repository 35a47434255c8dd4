"""
Selecting without target labels
===============================

On a new day there is no behaviour to score an alignment with. These scores need none;
the example shows how well each of them ranks alignments by their true R2.
"""

# %%
# The runs
# --------
# Two recordings, 14 methods and starts, two numbers of latent dimensions, three seeds:
# good alignments and bad ones. The file was made by ``python -m benchmarks label-free
# --output label_free_runs.csv``. True R2 is that of held-out target trials; no score
# saw it.

import matplotlib.pyplot as plt
import pandas as pd

runs = pd.read_csv("../benchmarks/results/label_free_runs.csv")
scores = list(runs.columns.drop(["pair", "method", "n_components", "seed", "r2"]))
rows = {}
for score in scores:
    row = {"all": runs[score].corr(runs["r2"], method="spearman")}
    for pair, mine in runs.groupby("pair"):
        row[pair] = mine[score].corr(mine["r2"], method="spearman")
    # by choosing, for each recording and seed, the run with the highest score
    choices = runs.groupby(["pair", "seed"])
    chosen = runs.loc[choices[score].idxmax()].set_index(["pair", "seed"])["r2"]
    row["given up"] = (choices["r2"].max() - chosen).mean()
    rows[score] = row
table = pd.DataFrame(rows).T.sort_values("all", ascending=False)
print(f"{len(runs)} runs; Spearman correlation with R2, and R2 given up by choosing")
print(table.round(3))

# %%
# Agreement with the geometry
# ---------------------------
# The geometry of the activity, and nothing else, pairs target trials with source
# trials. The default ``score`` of every aligner measures whether the latents of both
# agree. In a pipeline :data:`skerdiff.metrics.agreement_scorer` measures the same of
# the decoded behaviour.

fig, axes = plt.subplots(3, 3, figsize=(9, 8), layout="constrained", sharey=True)
for ax, score in zip(axes.flat, scores, strict=True):
    for pair, colour in (("mihi", "C0"), ("jango", "C1")):
        mine = runs[runs["pair"] == pair]
        x = mine[score].clip(lower=mine[score].quantile(0.05))
        ax.plot(x, mine["r2"], ".", color=colour, label=pair)
    ax.set_title(f"{score}: {table['all'][score]:.2f}", fontsize="medium")
    ax.axhline(0, color="0.8", zorder=0)
axes[0, 0].legend()
for ax in axes[:, 0]:
    ax.set_ylabel("true R2")
fig.supxlabel("score (cut at its 5 % quantile); in the titles, rank correlation")
