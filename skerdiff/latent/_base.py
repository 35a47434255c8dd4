"""What an aligner may call of a latent model, and nothing else."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

from abc import ABC, abstractmethod

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ..base import TrialEstimator, check_conditions, check_not_silent
from ..trials import Trials
from ..utils._arrays import fingerprint, in_double
from ..utils._settings import own_settings


class LatentModel(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, TrialEstimator, ABC
):
    """Base of latent-variable models, and the contract that aligners rely on.

    A model reads activity in three steps, of which only the second depends on the
    neurons of a session: `features` of the activity of any session, a linear read-in of
    these to activations, and an encoder of the activations, which `encode` includes. To
    align another session is to find its read-in. What an aligner calls is here, and
    nothing else; `check_latent_model` checks a class of your own. An aligner passes
    three-dimensional arrays. It clones the model, and sets the parameters
    ``random_state``, ``device`` and ``verbose`` of the clone, if the model has them,
    and ``n_components`` if that is given to the aligner.

    A model has a parameter ``n_components``, and after `fit`

    - ``readin_``, weights (n_readin, n_neurons) and bias (n_readin,) of the session
      that it was fitted to, as a tuple of arrays. An aligner may put those of another
      session in their place in a copy;
    - ``n_bins_``, bins per trial, and ``n_features_in_``, the number of neurons.

    `fit`, `features` and `encode` must be written. A model that lacks one of the
    following works wherever it is not called:

    - ``torch_encoder()``, for aligners that make gradient steps: a frozen copy, on the
      CPU, of what is behind the read-in, as a torch module that maps activations
      (n_trials, n_bins, n_readin) to latents (n_trials, n_bins, n_components) in
      evaluation and training mode alike, and lets gradients through to activations;
    - ``step(counts, readin=None, state=None)``, for reading bins as they come: latents
      (n_components,) of one more bin (n_neurons,), smoothing included, and the state
      that the next call needs. None begins a trial. They are those that `encode` gives
      for the whole trial; a model that looks ahead raises a ValueError;
    - ``inverse_transform(Z)``, expected activity of the neurons seen in `fit`.

    Trials of unequal length come as arrays padded behind, with ``lengths``, the number
    of bins of each trial. What is behind is never read, NaN included, and zero in what
    is returned.

    See Also
    --------
    check_latent_model : Checks that a model keeps to this contract.
    skerdiff.SequentialVAE : A recurrent network, the default.
    LinearLatentModel : Linear, in closed form.
    """

    required = ("fit", "features", "activations", "encode")

    @property
    def _n_features_out(self):
        check_is_fitted(self, "readin_")
        return self.n_components

    @abstractmethod
    def fit(self, X, y=None, *, conditions=None, lengths=None):
        """Learn the latents of a session.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_neurons), Trials or 2-D array
            Activity. Of `Trials` the source session is used.
        y : array-like of shape (n_trials, n_bins, n_outputs), default=None
            Behaviour.
        conditions : array-like of shape (n_trials,), default=None
            Condition of each trial.
        lengths : array-like of shape (n_trials,), default=None
            Number of bins of each trial.

        Returns
        -------
        self : object
            Fitted model.
        """

    @abstractmethod
    def features(self, X, lengths=None):
        """What the read-in sees of the activity of any session.

        It must not depend on the neurons seen in `fit`, and act on each neuron and
        trial by itself.

        Parameters
        ----------
        X : ndarray of shape (n_trials, n_bins, n_neurons)
            Activity, of any number of neurons.
        lengths : array-like of shape (n_trials,), default=None
            Number of bins of each trial.

        Returns
        -------
        features : ndarray of shape (n_trials, n_bins, n_neurons)
            Features, of dtype float32 if X is, else float64.
        """

    @abstractmethod
    def encode(self, features, readin=None, lengths=None):
        """Latents from features.

        Parameters
        ----------
        features : ndarray of shape (n_trials, n_bins, n_neurons)
            Features of a session, see `features`.
        readin : tuple of ndarray, default=None
            Weights and bias of the session's read-in; None is this model's own.
        lengths : array-like of shape (n_trials,), default=None
            Number of bins of each trial.

        Returns
        -------
        Z : ndarray of shape (n_trials, n_bins, n_components)
            Latents, of dtype float64. A trial's do not depend on the others.
        """

    def activations(self, features, readin=None):
        """Activations of the read-in.

        Parameters
        ----------
        features : ndarray of shape (n_trials, n_bins, n_neurons)
            Features of a session, see `features`.
        readin : tuple of ndarray, default=None
            Weights and bias of the session's read-in; None is this model's own.

        Returns
        -------
        activations : ndarray of shape (n_trials, n_bins, n_readin)
            Activations.
        """
        weights, bias = self.readin_ if readin is None else readin
        return in_double(lambda part: part @ weights.T + bias, features)

    @own_settings()
    def transform(self, X):
        """Latents of the session seen in `fit`.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_neurons), Trials or 2-D array
            Activity of the neurons seen in `fit`.

        Returns
        -------
        Z : ndarray of shape (n_trials, n_bins, n_components), Trials or 2-D ndarray
            Latents, in the form of the input.

        Raises
        ------
        ValueError
            If X has another width or number of bins than in `fit`, or is not finite.
        """
        X, form = self._check_activity(X)
        self._check_output(form)
        if isinstance(X, Trials):
            return X.map(self._transform)
        return form.restore(self._transform(X))

    def _transform(self, X):
        return self.encode(self.features(X)).astype(X.dtype, copy=False)

    def _check_fit(self, X, y, conditions, lengths):
        """Check what `fit` is given, and bring it to 3-D arrays of the source session.

        Returns
        -------
        X : ndarray of shape (n_trials, n_bins, n_neurons)
            Activity, zero behind each trial.
        y : ndarray of shape (n_trials, n_bins, n_outputs) or None
            Behaviour, zero behind each trial.
        lengths : ndarray of shape (n_trials,) or None
            Number of bins of each trial; None if none is padded.
        """
        if lengths is not None:
            if isinstance(X, Trials) or np.ndim(X) != 3:
                raise ValueError(
                    "lengths goes with X of shape (n_trials, n_bins, n_neurons), "
                    "padded behind each trial."
                )
            lengths = check_lengths(lengths, X)
            X, y = (A if A is None else without_padding(A, lengths) for A in (X, y))
        X, form = self._check_X(X, reset=True, min_trials=2)
        used = np.ones(len(X), dtype=bool)
        if isinstance(X, Trials):
            used = X.session == X.source
        if y is not None:
            y = self._check_y(y, X, form, used)
        conditions = check_conditions(conditions, X, form)
        self._data_fingerprint = fingerprint(X, y, conditions, lengths)
        if isinstance(X, Trials):
            X = X[X.source]
        # zeros behind trials are no change of activity
        check_not_silent(X if lengths is None else X[is_within(X, lengths)][None], "X")
        return X, y, lengths

    def _check_activity(self, X):
        """Check activity of the neurons seen in `fit`."""
        check_is_fitted(self)
        X, form = self._check_X(X, reset=False)
        n_bins = X.n_bins if isinstance(X, Trials) else X.shape[1]
        if n_bins != self.n_bins_:
            raise ValueError(
                f"X has {n_bins} bins per trial, but {type(self).__name__} was fitted "
                f"on trials of {self.n_bins_} bins."
            )
        widths = {A.shape[2] for _, A in X.items()} if isinstance(X, Trials) else set()
        if widths - {self.n_features_in_}:
            raise ValueError(
                f"X has sessions of {sorted(widths)} neurons, but "
                f"{type(self).__name__} was fitted on {self.n_features_in_}. Use an "
                "aligner for sessions of other neurons."
            )
        return X, form


def check_fitted(model, X):
    """Raise if a fitted model lacks what aligners read of it.

    Parameters
    ----------
    model : object
        A latent model that was just fitted.
    X : ndarray of shape (n_trials, n_bins, n_neurons)
        What it was fitted to.

    Raises
    ------
    TypeError
        If ``readin_`` or ``n_bins_`` are missing or of the wrong shape.
    """
    name = type(model).__name__
    try:
        weights, bias = model.readin_
        fits = weights.shape == (len(bias), X.shape[2]) and bias.ndim == 1
    except (AttributeError, TypeError, ValueError):
        fits = False
    if not fits:
        raise TypeError(
            f"{name} has no usable readin_ after fit: a tuple of weights (n_readin, "
            f"{X.shape[2]}) and bias (n_readin,) is needed. See "
            "skerdiff.latent.LatentModel; check_latent_model finds what is missing."
        )
    if getattr(model, "n_bins_", None) != X.shape[1]:
        raise TypeError(
            f"{name} has n_bins_={getattr(model, 'n_bins_', None)!r} after fit to "
            f"trials of {X.shape[1]} bins. See skerdiff.latent.LatentModel."
        )


def check_latents(model, Z, features):
    """Raise if what a model has made of features cannot be latents.

    Parameters
    ----------
    model : object
        A latent model.
    Z : object
        What its method ``encode`` returned.
    features : ndarray of shape (n_trials, n_bins, n_neurons)
        What it was given.

    Raises
    ------
    ValueError
        If Z are not (n_trials, n_bins, n_components) finite numbers.
    """
    shape = getattr(Z, "shape", None)
    if shape is None or len(shape) != 3 or shape[:2] != features.shape[:2]:
        what = f"{type(Z).__name__}" + (f" of shape {shape}" if shape else "")
    elif not np.isfinite(Z).all():
        what = "latents that are not finite"
    else:
        return
    raise ValueError(
        f"{type(model).__name__}.encode returned {what}; an array of finite numbers of "
        f"shape {(*features.shape[:2], 'n_components')} is needed. "
        "skerdiff.latent.check_latent_model finds what is wrong with a model of your "
        "own."
    )


def check_lengths(lengths, X):
    """Validate the number of bins of each trial.

    Parameters
    ----------
    lengths : array-like of shape (n_trials,) or None
        Numbers of bins; None if all trials have as many as X.
    X : ndarray of shape (n_trials, n_bins, .)
        Trials, padded behind.

    Returns
    -------
    lengths : ndarray of int, shape (n_trials,) or None
        The lengths; None if no trial is padded.

    Raises
    ------
    ValueError
        If they are not whole numbers of 1 to n_bins, one for each trial.
    """
    if lengths is None:
        return None
    found = np.asarray(lengths)
    if (
        found.shape != (len(X),)
        or found.dtype.kind not in "iu"
        or found.min() < 1
        or found.max() > X.shape[1]
    ):
        raise ValueError(
            f"lengths must hold a whole number of bins from 1 to {X.shape[1]} for each "
            f"of the {len(X)} trials, got {lengths!r}."
        )
    return None if (found == X.shape[1]).all() else found


def by_length(func, X, lengths):
    """Apply a function to trials of each length by themselves.

    Parameters
    ----------
    func : callable
        Maps (n, n_bins, d) to (n, n_bins, k), for any number of bins.
    X : ndarray of shape (n_trials, n_bins, d)
        Trials, padded behind.
    lengths : ndarray of shape (n_trials,) or None
        Number of bins of each; None if no trial is padded.

    Returns
    -------
    Z : ndarray of shape (n_trials, n_bins, k)
        Results, zero behind each trial.
    """
    if lengths is None:
        return func(X)
    parts = {n: func(X[lengths == n, :n]) for n in np.unique(lengths)}
    first = next(iter(parts.values()))
    Z = np.zeros((*X.shape[:2], first.shape[2]), first.dtype)
    for n, part in parts.items():
        Z[lengths == n, :n] = part
    return Z


def without_padding(A, lengths):
    """Copy of trials (n_trials, n_bins, ...) with zeros behind each."""
    A = np.array(A)
    if lengths is not None and A.shape[:1] == lengths.shape:
        A[~is_within(A, lengths)] = 0
    return A


def is_within(X, lengths):
    """Mask of the bins (n_trials, n_bins) that are no padding."""
    if lengths is None:
        return np.ones(X.shape[:2], dtype=bool)
    return np.arange(X.shape[1]) < np.asarray(lengths)[:, None]
