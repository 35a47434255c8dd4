"""Linear latent model of neural activity, in closed form."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.nn import functional as F

from ..geometry._similarity import fit_pca
from ..utils._arrays import in_parts, mean_and_variance
from ..utils._atomic import all_or_nothing
from ..utils._settings import own_settings
from ..utils._sklearn import COUNT, NON_NEGATIVE, StrOptions
from ..utils._threads import limit_threads
from ..utils._torch import as_tensor
from ._base import by_length, check_lengths, is_within
from ._decoder import DecodingLatentModel
from ._features import activity_features, choose_likelihood

_PENALTIES = np.logspace(-1, 6, 15)
_N_FOLDS = 5
_FEWEST = 5  # trials that must reach a bin for a filter of its own
_FLOOR = 0.1  # of its mean rate, the least that is expected of a neuron
_NOTHING = 1e-10  # of the largest variance, below which an axis is rounding error
_LEAST_NOISE = 1e-4  # of the mean variance of neurons


class LinearLatentModel(DecodingLatentModel):
    r"""Linear latent model of neural activity, in closed form.

    The read-in takes the smoothed square roots of counts :math:`f(X)` to their leading
    principal components, the activations :math:`a_t`, in units of the first one's
    standard deviation. With behaviour, a ridge regression predicts it in each bin from
    the activations of the last `n_lags` bins,

    .. math:: \min_{B_t, b_t} \sum_{trials} \Big\lVert y_t - b_t - \sum_{l < n_{lags}}
              B_{t,l} \, a_{t-l} \Big\rVert^2
              + \lambda_t \sum_l \lVert B_{t,l} \rVert^2,

    with standardised behaviour :math:`y` and a penalty :math:`\lambda_t` chosen by
    leaving out one trial at a time. The latents are the leading principal components
    of :math:`[\gamma \, \hat y_t, a_t]`, predictions :math:`\hat y_t` of unit variance
    beside activations. So they are a causal linear filter of the activations,

    .. math:: z_t = c_t + \sum_{l < n_{lags}} F_{t,l} \, a_{t-l}.

    Before a trial begins activations count as zero, their mean. Without behaviour the
    latents are principal components of the features of each bin.

    It is fitted in under a second on the recordings of the benchmark, and nothing in it
    is random. It is linear in the features, and so cannot follow a gain that depends on
    the activity, for example. On these recordings `SequentialVAE` decodes better.

    Parameters
    ----------
    n_components : int, default=8
        Number of latent dims. Those beyond the rank of what they are made from are
        zero.
    n_readin : int, default=16
        Activations of the read-in. Those beyond the number of neurons are zero.
    n_lags : int, default=8
        Bins of activations, the present one included, from which behaviour is
        predicted.
    per_bin : bool, default=True
        Whether each bin of a trial has a filter of its own. This is for trials that
        are cut at an event. For windows cut anywhere take False, the same filter in
        all bins, which is a Wiener filter; its penalty is chosen by five-fold
        cross-validation over trials.
    likelihood : {"auto", "poisson", "gaussian"}, default="auto"
        Likelihood of activity. ``"auto"`` takes Poisson for non-negative X, fractional
        counts included, and Gaussian otherwise. The square root belongs to Poisson.
    smoothing : float, default=1.0
        Standard deviation, in bins, of the Gaussian that smooths features. It looks
        ahead unless it is 0.
    behaviour_weight : float, default=3.0
        Weight :math:`\gamma` of the predictions of behaviour. At 0 behaviour does not
        matter. Without y it has no meaning.
    trial_length : int, default=None
        For 2-D X, the number of consecutive rows (bins) of a trial.

    Attributes
    ----------
    readin_ : tuple of ndarray
        Weights (n_readin, n_neurons) and bias (n_readin,) of the read-in, as they act
        on features.
    filter_ : ndarray of shape (n_bins, n_components, n_lags, n_readin)
        The filter :math:`F` of each bin, the present bin first. Of one bin if
        `per_bin` is False or without y. Lags beyond the length of trials are left out.
    offset_ : ndarray of shape (n_bins, n_components)
        Their offsets :math:`c`.
    penalty_ : ndarray of shape (n_bins,) or None
        Penalty :math:`\lambda` of each filter; None without y.
    readout_ : tuple of ndarray
        Weights (n_neurons, n_components) and bias (n_neurons,) of the least-squares
        fit of activity by latents.
    noise_variance_ : ndarray of shape (n_neurons,)
        Variance of activity that this leaves.
    likelihood_ : str
        The likelihood in use.
    mean_activity_ : ndarray of shape (n_neurons,)
        Mean count per bin of each neuron in `fit`.
    n_bins_ : int
        Bins per trial.
    n_features_in_ : int
        Number of neurons seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the neurons, if X had any.

    See Also
    --------
    skerdiff.SequentialVAE : A recurrent network, the default of aligners.
    skerdiff.latent.LatentModel : What an aligner asks of a latent model.

    Notes
    -----
    Trials of unequal length are aligned at their first bin. A bin that fewer than five
    trials reach has the filter of the bin before.

    Examples
    --------
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> from skerdiff.latent import LinearLatentModel
    >>> trials, y = make_reaching_sessions(
    ...     n_trials=20, n_neurons=15, random_state=0, return_X_y=True
    ... )
    >>> X, y = trials["day0"], y[:20]
    >>> model = LinearLatentModel(n_components=4).fit(X, y)
    >>> model.transform(X).shape
    (20, 20, 4)
    """

    _parameter_constraints = {
        "n_components": COUNT,
        "n_readin": COUNT,
        "n_lags": COUNT,
        "per_bin": ["boolean"],
        "likelihood": [StrOptions({"auto", "poisson", "gaussian"})],
        "smoothing": NON_NEGATIVE,
        "behaviour_weight": NON_NEGATIVE,
        "trial_length": [*COUNT, None],
    }

    def __init__(
        self,
        n_components=8,
        *,
        n_readin=16,
        n_lags=8,
        per_bin=True,
        likelihood="auto",
        smoothing=1.0,
        behaviour_weight=3.0,
        trial_length=None,
    ):
        self.n_components = n_components
        self.n_readin = n_readin
        self.n_lags = n_lags
        self.per_bin = per_bin
        self.likelihood = likelihood
        self.smoothing = smoothing
        self.behaviour_weight = behaviour_weight
        self.trial_length = trial_length

    @all_or_nothing
    @own_settings()
    def fit(self, X, y=None, *, conditions=None, lengths=None):
        """Learn the latents of a session.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_bins, n_neurons), Trials or 2-D array
            Activity. Of `Trials` the source session is used.
        y : array-like of shape (n_trials, n_bins, n_outputs), default=None
            Behaviour, which shapes the latents. Of `Trials` only the rows of source
            trials are read.
        conditions : array-like of shape (n_trials,), default=None
            Checked, but not used by this model.
        lengths : array-like of shape (n_trials,), default=None
            Number of bins of each trial of an array, which is padded behind with
            anything. None if all trials are as long.

        Returns
        -------
        self : object
            Fitted model.

        Raises
        ------
        ValueError
            If X is ragged, empty, silent, not finite or has one trial only, if it is
            negative under a Poisson likelihood, or if y, conditions or lengths do not
            fit X.
        """
        self._validate_params()
        X, y, lengths = self._check_fit(X, y, conditions, lengths)
        self.likelihood_ = choose_likelihood(self.likelihood, X)
        self._smoothing = self.smoothing  # set anew, it counts from the next fit
        self.n_bins_ = X.shape[1]
        within = is_within(X, lengths)
        features = self.features(X, lengths)
        with limit_threads(1):
            # without a copy where no trial is padded
            rows = features.reshape(-1, features.shape[2])
            rows = rows if lengths is None else features[within]
            self.readin_ = _principal_readin(rows, self.n_readin)
            activations = self.activations(features)
            n_lags = min(self.n_lags, self.n_bins_)
            lagged = _lagged(activations, n_lags)
            if y is None:
                weights = np.zeros((1, 0, lagged.shape[2]))
                offset = np.zeros((1, 0))
                self.penalty_ = None
            else:
                weights, offset, self.penalty_ = _regress(
                    lagged, _standardise(y, within), within, self.per_bin
                )
            guess = _filter(lagged, weights, offset)
            size = self.behaviour_weight / _spread(guess[within])
            both = np.concatenate([size * guess, activations], axis=2)
            axes, mean = _leading_axes(both[within], self.n_components)
            of_guess = axes[:, : len(size)] * size
            weights = (of_guess @ weights).reshape(
                len(weights), self.n_components, n_lags, self.n_readin
            )
            weights[:, :, 0] += axes[:, len(size) :]
            self.filter_ = weights
            self.offset_ = offset @ of_guess.T - axes @ mean
            Z = self.encode(features, lengths=lengths)[within]
            X = X.reshape(-1, X.shape[2]) if lengths is None else X[within]
            self.mean_activity_, variance = mean_and_variance(X)
            weights, offset, noise = _read_out(Z, X)
            self.readout_ = weights, offset
        self.noise_variance_ = np.maximum(noise, _LEAST_NOISE * variance.mean())
        return self

    @own_settings()
    def features(self, X, lengths=None):
        """What the read-in sees: smoothed square roots of counts.

        Parameters
        ----------
        X : ndarray of shape (n_trials, n_bins, n_neurons)
            Activity of any session.
        lengths : array-like of shape (n_trials,), default=None
            Number of bins of each trial.

        Returns
        -------
        features : ndarray of shape (n_trials, n_bins, n_neurons)
            Smoothed square roots; under a Gaussian likelihood smoothed activity. Of
            negative values (an offset, say) the root of the size, with the sign.
        """
        return activity_features(X, self.likelihood_, self._smoothing, lengths)

    @own_settings()
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
            Latents. Bins behind the last that has a filter are read by that one.
        """
        weights = self.filter_.reshape(*self.filter_.shape[:2], -1)

        def encode(features):
            lagged = _lagged(self.activations(features, readin), self.filter_.shape[2])
            return _filter(lagged, weights, self.offset_)

        with limit_threads(1):
            return by_length(encode, features, check_lengths(lengths, features))

    def torch_encoder(self):
        """Filter behind the read-in as a torch module, see `LatentModel`.

        Returns
        -------
        module : Module
            A frozen copy; maps activations (n_trials, n_bins, n_readin) to latents
            (n_trials, n_bins, n_components).
        """
        check_is_fitted(self)
        return CausalFilter(self.filter_, self.offset_).eval()

    @own_settings()
    def step(self, counts, readin=None, state=None):
        """Latents of one more bin, as they come.

        Parameters
        ----------
        counts : array-like of shape (n_neurons,)
            Activity of the bin.
        readin : tuple of ndarray, default=None
            Weights and bias of the session's read-in; None is this model's own.
        state : tuple, default=None
            What the last call returned; None begins a trial.

        Returns
        -------
        z : ndarray of shape (n_components,)
            Latents of the bin.
        state : tuple
            What the next call needs: the number of bins so far, and their last
            activations.

        Raises
        ------
        ValueError
            If the model looks ahead: with smoothing.
        """
        check_is_fitted(self)
        if self._smoothing:
            raise ValueError(
                f"This model looks ahead (smoothing={self._smoothing}). To read bins "
                "as they come, fit one with smoothing=0."
            )
        n_bins, _, n_lags, n_readin = self.filter_.shape
        t, recent = (0, np.zeros((n_lags - 1, n_readin))) if state is None else state
        now = self.activations(self.features(np.asarray(counts)[None, None]), readin)
        recent = np.concatenate([now[0], recent])  # the present bin first
        k = min(t, n_bins - 1)
        z = np.tensordot(self.filter_[k], recent, 2) + self.offset_[k]
        return z, (t + 1, recent[: n_lags - 1])

    def _expected(self, Z):
        weights, bias = self.readout_
        X = Z @ weights.T + bias
        if self.likelihood_ == "gaussian":
            return X
        return np.maximum(X, _FLOOR * self.mean_activity_)

    def _log_noise(self):
        return np.log(self.noise_variance_)


class CausalFilter(nn.Module):
    """A linear filter over the last bins, of its own for each bin."""

    def __init__(self, weights, offset):
        super().__init__()
        # oldest first, as windows of an array are
        weights = as_tensor(weights[:, :, ::-1], torch.float64)
        self.register_buffer("weights", weights)  # (n_bins, n_components, n_lags, d)
        self.register_buffer("offset", as_tensor(offset, torch.float64))

    def forward(self, activations):
        """Map activations (n, n_bins, d) to latents (n, n_bins, n_components)."""
        n_filters, _, n_lags, _ = self.weights.shape
        n_bins = activations.shape[1]
        padded = F.pad(activations, (0, 0, n_lags - 1, 0))
        windows = padded.unfold(1, n_lags, 1)  # (n, n_bins, d, n_lags)
        k = torch.arange(n_bins, device=activations.device).clamp(max=n_filters - 1)
        Z = torch.einsum("ntdl,tcld->ntc", windows, self.weights[k])
        return Z + self.offset[k]


def _principal_readin(rows, n_readin):
    """Principal axes of features (., n_neurons) over the deviation along the first."""
    n_axes = min(n_readin, *rows.shape)
    pca = fit_pca(rows, n_axes)
    weights = np.zeros((n_readin, rows.shape[1]))
    weights[:n_axes] = pca.components_ / (np.sqrt(pca.explained_variance_[0]) or 1.0)
    return weights, -weights @ pca.mean_


def _read_out(Z, X):
    """Regression of activity (n, n_neurons) on latents (n, d), and its mean error.

    Returns
    -------
    weights, offset, error : ndarray of shape (n_neurons, d), (n_neurons,), (n_neurons,)
        Activity is ``Z @ weights.T + offset``; the error is squared.
    """
    z = np.c_[Z - Z.mean(0), np.ones(len(Z))]
    mean = mean_and_variance(X)[0]
    cross = sum(z.T @ (x - mean) for z, x in in_parts(z, X))
    solved = np.linalg.lstsq(z.T @ z, cross, rcond=None)[0]
    error = sum(((x - mean - z @ solved) ** 2).sum(0) for z, x in in_parts(z, X))
    weights, offset = solved[:-1].T, solved[-1] + mean
    return weights, offset - weights @ Z.mean(0), error / len(X)


def _lagged(activations, n_lags):
    """Activations (n, n_bins, d) of the last bins, (n, n_bins, n_lags * d).

    The present bin comes first. Before a trial there are zeros.
    """
    n, n_bins, d = activations.shape
    lagged = np.zeros((n, n_bins, n_lags, d))
    for lag in range(min(n_lags, n_bins)):
        lagged[:, lag:, lag] = activations[:, : n_bins - lag]
    return lagged.reshape(n, n_bins, -1)


def _filter(lagged, weights, offset):
    """Apply filters (n_filters, k, p), one for each bin, to (n, n_bins, p)."""
    k = np.minimum(np.arange(lagged.shape[1]), len(weights) - 1)
    Z = np.matmul(lagged.swapaxes(0, 1), weights[k].swapaxes(1, 2))
    return Z.swapaxes(0, 1) + offset[k]


def _regress(lagged, y, within, per_bin):
    """Ridge regression of behaviour (n, n_bins, q) on lagged activations.

    Returns
    -------
    weights : ndarray of shape (n_filters, q, p)
        A filter for each bin, or one for all.
    offset : ndarray of shape (n_filters, q)
        Their offsets.
    penalty : ndarray of shape (n_filters,)
        Their penalties.
    """
    if per_bin:
        # in one bin samples are trials, and RidgeCV leaves out one
        reach = within.sum(0)
        n_filters = max(1, int(np.sum(reach >= _FEWEST)))
        fitted = [
            RidgeCV(_PENALTIES).fit(lagged[rows, t], y[rows, t])
            for t, rows in enumerate(within.T[:n_filters])
        ]
        penalty = [ridge.alpha_ for ridge in fitted]
    else:
        rows, targets = lagged[within], y[within]
        penalty = [_penalty_by_folds(rows, targets, np.nonzero(within)[0])]
        fitted = [Ridge(*penalty).fit(rows, targets)]
    q = y.shape[2]
    weights = np.stack([ridge.coef_.reshape(q, -1) for ridge in fitted])
    offset = np.stack([np.reshape(ridge.intercept_, q) for ridge in fitted])
    return weights, offset, np.array(penalty)


def _penalty_by_folds(x, y, trial):
    """Ridge penalty of the least error on held-out trials.

    As RidgeCV by folds, but with one decomposition per fold rather than per penalty.
    """
    errors = np.zeros(len(_PENALTIES))
    n_folds = min(_N_FOLDS, len(np.unique(trial)))
    for train, test in GroupKFold(n_folds).split(x, groups=trial):
        mean_x, mean_y = x[train].mean(0), y[train].mean(0)
        centred = x[train] - mean_x
        values, axes = np.linalg.eigh(centred.T @ centred)
        cross = axes.T @ (centred.T @ (y[train] - mean_y))
        turned = (x[test] - mean_x) @ axes
        for i, penalty in enumerate(_PENALTIES):
            solved = cross / (np.maximum(values, 0) + penalty)[:, None]
            errors[i] += np.sum((y[test] - mean_y - turned @ solved) ** 2)
    return _PENALTIES[np.argmin(errors)]


def _standardise(y, within):
    """Behaviour of zero mean and unit variance over the bins of trials."""
    return (y - y[within].mean(0)) / _spread(y[within])


def _spread(rows):
    """Standard deviations; 1 where nothing varies beyond rounding."""
    spread = rows.std(0)
    return np.where(spread > _NOTHING * np.abs(rows).max(0, initial=0), spread, 1.0)


def _leading_axes(rows, n_components):
    """Principal axes (n_components, d) and mean (d,); zero where nothing varies."""
    n_axes = min(n_components, *rows.shape)
    pca = fit_pca(rows, n_axes)
    variance = pca.explained_variance_
    axes = np.zeros((n_components, rows.shape[1]))
    kept = variance > _NOTHING * variance[0]
    axes[:n_axes][kept] = pca.components_[kept]
    return axes, pca.mean_
