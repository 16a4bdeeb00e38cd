"""What mixes when: the seam between a topology and the rounds of an algorithm.

A static schedule is one matrix for ever. Schedules that vary in time answer the same
questions, as functions of the round alone.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from gossipml.errors import ConfigError, TopologyError, nearest
from gossipml.topology.edges import connected_random_regular, exponential, tidy
from gossipml.topology.weights import MixingMatrix, check_support, mixing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gossipml.topology.topology import Topology


class Row(NamedTuple):
    """One peer's row of a mixing matrix."""

    peers: tuple[int, ...]  # ascending, the peer itself included
    weights: NDArray[np.float64]


class Schedule(Protocol):
    """Who mixes with whom in each round. Peers are indices into the topology's ids."""

    @property
    def static(self) -> bool:
        """Whether every round has the same weights."""
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

    @property
    def static(self) -> bool:
        return True

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
        return _rows(self._mixing)

    @cached_property
    def _push_rows(self) -> list[Row]:
        return _rows(self._push_mixing)

    @cached_property
    def _push_mixing(self) -> MixingMatrix:
        return mixing(self._topology, "column-stochastic")


class Varying(Schedule):
    """Weights that change by rounds, with rows and columns that sum to 1: push or average alike.

    Parameters
    ----------
    topology
        Whose peers mix.
    """

    kind: str

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._n = topology.n
        self._last: tuple[int, MixingMatrix] | None = None
        self._senders: tuple[int, list[tuple[int, ...]]] | None = None

    @property
    def static(self) -> bool:
        return False

    def make(self, round: int) -> MixingMatrix:
        """Return the weights of a round, made anew."""
        raise NotImplementedError

    def key(self, round: int) -> int:
        """Return a number that is equal for rounds with equal weights."""
        return round

    def matrix(self, round: int) -> MixingMatrix:
        key = self.key(round)
        if self._last is None or self._last[0] != key:
            self._last = key, self.make(round)
        return self._last[1]

    def push_matrix(self, round: int) -> MixingMatrix:
        return self.matrix(round)

    def row(self, peer: int, round: int) -> Row:
        peers, weights = self.matrix(round).row(peer)
        return Row(tuple(peers.tolist()), weights)

    def push_row(self, peer: int, round: int) -> Row:
        return self.row(peer, round)

    def receivers(self, peer: int, round: int) -> tuple[int, ...]:
        matrix = self.matrix(round)
        key = self.key(round)
        if self._senders is None or self._senders[0] != key:
            order = np.argsort(matrix.indices, kind="stable")
            cut = np.cumsum(np.bincount(matrix.indices, minlength=self._n))[:-1]
            groups = np.split(matrix.rows[order], cut)
            self._senders = key, [tuple(group.tolist()) for group in groups]
        return tuple(j for j in self._senders[1][peer] if j != peer)

    def digest(self) -> str:
        sha = hashlib.sha256(self.kind.encode())
        sha.update("\0".join(self._topology.ids).encode())
        for round in range(_TOLD):
            sha.update(self.matrix(round).digest().encode())
        return sha.hexdigest()


_TOLD = 3  # rounds that a digest covers: a seed or degree that differs shows at once


class OnePeerExponential(Varying):
    """Each peer sends to one other a round: in round t to i + 2^(t mod ⌈log2 n⌉) modulo n.

    Ying, Yuan, Chen, Hu, Pan, Yin 2021, arXiv:2110.13363. Weights are 1/2 and 1/2. For n a
    power of two, log2 n rounds in any order average exactly.

    Raises
    ------
    ConfigError
        If the topology is not the exponential graph, whose links it uses in turn.
    """

    kind = "one-peer"

    def __init__(self, topology: Topology) -> None:
        super().__init__(topology)
        expected = tidy(self._n, exponential(self._n), directed=True)
        if not topology.directed or not np.array_equal(topology.edges, expected):
            raise ConfigError(
                'topology.schedule: "one-peer" takes the links of graph = "exponential" in turn, '
                f"found {topology.name!r}"
            )
        self.hops = [1 << k for k in range((self._n - 1).bit_length())]

    def neighbours(self, peer: int) -> tuple[int, ...]:
        return self._topology.neighbours(peer)

    def key(self, round: int) -> int:
        return round % max(1, len(self.hops))

    def make(self, round: int) -> MixingMatrix:
        everyone = np.arange(self._n, dtype=np.int64)
        if not self.hops:
            return MixingMatrix(1, np.array([0, 1]), everyone, np.ones(1))
        sender = (everyone - self.hops[self.key(round)]) % self._n
        columns = np.sort(np.stack([everyone, sender], axis=1), axis=1).ravel()
        return MixingMatrix(self._n, 2 * np.arange(self._n + 1), columns, np.full(2 * self._n, 0.5))


class RandomRegular(Varying):
    """A new random regular graph each round, the same at every peer without a message.

    All peers have the degree of the given topology, and weights 1/(degree + 1). Any two may
    meet, so a peer needs a link to every other.

    Raises
    ------
    ConfigError
        If the degrees of the topology differ, or its links go one way.
    """

    kind = "random-regular"

    def __init__(self, topology: Topology, seed: int) -> None:
        super().__init__(topology)
        degrees = topology.degrees
        if topology.directed or degrees.min() != degrees.max():
            raise ConfigError(
                'topology.schedule: "random-regular" draws graphs of one degree, expected '
                f'graph = "random-regular" or another regular one, found {topology.name!r}'
            )
        self.degree, self.seed = int(degrees[0]), seed

    def neighbours(self, peer: int) -> tuple[int, ...]:
        return (*range(peer), *range(peer + 1, self._n))

    def make(self, round: int) -> MixingMatrix:
        links = connected_random_regular(self._n, self.degree, self.seed, 1 + round)
        everyone = np.arange(self._n, dtype=np.int64)
        rows = np.concatenate([links[:, 0], links[:, 1], everyone])
        columns = np.concatenate([links[:, 1], links[:, 0], everyone])
        order = np.argsort(rows * self._n + columns)
        width = self.degree + 1
        data = np.full(len(order), 1 / width)
        return MixingMatrix(self._n, width * np.arange(self._n + 1), columns[order], data)


SCHEDULES = ("static", "one-peer", "random-regular")
"""The names of schedules that :func:`make_schedule` knows."""


def make_schedule(
    spec: str | Mapping[str, Any], topology: Topology, matrix: MixingMatrix, seed: int
) -> Schedule:
    """Return the schedule that an experiment's ``topology.schedule`` names.

    Parameters
    ----------
    spec
        A name in ``SCHEDULES``, or a table with it as ``name``.
    matrix
        The weights of the static schedule.
    seed
        What random graphs are drawn from.

    Raises
    ------
    ConfigError
        For an unknown name or option, or a topology that does not fit.
    """
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = options.pop("name", None)
    if name not in SCHEDULES:
        raise ConfigError(
            f"topology.schedule: unknown name {name!r}{nearest(str(name), SCHEDULES)}"
        )
    if options:
        raise ConfigError(f"topology.schedule.{min(options)}: unknown key; {name} takes no options")
    match name:
        case "one-peer":
            return OnePeerExponential(topology)
        case "random-regular":
            return RandomRegular(topology, seed)
        case _:
            return Static(topology, matrix)


def _rows(matrix: MixingMatrix) -> list[Row]:
    rows = map(matrix.row, range(matrix.n))
    return [Row(tuple(peers.tolist()), weights) for peers, weights in rows]
