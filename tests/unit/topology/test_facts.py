"""Spectral facts against closed forms and published numbers."""

from math import ceil, cos, log, pi

import msgspec
import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from gossipml.errors import TopologyError
from gossipml.topology import (
    Topology,
    describe,
    diameter,
    effective_neighbors,
    lambda_min,
    make_schedule,
    make_topology,
    mixing,
    mixing_matrix,
    predicted_rounds,
    spectral_gap,
    spectrum,
    stationary_distribution,
)

SIZES = [8, 16, 25, 32, 64]
SIDES = {8: (2, 4), 16: (4, 4), 25: (5, 5), 32: (4, 8), 64: (8, 8)}


def rho(name, n, rule="metropolis", **options):
    return 1 - spectral_gap(mixing(make_topology(name, n, **options), rule))


@pytest.mark.parametrize("n", SIZES)
def test_closed_forms(n):
    assert rho("ring", n) == pytest.approx(1 - 2 / 3 * (1 - cos(2 * pi / n)), abs=1e-9)
    assert rho("path", n) == pytest.approx(1 - 2 / 3 * (1 - cos(pi / n)), abs=1e-9)
    assert rho("star", n) == pytest.approx(1 - 1 / n, abs=1e-9)
    assert rho("complete", n) == pytest.approx(0, abs=1e-9)
    assert lambda_min(mixing(make_topology("star", n))) == pytest.approx(0, abs=1e-9)
    alpha = 0.3
    slow = (1 - alpha) * np.eye(n) + alpha / n
    assert spectral_gap(slow) == pytest.approx(alpha, abs=1e-9)


@pytest.mark.parametrize("n", [16, 25, 32, 64])
def test_torus(n):
    a, b = SIDES[n]
    expected = max(
        abs(1 + 2 * cos(2 * pi * i / a) + 2 * cos(2 * pi * j / b)) / 5
        for i in range(a)
        for j in range(b)
        if i or j
    )
    assert rho("torus", n) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("n", [8, 16, 32, 64])
def test_powers_of_two(n):
    p = n.bit_length() - 1
    cube = mixing(make_topology("hypercube", n))
    assert 1 - spectral_gap(cube) == pytest.approx((p - 1) / (p + 1), abs=1e-9)
    assert lambda_min(cube) == pytest.approx(-(p - 1) / (p + 1), abs=1e-9)
    assert rho("exponential", n, "uniform") == pytest.approx(1 - 2 / (1 + p), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ring", (0.804738, 0.949253, 0.979055, 0.987190, 0.996790)),
        ("path", (0.949253, 0.987190, 0.994743, 0.996790, 0.999197)),
        ("star", (0.875, 0.9375, 0.96, 0.96875, 0.984375)),
        ("torus", (0.5, 0.6, 0.723607, 0.882843, 0.882843)),
        ("grid", (0.853553, 0.868641, 0.916213, 0.965778, 0.967705)),
        ("hypercube", (0.5, 0.6, None, 0.666667, 0.714286)),
        ("exponential", (0.5, 0.6, 0.510861, 0.666667, 0.714286)),
        ("tree", (0.945928, 0.977960, 0.986629, 0.990326, 0.995552)),
        ("random-regular", (0.512311, 0.775677, 0.810152, 0.821254, 0.897092)),
    ],
)
def test_table(name, expected):
    for n, value in zip(SIZES, expected, strict=True):
        if value is not None:
            assert rho(name, n) == pytest.approx(value, abs=6e-7)


@pytest.mark.parametrize(
    ("name", "value", "rounds"),
    [
        ("florentine", 0.942559, 234),
        ("karate", 0.968764, 436),
        ("davis", 0.917902, 162),
        ("les-miserables", 0.992713, 1889),
    ],
)
def test_social_graphs(name, value, rounds):
    gap = spectral_gap(mixing(make_topology(name)))
    assert 1 - gap == pytest.approx(value, abs=6e-7)
    assert predicted_rounds(gap, 1e-6) == rounds


@pytest.mark.parametrize("n", SIZES)
def test_predicted_rounds_table(n):
    expected = {8: 64, 16: 266, 25: 653, 32: 1072, 64: 4297}[n]
    assert predicted_rounds(1 - rho("ring", n), 1e-6) == expected


def test_predicted_rounds_edges():
    assert predicted_rounds(1.0) == predicted_rounds(1.5) == predicted_rounds(1 - 1e-17) == 1
    assert predicted_rounds(0.0) is None
    assert predicted_rounds(-0.5) is None
    assert predicted_rounds(0.4) == ceil(log(1e-3) / log(0.6))


@given(st.integers(2, 40), st.integers(0, 999))
def test_gap_bounds_what_a_round_does(n, seed):
    graph = nx.gnp_random_graph(n, 0.3, seed=seed)
    nx.add_path(graph, range(n))
    W = mixing_matrix(graph)
    x = np.random.default_rng(seed).standard_normal(n)
    before, after = (np.linalg.norm(v - v.mean()) for v in (x, W @ x))
    assert after <= (1 - spectral_gap(W)) * before * (1 + 1e-12) + 1e-12


SPARSE = [
    ("ring", 60, "metropolis"),
    ("ring", 61, "lazy-metropolis"),
    ("path", 90, "metropolis"),
    ("star", 80, "metropolis"),
    ("complete", 60, "metropolis"),
    ("hypercube", 64, "metropolis"),
    ("random-regular", 100, "max-degree"),
    ("exponential", 100, "uniform"),
    ("erdos-renyi", 90, "lazy-max-degree"),
    ("exponential", 70, "column-stochastic"),
]


@pytest.mark.parametrize(("name", "n", "rule"), SPARSE)
def test_sparse_path_equals_dense_path(monkeypatch, name, n, rule):
    W = mixing(make_topology(name, n), rule)
    dense = spectral_gap(W)
    low = lambda_min(W) if W.is_symmetric else None
    monkeypatch.setattr(spectrum, "_DENSE", 50)
    assert spectral_gap(W) == pytest.approx(dense, abs=1e-9)
    assert spectral_gap(W.csr()) == spectral_gap(W)  # the same start each time
    assert spectral_gap(W.dense()) == pytest.approx(dense, abs=1e-9)
    if low is not None:
        assert lambda_min(W) == pytest.approx(low, abs=1e-9)


def test_sparse_path_without_unit_sums(monkeypatch):
    graph = nx.star_graph(59)
    W = nx.to_numpy_array(graph) + np.eye(60)
    W /= W.sum(1, keepdims=True)
    dense = spectral_gap(W)
    monkeypatch.setattr(spectrum, "_DENSE", 50)
    assert spectral_gap(csr_array(W)) == pytest.approx(dense, abs=1e-12)


def test_many_peers_with_crowded_eigenvalues():
    ring = mixing(make_topology("ring", 2000))
    assert spectral_gap(ring) == pytest.approx(2 / 3 * (1 - cos(2 * pi / 2000)), rel=1e-5)
    assert lambda_min(ring) == pytest.approx(-1 / 3, abs=1e-9)
    one_way = Topology.from_networkx(nx.cycle_graph(1000, create_using=nx.DiGraph))
    assert spectral_gap(mixing(one_way)) == pytest.approx(1 - cos(pi / 1000), rel=1e-5)


def test_one_peer_and_wrong_input():
    assert spectral_gap([[1.0]]) == 1.0
    assert spectral_gap(mixing(make_topology("path", 2))) == pytest.approx(1.0)
    with pytest.raises(TopologyError, match=r"shape \(2, 3\), expected square"):
        spectral_gap(np.zeros((2, 3)))
    with pytest.raises(TopologyError, match="not finite"):
        spectral_gap([[np.nan]])
    with pytest.raises(TopologyError, match="not symmetric"):
        lambda_min(mixing(make_topology("exponential", 8)))


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(0, 999), st.booleans())
def test_diameter(n, seed, directed):
    graph = nx.gnp_random_graph(n, 0.1, seed=seed, directed=directed)
    if n > 1:
        nx.add_cycle(graph, range(n)) if directed else nx.add_path(graph, range(n))
    assert diameter(Topology.from_networkx(graph)) == nx.diameter(graph)


def test_diameter_has_a_limit():
    assert diameter(make_topology("ring", 2001)) is None


def test_describe():
    topology = make_topology("exponential", 16)
    found = msgspec.to_builtins(describe(topology, "uniform"))
    assert found.pop("spectral_gap") == pytest.approx(0.4)
    neighbours = found.pop("effective_neighbours")
    assert neighbours.keys() == {"0.9", "0.99"}
    assert 5 < neighbours["0.9"] < neighbours["0.99"] < 16
    assert found == {
        "name": "exponential",
        "nodes": 16,
        "edges": 64,
        "degree": {"min": 4, "mean": 4.0, "max": 4},
        "connected": True,
        "directed": True,
        "diameter": 4,
        "predicted_rounds_to_1e-3": 14,
        "lambda_min": None,
        "weights": "uniform",
        "exact_after_rounds": None,
        "schedule": "static",
        "period": 1,
        "round_degree": {"min": 4, "mean": 4.0, "max": 4},
        "gap_of": "one round",
        "expected_contraction": None,
    }
    pair = make_topology("path", 2)
    assert describe(pair, matrix=True).W == [[0.5, 0.5], [0.5, 0.5]]
    assert describe(pair, np.eye(2)).weights == "own"
    assert describe(pair, np.eye(2)).predicted_rounds is None
    assert describe(make_topology("ring", 1)).diameter == 0


GAMMAS = [0, 0.5, 0.9, 0.951, 0.99, 0.999]
NEIGHBOURS = {
    "ring": [3.000, 3.720, 6.632, 8.856, 17.076, 28.895],
    "torus": [5, 7.116, 15.739, 20.636, 28.540, 31.609],
    "hypercube": [6, 8.897, 19.636, 24.286, 30.009, 31.788],
    "exponential": [6, 9.183, 20.400, 24.921, 30.221, 31.812],
    "star": [1.098, 1.163, 1.674, 2.313, 6.438, 22.058],
    "barbell": [16.053, 16.183, 16.991, 17.907, 22.385, 29.906],
}


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_effective_neighbours_of_32_peers(name):
    matrix = mixing(make_topology(name, 32))
    for W in (matrix, matrix.csr(), [matrix.dense(), matrix]):
        found = [effective_neighbors(W, gamma) for gamma in GAMMAS]
        assert found == pytest.approx(NEIGHBOURS[name], abs=6e-4)


def test_effective_neighbours_of_a_schedule():
    schedule = make_schedule("one-peer", make_topology("exponential", 32), None, 0)
    period = [schedule.matrix(t) for t in range(5)]
    found = [effective_neighbors(period, gamma) for gamma in GAMMAS]
    assert found == pytest.approx([2, 2.994, 9.286, 14.309, 25.429, 31.190], abs=6e-4)


def test_effective_neighbours_is_the_variance_of_the_walk():
    # Matrices of no symmetry, and their order matters: against the definition, term by term.
    rng = np.random.default_rng(2)
    period = [rng.dirichlet(np.ones(6), size=6) for _ in range(3)]
    gamma, expected = 0.7, []
    for end in range(3):
        C, M = np.zeros((6, 6)), np.eye(6)
        for s in range(200):
            M = M @ period[(end - s) % 3]
            C += gamma**s * M @ M.T
        expected.append(np.trace(C) / 6)
    assert effective_neighbors(period, gamma) == pytest.approx(
        1 / (1 - gamma) / np.mean(expected), rel=1e-12
    )


def test_effective_neighbours_at_the_ends():
    assert effective_neighbors([[1.0]], 0.9) == pytest.approx(1)
    assert effective_neighbors([[0.5, 0.5], [0.5, 0.5]], 0.5) == pytest.approx(2)
    assert effective_neighbors(np.eye(7), 0.99) == pytest.approx(1)
    ring = mixing(make_topology("ring", 5000))
    assert effective_neighbors(ring, 0.9) == pytest.approx(6.632, abs=1e-2)  # the far do not matter
    assert describe(make_topology("ring", 5000)).effective_neighbours["0.9"] > 6
    many = make_topology("random-regular", 2100)
    assert describe(many).effective_neighbours == {"0.9": None, "0.99": None}
    pushed = describe(make_topology("exponential", 6), "column-stochastic")
    assert pushed.effective_neighbours["0.9"] > 2  # a circulant matrix: its rows sum to 1 too
    with pytest.raises(TopologyError, match="gamma is 1, expected from 0 to below 1"):
        effective_neighbors(np.eye(2), 1)
    with pytest.raises(TopologyError, match="matrices of one size, at least one"):
        effective_neighbors([], 0.5)
    with pytest.raises(TopologyError, match="matrices of one size, at least one"):
        effective_neighbors([np.eye(2), np.eye(3)], 0.5)


@pytest.mark.parametrize(
    ("name", "n", "end", "mean"),
    [
        ("karate", None, 16.294737, 16.5),
        ("florentine", None, 6.381818, 7),
        ("star", 8, 2.545455, 3.5),
    ],
)
def test_what_uniform_averaging_ends_in(name, n, end, mean):
    topology = make_topology(name, n)
    x = np.arange(topology.n)
    pi = stationary_distribution(mixing(topology, "row-stochastic"))
    np.testing.assert_allclose(
        pi, (1 + topology.degrees) / (1 + topology.degrees).sum(), atol=1e-14
    )
    assert pi @ x == pytest.approx(end, abs=1e-6)
    assert stationary_distribution(mixing(topology)) @ x == pytest.approx(mean, abs=1e-12)
    with pytest.raises(TopologyError, match="the rows do not sum to 1"):
        stationary_distribution(2 * np.eye(3))
    with pytest.raises(TopologyError, match="has more than one"):
        stationary_distribution(np.eye(2))
