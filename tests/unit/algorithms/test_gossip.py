"""Averaging alone, plain and Chebyshev-accelerated (Scaman et al. 2017), and D-PSGD over it."""

from __future__ import annotations

import numpy as np
import pytest

import gossipml
from gossipml.algorithms import (
    DPSGD,
    SGP,
    AdaptiveGossip,
    AllReduce,
    ChebyshevGossip,
    ChebyshevSGD,
    Cosine,
    Gossip,
    Momentum,
    MultiGossipSGD,
    PushSum,
)
from gossipml.errors import ConfigError


def eigenvalues(bowls):
    found = np.linalg.eigvalsh(bowls.W)
    return {"lambda_2": found[-2], "lambda_min": found[0]}


def rounds_to(factor, norm):
    """Return the least k whose norm is at most the factor."""
    return next(k for k in range(1, 20_000) if norm(k) <= factor)


def operator(bowls, method):
    """Return the matrix that a round multiplies the models with."""
    n = bowls.graph.n
    bowls.A, bowls.c = np.zeros((n, n, n)), np.zeros((n, n))  # no gradients
    state = method.init(np.eye(n))
    steps = method.round(state, bowls)
    request = next(steps)
    while True:
        try:
            request = steps.send(tuple(bowls.W @ array for array in request.arrays))
        except StopIteration:
            return state.x


def test_plain_gossip_is_a_power_of_w(make_bowls):
    bowls = make_bowls("star", n=6)
    for k in (1, 2, 5):
        found = operator(bowls, Gossip(gossip_steps=k))
        np.testing.assert_allclose(found, np.linalg.matrix_power(bowls.W, k), atol=1e-15)


@pytest.mark.parametrize(
    ("graph", "n", "plain", "accelerated"),
    [
        ("ring", 16, 266, 37),
        ("ring", 64, 4297, 148),
        ("torus", 64, 111, 27),
        ("path", 32, 4297, 148),
    ],
)
def test_averages_to_a_millionth_are_those_of_theory(graph, n, plain, accelerated, make_bowls):
    """1/T_k(ξ) is the norm of the operator: 37 averages do on a ring of 16 what 266 plain do."""
    bowls = make_bowls(graph, n=n)
    known = eigenvalues(bowls)
    xi = (2 - known["lambda_2"] - known["lambda_min"]) / (known["lambda_2"] - known["lambda_min"])
    assert rounds_to(1e-6, lambda k: bowls.rho**k) == plain
    assert rounds_to(1e-6, lambda k: 1 / np.cosh(k * np.arccosh(xi))) == accelerated
    mean = np.full((n, n), 1 / n)
    for k in (1, 5, accelerated):
        found = operator(bowls, ChebyshevGossip(gossip_steps=k, **known))
        norm = np.linalg.norm(found - mean, 2)
        assert norm == pytest.approx(1 / np.cosh(k * np.arccosh(xi)), rel=1e-6)
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-13)


@pytest.mark.parametrize("weights", ["metropolis", "lazy-metropolis"])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_on_a_complete_graph_it_is_exact_after_one_average_and_stays(n, weights, make_bowls):
    """All eigenvalues but 1 are one: the range of the polynomial is a point."""
    bowls = make_bowls("complete", n=n, weights=weights)
    known = eigenvalues(bowls) if n > 1 else {"lambda_2": 0.0, "lambda_min": 0.0}
    for k in (1, 2, 9):
        found = operator(bowls, ChebyshevGossip(gossip_steps=k, **known))
        np.testing.assert_allclose(found, 1 / n, atol=1e-14)


@pytest.mark.parametrize("graph", ["ring", "torus", "hypercube", "star"])
def test_its_own_number_of_averages_halves_any_distance(graph, make_bowls):
    bowls = make_bowls(graph, n=64)
    method = ChebyshevGossip(**eigenvalues(bowls))
    assert method.gossip_steps == np.ceil(1 / np.sqrt(1 - method.lambda_2))
    assert method.facts.requests == method.facts.vectors == method.gossip_steps
    norm = np.linalg.norm(operator(bowls, method) - 1 / 64, 2)
    assert norm <= 0.5


def test_many_averages_neither_overflow_nor_lose_the_mean(make_bowls):
    bowls = make_bowls("ring", n=8)
    found = operator(bowls, ChebyshevGossip(gossip_steps=3000, **eigenvalues(bowls)))
    np.testing.assert_allclose(found, 1 / 8, atol=1e-12)


def test_bounds_on_the_eigenvalues_do_too(make_bowls):
    bowls = make_bowls("ring", n=16)
    loose = ChebyshevGossip(gossip_steps=30, lambda_2=0.97, lambda_min=-0.5)
    assert np.linalg.norm(operator(bowls, loose) - 1 / 16, 2) < 1e-3


def test_without_eigenvalues_it_says_so(make_bowls):
    bowls = make_bowls("ring", n=4)
    with pytest.raises(ConfigError, match="chebyshev-gossip: lambda_2 and lambda_min are not set"):
        operator(bowls, ChebyshevGossip(gossip_steps=2))
    with pytest.raises(ConfigError, match="gossip_steps: found 0, expected an integer of 1"):
        Gossip(gossip_steps=0)
    with pytest.raises(ConfigError, match="gossip_steps: found -1, expected an integer of 0"):
        ChebyshevGossip(gossip_steps=-1)


@pytest.mark.parametrize("k", [1, 3])
def test_d_psgd_over_it_ends_where_the_mixed_matrix_says(k, make_bowls, on_engine):
    """The closed form of D-PSGD, with the operator of a round in the place of W."""
    bowls = make_bowls("ring", n=8)
    for method in (
        MultiGossipSGD(lr=0.3, gossip_steps=k),
        ChebyshevSGD(lr=0.3, gossip_steps=k, **eigenvalues(bowls)),
    ):
        found = on_engine(bowls, method, 300)
        other = make_bowls("ring", n=8)
        plain = ChebyshevGossip if isinstance(method, ChebyshevSGD) else Gossip
        known = eigenvalues(bowls) if plain is ChebyshevGossip else {}
        round_ = operator(make_bowls("ring", n=8), plain(gossip_steps=k, **known))
        other.W = round_
        np.testing.assert_allclose(found, other.fixed_point(0.3, "atc"), rtol=0, atol=1e-11)
    once = on_engine(bowls, MultiGossipSGD(lr=0.3, gossip_steps=1), 9)
    np.testing.assert_array_equal(once, on_engine(bowls, DPSGD(lr=0.3), 9))


def test_push_sum_alone_is_sgp_without_gradients(make_bowls, on_engine):
    bowls = make_bowls("star", n=5)
    bowls.A = np.zeros_like(bowls.A)
    x0 = np.random.default_rng(1).normal(size=bowls.c.shape)
    found = on_engine(bowls, PushSum(), 12, x0)
    np.testing.assert_array_equal(found, on_engine(bowls, SGP(), 12, x0))


def test_all_reduce_is_training_on_all_data(make_bowls, on_engine):
    """Peers with equally many samples and one step: gradient descent on the mean."""
    bowls = make_bowls("complete", n=5)
    found = on_engine(bowls, AllReduce(lr=0.4, optimizer=Momentum(0.3)), 30)
    np.testing.assert_allclose(found, np.broadcast_to(found[0], found.shape), rtol=0, atol=1e-15)
    x, m = np.zeros(4), np.zeros(4)
    for _ in range(30):
        m = 0.3 * m + bowls.gradient(np.broadcast_to(x, (5, 4))).mean(axis=0)
        x = x - 0.4 * m
    np.testing.assert_allclose(found[0], x, rtol=1e-13)
    np.testing.assert_allclose(found[0], bowls.optimum, atol=1e-6)


@pytest.mark.parametrize("distance", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("graph", ["ring", "hypercube", "complete"])
def test_consensus_control_keeps_the_peers_as_close_as_asked(graph, distance, make_bowls, stacked):
    """At the end, in units of how much their gradients differ, with no average too many."""
    bowls = make_bowls(graph, n=16)
    method = AdaptiveGossip(lr=0.3, distance=distance, most=99, **eigenvalues(bowls))
    x = stacked(bowls, method, 400)
    g = bowls.gradient(x)
    apart, differ = (np.linalg.norm(v - v.mean(axis=0)) for v in (x, g))
    assert apart <= distance * differ
    k = method.averages()
    assert method.facts.requests == k
    if k > 1:  # one average less, and the bound is broken
        rho = bowls.rho ** (k - 1)
        assert 0.3 * rho / (1 - rho) > distance


def test_consensus_control_takes_fewer_averages_as_the_rate_falls(make_bowls):
    bowls = make_bowls("ring", n=16)
    method = AdaptiveGossip(lr=0.3, lr_schedule=Cosine(100), most=20, **eigenvalues(bowls))
    found = [method.at(t).averages() for t in range(101)]
    assert found == sorted(found, reverse=True)
    assert found[0] == method.facts.requests == 20
    assert found[100] == 1
    with pytest.raises(ConfigError, match="adaptive-gossip: lambda_2 and lambda_min are not set"):
        AdaptiveGossip().averages()
    with pytest.raises(ConfigError, match="algorithm.distance: found 0"):
        AdaptiveGossip(distance=0)
    with pytest.raises(ConfigError, match="algorithm.most: found 0"):
        AdaptiveGossip(most=0)


@pytest.mark.parametrize("engine", ["virtual", "stacked"])
def test_plain_objects_are_told_the_eigenvalues_too(engine):
    method = ChebyshevSGD(lr=0.1)
    result = gossipml.simulate(
        graph=gossipml.topology.ring(8), data="iris", algorithm=method, rounds=3, engine=engine
    )
    averages = 3  # 1/√(1 − λ2), rounded up
    assert result.summary.payload_bytes_sent == 3 * averages * 16 * 15 * 4
    assert method.gossip_steps == 0, "the object of the user stays as it was"
