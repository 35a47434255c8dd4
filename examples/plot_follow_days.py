"""
Follow a recording over days
============================

Electrodes that stay in place record mostly the same neurons from one day to the next.
Then yesterday's alignment is the best start for today's: a handful of unlabelled trials
is enough where a new search would fail.
"""

# %%
# Five days
# ---------
# After day 0 the electrodes were moved and record sixty other neurons. From then on
# they stay in place, but each day one neuron in twenty is replaced. Behaviour was
# recorded on day 0 only. There are 40 trials of day 1 to adapt to, and six of each
# later day; the last 20 trials of each day are scored.

from copy import deepcopy

import matplotlib.pyplot as plt
from sklearn.linear_model import Ridge

from skerdiff import (
    GeometryAligner,
    PerBinRegressor,
    SequentialVAE,
)
from skerdiff.datasets import make_reaching_sessions
from skerdiff.metrics import behaviour_r2_score

data = make_reaching_sessions(
    5, [160, 60, 60, 60, 60], n_neurons=120, turnover=0.05, random_state=0
)
session, days = data.trials.session, ["day1", "day2", "day3", "day4"]
source, velocity = data.trials["day0"][:, :, :60], data.y[session == "day0"]

# %%
# A new search each day, or yesterday as a start
# ----------------------------------------------
# ``start="previous"`` adds the alignment that was found last to the search, and follows
# it unless another one fits clearly better. On day 1 there is no such alignment yet.
# Both ways warn of ambiguous alignments: a search if a different alignment fits nearly
# as well, yesterday as a start if a different one fits better, which with six trials
# happens by chance.

aligner = GeometryAligner(SequentialVAE(max_iter=30), random_state=0)
aligner.fit(source, velocity)
decoder = PerBinRegressor(Ridge())
decoder.fit(aligner.transform(source, session="source"), velocity)
scores = {"a new search": [], "yesterday as a start": []}
for name, r2 in scores.items():
    mine = deepcopy(aligner)
    for day in days:
        X, y = data.trials[day][:, :, 60:], data.y[session == day]
        if day == "day1":
            mine.adapt(X[:40], session=day)
        else:
            start = "previous" if name == "yesterday as a start" else None
            mine.adapt(X[:6], session=day, start=start)
        decoded = decoder.predict(mine.transform(X[-20:], session=day))
        r2.append(behaviour_r2_score(y[-20:], decoded))
    print(f"{name:20}", *(f"{day} {value:5.2f}" for day, value in zip(days, r2)))

# %%
# Decoding over days
# ------------------

for name, r2 in scores.items():
    plt.plot(days, r2, "o-", label=name)
plt.ylim(-1, 1)
plt.ylabel("R2 of held-out trials")
plt.legend()
plt.show()
