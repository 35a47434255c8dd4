"""What a diffusion model is conditioned on: behaviour per bin, or a class per trial."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.preprocessing import StandardScaler
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d


class NoCondition:
    """No condition; y is not used."""

    n_inputs = 0

    def fit(self, y):
        """Return None, for no condition."""
        return None

    def read(self, estimator, y, Z, form, used):
        """Return None, whatever y."""
        return None


class BehaviourCondition:
    """Behaviour per bin, standardised by the training trials."""

    def read(self, estimator, y, Z, form, used):
        """Validate y and return (n_used, n_bins, n_outputs)."""
        return estimator._check_y(y, Z, form, used).astype(np.float64)

    def fit(self, y):
        """Learn mean and scale, and encode."""
        self.n_inputs = y.shape[2]
        self.scaler = StandardScaler().fit(y.reshape(-1, self.n_inputs))
        return self.encode(y)

    def encode(self, y):
        """Standardise (n, n_bins, n_outputs)."""
        if y.shape[2] != self.n_inputs:
            raise ValueError(
                f"y has {y.shape[2]} outputs per bin, but the prior was fitted on "
                f"{self.n_inputs}."
            )
        return (y - self.scaler.mean_) / self.scaler.scale_


class LabelCondition:
    """A class per trial, as a one-hot row."""

    def read(self, estimator, y, Z, form, used):
        """Validate y and return the labels of the trials in use, (n_used,)."""
        n_trials = len(Z)
        y = np.asarray(y)
        if form.is_rows and len(y) == n_trials * Z.shape[1] != n_trials:
            y = column_or_1d(y).reshape(n_trials, -1)
            if (y != y[:, :1]).any():
                raise ValueError(
                    "condition='label' takes one label per trial: all rows (bins) of a "
                    "trial must have the same."
                )
            y = y[:, 0]
        if y.shape not in {(n_trials,), (n_trials, 1)}:
            raise ValueError(
                "condition='label' takes one label per trial, y of shape "
                f"({n_trials},), got {y.shape}. For behaviour per bin use "
                "condition='concat'."
            )
        return y.ravel()[used]

    def fit(self, y):
        """Learn the classes, and encode."""
        kinds = {type(label) for label in y.tolist()}
        if len(kinds) > 1 or kinds == {type(None)}:
            names = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise ValueError(
                f"y holds labels of different types ({names}): make all of them text, "
                "or all of them numbers. A missing label is no class."
            )
        check_classification_targets(y)
        self.classes = np.unique(y)
        self.n_inputs = len(self.classes)
        return self.encode(y)

    def encode(self, y):
        """Return one-hot rows (n, n_classes)."""
        unseen = np.setdiff1d(y, self.classes)
        if len(unseen):
            raise ValueError(
                f"Labels {unseen.tolist()} were not seen in fit; the prior was fitted "
                f"on {self.classes.tolist()}."
            )
        return (y[:, None] == self.classes).astype(np.float64)


CONDITIONS = {
    "none": NoCondition,
    "concat": BehaviourCondition,
    "label": LabelCondition,
}


def as_denoiser(net, condition, guidance: float = 1.0):
    """Turn a conditional network into a function of z and t.

    Classifier-free guidance (Ho and Salimans, 2022): the prediction without the
    condition plus `guidance` times what the condition changes. 1 is the conditional
    model, 0 the unconditional one.
    """
    if condition is None or guidance == 1.0:
        return lambda z, t: net(z, t, condition)

    def guided(z, t):
        free = net(z, t)
        return free + guidance * (net(z, t, condition) - free)

    return guided
