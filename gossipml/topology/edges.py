"""The links of named graphs as arrays: quick for a million peers, without graph objects.

Each function returns ``(m, 2)`` int64 pairs, in any order and direction; links of a peer to
itself and repeated ones are dropped by :func:`tidy`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml import seeds
from gossipml.errors import TopologyError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Links = NDArray[np.int64]

_DRAWS = 100


def ring(peers: int) -> Links:
    """Return a cycle."""
    everyone = np.arange(peers)
    return _pairs(everyone, (everyone + 1) % peers)


def path(peers: int) -> Links:
    """Return a line."""
    everyone = np.arange(peers)
    return _pairs(everyone[:-1], everyone[1:])


def star(peers: int) -> Links:
    """Return peer 0 linked to all others."""
    others = np.arange(1, peers)
    return _pairs(np.zeros_like(others), others)


def complete(peers: int) -> Links:
    """Return everybody linked to everybody."""
    return _pairs(*np.triu_indices(peers, 1))


def grid(peers: int, rows: int) -> Links:
    """Return ``rows`` rows, each peer linked to the next in its row and column."""
    columns = peers // rows
    number = np.arange(peers)
    across = number[(number + 1) % columns > 0]
    down = number[: peers - columns]
    return np.concatenate([_pairs(across, across + 1), _pairs(down, down + columns)])


def torus(peers: int, rows: int) -> Links:
    """Return a grid whose rows and columns close to rings."""
    columns = peers // rows
    number = np.arange(peers)
    right = number - number % columns + (number + 1) % columns
    return np.concatenate([_pairs(number, right), _pairs(number, (number + columns) % peers)])


def hypercube(peers: int) -> Links:
    """Return links between numbers that differ in one bit."""
    number = np.arange(peers)
    bits = [1 << k for k in range(max(peers, 1).bit_length() - 1)]
    return np.concatenate([np.empty((0, 2), np.int64), *(_pairs(number, number ^ b) for b in bits)])


def tree(peers: int, branching: int) -> Links:
    """Return a balanced tree, filled level by level from its root 0."""
    number = np.arange(1, peers)
    return _pairs(number, (number - 1) // branching)


def exponential(peers: int) -> Links:
    """Return directed links from i to i + 1, i + 2, i + 4, … modulo n."""
    number = np.arange(peers)
    hops = [1 << k for k in range((peers - 1).bit_length())]
    links = [_pairs(number, (number + hop) % peers) for hop in hops]
    return np.concatenate([np.empty((0, 2), np.int64), *links])


def random_regular(peers: int, degree: int, rng: np.random.Generator) -> Links:
    """Return a random simple graph in which all have the same degree.

    A union of random cycles through all peers, and of a random matching where the degree is
    odd; links drawn twice are broken up by exchanging ends with links drawn at random.
    """
    if degree == 0:
        return np.empty((0, 2), np.int64)
    if 2 * degree >= peers:  # dense: draw who is not linked
        if degree == peers - 1:
            return complete(peers)
        absent = random_regular(peers, peers - 1 - degree, rng)
        every = complete(peers)
        return every[~np.isin(_keys(every, peers), _keys(absent, peers))]
    parts = []
    for _ in range(degree // 2):
        order = rng.permutation(peers)
        parts.append(_pairs(order, np.roll(order, -1)))
    if degree % 2:
        parts.append(rng.permutation(peers).reshape(-1, 2))
    links = np.concatenate(parts)
    for _ in range(_DRAWS * 100):
        twice = _repeated(links, peers)
        if not twice.size:
            return links
        other = rng.integers(len(links), size=len(twice))
        for a, b in zip(twice.tolist(), other.tolist(), strict=True):  # a handful
            links[a, 1], links[b, 1] = links[b, 1], links[a, 1]
    raise TopologyError(f"random-regular: no simple graph of degree {degree} among {peers} peers")


def is_connected(peers: int, links: Links) -> bool:
    """Return whether the undirected graph is connected."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(links), np.int8), (links[:, 0], links[:, 1])), (peers, peers))
    count: Any = connected_components(graph, directed=False, return_labels=False)
    return int(count) == 1


def connected_random_regular(peers: int, degree: int, seed: int, round: int = 0) -> Links:
    """Draw random regular graphs until one is connected: a function of the seed and the round."""
    for attempt in range(_DRAWS):
        links = random_regular(peers, degree, seeds.generator(seed, "regular", round, attempt))
        if degree < 2 or peers <= 2 or is_connected(peers, links):
            return links
    raise TopologyError(f"random-regular: {_DRAWS} draws of degree {degree} were all disconnected")


def tidy(peers: int, links: Links, *, directed: bool = False) -> Links:
    """Return the links sorted, each once, without loops; undirected ones as (lower, higher)."""
    links = links[links[:, 0] != links[:, 1]]
    if not directed:
        links = np.sort(links, axis=1)
    keys = np.sort(links[:, 0] * peers + links[:, 1])  # np.unique hashes: ten times slower
    keys = keys[np.append(True, keys[1:] != keys[:-1])] if keys.size else keys
    return np.stack([keys // peers, keys % peers], axis=1)


def _pairs(u: NDArray[np.int64], v: NDArray[np.int64]) -> Links:
    return np.stack([u, v], axis=1).astype(np.int64)


def _keys(links: Links, peers: int) -> NDArray[np.int64]:
    low, high = links.min(axis=1), links.max(axis=1)
    return np.asarray(low * peers + high)


def _repeated(links: Links, peers: int) -> NDArray[np.int64]:
    """Return which links are loops or were listed before."""
    keys = _keys(links, peers)
    order = np.argsort(keys, kind="stable")
    again = np.zeros(len(links), bool)
    again[order[1:]] = keys[order[1:]] == keys[order[:-1]]
    return np.flatnonzero(again | (links[:, 0] == links[:, 1]))
