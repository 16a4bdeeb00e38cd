"""Gradients against differences, and the same bits for a peer alone and in a stack."""

from __future__ import annotations

import numpy as np
import pytest

from gossipml.errors import ConfigError
from gossipml.models import MLP, SVM, Linear, Model, Quadratic, Softmax, make_model

CASES = [
    ("linear", (5,), None, {"l2": 0.1}),
    ("linear", (1,), None, {}),
    ("linear", (2, 3), None, {"targets": 3}),
    ("softmax", (64,), 10, {"l2": 0.1}),
    ("softmax", (1,), 2, {}),
    ("svm", (6,), 2, {}),
    ("svm", (64,), 10, {"l2": 0.1}),
    ("mlp", (64,), 10, {}),
    ("mlp", (7,), None, {"hidden": (1,), "activation": "tanh"}),
    ("mlp", (2, 4), 3, {"hidden": (9, 4), "activation": "tanh", "l2": 0.01}),
    ("mlp", (4,), None, {"hidden": (), "targets": 2}),
    ("quadratic", (6, 6), None, {}),
    ("quadratic", (1, 1), None, {}),
]
IDS = [f"{name}-{features}-{options}" for name, features, _, options in CASES]


def stack(case, peers, batch, dtype):
    """Return a model, and x, X, y for some peers."""
    name, features, classes, options = case
    model = make_model(name, features, classes, dtype, **options)
    rng = np.random.default_rng(3)
    x = np.stack([model.initial(rng) for _ in range(peers)])
    x += rng.normal(scale=0.3, size=x.shape).astype(dtype)
    X = rng.normal(size=(peers, batch, *features)).astype(dtype)
    if name == "quadratic":
        X = X + X.swapaxes(-1, -2)
    if classes is None:
        return model, x, X, rng.normal(size=(peers, batch, *model.targets)).astype(dtype)
    return model, x, X, rng.integers(classes, size=(peers, batch))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_gradient_is_the_slope_of_the_loss(case):
    model, x, X, y = stack(case, 3, 9, "float64")
    gradient = model.gradient(x, X, y)
    assert gradient.shape == x.shape
    step = 1e-6
    for index in np.linspace(0, model.size - 1, min(model.size, 60)).astype(int):
        ahead, behind = x.copy(), x.copy()
        ahead[:, index] += step
        behind[:, index] -= step
        slope = (model.loss(ahead, X, y) - model.loss(behind, X, y)) / (2 * step)
        np.testing.assert_allclose(gradient[:, index], slope, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("shared", [False, True], ids=["own-data", "shared-data"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_peer_has_the_same_bits_alone_and_in_a_stack(case, dtype, shared):
    for peers in (1, 3, 7):
        for batch in (1, 7, 32, 101):
            model, x, X, y = stack(case, peers, batch, dtype)
            if shared:
                X, y = X[0], y[0]
            for method in (model.loss, model.gradient, model.accuracy):
                together = method(x, X, y)
                for peer in range(peers):
                    own = (X, y) if shared else (X[peer].copy(), y[peer].copy())
                    alone = method(x[peer].copy(), *own)
                    if together is None:
                        assert alone is None
                    else:
                        np.testing.assert_array_equal(alone, together[peer], strict=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_results_keep_the_dtype(case, dtype):
    model, x, X, y = stack(case, 2, 5, dtype)
    assert model.initial(np.random.default_rng(0)).dtype == dtype
    assert model.initial(np.random.default_rng(0)).shape == (model.size,)
    assert model.loss(x, X, y).dtype == dtype
    assert model.gradient(x, X.astype("float64"), y).dtype == dtype


def test_losses_by_hand():
    x = np.zeros(6)
    X, labels = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([0, 1])
    assert Softmax((2,), 2, dtype="float64").loss(x, X, labels) is not None
    np.testing.assert_allclose(Softmax((2,), 2).loss(x, X, labels), np.log(2))
    np.testing.assert_allclose(SVM((2,), 2).loss(x, X, labels), 1)
    np.testing.assert_allclose(Linear((2,), None).loss(x[:3], X, np.array([1.0, 3.0])), 2.5)
    quadratic = Quadratic((1, 1), None)
    np.testing.assert_allclose(
        quadratic.loss(np.ones(1), np.array([[[4.0]]]), np.array([[3.0]])), 8
    )
    ridge = Linear((2,), None, l2=2.0)
    x = np.array([3.0, 0.0, 5.0])  # predicts the bias: only the weight costs
    np.testing.assert_allclose(ridge.loss(x, X * 0, np.array([5.0, 5.0])), 9)


def test_large_scores_do_not_overflow():
    model = Softmax((1,), 2)
    x = np.array([1000.0, -1000.0, 0, 0], np.float32)
    X, y = np.ones((1, 1), np.float32), np.array([1])
    assert model.loss(x, X, y) == 2000
    assert np.isfinite(model.gradient(x, X, y)).all()


@pytest.mark.parametrize("name", ["softmax", "svm", "mlp"])
def test_classifiers_learn_separable_classes(name):
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=90)
    X = np.eye(3)[y] * 3 + rng.normal(scale=0.3, size=(90, 3))
    model = make_model(name, (3,), 3, "float64")
    x = model.initial(rng)
    for _ in range(100):
        x = x - 0.2 * model.gradient(x, X, y)
    accuracy = model.accuracy(x, X, y)
    assert accuracy is not None
    assert accuracy > 0.97


def test_mlp_start_has_the_variance_of_its_paper():
    for activation, variance in (("relu", 2 / 400), ("tanh", 2 / 500)):
        model = MLP((400,), 10, hidden=(100,), activation=activation)
        first = model.initial(np.random.default_rng(0))[: 400 * 100]
        np.testing.assert_allclose(first.var(), variance, rtol=0.03)
    assert model.size == 400 * 100 + 100 + 100 * 10 + 10


class Custom(Model):
    """A user's own model, with an option."""

    def __init__(self, features, classes, *, dtype="float32", scale: float = 1.0):
        super().__init__(features, classes, dtype=dtype, size=2)
        self.scale = scale

    def loss(self, x, X, y):
        return (x * x).sum(-1)

    def gradient(self, x, X, y):
        return 2 * x


def make_custom(features, classes, scale: int = 2, *, dtype):
    return Custom(features, classes, dtype=dtype, scale=scale)


def make_trouble(features, classes):
    return 1 / 0


def make_nothing(features, classes):
    return None


USER_FILE = """
from __future__ import annotations
from typing import TYPE_CHECKING
from gossipml.models import Softmax
if TYPE_CHECKING:
    from nowhere import Thing

def wide(features: Thing, classes, *, power: int = 1) -> Thing:
    return Softmax(features, classes, l2=10.0**power)
"""


def test_user_models(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "users_models", sys.modules[__name__])
    model = make_model("users_models:Custom", (3,), None, "float64", scale=3)
    assert isinstance(model, Custom)
    assert (model.scale, model.dtype) == (3.0, np.float64)
    made = make_model("users_models:make_custom", (3,), None, scale=5)
    assert isinstance(made, Custom)
    assert made.scale == 5
    with pytest.raises(ConfigError, match="model.scale: found 'x' .str., expected int"):
        make_model("users_models:make_custom", (3,), None, scale="x")
    with pytest.raises(ConfigError, match="raised ZeroDivisionError: division by zero"):
        make_model("users_models:make_trouble", (3,), None)
    with pytest.raises(ConfigError, match="made NoneType, expected a Model"):
        make_model("users_models:make_nothing", (3,), None)
    with pytest.raises(ConfigError, match="'users_models:CASES' is list, expected a callable"):
        make_model("users_models:CASES", (3,), None)
    (tmp_path / "mine.py").write_text(USER_FILE)
    wide = make_model("mine.py:wide", (3,), 2, base=tmp_path, power=2)
    assert isinstance(wide, Softmax)
    assert wide.l2 == 100


@pytest.mark.parametrize(
    ("name", "features", "classes", "options", "message"),
    [
        ("sofmax", (4,), 2, {}, "model.name: unknown model 'sofmax'; did you mean 'softmax'?"),
        ("mlp", (4,), 2, {"hiden": [3]}, "model.hiden: unknown key; did you mean 'hidden'?"),
        ("mlp", (4,), 2, {"features": 3}, "model.features: unknown key"),
        ("softmax", (4,), 2, {"l2": "a"}, "model.l2: found 'a' (str), expected float"),
        ("softmax", (4,), 2, {"l2": -1}, "model.l2: found -1.0, expected at least 0"),
        ("softmax", (4,), 2, {"dtype": "int8"}, "model.dtype: found 'int8', expected 'float32'"),
        ("softmax", (4,), 2, {"dtype": "banana"}, "model.dtype: found 'banana', expected"),
        ("mlp", (4,), 2, {"activation": "gelu"}, "found 'gelu' (str), expected 'relu' or 'tanh'"),
        ("mlp", (4,), 2, {"hidden": [0]}, "model.hidden: found 0, expected at least 1"),
        ("mlp", (4,), 2, {"hidden": 3}, "model.hidden: found 3 (int), expected tuple[int, ...]"),
        ("softmax", (4,), None, {}, "'softmax' needs class labels, found regression targets"),
        ("svm", (4,), None, {}, "'svm' needs class labels, found regression targets"),
        ("linear", (4,), 2, {}, "'linear' needs regression targets, found labels of 2 classes"),
        ("quadratic", (4,), None, {}, "found features (4,) and targets that are numbers; linear"),
        ("quadratic", (4, 4), 3, {}, "targets that are 3 classes; softmax, svm and mlp fit them"),
    ],
)
def test_refusals(name, features, classes, options, message):
    with pytest.raises(ConfigError) as refusal:
        make_model(name, features, classes, **options)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("x", "X", "y", "message"),
    [
        ((5,), (3, 4), (3, 1), "model: found y (3, 1) beside X (3, 4), expected (3,)"),
        ((5,), (3, 4), (2,), "model: found y (2,) beside X (3, 4), expected (3,)"),
        ((4,), (3, 4), (3,), "model: found x (4,), expected (..., 5)"),
        ((5,), (3, 5), (3,), "model: found X (3, 5), expected (..., batch, 4)"),
        ((5,), (4,), (), "model: found X (4,), expected (..., batch, 4)"),
    ],
)
def test_arrays_that_do_not_fit(x, X, y, message):
    model = make_model("linear", (4,), None)
    with pytest.raises(ConfigError) as refusal:
        model.gradient(np.zeros(x), np.zeros(X), np.zeros(y))
    assert str(refusal.value) == message
