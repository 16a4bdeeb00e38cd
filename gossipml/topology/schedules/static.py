"""The same mixing matrix in every round."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from gossipml.errors import TopologyError
from gossipml.topology.schedules.base import Row, Schedule, rows_of
from gossipml.topology.weights import check_support, mixing

if TYPE_CHECKING:
    from gossipml.topology.matrix import MixingMatrix
    from gossipml.topology.topology import Topology


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

    kind: ClassVar[str] = "static"

    def __init__(self, topology: Topology, mixing: MixingMatrix) -> None:
        check_support(mixing, topology)
        if len(mixing.data) != len(topology.arcs[0]) + topology.n:  # zeros have to be stored too
            raise TopologyError(f"{topology.name}: the mixing matrix lacks links of the graph")
        self._topology = topology
        self._mixing = mixing

    @property
    def static(self) -> bool:
        return True

    @property
    def period(self) -> int | None:
        return 1

    @cached_property
    def symmetric(self) -> bool:
        return self._mixing.is_symmetric

    @cached_property
    def balanced(self) -> bool:
        return self._mixing.is_row_stochastic and self._mixing.is_column_stochastic

    @property
    def union(self) -> Topology:
        """The graph."""
        return self._topology

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

    def push_matrix(self, round: int) -> MixingMatrix:
        return self._push_mixing

    def digest(self) -> str:
        sha = hashlib.sha256(b"static")
        sha.update("\0".join(self._topology.ids).encode())
        sha.update(self._mixing.digest().encode())
        return sha.hexdigest()

    @cached_property
    def _rows(self) -> list[Row]:
        return rows_of(self._mixing)

    @cached_property
    def _push_rows(self) -> list[Row]:
        return rows_of(self._push_mixing)

    @cached_property
    def _push_mixing(self) -> MixingMatrix:
        return mixing(self._topology, "column-stochastic")
