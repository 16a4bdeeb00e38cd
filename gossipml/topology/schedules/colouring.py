"""The links of a graph as few matchings: a proper colouring of its edges."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gossipml.topology.edges import Links
    from gossipml.topology.schedules.base import Index


_SEARCHED = 100
"""Peers up to which the largest matchings are searched for, which takes n^3 steps."""


def matchings(n: int, links: Links) -> Index:
    """Return in which matching ``(m,)`` each link is: as many as possible in the first ones.

    The largest matching, then the largest of what is left, and so on; if that makes more than
    Δ + 1 of them, and for many peers, an :func:`edge_colouring`.
    """
    if n <= _SEARCHED:
        found = _peeled(n, links)
        if found.max(initial=0) <= np.bincount(links.ravel(), minlength=n).max(initial=0):
            return found
    return edge_colouring(n, links)


def _peeled(n: int, links: Links) -> Index:
    import networkx as nx

    left: nx.Graph[int] = nx.empty_graph(n)
    left.add_edges_from(links.tolist())
    number: dict[tuple[int, int], int] = {}
    for count in itertools.count():
        if not left.number_of_edges():
            break
        matching = nx.max_weight_matching(left, maxcardinality=True)
        number |= {(min(pair), max(pair)): count for pair in matching}
        left.remove_edges_from(matching)
    return np.array([number[u, v] for u, v in links.tolist()], np.int64)


def edge_colouring(n: int, links: Links) -> Index:
    """Return a colour ``(m,)`` for each link, so that no two links of a peer have the same.

    At most one more colour than the largest degree Δ (Misra, Gries 1992, "A constructive proof
    of Vizing's theorem"), in O(m n) steps; O(m Δ) where paths are short.
    """
    degree = int(np.bincount(links.ravel(), minlength=n).max(initial=0))
    colours = _Colours(n, degree + 1)
    for u, v in links.tolist():
        colours.add(u, v)
    found = [colours.of[u, v] for u, v in links.tolist()]
    used = np.unique(found) if found else np.empty(0, np.int64)
    return np.searchsorted(used, found).astype(np.int64)


class _Colours:
    def __init__(self, n: int, count: int) -> None:
        self.count = count
        self.of: dict[tuple[int, int], int] = {}  # both ways
        self.at: list[dict[int, int]] = [{} for _ in range(n)]  # peer: colour -> neighbour

    def add(self, u: int, v: int) -> None:
        fan = self._fan(u, v)
        c, d = self._free(u), self._free(fan[-1])
        if c != d:
            self._invert(u, c, d)
        for k, w in enumerate(fan):  # the part of it that still is a fan and ends with d free
            if k and self.of[u, w] in self.at[fan[k - 1]]:
                raise AssertionError("no part of the fan ends with a free colour")
            if d not in self.at[w]:
                break
        self._rotate(u, fan[: k + 1])
        self._set(u, fan[k], d)

    def _free(self, u: int) -> int:
        return next(c for c in range(self.count) if c not in self.at[u])

    def _fan(self, u: int, v: int) -> list[int]:
        """Return neighbours of u: the colour of each one's link is free at the one before."""
        fan, inside = [v], {v}
        while True:
            last = self.at[fan[-1]]
            after = (w for c, w in self.at[u].items() if c not in last and w not in inside)
            w = next(after, None)
            if w is None:
                return fan
            fan.append(w)
            inside.add(w)

    def _invert(self, u: int, c: int, d: int) -> None:
        """Exchange c and d on the path from u whose links have them in turn."""
        path, colour = [u], d
        while (w := self.at[path[-1]].get(colour)) is not None:
            path.append(w)
            colour = c if colour == d else d
        steps = list(itertools.pairwise(path))
        olds = [self.of[step] for step in steps]
        for step, old in zip(steps, olds, strict=True):
            self._unset(*step, old)
        for step, old in zip(steps, olds, strict=True):
            self._set(*step, c if old == d else d)

    def _rotate(self, u: int, fan: list[int]) -> None:
        """Give each link of the fan but the last the colour of the next."""
        colours = [self.of[u, w] for w in fan[1:]]
        for w, colour in zip(fan[1:], colours, strict=True):
            self._unset(u, w, colour)
        for w, colour in zip(fan, colours, strict=False):
            self._set(u, w, colour)

    def _set(self, u: int, v: int, colour: int) -> None:
        self.of[u, v] = self.of[v, u] = colour
        self.at[u][colour], self.at[v][colour] = v, u

    def _unset(self, u: int, v: int, colour: int) -> None:
        del self.of[u, v], self.of[v, u], self.at[u][colour], self.at[v][colour]
