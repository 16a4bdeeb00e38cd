"""Graphs by name: sizes, small cases, options, errors."""

import networkx as nx
import pytest

import gossipml.topology
from gossipml.errors import ConfigError, TopologyError
from gossipml.topology import GRAPHS, NAMES, is_fixed, make_graph, make_topology

SIZED = [name for name in GRAPHS if not is_fixed(name)]


def is_cube(n):
    return n & (n - 1) == 0


RANDOM = ["random-regular", "erdos-renyi", "small-world", "barabasi-albert"]


SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 32]


@pytest.mark.parametrize(
    ("name", "n"), [(name, n) for name in SIZED for n in SIZES if name != "hypercube" or is_cube(n)]
)
def test_every_graph_is_connected_and_has_the_peers_asked_for(name, n):
    graph = make_graph(name, n)
    assert list(graph.nodes) == list(range(n))
    assert nx.number_of_selfloops(graph) == 0
    assert make_topology(name, n).n == n  # refuses what is not connected
    if n == 2:
        assert set(graph.edges) <= {(0, 1), (1, 0)}
        assert graph.number_of_edges() == (2 if graph.is_directed() else 1)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_name_is_a_function_of_the_package(name):
    function = getattr(gossipml.topology, name.replace("-", "_"))
    graph = function() if is_fixed(name) else function(8)
    assert isinstance(graph, nx.Graph)
    assert nx.utils.graphs_equal(graph, make_graph(name.replace("-", "_"), len(graph)))


@pytest.mark.parametrize(
    ("name", "n", "reference"),
    [
        ("ring", 9, nx.cycle_graph(9)),
        ("path", 9, nx.path_graph(9)),
        ("star", 9, nx.star_graph(8)),
        ("complete", 9, nx.complete_graph(9)),
        ("grid", 12, nx.grid_2d_graph(3, 4)),
        ("torus", 12, nx.grid_2d_graph(3, 4, periodic=True)),
        ("torus", 8, nx.grid_2d_graph(2, 4, periodic=True)),
        ("hypercube", 16, nx.hypercube_graph(4)),
        ("tree", 15, nx.balanced_tree(2, 3)),
        ("caveman", 20, nx.connected_caveman_graph(4, 5)),
        ("barbell", 10, nx.barbell_graph(5, 0)),
        ("barbell", 11, nx.barbell_graph(5, 1)),
    ],
)
def test_shapes_equal_those_of_networkx(name, n, reference):
    assert nx.is_isomorphic(make_graph(name, n), reference)


@pytest.mark.parametrize(
    ("name", "nodes", "edges"),
    [("karate", 34, 78), ("davis", 32, 89), ("florentine", 15, 20), ("les-miserables", 77, 254)],
)
def test_social_graphs(name, nodes, edges):
    graph = make_graph(name)
    assert (len(graph), graph.number_of_edges()) == (nodes, edges)
    with pytest.raises(TopologyError, match=f"^{name}: 12 peers, but this graph has {nodes}"):
        make_graph(name, 12)


def test_exponential_sends_to_powers_of_two():
    assert list(make_graph("exponential", 25).successors(20)) == [21, 22, 24, 3, 11]


def test_options():
    assert dict(make_graph("random-regular", 10, degree=3).degree) == dict.fromkeys(range(10), 3)
    assert make_graph("grid", 12, rows=2).number_of_edges() == 2 * 5 + 6
    assert make_graph("tree", 10, branching=9).degree(0) == 9
    assert make_graph("barabasi-albert", 10, edges_per_node=1).number_of_edges() == 9
    assert nx.is_isomorphic(make_graph("barbell", 10, path=4), nx.barbell_graph(3, 4))
    assert nx.is_isomorphic(make_graph("caveman", 12, cliques=3), nx.connected_caveman_graph(3, 4))
    assert make_graph("erdos-renyi", 9, probability=1).number_of_edges() == 36
    rewired = make_graph("small-world", 20, degree=6, rewire=0.0)
    assert nx.is_isomorphic(rewired, nx.circulant_graph(20, [1, 2, 3]))


@pytest.mark.parametrize("name", RANDOM)
def test_random_graphs_are_functions_of_their_seed(name):
    once, again, other = (make_graph(name, 20, seed=seed) for seed in (1, 1, 2))
    assert set(once.edges) == set(again.edges) != set(other.edges)


def test_erdos_renyi_is_redrawn_until_connected():
    sparse = [make_graph("erdos-renyi", 30, seed=seed, probability=0.1) for seed in range(5)]
    assert all(nx.is_connected(graph) for graph in sparse)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (("rng", 8), ConfigError, "topology.graph: unknown graph 'rng'; did you mean 'ring'?"),
        (("ring",), ConfigError, "topology.peers: missing, graph 'ring' needs it"),
        (("ring", 0), TopologyError, "ring: peers is 0, expected at least 1"),
        (("tree", 0), TopologyError, "tree: peers is 0, expected at least 1"),
        (("grid", -1), TopologyError, "grid: peers is -1, expected at least 1"),
        (("hypercube", 0), TopologyError, "hypercube: peers is 0, expected at least 1"),
        (("exponential", 0), TopologyError, "exponential: peers is 0, expected at least 1"),
        (("hypercube", 12), TopologyError, "12 peers, expected a power of two: 8, 16"),
    ],
)
def test_bad_names_and_sizes(call, error, message):
    with pytest.raises(error) as caught:
        make_graph(*call)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "n", "options", "error", "message"),
    [
        ("ring", 8, {"degree": 3}, ConfigError, "degree: unknown key; graph 'ring' takes no opt"),
        (
            "tree",
            8,
            {"branchng": 3},
            ConfigError,
            "branchng: unknown key; did you mean 'branching'",
        ),
        ("tree", 8, {"branching": 2.5}, ConfigError, "branching: found 2.5, expected an integer"),
        ("tree", 8, {"branching": True}, ConfigError, "branching: found True, expected an integer"),
        ("tree", 8, {"branching": 0}, TopologyError, "branching is 0, expected at least 1"),
        ("erdos-renyi", 8, {"probability": "x"}, ConfigError, "found 'x', expected a number"),
        ("erdos-renyi", 8, {"probability": 1.5}, TopologyError, "1.5, expected 0 to 1"),
        ("erdos-renyi", 8, {"probability": 0.0}, TopologyError, "were all disconnected"),
        ("random-regular", 8, {"degree": 1}, TopologyError, "100 draws with degree 1 were all"),
        ("random-regular", 4, {"degree": 4}, TopologyError, "degree is 4, expected 1 to 3 among 4"),
        ("random-regular", 7, {"degree": 3}, TopologyError, "expected an even product"),
        ("small-world", 9, {"degree": 3}, TopologyError, "degree is 3, expected an even number"),
        ("small-world", 9, {"rewire": 2}, TopologyError, "rewire is 2, expected 0 to 1"),
        ("barabasi-albert", 4, {"edges_per_node": 4}, TopologyError, "is 4, expected 1 to 3"),
        ("grid", 10, {"rows": 3}, TopologyError, "rows is 3, expected a divisor of 10 peers"),
        ("torus", 10, {"rows": 0}, TopologyError, "rows is 0, expected a divisor of 10 peers"),
        ("caveman", 10, {"cliques": 4}, TopologyError, "expected 3 or more in each"),
        ("caveman", 10, {"cliques": 0}, TopologyError, "cliques is 0, expected at least 1"),
        ("barbell", 10, {"path": 3}, TopologyError, "leave two equal cliques"),
        ("barbell", 4, {"path": 4}, TopologyError, "leave two equal cliques"),
        ("barbell", 4, {"path": -2}, TopologyError, "leave two equal cliques"),
    ],
)
def test_bad_options(name, n, options, error, message):
    with pytest.raises(error) as caught:
        make_graph(name, n, **options)
    assert message in str(caught.value)


def test_a_schedule_that_needs_a_graph_is_no_graph():
    with pytest.raises(ConfigError, match=r"'matcha' is a schedule .* topology.schedule = "):
        make_topology("matcha", 8)
