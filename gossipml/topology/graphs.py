"""Graphs by name: plain functions from a number of peers to a networkx graph.

Nodes are 0..n-1. Every graph is connected and free of self-loops and double links; a
directed link u -> v carries u's model to v.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from math import isqrt, log
from typing import TYPE_CHECKING, Any

import networkx as nx

from gossipml import seeds
from gossipml.errors import TopologyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_DRAWS = 100  # tries for a connected random graph


def ring(peers: int) -> nx.Graph[int]:
    """Return a cycle."""
    return _graph("ring", peers, ((i, (i + 1) % peers) for i in range(peers)))


def path(peers: int) -> nx.Graph[int]:
    """Return a line."""
    return _graph("path", peers, pairwise(range(peers)))


def star(peers: int) -> nx.Graph[int]:
    """Return peer 0 linked to all others."""
    return _graph("star", peers, ((0, i) for i in range(1, peers)))


def complete(peers: int) -> nx.Graph[int]:
    """Return everybody linked to everybody."""
    return _graph("complete", peers, combinations(range(peers), 2))


def grid(peers: int, *, rows: int | None = None) -> nx.Graph[int]:
    """Return rows x columns, each linked to the next in its row and column; as square as it goes.

    A prime number of peers makes a path.
    """
    rows = rows_or_default("grid", peers, rows)
    columns = peers // max(rows, 1)
    across = ((i, i + 1) for i in range(peers) if (i + 1) % columns)
    down = ((i, i + columns) for i in range(peers - columns))
    return _graph("grid", peers, [*across, *down])


def torus(peers: int, *, rows: int | None = None) -> nx.Graph[int]:
    """Return a grid whose rows and columns close to rings.

    Two rows or columns are joined by single links. A prime number of peers makes a ring.
    """
    rows = rows_or_default("torus", peers, rows)
    columns = peers // max(rows, 1)
    across = ((i, i - i % columns + (i + 1) % columns) for i in range(peers))
    down = ((i, (i + columns) % peers) for i in range(peers))
    return _graph("torus", peers, [*across, *down])


def hypercube(peers: int) -> nx.Graph[int]:
    """Return the hypercube: peers whose numbers differ in one bit are linked; 2^p of them."""
    check_power_of_two(peers)
    bits = [1 << k for k in range(max(peers, 1).bit_length() - 1)]
    return _graph("hypercube", peers, ((i, i ^ bit) for i in range(peers) for bit in bits))


def tree(peers: int, *, branching: int = 2) -> nx.Graph[int]:
    """Return a balanced tree, filled level by level from its root 0."""
    at_least("tree", "branching", branching, 1)
    return _graph("tree", peers, ((i, (i - 1) // branching) for i in range(1, peers)))


def random_regular(peers: int, *, degree: int | None = None, seed: int = 0) -> nx.Graph[int]:
    """Return a random graph in which all have the same degree (4, or fewer among few peers)."""
    degree = degree_or_default("random-regular", peers, degree)
    check_even_product(peers, degree)
    return _connected(
        "random-regular",
        seed,
        lambda draw: nx.random_regular_graph(degree, peers, seed=draw),
        f"degree {degree}",
    )


def erdos_renyi(peers: int, *, probability: float | None = None, seed: int = 0) -> nx.Graph[int]:
    """Return a random graph with each link present with a probability (2 ln n / n)."""
    at_least("erdos-renyi", "peers", peers, 1)
    p = min(1.0, 2 * log(peers) / peers) if probability is None else probability
    if not 0 <= p <= 1:
        raise TopologyError(f"erdos-renyi: probability is {p:g}, expected 0 to 1")
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
    degree = degree_or_default("small-world", peers, degree)
    if degree == peers - 1:
        return complete(peers)
    if degree % 2:
        raise TopologyError(f"small-world: degree is {degree}, expected an even number")
    if not 0 <= rewire <= 1:
        raise TopologyError(f"small-world: rewire is {rewire:g}, expected 0 to 1")
    return _connected(
        "small-world",
        seed,
        lambda draw: nx.watts_strogatz_graph(peers, degree, rewire, seed=draw),
        f"degree {degree}, rewire {rewire:g}",
    )


def barabasi_albert(
    peers: int, *, edges_per_node: int | None = None, seed: int = 0
) -> nx.Graph[int]:
    """Return a graph with hubs: each newcomer links to 2 others, the popular ones first.

    Barabási, Albert 1999, "Emergence of scaling in random networks".
    """
    at_least("barabasi-albert", "peers", peers, 1)
    links = min(2, peers - 1) if edges_per_node is None else edges_per_node
    if peers == 1 and not links:
        return complete(1)
    if not 1 <= links < peers:
        raise TopologyError(
            f"barabasi-albert: edges_per_node is {links}, expected 1 to {peers - 1} "
            f"among {peers} peers"
        )
    graph: nx.Graph[int] = nx.barabasi_albert_graph(peers, links, seed=seed)
    return _graph("barabasi-albert", peers, graph.edges)


def caveman(peers: int, *, cliques: int | None = None) -> nx.Graph[int]:
    """Return cliques in a ring, one link of each rewired to the clique before (about sqrt n).

    Watts 1999, "Networks, dynamics, and the small-world phenomenon". Sizes of cliques
    differ by one where the number of peers needs it.
    """
    at_least("caveman", "peers", peers, 1)
    count = max(1, min(isqrt(peers), peers // 3)) if cliques is None else cliques
    at_least("caveman", "cliques", count, 1)
    if count == 1:
        return complete(peers)
    if peers < 3 * count:
        raise TopologyError(
            f"caveman: {count} cliques of {peers} peers, expected 3 or more in each"
        )
    starts = [k * peers // count for k in range(count + 1)]
    links = {pair for a, b in pairwise(starts) for pair in combinations(range(a, b), 2)}
    for start in starts[:-1]:
        links.remove((start, start + 1))
        links.add((start, (start - 1) % peers))
    return _graph("caveman", peers, sorted(links))


def barbell(peers: int, *, path: int | None = None) -> nx.Graph[int]:
    """Return two equal cliques joined by a path of peers (0, or 1 where the number is odd)."""
    at_least("barbell", "peers", peers, 1)
    between = peers % 2 if path is None else path
    clique, odd = divmod(peers - between, 2)
    if between < 0 or odd or clique < min(1, peers - 1):
        raise TopologyError(
            f"barbell: a path of {between} among {peers} peers, expected it to leave "
            "two equal cliques"
        )
    left, right = range(clique), range(peers - clique, peers)
    line = range(max(clique - 1, 0), min(clique + between + 1, peers))
    links = [*combinations(left, 2), *pairwise(line), *combinations(right, 2)]
    return _graph("barbell", peers, links)


def exponential(peers: int) -> nx.DiGraph[int]:
    """Return the directed exponential graph: i sends to i + 1, i + 2, i + 4, … modulo n.

    Ying, Yuan, Chen, Hu, Pan, Yin 2021, arXiv:2110.13363.
    """
    at_least("exponential", "peers", peers, 1)
    hops = [1 << k for k in range((peers - 1).bit_length())]
    graph: nx.DiGraph[int] = nx.DiGraph(name="exponential")
    graph.add_nodes_from(range(peers))
    graph.add_edges_from((i, (i + hop) % peers) for i in range(peers) for hop in hops)
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


def _graph(name: str, peers: int, links: Iterable[tuple[int, int]]) -> nx.Graph[int]:
    at_least(name, "peers", peers, 1)
    graph: nx.Graph[int] = nx.Graph(name=name)
    graph.add_nodes_from(range(peers))
    graph.add_edges_from((u, v) for u, v in links if u != v)  # a ring of one has no link
    return graph


def _numbered(name: str, graph: nx.Graph[Any]) -> nx.Graph[int]:
    """Return the same graph with nodes 0..n-1 and no attributes: its weights are not ours."""
    number = {node: i for i, node in enumerate(graph)}
    return _graph(name, len(graph), ((number[u], number[v]) for u, v in graph.edges))


def _connected(
    name: str, seed: int, draw: Callable[[int], nx.Graph[int]], options: str
) -> nx.Graph[int]:
    """Draw until connected: first from the seed itself, then from seeds derived from it."""
    for attempt in range(_DRAWS):
        derived = int(seeds.stream(seed, "topology", attempt)) >> 1
        graph = draw(derived if attempt else seed)
        if nx.is_connected(graph):
            return _graph(name, len(graph), graph.edges)
    raise TopologyError(f"{name}: {_DRAWS} draws with {options} were all disconnected; raise it")


def check_power_of_two(peers: int) -> None:
    if peers > 0 and peers & (peers - 1):
        low = 1 << (peers.bit_length() - 1)
        raise TopologyError(f"hypercube: {peers} peers, expected a power of two: {low}, {2 * low}")


def check_even_product(peers: int, degree: int) -> None:
    if peers * degree % 2:
        raise TopologyError(
            f"random-regular: {peers} peers of degree {degree}, expected an even product"
        )


def at_least(name: str, parameter: str, value: int, least: int) -> None:
    if value < least:
        raise TopologyError(f"{name}: {parameter} is {value}, expected at least {least}")


def rows_or_default(name: str, peers: int, rows: int | None) -> int:
    """Return the number of rows: as asked, else the most that are no more than the columns."""
    at_least(name, "peers", peers, 1)
    if rows is None:
        return next(r for r in range(isqrt(peers), 0, -1) if peers % r == 0)
    if rows < 1 or peers % rows:
        raise TopologyError(f"{name}: rows is {rows}, expected a divisor of {peers} peers")
    return rows


def degree_or_default(name: str, peers: int, degree: int | None) -> int:
    at_least(name, "peers", peers, 1)
    if degree is None:
        return min(4, peers - 1)
    if not min(1, peers - 1) <= degree < peers:
        raise TopologyError(
            f"{name}: degree is {degree}, expected 1 to {peers - 1} among {peers} peers"
        )
    return degree
