"""Parameters of aligners: said once, and all that follows from it."""

import inspect
import numbers
import re

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from skerdiff import PerBinRegressor, adapt
from skerdiff.alignment import (
    BaseAligner,
    GradientAligner,
    MMDAligner,
    Objective,
    aligner,
    parameter,
)
from skerdiff.datasets import make_reaching_sessions
from skerdiff.latent import LinearLatentModel
from skerdiff.utils import all_estimators
from skerdiff.utils._sklearn import Interval


class Pull(Objective):
    """Distance of latents to the mean trial of the source."""

    def __init__(self, source, strength):
        super().__init__()
        self.mean, self.strength = source.mean(0), strength

    def losses(self, source, target, progress, generator):
        return {"pull": self.strength * (target - self.mean).square().mean()}


@aligner
class PullAligner(GradientAligner):
    """Pull latents to the mean trial of the source.

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    strength : float, default=2.0
        Weight of the pull.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.
    """

    strength: float = parameter(2.0, [Interval(numbers.Real, 0, None, closed="left")])

    def _make_objective(self, source):
        return Pull(source, self.strength)


class UndecoratedAligner(PullAligner):
    """The same by another name."""


@aligner
class Short(MMDAligner):
    """Few steps.

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    inherited : parameters
        See `_parameters`.
    """

    max_steps: int = parameter(
        7,
        [Interval(numbers.Integral, 1, 9, closed="both")],
        """int, default=7
        Few.
        """,
    )


@aligner
class Own(GradientAligner):
    """With words of its own for something inherited.

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    patience : int, default=10
        In other words.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.
    """


@aligner
class Silent(PullAligner):
    power: float = parameter(0.5, [numbers.Real])


# what a class adds stands before what it inherits, but for what may go without a name
NAMES = ["latent_model", "strength"]
NAMES += ["learning_rate", "batch_size", "max_steps", "check_every", "patience"]
NAMES += ["held_out", "init", "n_starts"]
NAMES += ["n_components", "on_new_session", "memory", "trial_length", "device"]
NAMES += ["random_state", "verbose"]


def documented(cls):
    """Names of parameters and of attributes in a docstring, in order."""
    parameters, _, rest = inspect.getdoc(cls).partition("\nAttributes\n")
    attributes = re.split(r"\n\w[\w ]*\n-+\n", rest)[0]
    return [re.findall(r"^(\w+) : ", part, re.M) for part in (parameters, attributes)]


@pytest.fixture(scope="module")
def sessions():
    trials, y = make_reaching_sessions(
        n_trials=24, n_neurons=[10, 12], n_bins=6, random_state=0, return_X_y=True
    )
    return trials["day0"], y[trials.is_source], trials["day1"]


def quick(cls=PullAligner, **params):
    settings = {"init": "source", "max_steps": 4, "check_every": 2, "random_state": 0}
    return cls(LinearLatentModel(n_components=3, n_readin=5), **settings | params)


# -- the constructor -------------------------------------------------------------------
def test_the_signature_is_that_of_the_docstring():
    bare = list(inspect.signature(PullAligner.__init__).parameters.values())
    assert (
        [p.name for p in bare]
        == ["self", *NAMES]
        == ["self", *documented(PullAligner)[0]]
    )
    assert all(p.annotation is p.empty for p in bare)
    assert [p.kind is p.KEYWORD_ONLY for p in bare] == [False] * 2 + [True] * 16
    defaults = {p.name: p.default for p in bare[1:]}
    assert defaults == PullAligner().get_params(deep=False)
    assert defaults["strength"] == 2.0 and defaults["latent_model"] is None


@pytest.mark.parametrize("cls", [cls for _, cls in all_estimators("aligner")])
def test_every_parameter_and_attribute_is_documented_once(cls):
    parameters, attributes = documented(cls)
    signature = inspect.signature(cls.__init__).parameters.values()
    assert parameters == [p.name for p in signature][1:]
    assert all(p.annotation is p.empty for p in signature)
    positional = [p.kind is not p.KEYWORD_ONLY for p in signature]
    assert positional == sorted(positional, reverse=True)
    assert len(set(attributes)) == len(attributes)
    assert {"latent_model_", "sessions_", "n_components_"} <= set(attributes)
    assert ("loss_curve_" in attributes) == issubclass(cls, GradientAligner)
    assert "inherited :" not in cls.__doc__


def test_inherited_entries_are_whole_and_in_place():
    doc = inspect.getdoc(PullAligner)
    assert "\nstrength : float, default=2.0\n    Weight of the pull.\n" in doc
    assert "\nbatch_size : int, default=32\n    Trials per step, of the" in doc
    assert "\nsources_ : list of str\n    Names of all source sessions.\n" in doc
    # what the nearest class says of a parameter holds, and what it adds comes first
    assert "one of your own with a\n    ``torch_encoder``" in doc
    attributes = documented(PullAligner)[1]
    assert attributes[:2] == ["n_parameters_added_", "loss_curve_"]
    assert attributes.index("steps_per_second_") < attributes.index("latent_model_")


def test_the_constructor_stores_what_it_is_given():
    model, strength = LinearLatentModel(), object()
    made = PullAligner(model, strength=strength)
    assert made.latent_model is model and made.strength is strength
    assert vars(made) == made.get_params(deep=False)
    with pytest.raises(TypeError, match="positional argument"):
        PullAligner(model, 2.0)
    with pytest.raises(TypeError, match="weight"):
        PullAligner(weight=2.0)


def test_aligners_are_compared_by_identity_and_shown_by_scikit_learn():
    one = PullAligner()
    assert one == one and one != PullAligner()
    assert len({one, PullAligner()}) == 2
    assert repr(PullAligner(strength=3.0)) == "PullAligner(strength=3.0)"


def test_clone_get_and_set_know_all_parameters():
    made = quick(strength=3.0)
    assert set(made.get_params(deep=False)) == set(NAMES)
    assert made.get_params()["latent_model__n_components"] == 3
    copy = clone(made)
    assert type(copy) is PullAligner and copy is not made
    assert copy.latent_model is not made.latent_model
    different = {"latent_model"}
    for name in set(NAMES) - different:
        assert getattr(copy, name) == getattr(made, name)
    copy.set_params(strength=1.0, latent_model__n_components=2, patience=1)
    assert (copy.strength, copy.patience, copy.latent_model.n_components) == (1, 1, 2)
    assert (made.strength, made.patience, made.latent_model.n_components) == (3, 10, 3)
    with pytest.raises(ValueError, match="Invalid parameter 'weight'"):
        made.set_params(weight=1.0)


# -- constraints -----------------------------------------------------------------------
def test_constraints_are_those_declared():
    found = PullAligner._parameter_constraints
    assert set(found) == set(NAMES)
    assert found["strength"][0].left == 0
    for name, constraints in GradientAligner._parameter_constraints.items():
        assert found[name] is constraints
    assert "strength" not in GradientAligner._parameter_constraints
    assert set(BaseAligner._parameter_constraints) < set(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("strength", -0.1),
        ("strength", "much"),
        ("latent_model", Ridge()),
        ("learning_rate", 0.0),
        ("batch_size", 1),
        ("max_steps", -1),
        ("check_every", 0),
        ("patience", 0),
        ("held_out", 0.0),
        ("held_out", 1.0),
        ("init", "target"),
        ("n_starts", 0),
        ("n_components", 0),
        ("on_new_session", "ask"),
        ("memory", 3),
        ("trial_length", 0),
        ("device", 1),
        ("random_state", "zero"),
        ("verbose", "very"),
    ],
)
def test_a_wrong_value_is_refused_by_name_when_it_is_fitted(sessions, name, value):
    made = quick().set_params(**{name: value})  # not before
    with pytest.raises(ValueError, match=f"The '{name}' parameter of PullAligner must"):
        made.fit(sessions[0])
    assert not hasattr(made, "sessions_")


# -- a user's own ----------------------------------------------------------------------
def test_an_aligner_of_a_few_lines_adapts_in_a_pipeline(sessions):
    X, y, X_new = sessions
    losses = {}
    for strength in (1.0, 3.0):
        pipe = make_pipeline(quick(), PerBinRegressor(Ridge()))
        pipe.set_params(pullaligner__strength=strength).fit(X, y)
        adapt(pipe, X_new)
        rows = pipe[0].loss_curve_["target"]
        assert [list(row) for row in rows] == [["pull"]] * 4
        losses[strength] = rows[0]["pull"]
        assert pipe.predict(X_new).shape == (len(X_new), 6, y.shape[2])
    assert losses[3.0] == pytest.approx(3 * losses[1.0], rel=1e-5)


def test_a_subclass_that_is_not_decorated_inherits_everything(sessions):
    cls = UndecoratedAligner
    assert cls._parameter_constraints is PullAligner._parameter_constraints
    assert inspect.signature(cls.__init__) == inspect.signature(PullAligner.__init__)
    made = quick(cls, strength=3.0)
    assert type(clone(made)) is cls
    assert set(made.get_params(deep=False)) == set(NAMES)
    with pytest.raises(ValueError, match="'strength' parameter of UndecoratedAligner"):
        clone(made).set_params(strength=-1.0).fit(sessions[0])
    Z, expected = (
        a.fit(sessions[0]).adapt(sessions[2]).transform(sessions[2])
        for a in (made, quick(strength=3.0))
    )
    np.testing.assert_array_equal(Z, expected)


def test_a_parameter_can_be_declared_anew():
    assert Short().max_steps == 7 and MMDAligner().max_steps == 100
    assert Short._parameter_constraints["max_steps"][0].right == 9
    assert MMDAligner._parameter_constraints["max_steps"][0].right is None
    doc = inspect.getdoc(Short)
    assert "\nmax_steps : int, default=7\n    Few.\n" in doc
    assert doc.count("\nmax_steps : ") == doc.count("\nbatch_size : ") == 1
    # parameters that only their own class documents are not in the docstring, and
    # still in the signature, at the end
    names = list(inspect.signature(Short.__init__).parameters)[1:]
    assert names[:2] == ["latent_model", "max_steps"]
    assert set(names[-3:]) == {"recurrent", "n_hidden", "forecast_weight"}


def test_what_the_docstring_says_itself_is_not_said_twice():
    parameters = documented(Own)[0]
    assert sorted(parameters) == sorted(set(NAMES) - {"strength"})
    assert parameters[:2] == ["latent_model", "patience"]
    assert list(inspect.signature(Own.__init__).parameters)[1:] == parameters
    assert "In other words." in Own.__doc__
    assert "Looks without improvement" not in Own.__doc__


def test_a_docstring_is_not_needed():
    assert Silent(power=1.0).get_params()["power"] == 1.0
    assert set(Silent._parameter_constraints) == {*NAMES, "power"}


def test_a_parameter_says_what_it_is_told():
    found = parameter(3, [int], "int, default=3", keyword_only=False)
    assert found.default == 3 and found.kw_only is False
    assert dict(found.metadata) == {"constraints": [int], "doc": "int, default=3"}
    assert parameter(3, [int]).kw_only is True
    assert parameter(3, [int]).metadata["doc"] is None


# -- what is declared ------------------------------------------------------------------
class NoDecorator(PullAligner):
    """Has a field that nothing makes a parameter."""

    power: float = parameter(0.5, [numbers.Real])


class PlainValue(PullAligner):
    """Gives an inherited parameter a value that would not count."""

    max_steps = 3


@pytest.mark.parametrize(
    "cls, message",
    [
        (NoDecorator, "NoDecorator.power is declared.* Write @aligner"),
        (PlainValue, "PlainValue.max_steps is a plain value.*parameter"),
    ],
)
def test_a_class_that_would_ignore_what_it_declares_is_refused(sessions, cls, message):
    with pytest.raises(TypeError, match=message):
        cls(LinearLatentModel(n_components=3, n_readin=5)).fit(sessions[0])


def test_a_plain_value_is_refused_when_the_class_is_made():
    with pytest.raises(TypeError, match="plain value"):
        aligner(type("Made", (PullAligner,), {"max_steps": 3}))


def test_docstrings_without_indent_do_as_well():
    """As Python 3.13 and later hand them over."""

    def made(doc):
        body = {"__doc__": doc, "__annotations__": {"power": float}}
        return aligner(
            type("Made", (PullAligner,), body | {"power": parameter(1.0, [None])})
        )

    text = """Made.

    Parameters
    ----------
    inherited : positional
        See `_parameters`.
    power : float, default=1.0
        Of two.
    inherited : parameters
        See `_parameters`.

    Attributes
    ----------
    inherited : attributes
        See `_parameters`.
    """
    one, other = made(text), made(inspect.cleandoc(text))
    assert one.__doc__ == other.__doc__
    assert inspect.signature(one) == inspect.signature(other)
    assert documented(one) == documented(other)
    assert documented(one)[0][:3] == ["latent_model", "power", "learning_rate"]
