"""What travels along single edges, of all peers at once: arrays (n, most neighbours, m)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.topology import MixingMatrix

    Array = NDArray[Any]


@lru_cache(maxsize=4)
def most_neighbours(matrix: MixingMatrix) -> int:
    """Return the degree that all peers' edges are padded to."""
    return int(np.diff(matrix.indptr).max()) - 1


class Edges:
    """Who is at the other end of each edge, for symmetric weights.

    Slot k of peer i is its k-th neighbour in ascending order; slots that a peer does not have
    hold zeros.
    """

    def __init__(self, matrix: MixingMatrix, dtype: np.dtype[Any]) -> None:
        n, most = matrix.n, most_neighbours(matrix)
        off = np.flatnonzero(matrix.rows != matrix.indices)
        peers, others = matrix.rows[off], matrix.indices[off]
        self.degrees = np.bincount(peers, minlength=n)
        slots = np.arange(len(off)) - np.repeat(
            np.cumsum(self.degrees) - self.degrees, self.degrees
        )
        # The arc back has the same number in the order by (other, peer).
        back = np.empty(len(off), np.int64)
        back[np.lexsort((peers, others))] = slots
        self.neighbour = np.zeros((n, most), np.int64)
        self.slot = np.zeros((n, most), np.int64)
        self.weight = np.zeros((n, most, 1), dtype)
        self.neighbour[peers, slots] = others
        self.slot[peers, slots] = back
        self.weight[peers, slots, 0] = matrix.data[off]
        self.missing = np.arange(most) >= self.degrees[:, None]

    def answer(self, begin: int, end: int, sent: Array) -> tuple[Array, Array]:
        """Return what rows ``begin`` to ``end`` get of edges ``sent`` (n, most, m), and weights."""
        theirs = sent[self.neighbour[begin:end], self.slot[begin:end]]
        theirs[self.missing[begin:end]] = 0
        return theirs, self.weight[begin:end].copy()
