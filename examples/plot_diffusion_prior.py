"""
A diffusion model of latent trajectories
========================================

:class:`skerdiff.diffusion.DiffusionPrior` is a density model of whole trajectories. It
gives samples, log-likelihoods, and the noise that a trajectory came from. Here it
learns the latents of one recording day, and is tested on trials of that day that it has
not seen.
"""

# %%
# Latents
# -------
# These are latents of the first day of Mihi, where the recording is at hand, else of a
# simulated day. One trial in five is held out.

import numpy as np

from skerdiff import DiffusionPrior, SequentialVAE
from skerdiff.datasets import load_motor_cortex, make_reaching_sessions
from skerdiff.metrics import (
    cross_correlation_distance,
    nearest_neighbour_ratio,
    two_sample_auc,
    value_distance,
)
from skerdiff.plotting import plot_denoising_strip, plot_trajectories

try:
    data = load_motor_cortex("mihi", random_state=0, download_if_missing=False)
except OSError:
    data = make_reaching_sessions(random_state=0)
X = data.trials[data.trials.source]
y = data.y[data.trials.session == data.trials.source]
Z = SequentialVAE(random_state=0).fit(X, y).transform(X)
n_train = round(0.8 * len(Z))
Z_train, Z_test, y_train, y_test = Z[:n_train], Z[n_train:], y[:n_train], y[n_train:]
print(data.trials)

# %%
# Fit, and score trials it has not seen
# -------------------------------------
# The closed form is a mixture of Gaussians; a network adds to it. ``max_iter=0`` leaves
# out the network, and so shows what the network contributes.

prior = DiffusionPrior(random_state=0).fit(Z_train)
closed_form = DiffusionPrior(max_iter=0, random_state=0).fit(Z_train)
print(f"{prior.n_clusters_} Gaussians, {prior.n_iter_} epochs")
for name, model in {"prior": prior, "closed form alone": closed_form}.items():
    per_value = model.score(Z_test) / Z_test[0].size
    error = model.denoising_error(Z_test).mean()
    print(f"{name:18} {per_value:.3f} nats per value, denoising error {error:.4f}")

# %%
# Samples beside real trajectories
# --------------------------------
# On the principal axes of the held-out trials, coloured by where a trajectory ends.

samples = prior.sample(200, random_state=0)
figure = plot_trajectories(
    {
        "held out": Z_test,
        "sampled": samples[: len(Z_test)],
        "w/o T": DiffusionPrior(temporal=False, max_iter=0, random_state=0)
        .fit(Z_train)
        .sample(len(Z_test)),
    }
)

# %%
# How similar are they? The same figures for the training trials say how much two sets
# of real trials differ. An AUC of one half means that a classifier cannot tell samples
# from held-out trials. A nearest-neighbour ratio of one means that samples are not
# copies of training trials.

for name, other in {"training trials": Z_train, "samples": samples}.items():
    print(
        f"{name:16} values {value_distance(Z_test, other):.3f}",
        f"correlations {cross_correlation_distance(Z_test, other):.3f}",
        f"AUC {two_sample_auc(Z_test, other[: len(Z_test)], random_state=0):.2f}",
    )
print(f"nearest neighbour {nearest_neighbour_ratio(Z_train, Z_test, samples):.2f}")

# %%
# From noise to trajectories
# --------------------------

figure = plot_denoising_strip(prior, random_state=0)

# %%
# There and back
# --------------
# ``invert`` takes trajectories to noise, ``decode`` brings them back.

noise = prior.invert(Z_test)
error = (prior.decode(noise) - Z_test) / prior.scale_
print(f"noise: mean {noise.mean():.2f}, standard deviation {noise.std():.2f}")
print(f"error of the cycle: {np.sqrt((error**2).mean()):.4f} latent sd")

# %%
# Conditioned on behaviour
# ------------------------
# With ``condition="concat"`` the model takes the behaviour of every bin. Shuffled
# behaviour fits the trajectories less well.

conditional = DiffusionPrior(condition="concat", max_iter=40, random_state=0)
conditional.fit(Z_train, y_train)
order = np.random.RandomState(0).permutation(len(y_test))
for name, given in {"own": y_test, "no": None, "shuffled": y_test[order]}.items():
    error = conditional.denoising_error(Z_test, y=given).mean()
    print(f"denoising error given {name:8} behaviour {error:.4f}")
