"""Local optimisers against steps by hand, and Adam against its paper written another way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gossipml.algorithms import (
    OPTIMIZERS,
    SGD,
    Adam,
    Isolated,
    Momentum,
    Nesterov,
    Optimizer,
    State,
)
from gossipml.errors import ConfigError


def directions(optimizer, gradients, x0=None):
    x0 = np.zeros_like(gradients[0]) if x0 is None else x0
    s = State(x=x0, **optimizer.init(x0))
    return [np.array(optimizer.direction(s, g)) for g in gradients], s


def gradients_1d(*values):
    return [np.array([v], float) for v in values]


def test_sgd():
    found, s = directions(SGD(), gradients_1d(1, -2, 3))
    np.testing.assert_array_equal(np.ravel(found), [1, -2, 3])
    assert s.arrays().keys() == {"x"}


def test_momentum_by_hand():
    found, s = directions(Momentum(0.5), gradients_1d(1, 1, -2))
    np.testing.assert_array_equal(np.ravel(found), [1, 1.5, -1.25])
    np.testing.assert_array_equal(s.m, [-1.25])


def test_nesterov_by_hand():
    """m = 1, 1.5, -1.25; the step goes along g + m/2."""
    found, s = directions(Nesterov(0.5), gradients_1d(1, 1, -2))
    np.testing.assert_array_equal(np.ravel(found), [1.5, 1.75, -2.625])
    np.testing.assert_array_equal(s.m, [-1.25])


def test_adam_by_hand():
    """The first bias-corrected step is the sign of the gradient, whatever its size."""
    found, s = directions(Adam(), [np.array([3.0, -0.01, 0.0])])
    np.testing.assert_allclose(found[0], [1, -1, 0], rtol=2e-6)
    np.testing.assert_allclose(s.m, [0.3, -0.001, 0])
    np.testing.assert_allclose(s.v, [9e-3, 1e-7, 0])
    assert s.k == 1


@pytest.mark.parametrize("options", [{}, {"beta1": 0.5, "beta2": 0.6, "epsilon": 0.1}])
def test_adam_is_that_of_its_paper(options):
    """Algorithm 1 of Kingma and Ba, number by number, moments as explicit weighted sums."""
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=4) * 10.0 ** rng.integers(-3, 3) for _ in range(25)]
    found, _ = directions(Adam(**options), gradients)
    b1, b2 = options.get("beta1", 0.9), options.get("beta2", 0.999)
    epsilon = options.get("epsilon", 1e-8)
    for t in range(1, 26):
        for k in range(4):
            seen = [float(g[k]) for g in gradients[:t]]
            m = math.fsum((1 - b1) * b1 ** (t - i) * g for i, g in enumerate(seen, 1))
            v = math.fsum((1 - b2) * b2 ** (t - i) * g * g for i, g in enumerate(seen, 1))
            expected = m / (1 - b1**t) / (math.sqrt(v / (1 - b2**t)) + epsilon)
            assert found[t - 1][k] == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
class TestEvery:
    def test_keeps_the_dtype(self, name):
        g = np.array([1, -2, 3], np.float32)
        found, s = directions(OPTIMIZERS[name](), [g, g, g])
        assert {f.dtype for f in found} == {np.dtype("float32")}
        assert all(a.dtype == np.float32 for key, a in s.arrays().items() if key != "k")

    def test_is_the_same_alone_and_in_a_stack(self, name):
        stack = list(np.random.default_rng(0).normal(size=(6, 3, 5)))
        together, _ = directions(OPTIMIZERS[name](), stack)
        for i in range(3):
            alone, _ = directions(OPTIMIZERS[name](), [g[i] for g in stack])
            for a, b in zip(alone, together, strict=True):
                np.testing.assert_array_equal(a, b[i])

    def test_leaves_gradients_alone_and_keeps_its_memory_in_the_state(self, name):
        optimizer = OPTIMIZERS[name]()
        assert isinstance(optimizer, Optimizer)
        gradients = list(np.random.default_rng(0).normal(size=(6, 5)))
        before = [g.copy() for g in gradients]
        through, _ = directions(optimizer, gradients)
        np.testing.assert_array_equal(gradients, before)
        _, s = directions(optimizer, gradients[:3])
        copied = State(**{key: np.copy(a) for key, a in s.arrays().items()})
        fresh = OPTIMIZERS[name]()
        rest = [fresh.direction(copied, g) for g in gradients[3:]]
        np.testing.assert_array_equal(rest, through[3:])

    def test_zero_gradients_move_nothing(self, name):
        found, _ = directions(OPTIMIZERS[name](), [np.zeros(3)] * 3)
        np.testing.assert_array_equal(found, np.zeros((3, 3)))

    def test_minimises(self, name):
        class Bowl:
            def gradient(self, x):
                return np.array([1.0, 3.0]) * (x - 1)

        algorithm = Isolated(lr=0.05, optimizer=OPTIMIZERS[name]())
        s = algorithm.init(np.zeros(2))
        for _ in range(500):
            assert list(algorithm.round(s, Bowl())) == []
        np.testing.assert_allclose(s.x, [1, 1], atol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Momentum(1.0), "beta: found 1.0, expected from 0 to less than 1"),
        (lambda: Momentum(-0.1), "beta: found -0.1, expected from 0 to less than 1"),
        (lambda: Nesterov(math.nan), "beta: found nan, expected from 0 to less than 1"),
        (lambda: Adam(beta1=1.0), "beta1: found 1.0, expected from 0 to less than 1"),
        (lambda: Adam(beta2=1.5), "beta2: found 1.5, expected from 0 to less than 1"),
        (lambda: Adam(epsilon=0.0), "epsilon: found 0.0, expected a positive number"),
    ],
)
def test_values_without_meaning_are_refused(make, message):
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == f"algorithm.optimizer.{message}"
