"""Sequential variational autoencoder of neural activity."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import numbers

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from ..utils._arrays import mean_and_variance
from ..utils._atomic import all_or_nothing
from ..utils._random import derive_seed, draw_seed, numpy_generator
from ..utils._settings import own_settings
from ..utils._sklearn import COUNT, NON_NEGATIVE, POSITIVE, Interval, StrOptions
from ..utils._threads import limit_threads
from ..utils._torch import as_tensor, resolve_device, shared_tensor
from ..utils._training import train_module
from ._base import by_length, check_lengths, is_within
from ._decoder import DecodingLatentModel
from ._features import activity_features, choose_likelihood
from ._modules import PosteriorMean, SequentialVAEModule
from ._readin import initial_readin

_TRIALS_AT_A_TIME = 1024  # in the encoder
_COLLAPSED = 0.01  # variance below which a dim with prior variance 1 says nothing


class SequentialVAE(DecodingLatentModel):
    r"""Sequential variational autoencoder of neural activity.

    A linear read-in maps the smoothed square roots of counts :math:`f(X)` to
    activations, a recurrent encoder (GRU) maps these to a Gaussian posterior of the
    latents per bin, a linear decoder with softplus (or identity) link maps latents to
    expected activity and, if behaviour is given, a linear read-out maps them to it.
    Training minimises

    .. math:: -E_q \log p(X \mid Z) + \beta \, KL(q(Z \mid X) \Vert N(0, I))
              + \gamma \, E_q \lVert y - \hat y(Z) \rVert^2

    per bin, with standardised behaviour y. The read-in is the only part that
    depends on the neurons of a session.

    Parameters
    ----------
    n_components : int, default=8
        Number of latent dims.
    n_readin : int, default=16
        Activations of the read-in, which starts at the principal axes.
    n_hidden : int, default=64
        Width of the recurrent encoder.
    bidirectional : bool, default=False
        Whether the encoder also runs backwards in time. False keeps it causal, as
        online decoding needs; note that `smoothing` looks ahead unless it is 0.
    likelihood : {"auto", "poisson", "gaussian"}, default="auto"
        Likelihood of activity. ``"auto"`` takes Poisson for non-negative X, fractional
        counts included, and Gaussian otherwise. The square root belongs to Poisson.
    smoothing : float, default=1.0
        Standard deviation, in bins, of the Gaussian that smooths what the encoder
        reads. The likelihood is that of the counts as they are.
    kl_weight : float, default=0.01
        Weight :math:`\beta` of the divergence. At 1 the objective is the evidence
        bound; large weights shrink the latents and in the end collapse them.
    behaviour_weight : float, default=50.0
        Weight :math:`\gamma` of the behaviour error. Without y it has no meaning.
    readin_noise : float, default=0.3
        Standard deviation of Gaussian noise added to activations in training, meant to
        make the encoder forgiving of the read-in of another session.
    dropout : float, default=0.2
        Share of neurons and bins that the encoder does not see in training.
    learning_rate : float, default=3e-3
        Step size of AdamW.
    weight_decay : float, default=1e-4
        Weight decay of AdamW.
    batch_size : int, default=32
        Trials per batch.
    max_iter : int, default=200
        Most epochs.
    patience : int, default=30
        Epochs without a better loss on the validation trials before stopping. The best
        epoch is kept.
    validation_fraction : float, default=0.15
        Share of trials for validation; 0 trains for `max_iter` epochs.
    trial_length : int, default=None
        For 2-D X, the number of consecutive rows (bins) of a trial.
    device : str or torch.device, default="auto"
        Where to train. ``"auto"`` takes a GPU if there is one. The fitted model is
        kept on the CPU.
    random_state : int, RandomState instance or None, default=None
        Determines initial weights, batches, noise and validation trials. Two fits with
        one int agree to the bit.
    verbose : bool, default=False
        Whether to show a progress bar.

    Attributes
    ----------
    module_ : Module
        The trained network.
    readin_ : tuple of ndarray
        Weights (n_readin, n_neurons) and bias (n_readin,) of the read-in, as they act
        on features.
    likelihood_ : str
        The likelihood in use.
    mean_activity_ : ndarray of shape (n_neurons,)
        Mean count per bin of each neuron in `fit`.
    latent_variance_ : ndarray of shape (n_components,)
        Variance of the posterior means in `fit`, per latent dim.
    active_share_ : float
        Share of latent dims whose variance is above a tenth of the largest, and above
        0.01; low values mean that latents have collapsed.
    n_bins_ : int
        Bins per trial.
    loss_curve_ : list of float
        Training loss after each epoch.
    validation_curve_ : list of float
        Validation loss after each epoch; empty without validation trials.
    n_iter_ : int
        Number of epochs run.
    n_features_in_ : int
        Number of neurons seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the neurons, if X had any.

    See Also
    --------
    skerdiff.ERDiffAligner : Aligns other sessions to the latents of this model.

    Notes
    -----
    Differences from the published ERDiff code: GRU instead of a plain recurrent
    network, a low-rank read-in, early stopping, and weights under which the latents do
    not collapse.

    References
    ----------
    .. [1] Wang, Y., Wu, Z., Li, C. and Wu, A. "Extraction and recovery of
       spatio-temporal structure in latent dynamics alignment with diffusion models."
       NeurIPS 2023.

    Examples
    --------
    >>> from skerdiff import SequentialVAE
    >>> from skerdiff.datasets import make_reaching_sessions
    >>> trials, y = make_reaching_sessions(
    ...     n_trials=20, n_neurons=15, random_state=0, return_X_y=True
    ... )
    >>> X = trials["day0"]
    >>> model = SequentialVAE(max_iter=2, n_hidden=8, random_state=0).fit(X)
    >>> model.transform(X).shape
    (20, 20, 8)
    """

    _parameter_constraints = {
        "n_components": COUNT,
        "n_readin": COUNT,
        "n_hidden": COUNT,
        "bidirectional": ["boolean"],
        "likelihood": [StrOptions({"auto", "poisson", "gaussian"})],
        "smoothing": NON_NEGATIVE,
        "kl_weight": NON_NEGATIVE,
        "behaviour_weight": NON_NEGATIVE,
        "readin_noise": NON_NEGATIVE,
        "dropout": [Interval(numbers.Real, 0, 1, closed="left")],
        "learning_rate": POSITIVE,
        "weight_decay": NON_NEGATIVE,
        "batch_size": COUNT,
        "max_iter": COUNT,
        "patience": COUNT,
        "validation_fraction": [Interval(numbers.Real, 0, 1, closed="left")],
        "trial_length": [*COUNT, None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components=8,
        *,
        n_readin=16,
        n_hidden=64,
        bidirectional=False,
        likelihood="auto",
        smoothing=1.0,
        kl_weight=0.01,
        behaviour_weight=50.0,
        readin_noise=0.3,
        dropout=0.2,
        learning_rate=3e-3,
        weight_decay=1e-4,
        batch_size=32,
        max_iter=200,
        patience=30,
        validation_fraction=0.15,
        trial_length=None,
        device="auto",
        random_state=None,
        verbose=False,
    ):
        self.n_components = n_components
        self.n_readin = n_readin
        self.n_hidden = n_hidden
        self.bidirectional = bidirectional
        self.likelihood = likelihood
        self.smoothing = smoothing
        self.kl_weight = kl_weight
        self.behaviour_weight = behaviour_weight
        self.readin_noise = readin_noise
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.trial_length = trial_length
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

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
        device = resolve_device(self.device)
        X, y, lengths = self._check_fit(X, y, conditions, lengths)
        seed = draw_seed(self.random_state)
        within = None if lengths is None else is_within(X, lengths)

        def bins(A):  # without padding
            return A if within is None else A[within][None]

        self.likelihood_ = choose_likelihood(self.likelihood, X)
        self._smoothing = self.smoothing  # set anew, it counts from the next fit
        features = self.features(X, lengths)
        offset, variance = mean_and_variance(bins(features))
        scale = np.sqrt(variance.mean()) or 1.0
        # in place, if they are not X itself
        own = None if np.may_share_memory(features, X) else features
        standard = np.subtract(features, offset, out=own)
        standard /= scale
        tensors = [shared_tensor(standard), shared_tensor(X)]
        if y is not None:
            spread = bins(y).std((0, 1))
            spread[spread == 0] = 1.0
            tensors.append(as_tensor((y - bins(y).mean((0, 1))) / spread))
        if within is not None:
            if y is None:
                tensors.append(torch.zeros(*X.shape[:2], 0))
            tensors.append(torch.tensor(within))
        order = numpy_generator(derive_seed(seed, "validation")).permutation(len(X))
        n_valid = min(round(self.validation_fraction * len(X)), len(X) - 1)
        valid, train = order[:n_valid], order[n_valid:]
        module, history = train_module(
            SequentialVAEModule,
            {
                "readin": as_tensor(
                    initial_readin(bins(standard), self.n_readin, seed)
                ),
                "mean_activity": as_tensor(mean_and_variance(bins(X))[0]),
                "n_components": self.n_components,
                "n_hidden": self.n_hidden,
                "n_outputs": 0 if y is None else y.shape[2],
                "bidirectional": self.bidirectional,
                "likelihood": self.likelihood_,
                "kl_weight": self.kl_weight,
                "behaviour_weight": self.behaviour_weight,
                "readin_noise": self.readin_noise,
                "dropout": self.dropout,
            },
            tensors,
            [tensor[valid] for tensor in tensors] if n_valid else None,
            rows=torch.tensor(train),
            seed=seed,
            device=device,
            max_iter=self.max_iter,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            patience=self.patience,
            label="latent model",
            verbose=self.verbose,
        )
        self.module_ = module.double()
        weights = module.readin.weight.detach().numpy() / scale
        self.readin_ = (weights, -weights @ offset)
        self.loss_curve_ = [row["train_loss"] for row in history]
        self.validation_curve_ = [row["valid_loss"] for row in history if n_valid]
        self.n_iter_ = len(history)
        self.n_bins_ = X.shape[1]
        self.mean_activity_ = mean_and_variance(bins(X))[0]
        del tensors, features, standard
        Z = self.encode(self.features(X, lengths), lengths=lengths)
        self.latent_variance_ = bins(Z).var((0, 1))
        threshold = max(0.1 * self.latent_variance_.max(), _COLLAPSED)
        self.active_share_ = float(np.mean(self.latent_variance_ > threshold))
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
        """Posterior means of the latents from features.

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
            Posterior means.
        """

        def encode(features):
            activations = as_tensor(self.activations(features, readin), torch.float64)
            parts = activations.split(_TRIALS_AT_A_TIME)
            return torch.cat([self.module_.encode(part)[0] for part in parts]).numpy()

        with torch.no_grad(), limit_threads(1):
            return by_length(encode, features, check_lengths(lengths, features))

    def torch_encoder(self):
        """Encoder behind the read-in as a torch module, see `LatentModel`.

        Returns
        -------
        module : Module
            A frozen copy; maps activations (n_trials, n_bins, n_readin) to posterior
            means (n_trials, n_bins, n_components).
        """
        check_is_fitted(self)
        return PosteriorMean(self.module_).eval().requires_grad_(False)

    @own_settings()
    def step(self, counts, readin=None, state=None):
        """Posterior mean of one more bin, as they come.

        Parameters
        ----------
        counts : array-like of shape (n_neurons,)
            Activity of the bin.
        readin : tuple of ndarray, default=None
            Weights and bias of the session's read-in; None is this model's own.
        state : Tensor, default=None
            What the last call returned; None begins a trial.

        Returns
        -------
        z : ndarray of shape (n_components,)
            Latents of the bin.
        state : Tensor
            What the next call needs.

        Raises
        ------
        ValueError
            If the model looks ahead: with ``bidirectional=True``, or with smoothing.
        """
        check_is_fitted(self)
        if self.bidirectional or self._smoothing:
            raise ValueError(
                f"This model looks ahead (smoothing={self._smoothing}, bidirectional="
                f"{self.bidirectional}). To read bins as they come, fit one with "
                "smoothing=0 and bidirectional=False."
            )
        features = self.features(np.asarray(counts)[None, None])
        activations = as_tensor(self.activations(features, readin), torch.float64)
        with torch.no_grad(), limit_threads(1):
            hidden, state = self.module_.encoder(activations, state)
            mean = self.module_.posterior(hidden).chunk(2, dim=-1)[0]
        return mean[0, 0].numpy(), state

    def _expected(self, Z):
        with torch.no_grad(), limit_threads(1):
            return self.module_.decode(as_tensor(Z, torch.float64)).numpy()

    def _log_noise(self):
        return self.module_.log_noise.detach().numpy()
