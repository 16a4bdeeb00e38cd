"""What mixes when: the seam between a topology and the rounds of an algorithm.

A static schedule is one matrix for ever. Schedules that vary in time answer the same
questions, as functions of the round alone.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gossipml.errors import TopologyError
from gossipml.topology.weights import MixingMatrix, check_support, mixing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gossipml.topology.topology import Topology


class Row(NamedTuple):
    """One peer's row of a mixing matrix."""

    peers: tuple[int, ...]  # ascending, the peer itself included
    weights: NDArray[np.float64]


class Schedule(Protocol):
    """Who mixes with whom in each round. Peers are indices into the topology's ids."""

    def neighbours(self, peer: int) -> tuple[int, ...]:
        """Return all peers that this one ever needs a link to, ascending."""
        ...

    def row(self, peer: int, round: int) -> Row:
        """Return how this peer averages in this round."""
        ...

    def push_row(self, peer: int, round: int) -> Row:
        """Return how this peer sums what is pushed to it: a row of column-stochastic weights."""
        ...

    def receivers(self, peer: int, round: int) -> tuple[int, ...]:
        """Return who is sent this peer's model in this round, ascending, without itself."""
        ...

    def matrix(self, round: int) -> MixingMatrix:
        """Return all rows of this round at once."""
        ...

    def digest(self) -> str:
        """Return a hex digest that is equal for equal schedules of the same peers only."""
        ...


class Static(Schedule):
    """The same mixing matrix in every round.

    Parameters
    ----------
    topology
        The graph.
    mixing
        Weights on it, from :func:`gossipml.topology.mixing`.

    Raises
    ------
    TopologyError
        If the weights do not belong to the graph.
    """

    def __init__(self, topology: Topology, mixing: MixingMatrix) -> None:
        check_support(mixing, topology)
        if len(mixing.data) != len(topology.arcs[0]) + topology.n:  # zeros have to be stored too
            raise TopologyError(f"{topology.name}: the mixing matrix lacks links of the graph")
        self._topology = topology
        self._mixing = mixing

    def neighbours(self, peer: int) -> tuple[int, ...]:
        return self._topology.neighbours(peer)

    def row(self, peer: int, round: int) -> Row:
        return self._rows[peer]

    def push_row(self, peer: int, round: int) -> Row:
        return self._push_rows[peer]

    def receivers(self, peer: int, round: int) -> tuple[int, ...]:
        return self._topology.receivers(peer)

    def matrix(self, round: int) -> MixingMatrix:
        return self._mixing

    def digest(self) -> str:
        sha = hashlib.sha256(b"static")
        sha.update("\0".join(self._topology.ids).encode())
        sha.update(self._mixing.digest().encode())
        return sha.hexdigest()

    @cached_property
    def _rows(self) -> list[Row]:
        return _rows(self._mixing)

    @cached_property
    def _push_rows(self) -> list[Row]:
        return _rows(mixing(self._topology, "column-stochastic"))


def _rows(matrix: MixingMatrix) -> list[Row]:
    rows = map(matrix.row, range(matrix.n))
    return [Row(tuple(peers.tolist()), weights) for peers, weights in rows]
