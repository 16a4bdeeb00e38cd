"""The links of named graphs as arrays: quick for a million peers, without graph objects.

Each function returns ``(m, 2)`` int64 pairs, in any order and direction; links of a peer to
itself and repeated ones are dropped by :func:`tidy`. What the random graphs draw is in
``draws.py``.
"""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.errors import TopologyError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Links = NDArray[np.int64]


def ring(peers: int) -> Links:
    """Return a cycle."""
    at_least("ring", "peers", peers, 1)
    everyone = np.arange(peers)
    return pairs(everyone, (everyone + 1) % peers)


def near_ring(peers: int, degree: int) -> Links:
    """Return links to the nearest ``degree / 2`` on each side, the nearest ones first."""
    everyone = np.arange(peers)
    hops = [pairs(everyone, (everyone + hop) % peers) for hop in range(1, degree // 2 + 1)]
    return np.concatenate([np.empty((0, 2), np.int64), *hops])


def path(peers: int) -> Links:
    """Return a line."""
    at_least("path", "peers", peers, 1)
    everyone = np.arange(peers)
    return pairs(everyone[:-1], everyone[1:])


def star(peers: int) -> Links:
    """Return peer 0 linked to all others."""
    at_least("star", "peers", peers, 1)
    others = np.arange(1, peers)
    return pairs(np.zeros_like(others), others)


def complete(peers: int) -> Links:
    """Return everybody linked to everybody."""
    at_least("complete", "peers", peers, 1)
    return pairs(*np.triu_indices(peers, 1))


def grid(peers: int, *, rows: int | None = None) -> Links:
    """Return ``rows`` rows, each peer linked to the next in its row and column."""
    columns = peers // rows_of("grid", peers, rows)
    number = np.arange(peers)
    across = number[(number + 1) % columns > 0]
    down = number[: peers - columns]
    return np.concatenate([pairs(across, across + 1), pairs(down, down + columns)])


def torus(peers: int, *, rows: int | None = None) -> Links:
    """Return a grid whose rows and columns close to rings."""
    columns = peers // rows_of("torus", peers, rows)
    number = np.arange(peers)
    right = number - number % columns + (number + 1) % columns
    return np.concatenate([pairs(number, right), pairs(number, (number + columns) % peers)])


def hypercube(peers: int) -> Links:
    """Return links between numbers that differ in one bit."""
    at_least("hypercube", "peers", peers, 1)
    if peers & (peers - 1):
        low = 1 << (peers.bit_length() - 1)
        raise TopologyError(f"hypercube: {peers} peers, expected a power of two: {low}, {2 * low}")
    number = np.arange(peers)
    bits = np.array([1 << k for k in range(peers.bit_length() - 1)], np.int64)
    lower, bit = np.nonzero(number[:, None] & bits == 0)  # ascending, so that tidy need not sort
    return pairs(lower, lower + bits[bit])


def tree(peers: int, *, branching: int = 2) -> Links:
    """Return a balanced tree, filled level by level from its root 0."""
    at_least("tree", "peers", peers, 1)
    at_least("tree", "branching", branching, 1)
    number = np.arange(1, peers)
    return pairs(number, (number - 1) // branching)


def exponential(peers: int) -> Links:
    """Return directed links from i to i + 1, i + 2, i + 4, … modulo n."""
    at_least("exponential", "peers", peers, 1)
    number = np.arange(peers)
    hops = [1 << k for k in range((peers - 1).bit_length())]
    links = [pairs(number, (number + hop) % peers) for hop in hops]
    return np.concatenate([np.empty((0, 2), np.int64), *links])


def caveman(peers: int, *, cliques: int | None = None) -> Links:
    """Return cliques in a ring, one link of each rewired to the clique before."""
    at_least("caveman", "peers", peers, 1)
    count = max(1, min(isqrt(peers), peers // 3)) if cliques is None else cliques
    at_least("caveman", "cliques", count, 1)
    if count == 1:
        return complete(peers)
    if peers < 3 * count:
        raise TopologyError(
            f"caveman: {count} cliques of {peers} peers, expected 3 or more in each"
        )
    starts = np.arange(count + 1) * peers // count
    sizes = np.diff(starts)
    parts = [pairs(starts[:-1], (starts[:-1] - 1) % peers)]
    for size in np.unique(sizes).tolist():  # one or two
        inside = complete(size)[1:]  # without the link of the first two
        begins = starts[:-1][sizes == size]
        parts.append((begins[:, None, None] + inside).reshape(-1, 2))
    return np.concatenate(parts)


def barbell(peers: int, *, path: int | None = None) -> Links:
    """Return two equal cliques joined by a path of peers."""
    at_least("barbell", "peers", peers, 1)
    between = peers % 2 if path is None else path
    clique, odd = divmod(peers - between, 2)
    if between < 0 or odd or clique < min(1, peers - 1):
        raise TopologyError(
            f"barbell: a path of {between} among {peers} peers, expected it to leave "
            "two equal cliques"
        )
    if not clique:
        return np.empty((0, 2), np.int64)
    whole = complete(clique)
    line = np.arange(clique - 1, clique + between)
    return np.concatenate([whole, pairs(line, line + 1), whole + (peers - clique)])


def is_connected(peers: int, links: Links) -> bool:
    """Return whether the undirected graph is connected."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(links), np.int8), (links[:, 0], links[:, 1])), (peers, peers))
    count: Any = connected_components(graph, directed=False, return_labels=False)
    return int(count) == 1


def tidy(peers: int, links: Links, *, directed: bool = False) -> Links:
    """Return the links sorted, each once, without loops; undirected ones as (lower, higher)."""
    u, v = links[:, 0], links[:, 1]
    if not directed:
        u, v = np.minimum(u, v), np.maximum(u, v)
    keys = u * peers + v
    keys = keys[u != v]
    if (np.diff(keys) <= 0).any():
        keys.sort()
        keys = keys[np.diff(keys, prepend=-1) > 0]
    return np.stack(np.divmod(keys, max(peers, 1)), axis=1)


def at_least(name: str, parameter: str, value: int, least: int) -> None:
    """Raise TopologyError for a value below the least."""
    if value < least:
        raise TopologyError(f"{name}: {parameter} is {value}, expected at least {least}")


def rows_of(name: str, peers: int, rows: int | None) -> int:
    """Return the number of rows: as asked, else the most that are no more than the columns."""
    at_least(name, "peers", peers, 1)
    if rows is None:
        return next(r for r in range(isqrt(peers), 0, -1) if peers % r == 0)
    if rows < 1 or peers % rows:
        raise TopologyError(f"{name}: rows is {rows}, expected a divisor of {peers} peers")
    return rows


def pairs(u: NDArray[np.int64], v: NDArray[np.int64]) -> Links:
    """Return links from each of ``u`` to that of ``v``."""
    return np.stack([u, v], axis=1).astype(np.int64)
