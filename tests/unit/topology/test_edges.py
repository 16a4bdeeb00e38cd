"""Links as arrays are those of networkx; large graphs are what their names say."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from gossipml import topology
from gossipml.errors import TopologyError
from gossipml.topology import GRAPHS, draws, edges, is_fixed, named

DRAWN_ANEW = ["random-regular", "erdos-renyi"]  # beyond LARGE peers
SAME = [name for name in GRAPHS if not is_fixed(name) and name not in DRAWN_ANEW]


@pytest.mark.parametrize(
    ("name", "peers"),
    [(name, n) for name in SAME for n in (1, 2, 4, 8, 16, 3) if name != "hypercube" or n != 3],
)
def test_arrays_and_networkx_make_the_same_graph(name, peers, monkeypatch):
    slow = topology.make_topology(name, peers)
    monkeypatch.setattr(named, "LARGE", 0)
    quick = topology.make_topology(name, peers)
    assert (quick.name, quick.ids, quick.directed) == (slow.name, slow.ids, slow.directed)
    np.testing.assert_array_equal(quick.edges, slow.edges)


@pytest.mark.parametrize(("peers", "degree"), [(6, 4), (7, 2), (10, 3), (50, 4), (6000, 5)])
def test_random_regular_graphs_are_simple_and_regular(peers, degree):
    for seed in range(5):
        links = edges.tidy(peers, draws.connected_random_regular(peers, degree, seed))
        assert len(links) == peers * degree // 2
        assert (np.bincount(links.ravel(), minlength=peers) == degree).all()
        assert edges.is_connected(peers, links)


@pytest.mark.parametrize("n", [2, 4, 8, 16, 64])
def test_one_peer_exponential_averages_exactly(n):
    made = topology.make_topology("exponential", n)
    schedule = topology.make_schedule("one-peer", made, topology.mixing(made), 0)
    product = np.eye(n)
    for t in np.random.default_rng(n).permutation(len(schedule.hops)):
        matrix = schedule.matrix(int(t))
        assert matrix.is_row_stochastic
        assert matrix.is_column_stochastic
        product = matrix.dense() @ product
    np.testing.assert_allclose(product, np.full((n, n), 1 / n), atol=1e-15)


def test_gap_of_a_large_ring():
    made = topology.make_topology("ring", 30_000)
    gap = topology.known_gap(topology.mixing(made))
    assert gap == pytest.approx(2 / 3 * (1 - np.cos(2 * np.pi / 30_000)), rel=1e-6)


def same_links(peers, links, graph):
    expected = edges.tidy(peers, np.array(graph.edges, np.int64).reshape(-1, 2))
    np.testing.assert_array_equal(edges.tidy(peers, links), expected)


@pytest.mark.parametrize("rewire", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(("peers", "degree"), [(8, 6), (9, 6), (50, 4), (2000, 6)])
def test_small_worlds_are_those_of_networkx(peers, degree, rewire):
    for seed in range(3):
        graph = nx.watts_strogatz_graph(peers, degree, rewire, seed=seed)
        assert nx.is_connected(graph)
        links = draws.small_world(peers, degree=degree, rewire=rewire, seed=seed)
        same_links(peers, links, graph)


@pytest.mark.parametrize(("peers", "new"), [(2, 1), (5, 4), (50, 1), (50, 3), (2000, 2)])
def test_graphs_with_hubs_are_those_of_networkx(peers, new):
    for seed in range(3):
        links = draws.barabasi_albert(peers, edges_per_node=new, seed=seed)
        same_links(peers, links, nx.barabasi_albert_graph(peers, new, seed=seed))


@pytest.mark.parametrize(("peers", "p"), [(200, 0.5), (2000, 0.01), (40_000, 5e-4)])
def test_links_of_erdos_renyi_are_independent_of_each_other(peers, p):
    """Links in all and degrees are binomial, within five standard errors."""
    links = draws.erdos_renyi(peers, probability=p, seed=1)
    assert len(edges.tidy(peers, links)) == len(links)  # none twice, no loops
    assert edges.is_connected(peers, links)
    pairs = peers * (peers - 1) / 2
    assert abs(len(links) - pairs * p) < 5 * (pairs * p * (1 - p)) ** 0.5
    degrees = np.bincount(links.ravel(), minlength=peers)
    variance = (peers - 1) * p * (1 - p)
    assert degrees.var() == pytest.approx(variance, rel=5 * (2 / peers) ** 0.5)
    assert abs(np.corrcoef(degrees, np.arange(peers))[0, 1]) < 5 / peers**0.5
    again = draws.erdos_renyi(peers, probability=p, seed=1)
    np.testing.assert_array_equal(again, links)
    assert len(draws.erdos_renyi(peers, probability=p, seed=2)) != len(links)


def test_every_pair_can_be_drawn():
    np.testing.assert_array_equal(
        edges.tidy(9, draws.erdos_renyi(9, probability=1.0)), edges.tidy(9, edges.complete(9))
    )
    big = 10**9
    first = draws._pair_of(np.array([0, 1, 2, 3, big * (big - 1) // 2 - 1]))
    assert first.tolist() == [[0, 1], [0, 2], [1, 2], [0, 3], [big - 2, big - 1]]
    with pytest.raises(TopologyError, match="100 draws with probability 0 were all disconnected"):
        draws.erdos_renyi(8, probability=0.0)


@pytest.mark.parametrize(
    ("name", "options", "links"),
    [
        ("small-world", {}, 2 * 6000),
        ("barabasi-albert", {"edges_per_node": 3}, 3 * 6000 - 9),
        ("caveman", {"cliques": 1000}, 1000 * 15),
        ("caveman", {"cliques": 999}, 993 * 15 + 6 * 21),
        ("barbell", {"path": 5800}, 2 * 99 * 50 + 5801),
    ],
)
def test_large_graphs_are_made_as_arrays(name, options, links, monkeypatch):
    monkeypatch.setattr(named, "make_graph", None)  # networkx is not asked
    made = topology.make_topology(name, 6000, **options)
    assert len(made.edges) == links  # and connected, or it would have been refused
