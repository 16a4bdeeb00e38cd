"""What mixes when: the seam between a topology and the rounds of an algorithm.

A schedule answers as a function of the round alone, so that every peer knows the weights of
every round without a message. It knows no graph by name and no experiment.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np

from gossipml.errors import TopologyError
from gossipml.topology.edges import tidy
from gossipml.topology.everyone import Everyone
from gossipml.topology.matrix import MixingMatrix
from gossipml.topology.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gossipml.topology.edges import Links

    Index = NDArray[np.int64]
    Vector = NDArray[np.float64]


class Row(NamedTuple):
    """One peer's row of a mixing matrix."""

    peers: tuple[int, ...]  # ascending, the peer itself included
    weights: NDArray[np.float64]


class Schedule(Protocol):
    """Who mixes with whom in each round. Peers are indices into the topology's ids."""

    kind: ClassVar[str]
    """Its name in experiment files."""

    @property
    def static(self) -> bool:
        """Whether every round has the same weights."""
        ...

    @property
    def period(self) -> int | None:
        """After how many rounds the weights repeat; None if they are drawn anew for ever."""
        ...

    @property
    def symmetric(self) -> bool:
        """Whether the weights of every round are symmetric."""
        ...

    @property
    def balanced(self) -> bool:
        """Whether rows and columns sum to 1 in every round; else columns in expectation only."""
        ...

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

    def push_matrix(self, round: int) -> MixingMatrix:
        """Return all push rows of this round at once."""
        ...

    def digest(self) -> str:
        """Return a hex digest that is equal for equal schedules of the same peers only."""
        ...


_TOLD = 3  # rounds that a digest covers: a seed or degree that differs shows at once


class Varying(Schedule):
    """Weights that change by rounds, made as arrays: push or average alike where balanced.

    Parameters
    ----------
    ids
        Whose peers mix: their ids, or how many there are.
    """

    symmetric: ClassVar[bool] = False
    balanced: ClassVar[bool] = True

    def __init__(self, ids: Sequence[str] | int) -> None:
        self.ids = tuple(map(str, range(ids))) if isinstance(ids, int) else tuple(ids)
        self.n = len(self.ids)
        self.options: dict[str, Any] = {}  # resolved, for the digest
        self._last: tuple[int, MixingMatrix] | None = None
        self._last_push: tuple[int, MixingMatrix] | None = None
        self._senders: tuple[int, list[tuple[int, ...]]] | None = None

    @property
    def static(self) -> bool:
        return False

    @property
    def period(self) -> int | None:
        return None

    def make(self, round: int) -> MixingMatrix:
        """Return the weights of a round, made anew."""
        raise NotImplementedError

    def make_push(self, round: int) -> MixingMatrix:
        """Return the column-stochastic weights of a round, made anew."""
        return self.matrix(round)

    def links(self) -> Links | None:
        """Return every link that a round ever uses, (m, 2); None where any two may meet."""
        return None

    def contraction(self) -> float | None:
        """Return ‖E[WᵀW] − J‖: what a round leaves of the squared distance, in expectation.

        None for schedules that draw nothing.
        """
        return None

    @cached_property
    def union(self) -> Topology:
        """The graph of all links that are ever used."""
        links = self.links()
        if links is None:
            return Everyone.of(self.kind, self.ids)
        directed = not self.symmetric
        edges = tidy(self.n, links, directed=directed)
        return Topology(name=self.kind, ids=self.ids, edges=edges, directed=directed)

    def neighbours(self, peer: int) -> tuple[int, ...]:
        return self.union.neighbours(peer)

    def key(self, round: int) -> int:
        """Return a number that is equal for rounds with equal weights."""
        return round if self.period is None else round % self.period

    def matrix(self, round: int) -> MixingMatrix:
        key = self.key(round)
        if self._last is None or self._last[0] != key:
            self._last = key, self.make(key)
        return self._last[1]

    def push_matrix(self, round: int) -> MixingMatrix:
        key = self.key(round)
        if self._last_push is None or self._last_push[0] != key:
            self._last_push = key, self.make_push(key)
        return self._last_push[1]

    def row(self, peer: int, round: int) -> Row:
        return _row(self.matrix(round), peer)

    def push_row(self, peer: int, round: int) -> Row:
        return _row(self.push_matrix(round), peer)

    def receivers(self, peer: int, round: int) -> tuple[int, ...]:
        matrix = self.matrix(round)
        key = self.key(round)
        if self._senders is None or self._senders[0] != key:
            order = np.argsort(matrix.indices, kind="stable")
            cut = np.cumsum(np.bincount(matrix.indices, minlength=self.n))[:-1]
            groups = np.split(matrix.rows[order], cut)
            self._senders = key, [tuple(group.tolist()) for group in groups]
        return tuple(j for j in self._senders[1][peer] if j != peer)

    def digest(self) -> str:
        sha = hashlib.sha256(self.kind.encode())
        sha.update(json.dumps(self.options, sort_keys=True).encode())
        sha.update("\0".join(self.ids).encode())
        for round in range(_TOLD):
            sha.update(self.matrix(round).digest().encode())
        return sha.hexdigest()


def alone(n: int) -> MixingMatrix:
    """Return the weights of a round in which nobody talks."""
    everyone = np.arange(n + 1, dtype=np.int64)
    return MixingMatrix(n, everyone, everyone[:-1], np.ones(n))


def shifted(sender: Index, off: float) -> MixingMatrix:
    """Return weights ``off`` on the model of one sender each, ``1 − off`` on the own.

    Parameters
    ----------
    sender
        ``(n,)`` int64, a permutation; who is its own sender keeps all.
    """
    n = len(sender)
    everyone = np.arange(n, dtype=np.int64)
    both = np.sort(np.stack([everyone, sender], axis=1), axis=1)
    weights = np.where(both == everyone[:, None], 1 - off, off)
    met = sender != everyone
    weights[~met, 0] = 1.0
    kept = np.stack([np.ones_like(met), met], axis=1)
    indptr = np.concatenate([[0], np.cumsum(1 + met)]).astype(np.int64)
    return MixingMatrix(n, indptr, both[kept], weights[kept])


def compressed(n: int, rows: Index, columns: Index, values: Vector) -> MixingMatrix:
    """Return the matrix of entries that come in ascending columns, in any order of rows."""
    order = np.argsort(rows, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))]).astype(np.int64)
    return MixingMatrix(n, indptr, columns[order], values[order])


def at_least(kind: str, option: str, value: int, least: int, most: int | None = None) -> None:
    """Raise TopologyError unless an option is in its range."""
    if value < least or (most is not None and value > most):
        expected = f"at least {least}" if most is None else f"{least} to {most}"
        raise TopologyError(f"{kind}: {option} is {value}, expected {expected}")


def _row(matrix: MixingMatrix, peer: int) -> Row:
    peers, weights = matrix.row(peer)
    return Row(tuple(peers.tolist()), weights)


def rows_of(matrix: MixingMatrix) -> list[Row]:
    """Return all rows of a matrix."""
    return [_row(matrix, peer) for peer in range(matrix.n)]
