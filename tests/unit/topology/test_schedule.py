"""The static schedule: rows, receivers, digest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipml.errors import TopologyError
from gossipml.topology import (
    GRAPHS,
    Link,
    MixingMatrix,
    Node,
    Static,
    Topology,
    is_fixed,
    make_topology,
    mixing,
)


def static(name, n, rule="metropolis"):
    topology = make_topology(name, n)
    return topology, Static(topology, mixing(topology, rule))


@given(st.sampled_from(sorted(set(GRAPHS) - {"hypercube"})), st.integers(1, 12))
def test_rows_and_receivers_agree(name, n):
    topology, schedule = static(name, None if is_fixed(name) else n)
    sent = {(u, v) for u in range(topology.n) for v in schedule.receivers(u, 0)}
    taken = {(u, v) for v in range(topology.n) for u in schedule.row(v, 7).peers if u != v}
    pushed = {(u, v) for v in range(topology.n) for u in schedule.push_row(v, 7).peers if u != v}
    assert sent == taken == pushed
    for peer in range(topology.n):
        row = schedule.row(peer, 0)
        assert list(row.peers) == sorted({*row.peers, peer})
        assert row.weights.sum() == pytest.approx(1)
        assert set(schedule.neighbours(peer)) == {
            *topology.senders(peer),
            *topology.receivers(peer),
        }


def test_push_rows_keep_the_total():
    topology, schedule = static("star", 5)
    total = np.zeros(5)
    for peer in range(5):
        row = schedule.push_row(peer, 0)
        total[list(row.peers)] += row.weights
    np.testing.assert_allclose(total, 1)
    np.testing.assert_array_equal(schedule.matrix(3).dense(), mixing(topology).dense())


def test_digest_tells_graphs_weights_and_ids_apart():
    digests = {
        static("ring", 8)[1].digest(),
        static("ring", 9)[1].digest(),
        static("path", 8)[1].digest(),
        static("ring", 8, "lazy-metropolis")[1].digest(),
    }
    named = Topology.assemble("x", map(Node, "ab"), [Link("a", "b")])
    other = Topology.assemble("x", map(Node, "ac"), [Link("a", "c")])
    digests |= {Static(t, mixing(t)).digest() for t in (named, other)}
    assert len(digests) == 6
    assert static("ring", 8)[1].digest() == static("ring", 8)[1].digest()


def test_weights_of_another_graph_are_refused():
    ring = make_topology("ring", 5)
    with pytest.raises(TopologyError, match="there is no link"):
        Static(make_topology("path", 5), mixing(ring))
    lonely = MixingMatrix.from_entries(5, np.arange(5), np.arange(5), np.ones(5))
    with pytest.raises(TopologyError, match="the mixing matrix lacks links of the graph"):
        Static(ring, lonely)
