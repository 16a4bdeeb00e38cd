"""Graphs by name: plain functions from a number of peers to a networkx graph.

Nodes are 0..n-1. Every graph is connected and free of self-loops and double links; a
directed link u -> v carries u's model to v.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

from gossipml import seeds
from gossipml.errors import TopologyError
from gossipml.topology import draws, edges

if TYPE_CHECKING:
    from collections.abc import Callable

_DRAWS = 100  # tries for a connected random graph


def ring(peers: int) -> nx.Graph[int]:
    """Return a cycle."""
    return _graph("ring", peers, edges.ring(peers))


def path(peers: int) -> nx.Graph[int]:
    """Return a line."""
    return _graph("path", peers, edges.path(peers))


def star(peers: int) -> nx.Graph[int]:
    """Return peer 0 linked to all others."""
    return _graph("star", peers, edges.star(peers))


def complete(peers: int) -> nx.Graph[int]:
    """Return everybody linked to everybody."""
    return _graph("complete", peers, edges.complete(peers))


def grid(peers: int, *, rows: int | None = None) -> nx.Graph[int]:
    """Return rows x columns, each linked to the next in its row and column; as square as it goes.

    A prime number of peers makes a path.
    """
    return _graph("grid", peers, edges.grid(peers, rows=rows))


def torus(peers: int, *, rows: int | None = None) -> nx.Graph[int]:
    """Return a grid whose rows and columns close to rings.

    Two rows or columns are joined by single links. A prime number of peers makes a ring.
    """
    return _graph("torus", peers, edges.torus(peers, rows=rows))


def hypercube(peers: int) -> nx.Graph[int]:
    """Return the hypercube: peers whose numbers differ in one bit are linked; 2^p of them."""
    return _graph("hypercube", peers, edges.hypercube(peers))


def tree(peers: int, *, branching: int = 2) -> nx.Graph[int]:
    """Return a balanced tree, filled level by level from its root 0."""
    return _graph("tree", peers, edges.tree(peers, branching=branching))


def random_regular(peers: int, *, degree: int | None = None, seed: int = 0) -> nx.Graph[int]:
    """Return a random graph in which all have the same degree (4, or fewer among few peers)."""
    degree = draws.degree_of("random-regular", peers, degree)
    draws.check_even(peers, degree)
    return _connected(
        "random-regular",
        seed,
        lambda draw: nx.random_regular_graph(degree, peers, seed=draw),
        f"degree {degree}",
    )


def erdos_renyi(peers: int, *, probability: float | None = None, seed: int = 0) -> nx.Graph[int]:
    """Return a random graph with each link present with a probability (2 ln n / n)."""
    p = draws.probability_of(peers, probability)
    return _connected(
        "erdos-renyi",
        seed,
        lambda draw: nx.gnp_random_graph(peers, p, seed=draw),
        f"probability {p:g}",
    )


def small_world(
    peers: int, *, degree: int | None = None, rewire: float = 0.1, seed: int = 0
) -> nx.Graph[int]:
    """Return a ring of near neighbours (4 each) with a share of links rewired at random.

    Watts, Strogatz 1998, "Collective dynamics of small-world networks".
    """
    links = draws.small_world(peers, degree=degree, rewire=rewire, seed=seed)
    return _graph("small-world", peers, links)


def barabasi_albert(
    peers: int, *, edges_per_node: int | None = None, seed: int = 0
) -> nx.Graph[int]:
    """Return a graph with hubs: each newcomer links to 2 others, the popular ones first.

    Barabási, Albert 1999, "Emergence of scaling in random networks".
    """
    links = draws.barabasi_albert(peers, edges_per_node=edges_per_node, seed=seed)
    return _graph("barabasi-albert", peers, links)


def caveman(peers: int, *, cliques: int | None = None) -> nx.Graph[int]:
    """Return cliques in a ring, one link of each rewired to the clique before (about sqrt n).

    Watts 1999, "Networks, dynamics, and the small-world phenomenon". Sizes of cliques
    differ by one where the number of peers needs it.
    """
    return _graph("caveman", peers, edges.caveman(peers, cliques=cliques))


def barbell(peers: int, *, path: int | None = None) -> nx.Graph[int]:
    """Return two equal cliques joined by a path of peers (0, or 1 where the number is odd)."""
    return _graph("barbell", peers, edges.barbell(peers, path=path))


def exponential(peers: int) -> nx.DiGraph[int]:
    """Return the directed exponential graph: i sends to i + 1, i + 2, i + 4, … modulo n.

    Ying, Yuan, Chen, Hu, Pan, Yin 2021, arXiv:2110.13363.
    """
    graph: nx.DiGraph[int] = nx.DiGraph(name="exponential")
    graph.add_nodes_from(range(peers))
    graph.add_edges_from(edges.exponential(peers).tolist())
    return graph


def karate() -> nx.Graph[int]:
    """Return the 34 members of a karate club (Zachary 1977)."""
    return _numbered("karate", nx.karate_club_graph())


def davis() -> nx.Graph[int]:
    """Return 18 women and 14 events that they went to (Davis, Gardner, Gardner 1941)."""
    return _numbered("davis", nx.davis_southern_women_graph())


def florentine() -> nx.Graph[int]:
    """Return 15 families of Florence and their marriages (Padgett, Ansell 1993)."""
    return _numbered("florentine", nx.florentine_families_graph())


def les_miserables() -> nx.Graph[int]:
    """Return 77 characters of the novel who meet in a chapter (Knuth 1993)."""
    return _numbered("les-miserables", nx.les_miserables_graph())


GRAPHS: dict[str, Callable[..., nx.Graph[int]]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        ring, path, star, complete, grid, torus, hypercube, tree,
        random_regular, erdos_renyi, small_world, barabasi_albert,
        caveman, barbell, exponential, karate, davis, florentine, les_miserables,
    )
}  # fmt: skip
"""Every graph by the name that experiment files and the command line use."""


def _graph(name: str, peers: int, links: edges.Links) -> nx.Graph[int]:
    graph: nx.Graph[int] = nx.Graph(name=name)
    graph.add_nodes_from(range(peers))
    graph.add_edges_from((u, v) for u, v in links.tolist() if u != v)  # a ring of one has no link
    return graph


def _numbered(name: str, graph: nx.Graph[Any]) -> nx.Graph[int]:
    """Return the same graph with nodes 0..n-1 and no attributes: its weights are not ours."""
    number = {node: i for i, node in enumerate(graph)}
    links = [(number[u], number[v]) for u, v in graph.edges]
    return _graph(name, len(graph), np.array(links, np.int64))


def _connected(
    name: str, seed: int, draw: Callable[[int], nx.Graph[int]], options: str
) -> nx.Graph[int]:
    """Draw until connected: first from the seed itself, then from seeds derived from it."""
    for attempt in range(_DRAWS):
        derived = int(seeds.stream(seed, "topology", attempt)) >> 1
        graph = draw(derived if attempt else seed)
        if nx.is_connected(graph):
            graph.name = name
            return graph
    raise TopologyError(f"{name}: {_DRAWS} draws with {options} were all disconnected; raise it")
