"""Links as arrays are those of networkx; large graphs are what their names say."""

from __future__ import annotations

import numpy as np
import pytest

from gossipml import topology
from gossipml.topology import edges, named

SAME = ["ring", "path", "star", "complete", "grid", "torus", "hypercube", "tree", "exponential"]


@pytest.mark.parametrize("peers", [1, 2, 3, 4, 8, 16, 32])
@pytest.mark.parametrize("name", SAME)
def test_arrays_and_networkx_make_the_same_graph(name, peers, monkeypatch):
    if name == "hypercube" and peers & (peers - 1):
        pytest.skip("no such hypercube")
    slow = topology.make_topology(name, peers)
    monkeypatch.setattr(named, "LARGE", 0)
    quick = topology.make_topology(name, peers)
    assert (quick.name, quick.ids, quick.directed) == (slow.name, slow.ids, slow.directed)
    np.testing.assert_array_equal(quick.edges, slow.edges)


@pytest.mark.parametrize(("peers", "degree"), [(6, 4), (7, 2), (10, 3), (50, 4), (6000, 5)])
def test_random_regular_graphs_are_simple_and_regular(peers, degree):
    for seed in range(5):
        links = edges.tidy(peers, edges.connected_random_regular(peers, degree, seed))
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
