"""The record: order, adjacency, conversion, and every refusal."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipml.errors import TopologyError
from gossipml.topology import Link, Node, Topology, make_topology


def assemble(ids, pairs, **options):
    return Topology.assemble("g", map(Node, ids), [Link(*pair) for pair in pairs], **options)


def test_peers_and_links_are_put_in_order():
    topology = assemble(["10", "9", "-1"], [("10", "9"), ("9", "-1")])
    assert topology.ids == ("-1", "9", "10")
    assert topology.edges.tolist() == [[0, 1], [1, 2]]
    assert (topology.index("9"), topology.index(10), topology.n) == (1, 2, 3)
    assert assemble(["b10", "b9", "2"], [("b10", "b9"), ("2", "b9")]).ids == ("2", "b10", "b9")
    assert assemble(["01", "1"], [("01", "1")]).ids == ("01", "1")  # not the same integer twice


def test_adjacency_undirected():
    topology = make_topology("star", 4)
    assert topology.neighbours(0) == topology.senders(0) == topology.receivers(0) == (1, 2, 3)
    assert topology.neighbours(2) == (0,)
    assert topology.degrees.tolist() == [3, 1, 1, 1]
    assert topology.edge(0, 2) == topology.edge(2, 0) == 1
    assert topology.is_connected()
    assert topology.components == ((0, 1, 2, 3),)


def test_adjacency_directed():
    topology = assemble("abc", [("a", "b"), ("b", "c"), ("c", "a"), ("a", "c")], directed=True)
    assert [topology.receivers(i) for i in range(3)] == [(1, 2), (2,), (0,)]
    assert [topology.senders(i) for i in range(3)] == [(2,), (0,), (0, 1)]
    assert [topology.neighbours(i) for i in range(3)] == [(1, 2), (0, 2), (0, 1)]
    assert topology.in_degrees.tolist() == [1, 1, 2]
    assert topology.out_degrees.tolist() == [2, 1, 1]
    assert topology.edge(2, 0) == 3
    with pytest.raises(TopologyError, match="no link 'b' -> 'a'"):
        topology.edge(1, 0)


@given(st.integers(2, 30), st.integers(0, 1000), st.booleans())
def test_adjacency_agrees_with_networkx(n, seed, directed):
    graph = nx.gnp_random_graph(n, 0.2, seed=seed, directed=directed)
    nx.add_cycle(graph, range(n)) if directed else nx.add_path(graph, range(n))
    topology = Topology.from_networkx(graph)
    for node in graph:
        out = graph.successors(node) if directed else graph.neighbors(node)
        into = graph.predecessors(node) if directed else graph.neighbors(node)
        assert topology.receivers(node) == tuple(sorted(out))
        assert topology.senders(node) == tuple(sorted(into))
    assert nx.utils.edges_equal(topology.to_networkx().edges, graph.edges, directed=directed)


def test_one_peer():
    topology = assemble(["me"], [])
    assert (topology.n, topology.neighbours(0), topology.is_connected()) == (1, (), True)
    assert topology.edges.shape == (0, 2)


def test_networkx_round_trip_keeps_attributes():
    graph = nx.DiGraph(name="pair")
    graph.add_node("a", address="h:1", public_key="k", pos=(1, 2), colour="red")
    graph.add_node("b", pos=(3, 4))
    graph.add_edge("a", "b", weight=0.25, latency_ms=3, bandwidth_mbps=100)
    graph.add_edge("b", "a", latency_ms=4.5)
    topology = Topology.from_networkx(graph)
    assert (topology.name, topology.addresses, topology.public_keys) == (
        "pair",
        ("h:1", None),
        ("k", None),
    )
    assert topology.latency_ms.tolist() == [3.0, 4.5]
    assert np.isnan(topology.weight[1])
    back = topology.to_networkx()
    del graph.nodes["a"]["colour"]
    assert back.nodes(data=True) == graph.nodes(data=True)
    assert dict(back.edges) == dict(graph.edges)


def test_arrays_cannot_be_changed():
    topology = make_topology("ring", 4)
    with pytest.raises(ValueError, match="read-only"):
        topology.edges[0, 0] = 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: assemble([], []), "g: no peers, expected at least one"),
        (lambda: assemble("aab", [("a", "b")]), "g: duplicate id 'a'"),
        (lambda: assemble("ab", [("a", "a"), ("a", "b")]), "g: self-loop at 'a'"),
        (lambda: assemble("ab", [("a", "b"), ("b", "a")]), "link 'a' - 'b' is listed twice"),
        (lambda: assemble("ab", [("a", "c")]), "link 'a' - 'c' ends at an unknown peer 'c'"),
        (
            lambda: assemble("abcde", [("a", "b"), ("b", "c"), ("d", "e")]),
            "g: not connected: it falls into 2 parts, the smallest is 'd', 'e'",
        ),
        (
            lambda: assemble("abc", [("a", "b"), ("b", "a"), ("a", "c")], directed=True),
            "g: not strongly connected: it falls into 2 parts, the smallest is 'c'",
        ),
        (lambda: assemble(map(str, range(16)), []), "16 parts, the smallest is '0'"),
        (
            lambda: Topology.from_networkx(nx.MultiGraph([(0, 1), (0, 1)]), "m"),
            "m: link '0' - '1' is listed twice, expected once",
        ),
        (lambda: Topology.from_networkx(nx.Graph(), "m"), "m: no peers"),
        (
            lambda: Topology.from_networkx(nx.Graph([(0, 1, {"weight": "x"})])),
            "weight of link '0' - '1' is 'x', expected a number",
        ),
        (
            lambda: Topology.assemble("g", [Node("a"), Node("b")], [Link("a", "b", 1.0, -2.0)]),
            "latency_ms of link 'a' - 'b' is -2, expected a number from 0",
        ),
        (
            lambda: Topology.assemble("g", [Node("a"), Node("b")], [Link("a", "b", 1.0, 0.0, 0.0)]),
            "bandwidth_mbps of link 'a' - 'b' is 0, expected a number above 0",
        ),
        (
            lambda: Topology.assemble("g", [Node("a"), Node("b")], [Link("a", "b", float("inf"))]),
            "weight of link 'a' - 'b' is inf, expected a finite number",
        ),
        (
            lambda: Topology.assemble("g", [Node("a", pos=(0.0, float("nan")))], []),
            "g: a position is not finite",
        ),
        (
            lambda: Topology.assemble("g", [Node("a", "nowhere")], []),
            "address of peer 'a' is 'nowhere', expected HOST:PORT",
        ),
        (
            lambda: Topology.assemble("g", [Node("a", "h:1"), Node("b", "h:1")], [Link("a", "b")]),
            "peers 'a' and 'b' share address 'h:1'",
        ),
        (lambda: Topology(name="g", ids=("b", "a"), edges=[[0, 1]]), "id 'b' before 'a'"),
        (lambda: Topology(name="g", ids=("a", "a"), edges=[[0, 1]]), "duplicate id 'a'"),
        (lambda: Topology(name="g", ids=("a", "b"), edges=[[0, 2]]), "[0, 2] is outside peers 0"),
        (lambda: Topology(name="g", ids=("a", "b"), edges=[[1, 0]]), "links are not sorted"),
        (
            lambda: Topology(name="g", ids=("a", "b"), edges=[[0, 1]], addresses=("h:1",)),
            "addresses has shape (1,), expected (2,)",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(TopologyError) as caught:
        call()
    assert message in str(caught.value)


def test_bad_position_in_networkx():
    graph = nx.Graph()
    graph.add_node(0, pos="x")
    with pytest.raises(TopologyError, match="pos of peer '0' is 'x', expected two numbers"):
        Topology.from_networkx(graph)


def test_unknown_id_suggests():
    few = assemble(["berlin", "paris"], [("berlin", "paris")])
    with pytest.raises(TopologyError, match="g: no peer 'pari'; did you mean 'paris'?"):
        few.index("pari")
    with pytest.raises(TopologyError, match="g: no peer 'x'; known: berlin, paris"):
        few.index("x")
    with pytest.raises(TopologyError, match="no peer 'x'; ids run from '0' to '99'"):
        make_topology("ring", 100).index("x")
