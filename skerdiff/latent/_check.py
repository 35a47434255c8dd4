"""A check of latent models, for users who write one."""

# Authors: The skerdiff developers
# SPDX-License-Identifier: BSD-3-Clause

import inspect
import pickle
from copy import copy

import numpy as np
import torch
from sklearn.base import clone

from ._base import LatentModel

_TOLERANCE = 1e-10
_N_TRIALS, _N_BINS, _N_NEURONS = 12, 6, 7


def check_latent_model(estimator):
    """Check that a latent model keeps what `LatentModel` promises.

    Clones of it are fitted to small synthetic sessions, and each promise is tried. If
    there is a parameter ``random_state`` and it is None, the clones have it set to 0.

    Parameters
    ----------
    estimator : object or class
        The latent model, or its class, which is then made without parameters. It need
        not inherit from `LatentModel`. For the check to be quick, give it settings with
        which it is fitted quickly.

    Raises
    ------
    AssertionError
        If a promise is broken. The message names it, and says what was found.

    See Also
    --------
    LatentModel : The promises.
    sklearn.utils.estimator_checks.check_estimator : What scikit-learn asks for.

    Examples
    --------
    >>> from skerdiff.latent import LinearLatentModel, check_latent_model
    >>> check_latent_model(LinearLatentModel())
    """
    model = estimator() if inspect.isclass(estimator) else estimator
    _check_methods(model)
    model = clone(model)
    if model.get_params(deep=False).get("random_state", 0) is None:
        model.set_params(random_state=0)
    case = _Case(model)
    for check in (
        _check_fit,
        _check_readin,
        _check_features,
        _check_activations,
        _check_encode,
        _check_transform,
        _check_copies,
        _check_replaced_readin,
        _check_lengths,
        _check_torch_encoder,
        _check_step,
    ):
        check(case)


class _Case:
    """Sessions, and a model that was fitted to the first."""

    def __init__(self, model):
        self.model = model
        rng = np.random.RandomState(0)
        speed = rng.uniform(0.2, 1.0, (_N_TRIALS, 1, 1))
        phase = rng.uniform(0, 2 * np.pi, (_N_TRIALS, 1, 1))
        angle = phase + speed * np.arange(_N_BINS)[:, None]
        self.y = np.concatenate([np.cos(angle), np.sin(angle)], axis=2)
        self.conditions = np.arange(_N_TRIALS) % 3
        self.X, self.other = (
            rng.poisson(np.exp(1 + self.y @ rng.standard_normal((2, n)))).astype(float)
            for n in (_N_NEURONS, _N_NEURONS + 2)
        )
        # the first trial is of full length, and so are most
        self.lengths = np.full(_N_TRIALS, _N_BINS)
        self.lengths[1:4] = [1, 3, 5]
        self.behind = np.arange(_N_BINS) >= self.lengths[:, None]
        self.fitted = None

    def fit(self, X=None, y=None, **params):
        """Fit a clone, without touching what it is given."""
        X, y = (own if A is None else A for A, own in ((X, self.X), (y, self.y)))
        return clone(self.model).fit(X.copy(), y.copy(), **params)

    def readin_of_other(self):
        """Some read-in of the other session, of the size of the model's own."""
        weights, bias = self.fitted.readin_
        rng = np.random.RandomState(1)
        shape = (len(bias), self.other.shape[2])
        return np.abs(weights).mean() * rng.standard_normal(shape), np.array(bias)

    def padded(self, A, fill):
        """Trials with something else behind them."""
        A = A.copy()
        A[self.behind] = fill
        return A


def _expect(holds, promise, found):
    if not holds:
        raise AssertionError(f"LatentModel promises: {promise}. Found: {found}.")


def _try(promise, func, *args, **kwargs):
    """Call what a promise says can be called."""
    try:
        return func(*args, **kwargs)
    except Exception as error:
        raise AssertionError(
            f"LatentModel promises: {promise}. Found: {type(error).__name__}: {error}"
        ) from error


def _expect_equal(found, expected, promise, tolerance=_TOLERANCE):
    found, expected = np.asarray(found), np.asarray(expected)
    _expect(
        found.shape == expected.shape,
        promise,
        f"shape {found.shape} where {expected.shape} is due",
    )
    if found.size == 0:
        return
    size = max(1.0, np.abs(expected).max())
    difference = np.abs(found - expected).max()
    _expect(
        difference <= tolerance * size,  # false for NaN
        promise,
        f"a largest difference of {difference:.3g}, where values are up to {size:.3g}",
    )


def _expect_shape(A, shape, promise):
    _expect(
        isinstance(A, np.ndarray) and A.shape == shape,
        f"{promise} of shape {shape}",
        f"{type(A).__name__} of shape {np.shape(A)}",
    )


def _check_methods(model):
    missing = [name for name in LatentModel.required if not hasattr(model, name)]
    _expect(
        not missing,
        f"the methods {', '.join(LatentModel.required)}",
        f"{type(model).__name__} has no {', '.join(missing)}",
    )
    params = _try("get_params, as scikit-learn's estimators have", model.get_params)
    _expect(
        "n_components" in params, "a parameter n_components", f"only {sorted(params)}"
    )


def _check_fit(case):
    X, y = case.X.copy(), case.y.copy()
    lengths = np.full(_N_TRIALS, _N_BINS)
    promise = "fit(X, y=None, *, conditions=None, lengths=None)"
    model = clone(case.model)
    result = _try(promise, model.fit, X, y, conditions=case.conditions, lengths=lengths)
    _expect(result is model, "fit returns the model itself", f"{result!r}")
    for name, A, before in (("X", X, case.X), ("y", y, case.y)):
        _expect(np.array_equal(A, before), f"fit leaves {name} as it is", "it changed")
    _try(f"{promise}: without y", clone(case.model).fit, case.X.copy())
    case.fitted = case.fit()
    for name, expected in (("n_bins_", _N_BINS), ("n_features_in_", _N_NEURONS)):
        found = getattr(case.fitted, name, None)
        _expect(
            found == expected, f"after fit {name} is that of X, {expected}", f"{found}"
        )


def _check_readin(case):
    promise = "readin_ is a tuple of weights (n_readin, n_neurons) and bias (n_readin,)"
    readin = getattr(case.fitted, "readin_", None)
    _expect(
        isinstance(readin, tuple)
        and len(readin) == 2
        and all(isinstance(part, np.ndarray) for part in readin),
        f"{promise}, both arrays",
        repr(readin),
    )
    weights, bias = readin
    _expect(
        bias.ndim == 1 and weights.shape == (len(bias), _N_NEURONS),
        promise,
        f"shapes {weights.shape} and {bias.shape} for {_N_NEURONS} neurons",
    )


def _check_features(case):
    model = case.fitted
    X = case.X
    features = _try("features(X)", model.features, X.copy())
    _expect_shape(features, X.shape, "features")
    _expect(features.dtype == np.float64, "features of dtype float64", features.dtype)
    before = X.copy()
    model.features(before)
    _expect(np.array_equal(before, X), "features leaves X as it is", "it changed")
    other = _try("features of a session of any width", model.features, case.other)
    _expect_shape(other, case.other.shape, "features of a session of any width")
    for what, part in (("neuron", np.s_[:, :, 2:3]), ("trial", np.s_[3:4])):
        promise = f"features act on each {what} by itself"
        alone = _try(promise, model.features, X[part])
        _expect_equal(alone, features[part], promise)


def _check_activations(case):
    model = case.fitted
    features = model.features(case.X)
    for readin in (None, case.readin_of_other()):
        f = features if readin is None else model.features(case.other)
        weights, bias = model.readin_ if readin is None else readin
        promise = "activations are features @ weights.T + bias"
        found = _try(promise, model.activations, f, readin)
        _expect_equal(found, f @ weights.T + bias, promise)


def _check_encode(case):
    model = case.fitted
    features = model.features(case.X)
    shape = (_N_TRIALS, _N_BINS, model.n_components)
    Z = _try("encode(features)", model.encode, features.copy())
    _expect_shape(Z, shape, "latents")
    _expect(Z.dtype == np.float64, "encode gives dtype float64", Z.dtype)
    _expect(np.isfinite(Z).all(), "latents are finite", "NaN or infinity")
    own = model.encode(features, model.readin_)
    _expect_equal(own, Z, "the model's own read-in is the default of encode")
    order = np.random.RandomState(2).permutation(_N_NEURONS)
    weights, bias = model.readin_
    turned = model.encode(features[:, :, order], (weights[:, order], bias))
    promise = "encode uses the read-in that it is given"
    _expect_equal(
        turned,
        Z,
        f"{promise}: with neurons and its columns permuted alike, latents are the same",
    )
    promise = f"{promise}: that of another session"
    readin = case.readin_of_other()
    other = _try(promise, model.encode, model.features(case.other), readin)
    _expect_shape(other, shape, promise)
    moved = model.encode(features, (weights + 0.5, bias + 0.5))
    _expect(
        not np.allclose(moved, Z),
        "encode uses the read-in that it is given",
        "latents that are the same with another read-in",
    )
    promise = "a trial's latents do not depend on the others"
    _expect_equal(_try(promise, model.encode, features[2:3]), Z[2:3], promise)
    _expect_equal(model.encode(features[::-1])[::-1], Z, promise)


def _check_transform(case):
    if not hasattr(case.fitted, "transform"):
        return  # aligners do not call it
    Z = case.fitted.encode(case.fitted.features(case.X))
    promise = "transform(X) is encode(features(X))"
    _expect_equal(_try(promise, case.fitted.transform, case.X.copy()), Z, promise)


def _check_replaced_readin(case):
    promise = "the readin_ of a copy can be replaced by that of another session"
    features = case.fitted.features(case.other)
    readin = case.readin_of_other()
    expected = case.fitted.encode(features, readin)
    before = case.fitted.encode(case.fitted.features(case.X))
    other = copy(case.fitted)
    _try(promise, setattr, other, "readin_", readin)
    _expect_equal(_try(promise, other.encode, features), expected, promise)
    after = case.fitted.encode(case.fitted.features(case.X))
    _expect_equal(after, before, f"{promise}, which leaves the model as it is")


def _check_copies(case):
    features = case.fitted.features(case.X)
    Z = case.fitted.encode(features)
    promise = "a model that was pickled gives the same latents"
    again = _try(promise, lambda: pickle.loads(pickle.dumps(case.fitted)))
    _expect_equal(again.encode(again.features(case.X)), Z, promise, tolerance=0)
    promise = "a clone that is fitted alike gives the same latents"
    again = case.fit()
    _expect_equal(again.encode(again.features(case.X)), Z, promise)


def _check_lengths(case):
    lengths, behind = case.lengths, case.behind
    model = case.fitted
    features = model.features(case.X)
    Z = model.encode(features)
    full = np.full(_N_TRIALS, _N_BINS)
    whole = lengths == _N_BINS
    promise = "a trial of full length is read as without lengths"
    _expect_equal(
        _try("features(X, lengths)", model.features, case.X, lengths)[whole],
        features[whole],
        promise,
    )
    _expect_equal(
        _try("encode(features, lengths=)", model.encode, features, lengths=lengths)[
            whole
        ],
        Z[whole],
        promise,
    )
    for method, A in ((model.features, case.X), (model.encode, features)):
        name = method.__name__
        results = []
        for fill in (0.0, 1e3, np.nan):
            promise = f"{name} never reads what is behind a trial's length"
            result = _try(promise, method, case.padded(A, fill), lengths=lengths)
            _expect(
                (result[behind] == 0).all(),
                f"{name} gives zero behind a trial's length",
                f"values up to {np.abs(result[behind]).max():.3g}",
            )
            results.append(result)
            _expect_equal(result, results[0], promise, tolerance=0)
        short = int(np.argmin(lengths))
        n = lengths[short]
        alone = method(A[short : short + 1, :n])
        _expect_equal(
            results[0][short : short + 1, :n],
            alone,
            f"{name} reads a short trial as it does when it is alone",
        )
    found = []
    for fill in (0.0, 1e3, np.nan):
        promise = "fit never reads what is behind a trial's length"
        X, y = case.padded(case.X, fill), case.padded(case.y, fill)
        padded = _try(promise, case.fit, X, y, lengths=lengths)
        found.append(padded.encode(padded.features(case.X)))
        _expect_equal(found[-1], found[0], promise, tolerance=0)
    plain = case.fit(lengths=full)
    promise = "a fit where all trials are of full length is one without lengths"
    _expect_equal(plain.encode(plain.features(case.X)), Z, promise)


def _check_torch_encoder(case):
    model = case.fitted
    if not hasattr(model, "torch_encoder"):
        return
    promise = "torch_encoder() is a torch module"
    module = _try(promise, model.torch_encoder)
    _expect(isinstance(module, torch.nn.Module), promise, type(module).__name__)
    module = module.double()
    free = [name for name, p in module.named_parameters() if p.requires_grad]
    _expect(not free, "torch_encoder() is frozen", f"parameters that train: {free}")
    tensors = [*module.parameters(), *module.buffers()]
    devices = {str(tensor.device) for tensor in tensors} - {"cpu"}
    _expect(not devices, "torch_encoder() is on the CPU", f"tensors on {devices}")
    features = model.features(case.X)
    Z = model.encode(features)
    activations = torch.tensor(model.activations(features), requires_grad=True)
    for mode in (True, False):
        promise = (
            "torch_encoder() maps activations to the latents of encode, in "
            f"{'training' if mode else 'evaluation'} mode"
        )
        found = _try(promise, module.train(mode), activations)
        _expect_equal(found.detach().numpy(), Z, promise)
    promise = "torch_encoder() lets gradients through to activations"
    _expect(found.requires_grad, promise, "latents that need no gradient")
    (gradient,) = _try(promise, torch.autograd.grad, found.square().sum(), activations)
    _expect(
        bool(torch.isfinite(gradient).all()) and bool(gradient.any()),
        promise,
        "a gradient that is zero or not finite",
    )
    promise = "torch_encoder() is a copy"
    with torch.no_grad():
        for tensor in tensors:
            if tensor.is_floating_point():
                tensor.add_(1.0)
    _expect_equal(model.encode(features), Z, promise, tolerance=0)
    again = model.torch_encoder().double()(activations).detach().numpy()
    _expect_equal(again, Z, promise)


def _check_step(case):
    model = case.fitted
    if not hasattr(model, "step"):
        return
    try:
        model.step(case.X[0, 0])
    except ValueError:  # it looks ahead
        return
    except Exception as error:
        raise AssertionError(
            "LatentModel promises: step(counts, readin=None, state=None), or a "
            f"ValueError if it looks ahead. Found: {type(error).__name__}: {error}"
        ) from error
    promise = "step gives the latents of encode"
    for X, readin in ((case.X, None), (case.other, case.readin_of_other())):
        Z = model.encode(model.features(X), readin)
        if readin is not None:
            promise += ", with the read-in of another session too"
        for trial, expected in zip(X[:2], Z):
            state, found = None, []
            for counts in trial:
                z, state = _try(promise, model.step, counts, readin, state)
                found.append(z)
            _expect_equal(np.array(found), expected, promise)


check_latent_model.__test__ = False  # not a test, whatever collects it
