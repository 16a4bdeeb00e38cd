"""Mixing matrices: the rules against networkx and arithmetic, and every refusal."""

import hashlib

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array

from gossipml.errors import ConfigError, TopologyError
from gossipml.topology import (
    Link,
    MixingMatrix,
    Node,
    Topology,
    check_mixing,
    make_topology,
    mixing,
    mixing_matrix,
)
from gossipml.topology.weights import with_weights

DOUBLY = ["metropolis", "max-degree", "lazy-metropolis", "lazy-max-degree"]


@st.composite
def connected(draw, directed=False):
    n = draw(st.integers(1, 20))
    graph = nx.gnp_random_graph(n, 0.3, seed=draw(st.integers(0, 999)), directed=directed)
    if n > 1:
        nx.add_cycle(graph, range(n)) if directed else nx.add_path(graph, range(n))
    return Topology.from_networkx(graph)


@given(connected(), st.sampled_from(DOUBLY))
def test_undirected_rules_average_on_the_graph(topology, rule):
    matrix = mixing(topology, rule)
    W = matrix.dense()
    assert matrix.is_symmetric
    assert matrix.is_row_stochastic
    assert matrix.is_column_stochastic
    np.testing.assert_allclose(W.sum(0), 1, atol=1e-14)
    np.testing.assert_allclose(W.sum(1), 1, atol=1e-14)
    linked = nx.to_numpy_array(topology.to_networkx()) > 0
    assert (W[linked] > 0).all()
    assert (W[~linked & ~np.eye(topology.n, dtype=bool)] == 0).all()
    if rule.startswith("lazy"):
        np.testing.assert_allclose(
            W, (np.eye(topology.n) + mixing_matrix(topology, rule[5:])) / 2, atol=1e-15
        )
        assert np.linalg.eigvalsh(W)[0] > -1e-12


@given(connected())
def test_metropolis_and_max_degree_entries(topology):
    degrees = topology.degrees
    metropolis = mixing_matrix(topology)
    for u, v in topology.edges.tolist():
        assert metropolis[u, v] == 1 / (1 + max(degrees[u], degrees[v]))
    laplacian = nx.laplacian_matrix(topology.to_networkx()).toarray()
    expected = np.eye(topology.n) - laplacian / (1 + degrees.max())
    np.testing.assert_allclose(mixing_matrix(topology, "max-degree"), expected, atol=1e-15)


@given(connected(directed=True))
def test_column_stochastic_splits_equally(topology):
    matrix = mixing(topology, "column-stochastic")
    W = matrix.dense()
    assert matrix.is_column_stochastic
    for sender in range(topology.n):
        to = [sender, *topology.receivers(sender)]
        np.testing.assert_array_equal(W[to, sender], 1 / len(to))
    assert np.count_nonzero(W) == len(topology.edges) + topology.n


@given(connected())
def test_rows_store_the_closed_neighbourhood_in_order(topology):
    matrix = mixing(topology)
    dense = matrix.dense()
    for peer in range(topology.n):
        peers, weights = matrix.row(peer)
        assert peers.tolist() == sorted([peer, *topology.senders(peer)])
        np.testing.assert_array_equal(weights, dense[peer, peers])
    np.testing.assert_array_equal(matrix.csr().toarray(), dense)


def test_uniform_on_regular_graphs():
    np.testing.assert_allclose(mixing_matrix(make_topology("ring", 3), "uniform"), 1 / 3)
    exponential = make_topology("exponential", 12)
    W = mixing(exponential, "uniform")
    np.testing.assert_allclose(W.data, 0.2, rtol=1e-15)
    np.testing.assert_allclose(mixing(exponential).data, W.data, atol=1e-15)
    np.testing.assert_allclose(mixing(exponential, "max-degree").data, W.data, atol=1e-15)
    assert W.dense()[1, 0] == 0.2  # row 1 takes of peer 0, which sends to 1
    assert W.dense()[0, 1] == 0
    assert not W.is_symmetric


def test_file_weights():
    topology = with_weights(make_topology("grid", 9), mixing(make_topology("grid", 9)))
    np.testing.assert_allclose(mixing(topology, "file").dense(), mixing(topology).dense())
    directed = make_topology("exponential", 6)
    directed = with_weights(directed, mixing(directed))
    np.testing.assert_allclose(mixing(directed, "file").dense(), mixing(directed).dense())


def test_own_matrix_dense_sparse_and_record():
    topology = make_topology("path", 3)
    W = np.array([[1.2, -0.2, 0], [-0.2, 1, 0.2], [0, 0.2, 0.8]])
    for own in (W, W.tolist(), csr_array(W), coo_array(W), mixing(topology, W)):
        np.testing.assert_array_equal(mixing(topology, own).dense(), W)
    identity = mixing(topology, np.eye(3))
    assert identity.row(1)[0].tolist() == [0, 1, 2]  # links of weight zero stay links
    assert not mixing(topology, W).is_row_stochastic  # negative


def test_digest_is_that_of_the_documented_bytes():
    matrix = mixing(make_topology("ring", 5))
    parts = (matrix.indptr.astype("<i8"), matrix.indices.astype("<i8"), matrix.data.astype("<f8"))
    expected = hashlib.sha256((5).to_bytes(8, "little") + b"".join(p.tobytes() for p in parts))
    assert matrix.digest() == expected.hexdigest() == mixing(make_topology("ring", 5)).digest()
    assert matrix.digest() != mixing(make_topology("ring", 5), "lazy-metropolis").digest()


def test_one_and_two_peers():
    assert mixing_matrix(nx.path_graph(1)).tolist() == [[1.0]]
    assert mixing_matrix(nx.path_graph(2)).tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert mixing_matrix(nx.path_graph(1), "column-stochastic").tolist() == [[1.0]]


def test_plain_averaging_is_biased_and_metropolis_is_not():
    graph = nx.karate_club_graph()
    A = nx.to_numpy_array(graph, weight=None) + np.eye(34)
    x = np.arange(34.0)
    biased = np.linalg.matrix_power(A / A.sum(1, keepdims=True), 4000) @ x
    assert biased[0] == pytest.approx(16.294737, abs=1e-6)
    assert (np.linalg.matrix_power(mixing_matrix(graph), 4000) @ x)[0] == pytest.approx(16.5)


def irregular_digraph():
    links = [Link("a", "b"), Link("b", "a"), Link("b", "c"), Link("c", "b"), Link("c", "a")]
    return Topology.assemble("d", map(Node, "abc"), links, directed=True)


@pytest.mark.parametrize(
    ("topology", "rule", "message"),
    [
        (
            make_topology("path", 4),
            "uniform",
            "path: uniform weights need equal degrees, but '0' has degree 1 and '1' has 2; "
            "use metropolis",
        ),
        (
            irregular_digraph(),
            "metropolis",
            "d: metropolis weights need equal degrees, but 'c' has in-degree 1 and 'a' has 2; "
            "use column-stochastic",
        ),
        (irregular_digraph(), "uniform", "d: uniform weights need equal degrees"),
        (
            irregular_digraph(),
            "lazy-max-degree",
            "d: max-degree weights need a peer to receive as many models as it sends, but 'a' "
            "receives 2 and sends 1; use column-stochastic",
        ),
        (make_topology("path", 3), "file", "path: link '0' - '1' has no weight, which weights"),
        (make_topology("path", 3), np.eye(4), "mixing matrix has shape (4, 4), expected (3, 3)"),
        (
            make_topology("path", 3),
            np.full((3, 3), 1 / 3),
            "own weight of '2' in the row of peer '0' is 0.333333, but there is no link '2' - '0'",
        ),
        (
            make_topology("path", 2),
            [[0.5, 0.4], [0.5, 0.6]],
            "path: own weights: the row of peer '0' sums to 0.9, expected 1",
        ),
        (
            make_topology("path", 2),
            [[0.5, 0.5], [0.4, 0.6]],
            "path: own weights: the column of peer '0' sums to 0.9, expected 1",
        ),
        (
            make_topology("path", 2),
            [[0.5, np.nan], [0.5, 0.5]],
            "own weight of '1' in the row of peer '0' is nan, expected a finite number",
        ),
        (
            make_topology("ring", 3),
            [[0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]],
            "ring: own weights are not symmetric: what '0' takes of '1' differs",
        ),
        (
            Topology.assemble("f", map(Node, "ab"), [Link("a", "b", 1.5)]),
            "file",
            "f: file weight of itself in the row of peer 'a' is -0.5, expected 0 or more",
        ),
        (
            Topology.assemble("f", map(Node, "ab"), [Link("a", "b", -0.5)]),
            "file",
            "f: file weight of 'b' in the row of peer 'a' is -0.5, expected 0 or more",
        ),
    ],
)
def test_refusals(topology, rule, message):
    with pytest.raises(TopologyError) as caught:
        mixing(topology, rule)
    assert message in str(caught.value)


def test_unknown_rule_suggests():
    with pytest.raises(ConfigError, match="topology.weights: unknown rule 'metropolys'; did you"):
        mixing(make_topology("ring", 3), "metropolys")


def test_check_mixing_of_another_graph():
    ring, path = make_topology("ring", 4), make_topology("path", 4)
    with pytest.raises(TopologyError, match="there is no link '3' - '0'"):
        check_mixing(mixing(ring), path)
    with pytest.raises(TopologyError, match="own weights are for 4 peers, expected 5"):
        check_mixing(mixing(ring), make_topology("ring", 5))


def test_from_entries_sorts():
    rows, columns = np.array([1, 0, 1]), np.array([1, 0, 0])
    matrix = MixingMatrix.from_entries(2, rows, columns, np.array([1.0, 2.0, 3.0]))
    assert matrix.dense().tolist() == [[2, 0], [3, 1]]
    assert not matrix.is_symmetric
