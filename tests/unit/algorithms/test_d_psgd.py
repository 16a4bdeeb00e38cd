"""D-PSGD in both orders against theory: Lian et al. 2017, arXiv:1705.09056."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import gossipml
from gossipml.algorithms import DPSGD, DPSGDCTA, SGD, Adam, LocalSGD, Momentum, Nesterov
from gossipml.errors import ConfigError
from gossipml.experiment import experiment_from
from gossipml.shards import load_shards

ORDERS = {"atc": DPSGD, "cta": DPSGDCTA}


# --- one round by hand --------------------------------------------------------------------


def test_one_round_by_hand(make_bowls, on_engine):
    """Two peers, W = 1/2: adapt-then-combine averages the steps too, combine-then-adapt not."""
    bowls = make_bowls("path", n=2, d=1, mu=1)
    x0 = np.array([[2.0], [4.0]])
    step = 0.5 * bowls.A[:, :, 0] * (x0 - bowls.c)
    atc = on_engine(bowls, DPSGD(lr=0.5), 1, x0)
    np.testing.assert_allclose(atc, np.full((2, 1), (x0 - step).mean()), rtol=1e-15)
    cta = on_engine(bowls, DPSGDCTA(lr=0.5), 1, x0)
    np.testing.assert_allclose(cta, 3 - step, rtol=1e-15)


@pytest.mark.parametrize("order", ORDERS)
def test_rounds_are_the_papers_matrix_form(order, make_bowls, on_engine, stacked):
    bowls = make_bowls("star", n=5)
    x = x0 = np.random.default_rng(1).normal(size=bowls.c.shape)
    for _ in range(7):
        g = bowls.gradient(x)
        x = bowls.W @ (x - 0.3 * g) if order == "atc" else bowls.W @ x - 0.3 * g
    algorithm = ORDERS[order](lr=0.3)
    np.testing.assert_allclose(on_engine(bowls, algorithm, 7, x0), x, rtol=1e-13)
    np.testing.assert_allclose(stacked(bowls, algorithm, 7, x0), x, rtol=1e-13)


# --- (a) the complete graph ----------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_with_everybody_linked_it_is_centralised_gradient_descent(order, make_bowls, on_engine):
    """W = 11^T/n. The mean follows gradient descent only where all hold the same x: for ATC."""
    bowls = make_bowls("complete", n=6, spread=3)
    np.testing.assert_allclose(bowls.W, 1 / 6)
    if order == "cta":  # x_i differ by their last own steps; equal matrices make the mean exact
        bowls.A = np.broadcast_to(bowls.A[0], bowls.A.shape)
    x = np.zeros(4)
    for _ in range(30):
        x = x - 0.4 * bowls.gradient(np.broadcast_to(x, bowls.c.shape)).mean(axis=0)
    found = on_engine(bowls, ORDERS[order](lr=0.4), 30)
    np.testing.assert_allclose(found.mean(axis=0), x, rtol=0, atol=1e-12)
    if order == "atc":
        np.testing.assert_allclose(found, np.broadcast_to(x, found.shape), rtol=0, atol=1e-12)


# --- (b) the fixed point --------------------------------------------------------------------


@pytest.mark.parametrize("graph", ["ring", "star"])
@pytest.mark.parametrize("order", ORDERS)
def test_the_fixed_point_is_that_of_the_linear_system(order, graph, make_bowls, on_engine):
    bowls = make_bowls(graph, n=6)
    expected = bowls.fixed_point(0.4, order)
    found = on_engine(bowls, ORDERS[order](lr=0.4), 90)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    assert np.abs(expected - bowls.optimum).max() > 0.01  # heterogeneous: biased
    other = bowls.fixed_point(0.4, "cta" if order == "atc" else "atc")
    assert np.abs(expected - other).max() > 0.01  # so this test tells the two orders apart


@pytest.mark.parametrize("order", ORDERS)
def test_an_experiment_file_of_quadratics_ends_at_its_fixed_point(order, make_bowls):
    experiment = experiment_from(
        {
            "rounds": 90,
            "evaluate_every": 90,
            "topology": {"graph": "ring", "peers": 6},
            "data": {
                "source": "quadratics", "partition": "by-group", "test_fraction": 0.0,
                "dimension": 3, "mu": 0.7,
            },
            "model": {"name": "quadratic", "dtype": "float64"},
            "algorithm": {"name": ORDERS[order].name, "lr": 0.5, "batch_size": "full"},
        }
    )  # fmt: skip
    result = gossipml.simulate(experiment)
    parts = load_shards(experiment, 6).parts
    bowls = make_bowls("ring", n=6, d=3)
    bowls.A = np.concatenate([parts[i][0] for i in range(6)])
    bowls.c = np.concatenate([parts[i][1] for i in range(6)])
    np.testing.assert_allclose(result.parameters, bowls.fixed_point(0.5, order), rtol=0, atol=1e-10)


def test_alike_peers_have_no_bias(make_bowls, on_engine):
    bowls = make_bowls("ring", n=6)
    bowls.c[:] = bowls.c[0]
    found = on_engine(bowls, DPSGD(lr=0.5), 80)
    np.testing.assert_allclose(found, bowls.c, rtol=0, atol=1e-12)


# --- (c) the bias ---------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_the_squared_bias_falls_fourfold_when_a_small_rate_halves(order, make_bowls, stacked):
    bowls = make_bowls("hypercube", n=8)
    errors, mean_errors = [], []
    for lr in (0.02, 0.01, 0.005):
        start = bowls.fixed_point(lr, order) + 0.1
        x = stacked(bowls, ORDERS[order](lr=lr), round(16 / lr), start)
        errors.append(((x - bowls.optimum) ** 2).mean())
        mean_errors.append(((x.mean(axis=0) - bowls.optimum) ** 2).mean())
    for large, small in pairwise(errors):
        assert 3.7 < large / small < 4.1
    for each, of_mean in zip(errors, mean_errors, strict=True):
        assert of_mean < each / 10  # the mean model is far nearer than the models


def test_a_sparser_graph_has_more_bias(make_bowls, stacked):
    errors = []
    for graph in ("ring", "hypercube", "complete"):
        bowls = make_bowls(graph, n=8)
        x = stacked(bowls, DPSGD(lr=0.1), 400)
        errors.append(((x - bowls.optimum) ** 2).mean())
    assert errors[0] > 2 * errors[1] > 1e-6
    assert errors[2] < 1e-20


# --- (d) averaging alone ------------------------------------------------------------------


@pytest.mark.parametrize(("graph", "n"), [("ring", 7), ("star", 6), ("torus", 9)])
@pytest.mark.parametrize(
    ("dtype", "close"), [("float64", 1e-12), ("float32", 1e-6)], ids=["float64", "float32"]
)
@pytest.mark.parametrize("order", ORDERS)
def test_without_gradients_the_mean_stays_and_disagreement_shrinks(
    order, dtype, close, graph, n, make_bowls, on_engine
):
    bowls = make_bowls(graph, n=n)
    bowls.A[:] = 0
    x0 = x = (3 + np.random.default_rng(2).normal(size=bowls.c.shape)).astype(dtype)
    away = np.linalg.norm(x0 - x0.mean(axis=0))
    for rounds in (1, 2, 5, 12):
        x = on_engine(bowls, ORDERS[order](lr=0.1), rounds, x0, dtype)
        assert x.dtype == dtype
        np.testing.assert_allclose(x.mean(0, np.float64), x0.mean(0, np.float64), rtol=close)
        apart = np.linalg.norm(x - x.mean(axis=0))
        assert apart <= bowls.rho**rounds * away * (1 + 10 * close)
    assert apart > 1e-9  # it did not just collapse


# --- (e) momentum ----------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [Momentum, Nesterov])
def test_momentum_has_the_fixed_point_of_its_effective_rate(momentum, make_bowls, on_engine):
    """At rest m = g/(1 - beta) and Nesterov's direction is as long: the rate is lr/(1 - beta)."""
    bowls = make_bowls("ring", n=6)
    algorithm = DPSGD(lr=0.25, optimizer=momentum(0.5))
    found = on_engine(bowls, algorithm, 120)
    np.testing.assert_allclose(found, bowls.fixed_point(0.5, "atc"), rtol=0, atol=1e-10)
    assert np.abs(found - bowls.fixed_point(0.25, "atc")).max() > 0.01


# --- (f) local steps --------------------------------------------------------------------------


def test_local_steps_change_the_fixed_point(make_bowls, on_engine, stacked):
    """H steps contract by M = (I - lr A)^H: x = W (M x + (I - M) c)."""
    bowls = make_bowls("ring", n=6)
    n, d = bowls.c.shape
    for steps in (2, 5):
        M = np.linalg.matrix_power(np.eye(d) - 0.3 * bowls.A, steps)
        big_m = np.zeros((n * d, n * d))
        for i in range(n):
            big_m[i * d : (i + 1) * d, i * d : (i + 1) * d] = M[i]
        big_w = np.kron(bowls.W, np.eye(d))
        push = big_w @ (np.eye(n * d) - big_m) @ bowls.c.ravel()
        expected = np.linalg.solve(np.eye(n * d) - big_w @ big_m, push).reshape(n, d)
        found = on_engine(bowls, DPSGD(lr=0.3, local_steps=steps), 60)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
        away = np.abs(found - bowls.fixed_point(0.3, "atc")).max()
        assert away > 0.05
    again = stacked(bowls, LocalSGD(lr=0.3, local_steps=5), 60)
    np.testing.assert_allclose(again, expected, rtol=0, atol=1e-10)


def test_local_steps_take_so_many_gradients():
    class Counting:
        calls = 0

        def gradient(self, x):
            self.calls += 1
            return np.ones_like(x)

    for algorithm, count in ((DPSGD(lr=1.0, local_steps=3), 3), (LocalSGD(lr=1.0), 5)):
        problem = Counting()
        s = algorithm.init(np.zeros(2))
        steps = algorithm.round(s, problem)
        request = next(steps)
        assert problem.calls == count
        np.testing.assert_array_equal(request.arrays, [[-count, -count]])
        with pytest.raises(StopIteration):
            steps.send(request.arrays)


def test_combine_then_adapt_sends_the_model_before_its_steps():
    class Slope:
        def gradient(self, x):
            return np.ones_like(x)

    algorithm = DPSGDCTA(lr=1.0, local_steps=2)
    s = algorithm.init(np.zeros(1))
    steps = algorithm.round(s, Slope())
    begun = next(steps)  # before the steps are computed
    np.testing.assert_array_equal(begun.request.arrays, [[0]])
    assert steps.send(begun) is begun
    with pytest.raises(StopIteration):
        steps.send((np.array([10.0]),))
    np.testing.assert_array_equal(s.x, [8])


@pytest.mark.parametrize("steps", [0, -3])
@pytest.mark.parametrize("method", [DPSGD, DPSGDCTA, LocalSGD])
def test_a_round_without_steps_is_refused(method, steps):
    with pytest.raises(ConfigError, match=f"algorithm.local_steps: found {steps}, expected"):
        method(local_steps=steps)


# --- (g) one and two peers --------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [SGD(), Momentum(), Adam()])
@pytest.mark.parametrize("method", [DPSGD, DPSGDCTA, LocalSGD])
def test_a_lone_peer_does_plain_descent(method, optimizer, make_bowls, on_engine):
    bowls = make_bowls("ring", n=1)
    algorithm = method(lr=0.1, optimizer=optimizer)
    s = algorithm.init(np.zeros(4))
    for _ in range(6):
        s.x = algorithm.descend(s, _First(bowls), s.x)
    # combine-then-adapt forms x + (step - x), which rounds otherwise
    np.testing.assert_allclose(on_engine(bowls, algorithm, 6)[0], s.x, rtol=1e-13)


class _First:
    def __init__(self, bowls):
        self.bowls = bowls

    def gradient(self, x):
        return self.bowls.gradient(x[None])[0]


@pytest.mark.parametrize("method", [DPSGD, DPSGDCTA, LocalSGD])
def test_two_peers(method, make_bowls, on_engine, stacked):
    bowls = make_bowls("ring", n=2)
    np.testing.assert_allclose(bowls.W, 0.5)
    found = on_engine(bowls, method(lr=0.2), 10)
    np.testing.assert_allclose(found, stacked(bowls, method(lr=0.2), 10), rtol=1e-12)


# --- schedules --------------------------------------------------------------------------------


def test_a_decaying_rate_removes_the_bias(make_bowls, stacked):
    from gossipml.algorithms import InverseSqrt

    bowls = make_bowls("hypercube", n=8)
    constant = stacked(bowls, DPSGD(lr=0.5), 4000)
    decaying = stacked(bowls, DPSGD(lr=0.5, lr_schedule=InverseSqrt(1.0)), 4000)
    errors = [((x - bowls.optimum) ** 2).mean() for x in (constant, decaying)]
    assert errors[1] < errors[0] / 500


def test_the_engine_uses_the_rate_of_the_round(make_bowls, on_engine, stacked):
    from gossipml.algorithms import Step

    bowls = make_bowls("ring", n=4)
    algorithm = DPSGD(lr=0.5, lr_schedule=Step(every=2, factor=0.3))
    found = on_engine(bowls, algorithm, 5)
    np.testing.assert_allclose(found, stacked(bowls, algorithm, 5), rtol=1e-13)
    assert np.abs(found - on_engine(bowls, DPSGD(lr=0.5), 5)).max() > 0.01
