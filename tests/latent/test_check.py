"""The check of the contract finds each promise that is broken."""

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from torch import nn

import skerdiff.latent
from skerdiff import SequentialVAE
from skerdiff.latent import LatentModel, LinearLatentModel, check_latent_model
from skerdiff.utils import all_estimators


class Small(LinearLatentModel):
    """What the broken ones break one promise of."""

    def __init__(self, n_components=3, smoothing=0.0):
        super().__init__(n_components, n_readin=4, n_lags=3, smoothing=smoothing)

    @classmethod
    def _get_param_names(cls):
        return ["n_components", "smoothing"]


@pytest.mark.parametrize(
    "model",
    [
        LinearLatentModel(),
        LinearLatentModel(smoothing=0),
        LinearLatentModel(per_bin=False, n_lags=2, smoothing=0),
        Small,
        SequentialVAE(max_iter=1, n_hidden=4),
        SequentialVAE(max_iter=1, n_hidden=4, smoothing=0),
        SequentialVAE(max_iter=1, n_hidden=4, bidirectional=True),
    ],
    ids=lambda model: str(model).replace("\n", ""),
)
def test_models_of_this_package_pass(model):
    check_latent_model(model)


def test_a_model_that_does_not_inherit_passes(duck_model):
    assert not isinstance(duck_model, LatentModel)
    check_latent_model(duck_model)


def test_the_model_itself_is_not_fitted():
    model = LinearLatentModel()
    check_latent_model(model)
    assert not hasattr(model, "readin_")


BROKEN = []


def breaks(promise):
    """Register a class with the promise that the check must name."""

    def register(cls):
        BROKEN.append(pytest.param(cls, promise, id=cls.__name__))
        return cls

    return register


# -- parameters and fit ----------------------------------------------------------------
@breaks("the methods fit, features, activations, encode.*has no features, activations")
class NoFeatures(BaseEstimator):
    def __init__(self, n_components=2):
        self.n_components = n_components

    def fit(self, X, y=None):
        return self

    def encode(self, features, readin=None):
        return features


@breaks("a parameter n_components.*only")
class OtherParameterName(Small):
    @classmethod
    def _get_param_names(cls):
        return ["smoothing"]


@breaks(r"fit\(X, y=None, \*, conditions=None, lengths=None\).*conditions")
class NoConditions(Small):
    def fit(self, X, y=None, *, lengths=None):
        return super().fit(X, y, lengths=lengths)


@breaks(r"fit\(X, y=None, \*, conditions=None, lengths=None\).*lengths'")
class NoLengths(Small):
    def fit(self, X, y=None, *, conditions=None):
        return super().fit(X, y)


@breaks("without y")
class NeedsBehaviour(Small):
    def fit(self, X, y=None, **params):
        return super().fit(X, y + 0, **params)


@breaks("fit returns the model itself")
class ReturnsNothing(Small):
    def fit(self, X, y=None, **params):
        super().fit(X, y, **params)


@breaks("fit leaves X as it is")
class ChangesX(Small):
    def fit(self, X, y=None, **params):
        super().fit(X, y, **params)
        X += 1
        return self


@breaks("fit leaves y as it is")
class ChangesY(Small):
    def fit(self, X, y=None, **params):
        super().fit(X, y, **params)
        if y is not None:
            y -= y.mean()
        return self


class Fitted(Small):
    """Changes what is there after fit."""

    def fit(self, X, y=None, **params):
        super().fit(X, y, **params)
        self.change()
        return self


@breaks("n_bins_ is that of X, 6.*Found: 7")
class WrongBins(Fitted):
    def change(self):
        self.n_bins_ = 7


@breaks("n_features_in_ is that of X, 7.*Found: None")
class NoNeurons(Fitted):
    def change(self):
        del self.n_features_in_


@breaks("readin_ is a tuple")
class ListAsReadIn(Fitted):
    def change(self):
        self.readin_ = [part.tolist() for part in self.readin_]


@breaks(r"weights \(n_readin, n_neurons\).*\(7, 4\)")
class TransposedReadIn(Fitted):
    def change(self):
        self.readin_ = (self.readin_[0].T, self.readin_[1])


# -- features and activations ----------------------------------------------------------
@breaks("features of dtype float64")
class Float32Features(Small):
    def features(self, X, lengths=None):
        return super().features(X, lengths).astype(np.float32)


@breaks("features leaves X as it is")
class FeaturesInPlace(Small):
    def features(self, X, lengths=None):
        features = super().features(X, lengths)
        if X.flags.writeable:
            X += 1
        return features


@breaks("features of a session of any width")
class FeaturesOfItsNeurons(Small):
    def features(self, X, lengths=None):
        return super().features(X, lengths) / (1 + np.arange(7))


@breaks("features of shape")
class OneFeatureMore(Small):
    def features(self, X, lengths=None):
        features = super().features(X, lengths)
        more = features[:, :, : int(hasattr(self, "noise_variance_"))]
        return np.concatenate([features, more], axis=2)


@breaks("features act on each neuron by itself")
class MixesNeurons(Small):
    def features(self, X, lengths=None):
        features = super().features(X, lengths)
        return features - features.mean(2, keepdims=True)


@breaks("features act on each trial by itself")
class MixesTrials(Small):
    def features(self, X, lengths=None):
        features = super().features(X, lengths)
        return features - features.mean(0)


@breaks("activations are features @ weights.T")
class NonlinearReadIn(Small):
    def activations(self, features, readin=None):
        return np.tanh(super().activations(features, readin))


# -- encode ----------------------------------------------------------------------------
@breaks("latents of shape")
class OneLatentMore(Small):
    def encode(self, features, readin=None, lengths=None):
        Z = super().encode(features, readin, lengths)
        return np.concatenate([Z, Z[:, :, :1]], axis=2)


@breaks("encode gives dtype float64")
class Float32Latents(Small):
    def encode(self, features, readin=None, lengths=None):
        return super().encode(features, readin, lengths).astype(np.float32)


@breaks("latents are finite")
class InfiniteLatents(Small):
    def encode(self, features, readin=None, lengths=None):
        Z = super().encode(features, readin, lengths)
        return Z + np.inf if hasattr(self, "noise_variance_") else Z


@breaks("own read-in is the default of encode")
class OtherDefault(Small):
    def encode(self, features, readin=None, lengths=None):
        if readin is None:
            readin = (self.readin_[0], self.readin_[1] + 1)
        return super().encode(features, readin, lengths)


@breaks("encode uses the read-in that it is given: with neurons and its columns")
class IgnoresReadIn(Small):
    def encode(self, features, readin=None, lengths=None):
        return super().encode(features, None, lengths)


@breaks("encode uses the read-in that it is given.*the same with another")
class IgnoresActivity(Small):
    def encode(self, features, readin=None, lengths=None):
        nothing = np.zeros((*features.shape[:2], self.n_features_in_))
        return super().encode(nothing, None, lengths)


@breaks("encode uses the read-in that it is given: that of another session")
class RefusesOtherSessions(Small):
    def encode(self, features, readin=None, lengths=None):
        assert features.shape[2] == self.n_features_in_
        return super().encode(features, readin, lengths)


@breaks("a trial's latents do not depend on the others")
class CentresLatents(Small):
    def encode(self, features, readin=None, lengths=None):
        Z = super().encode(features, readin, lengths)
        return Z - Z.mean((0, 1))


@breaks(r"transform\(X\) is encode\(features\(X\)\)")
class OtherTransform(Small):
    def transform(self, X):
        return 2 * super().transform(X)


# -- copies ----------------------------------------------------------------------------
@breaks("readin_ of a copy can be replaced")
class FixedReadIn(Fitted):
    def change(self):
        self.own_ = self.readin_

    def encode(self, features, readin=None, lengths=None):
        readin = getattr(self, "own_", None) if readin is None else readin
        return super().encode(features, readin, lengths)


@breaks("a model that was pickled gives the same latents")
class ForgetsWhenPickled(Small):
    def __getstate__(self):
        return super().__getstate__() | {"offset_": self.offset_ + 1e-3}


@breaks("a clone that is fitted alike gives the same latents")
class UnseededFit(Fitted):
    def change(self):
        self.offset_ = self.offset_ + np.random.default_rng().random()


# -- lengths ---------------------------------------------------------------------------
@breaks("a trial of full length is read as without lengths")
class OtherWithLengths(Small):
    def encode(self, features, readin=None, lengths=None):
        Z = super().encode(features, readin, lengths)
        return Z if lengths is None else -Z


@breaks("features never reads what is behind")
class FeaturesOfPadding(Small):
    def features(self, X, lengths=None):
        if lengths is not None:
            assert np.isfinite(X).all(), "NaN in X"
        return super().features(X, lengths)


@breaks("features gives zero behind")
class FeaturesIgnoreLengths(Small):
    def features(self, X, lengths=None):
        return super().features(X)


@breaks("encode gives zero behind")
class EncodeIgnoresLengths(Small):
    def encode(self, features, readin=None, lengths=None):
        return super().encode(features, readin)


@breaks("encode never reads what is behind")
class EncodesPadding(Small):
    def encode(self, features, readin=None, lengths=None):
        Z = super().encode(features, readin, lengths)
        if lengths is not None:
            shift = np.nan_to_num(features).sum((1, 2)) - features[:, 0].sum(1)
            Z[:, :1] += np.where(np.asarray(lengths) < 6, shift, 0)[:, None, None]
        return Z


@breaks("encode reads a short trial as it does when it is alone")
class ShortTrialsApart(Small):
    def encode(self, features, readin=None, lengths=None):
        Z = super().encode(features, readin, lengths)
        if lengths is not None:
            Z[np.asarray(lengths) < 6] *= 2
        return Z


@breaks("fit never reads what is behind")
class FitsPadding(Small):
    def fit(self, X, y=None, *, conditions=None, lengths=None):
        return super().fit(np.nan_to_num(X), None if y is None else np.nan_to_num(y))


@breaks("a fit where all trials are of full length is one without lengths")
class OtherFitWithLengths(Small):
    def fit(self, X, y=None, *, conditions=None, lengths=None):
        super().fit(X, y, lengths=lengths)
        if lengths is not None:
            self.offset_ = self.offset_ + 1
        return self


# -- torch -----------------------------------------------------------------------------
class Module(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner


@breaks(r"torch_encoder\(\) is a torch module.*function")
class EncoderIsFunction(Small):
    def torch_encoder(self):
        return lambda activations: activations


@breaks(r"torch_encoder\(\) is frozen.*weights")
class EncoderTrains(Small):
    def torch_encoder(self):
        module = super().torch_encoder()
        weights = module.weights
        del module.weights
        module.weights = nn.Parameter(weights)
        return module


@breaks("latents of encode, in evaluation mode")
class EncoderOfItsMode(Small):
    def torch_encoder(self):
        class Halves(Module):
            def forward(self, activations):
                return self.inner(activations) * (1.0 if self.training else 0.5)

        return Halves(super().torch_encoder())


@breaks("latents of encode, in training mode")
class EncoderWithDropout(Small):
    def torch_encoder(self):
        return nn.Sequential(super().torch_encoder(), nn.Dropout(0.5)).eval()


@breaks("latents of encode, in training mode")
class EncoderInSinglePrecision(Small):
    def torch_encoder(self):
        class Rounds(Module):
            def forward(self, activations):
                return self.inner(activations).float().double()

        return Rounds(super().torch_encoder())


@breaks("lets gradients through.*need no gradient")
class EncoderWithoutGradient(Small):
    def torch_encoder(self):
        class Detached(Module):
            def forward(self, activations):
                return self.inner(activations.detach())

        return Detached(super().torch_encoder())


@breaks("lets gradients through.*zero or not finite")
class EncoderWithZeroGradient(Small):
    def torch_encoder(self):
        class Zero(Module):
            def forward(self, activations):
                return self.inner(activations.detach()) + 0 * activations.sum()

        return Zero(super().torch_encoder())


@breaks(r"torch_encoder\(\) is a copy")
class EncoderShared(Small):
    def torch_encoder(self):
        module = super().torch_encoder()
        module.offset = torch.from_numpy(self.offset_)
        return module


# -- step ------------------------------------------------------------------------------
@breaks("step gives the latents of encode")
class StepForgets(Small):
    def step(self, counts, readin=None, state=None):
        return super().step(counts, readin)


@breaks("step gives the latents of encode, with the read-in of another session too")
class StepIgnoresReadIn(Small):
    def step(self, counts, readin=None, state=None):
        return super().step(counts[: self.n_features_in_], None, state)


@breaks(r"step\(counts, readin=None, state=None\), or a ValueError")
class StepFails(Small):
    def step(self, counts):
        raise NotImplementedError


@pytest.mark.parametrize("model, promise", BROKEN)
def test_a_broken_promise_is_named(model, promise):
    with pytest.raises(AssertionError, match=f"LatentModel promises: .*{promise}"):
        check_latent_model(model())


def test_a_model_without_what_is_optional_passes():
    class Plain(Small):
        torch_encoder = step = property()  # as if they were not there

    assert not hasattr(Plain(), "step")
    globals()["Plain"] = Plain  # to be pickled
    Plain.__qualname__ = "Plain"
    try:
        check_latent_model(Plain)
    finally:
        del globals()["Plain"]


def test_it_is_public_and_neither_a_test_nor_an_estimator():
    assert "check_latent_model" in skerdiff.latent.__all__
    assert check_latent_model.__test__ is False
    assert "LinearLatentModel" in dict(all_estimators())
    assert not any("check" in name for name, _ in all_estimators())
