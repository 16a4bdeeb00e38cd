"""The links of random graphs as arrays, in any order and direction.

A graph is a function of its parameters and the seed, and is drawn again, from seeds derived
from it, until it is connected.
"""

from __future__ import annotations

import random
from math import log
from typing import TYPE_CHECKING

import numpy as np

from gossipml import seeds
from gossipml.errors import TopologyError
from gossipml.topology.edges import at_least, complete, is_connected, near_ring, pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gossipml.topology.edges import Links

_DRAWS = 100  # tries for a connected graph


def random_regular(peers: int, *, degree: int | None = None, seed: int = 0) -> Links:
    """Return a random graph in which all have the same degree (4, or fewer among few peers).

    It is not the graph that networkx draws from the seed.
    """
    degree = degree_of("random-regular", peers, degree)
    check_even(peers, degree)
    return connected_random_regular(peers, degree, seed)


def connected_random_regular(peers: int, degree: int, seed: int, round: int = 0) -> Links:
    """Draw random regular graphs until one is connected: a function of the seed and the round."""
    for attempt in range(_DRAWS):
        links = draw_regular(peers, degree, seeds.generator(seed, "regular", round, attempt))
        if degree < 2 or peers <= 2 or is_connected(peers, links):
            return links
    raise TopologyError(f"random-regular: {_DRAWS} draws of degree {degree} were all disconnected")


def draw_regular(peers: int, degree: int, rng: np.random.Generator) -> Links:
    """Return a random simple graph in which all have the same degree.

    A union of random cycles through all peers, and of a random matching where the degree is
    odd; links drawn twice are broken up by exchanging ends with links drawn at random.
    """
    if degree == 0:
        return np.empty((0, 2), np.int64)
    if 2 * degree >= peers:  # dense: draw who is not linked
        if degree == peers - 1:
            return complete(peers)
        absent = draw_regular(peers, peers - 1 - degree, rng)
        every = complete(peers)
        return every[~np.isin(_keys(every, peers), _keys(absent, peers))]
    parts = []
    for _ in range(degree // 2):
        order = rng.permutation(peers)
        parts.append(pairs(order, np.roll(order, -1)))
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


def erdos_renyi(peers: int, *, probability: float | None = None, seed: int = 0) -> Links:
    """Return a random graph with each link present with a probability (2 ln n / n).

    The pairs without a link between two links follow a geometric distribution (Batagelj,
    Brandes 2005, "Efficient generation of large random networks"). It is not the graph that
    networkx draws from the seed.
    """
    p = probability_of(peers, probability)

    def draw(derived: int) -> Links:
        rng = seeds.generator(derived, "erdos-renyi")
        pairs_left, last, chosen = peers * (peers - 1) // 2, -1, []
        while p and last < pairs_left:
            expected = (pairs_left - last) * p
            gaps = rng.geometric(p, size=int(expected + 4 * expected**0.5) + 4)
            numbers = last + np.cumsum(np.minimum(gaps, pairs_left + 1))
            chosen.append(numbers[numbers < pairs_left])
            last = int(numbers[-1])
        return _pair_of(np.concatenate([np.empty(0, np.int64), *chosen]))

    return _connected("erdos-renyi", peers, seed, draw, f"probability {p:g}")


def small_world(
    peers: int, *, degree: int | None = None, rewire: float = 0.1, seed: int = 0
) -> Links:
    """Return a ring of near neighbours (4 each) with a share of links rewired at random.

    Watts, Strogatz 1998, "Collective dynamics of small-world networks"; the graph that
    networkx draws from the seed.
    """
    degree = degree_of("small-world", peers, degree)
    if degree == peers - 1:
        return complete(peers)
    if degree % 2:
        raise TopologyError(f"small-world: degree is {degree}, expected an even number")
    if not 0 <= rewire <= 1:
        raise TopologyError(f"small-world: rewire is {rewire:g}, expected 0 to 1")

    def draw(derived: int) -> Links:
        rng, everyone = random.Random(derived), range(peers)
        degrees = [degree] * peers
        added: set[int] = set()
        removed: set[int] = set()  # by number; all others are as in the ring

        def number(u: int, v: int) -> int:
            return min(u, v) * peers + max(u, v)

        def linked(u: int, v: int) -> bool:
            near = min((u - v) % peers, (v - u) % peers) <= degree // 2
            return number(u, v) in added or (near and number(u, v) not in removed)

        links = near_ring(peers, degree)
        for k, (u, v) in enumerate(links.tolist()):
            if rng.random() >= rewire:
                continue
            w = rng.choice(everyone)
            while w == u or linked(u, w):
                w = rng.choice(everyone)
                if degrees[u] >= peers - 1:  # it knows all: the link stays
                    break
            else:
                removed.add(number(u, v))
                added.add(number(u, w))
                degrees[v] -= 1
                degrees[w] += 1
                links[k, 1] = w
        return links

    return _connected("small-world", peers, seed, draw, f"degree {degree}, rewire {rewire:g}")


def barabasi_albert(peers: int, *, edges_per_node: int | None = None, seed: int = 0) -> Links:
    """Return a graph with hubs: each newcomer links to 2 others, the popular ones first.

    Barabási, Albert 1999, "Emergence of scaling in random networks"; the graph that networkx
    draws from the seed.
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
    rng = random.Random(seed)
    ends = [0] * links + list(range(1, links + 1))  # each peer as often as it has links
    newcomers = range(links + 1, peers)
    for newcomer in newcomers:
        chosen: set[int] = set()
        while len(chosen) < links:
            chosen.add(rng.choice(ends))
        ends.extend(chosen)
        ends.extend([newcomer] * links)
    later = np.array(ends[2 * links :], np.int64).reshape(-1, 2, links)
    first = pairs(np.zeros(links, np.int64), np.arange(1, links + 1))
    return np.concatenate([first, later.transpose(0, 2, 1).reshape(-1, 2)])


def degree_of(name: str, peers: int, degree: int | None) -> int:
    """Return the degree: as asked, else 4 or as many as there are others."""
    at_least(name, "peers", peers, 1)
    if degree is None:
        return min(4, peers - 1)
    if not min(1, peers - 1) <= degree < peers:
        raise TopologyError(
            f"{name}: degree is {degree}, expected 1 to {peers - 1} among {peers} peers"
        )
    return degree


def check_even(peers: int, degree: int) -> None:
    """Raise TopologyError unless a regular graph of this degree exists."""
    if peers * degree % 2:
        raise TopologyError(
            f"random-regular: {peers} peers of degree {degree}, expected an even product"
        )


def probability_of(peers: int, probability: float | None) -> float:
    """Return the probability of a link: as asked, else 2 ln n / n."""
    at_least("erdos-renyi", "peers", peers, 1)
    p = min(1.0, 2 * log(peers) / peers) if probability is None else probability
    if not 0 <= p <= 1:
        raise TopologyError(f"erdos-renyi: probability is {p:g}, expected 0 to 1")
    return p


def _pair_of(numbers: NDArray[np.int64]) -> Links:
    """Return the pairs u < v with these numbers in the order (0, 1), (0, 2), (1, 2), (0, 3), …"""
    v = ((1 + np.sqrt(8.0 * numbers + 1)) / 2).astype(np.int64)
    v -= v * (v - 1) // 2 > numbers  # where the root was rounded
    v += v * (v + 1) // 2 <= numbers
    return pairs(numbers - v * (v - 1) // 2, v)


def _connected(
    name: str, peers: int, seed: int, draw: Callable[[int], Links], options: str
) -> Links:
    """Draw until connected: first from the seed itself, then from seeds derived from it."""
    for attempt in range(_DRAWS):
        derived = int(seeds.stream(seed, "topology", attempt)) >> 1
        links = draw(derived if attempt else seed)
        if is_connected(peers, links):
            return links
    raise TopologyError(f"{name}: {_DRAWS} draws with {options} were all disconnected; raise it")


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
