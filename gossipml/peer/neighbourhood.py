"""A peer's closed neighbourhood: what a round asks of it, sent, awaited and combined.

Sums run over peers in ascending order whatever order messages come in, and a neighbour
that is missing has its weight put back on this peer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import trio

from gossipml import wire
from gossipml.algorithms import Average, Exchange, Push
from gossipml.algorithms.playing import check_request
from gossipml.errors import ConfigError, IsolatedError, RefusedError
from gossipml.peer.link import NEVER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.algorithms import Request
    from gossipml.peer.link import Link, Turn
    from gossipml.peer.links import Links
    from gossipml.peer.network import Network
    from gossipml.peer.setup import PeerSetup
    from gossipml.topology import Row

    Array = NDArray[Any]


class Neighbourhood:
    """Resolves the requests of one peer's rounds.

    Parameters
    ----------
    setup : PeerSetup
    links : Links
        The edges to the neighbours.
    network : Network
        Where sums are computed.
    """

    def __init__(self, setup: PeerSetup, links: Links, network: Network) -> None:
        self.setup, self.links, self.network = setup, links, network
        self.compressor = setup.compressor
        self.stopping = False
        self.missed = False  # a neighbour that a round should have had
        self._patience = trio.CancelScope()
        self._before = trio.CancelScope()
        self._alone = 0
        self._turns = 0
        self._bodies = [bytearray(setup.max_message) for _ in range(2)]

    @property
    def every(self) -> list[Link]:
        """The links to all neighbours, in ascending peer order."""
        return list(self.links.links.values())

    def hurry(self) -> None:
        """Wait for neighbours no longer than ``stop_grace_s`` from now on, and for nobody new."""
        self.stopping = True
        grace = trio.current_time() + self.setup.timing.stop_grace_s
        self._patience.deadline = min(self._patience.deadline, grace)
        self._before.cancel()

    def before(self) -> trio.CancelScope:
        """Return the scope of what may be left undone when the peer is told to stop."""
        self._before = trio.CancelScope()
        if self.stopping:
            self._before.cancel()
        return self._before

    async def resolve(self, turn: Turn, request: Request) -> Any:
        """Return the answer to a request: a tuple of arrays.

        Raises
        ------
        IsolatedError, RefusedError
            Nobody is there, see :meth:`Peer.run`.
        ConfigError
            The algorithm asks for what its facts do not declare.
        """
        check_request(self.setup.algorithm, request)
        schedule, me = self.setup.schedule, self.setup.index
        match request:
            case Average(arrays):
                return await self._combine(turn, arrays, schedule.row(me, turn[0]))
            case Push(arrays):
                return await self._combine(turn, arrays, schedule.push_row(me, turn[0]))
            case Exchange((edges,)):
                return await self._exchange(turn, edges, schedule.row(me, turn[0]))

    @property
    def _who(self) -> str:
        return f"algorithm {type(self.setup.algorithm).__name__}"

    async def _combine(self, turn: Turn, arrays: tuple[Array, ...], row: Row) -> tuple[Array, ...]:
        """Send the arrays to all receivers, and return the weighted sum over the row."""
        self._check_arrays(arrays)
        data = _message(turn, self._encode(arrays))
        token = _message(turn, b"")
        receivers = set(self.setup.schedule.receivers(self.setup.index, turn[0]))
        for link in self.every:
            if turn[0] >= link.starts:
                link.post(data if link.neighbour in receivers else token)
        await self._gather(turn)
        received = self._received(turn, arrays)
        own = np.concatenate([array.reshape(-1) for array in arrays])
        mixed = await self.network.compute(self._mix, row, own, received)
        self._settle(turn)
        ends = np.cumsum([array.size for array in arrays])[:-1]
        parts = zip(np.split(mixed, ends), arrays, strict=True)
        return tuple(part.reshape(array.shape) for part, array in parts)

    async def _exchange(self, turn: Turn, edges: Array, row: Row) -> tuple[Array, Array]:
        """Send each neighbour its row; return what came from each, and the weights of the edges."""
        every = self.every
        if getattr(edges, "ndim", 0) != 2 or len(edges) != len(every):
            found = getattr(edges, "shape", type(edges).__name__)
            raise ConfigError(
                f"{self._who}: exchanges {found}, expected an array ({len(every)}, …): "
                "one row for each neighbour"
            )
        like = np.empty(edges.shape[1], edges.dtype)
        for link, mine in zip(every, edges, strict=True):
            self._check_arrays((mine,))
            body = memoryview(bytearray(self._nbytes((mine,))))
            link.post(_message(turn, body[: self.compressor.encode([mine], body)]))
        await self._gather(turn)
        received = self._received(turn, (like,))
        theirs = np.zeros_like(edges)
        weights = np.zeros((len(every), 1), edges.dtype)
        mixing = dict(zip(row.peers, row.weights.tolist(), strict=True))
        for k, link in enumerate(every):
            if link.neighbour in received:
                theirs[k] = received[link.neighbour]
                weights[k] = mixing.get(link.neighbour, 0.0)
            elif link.neighbour in mixing:
                self.missed = True
        self._settle(turn)
        return theirs, weights

    def _mix(self, row: Row, own: Array, received: dict[int, Array]) -> Array:
        """Combine in ascending peer order; a missing neighbour's weight returns to this peer."""
        me = self.setup.index
        weights = dict(zip(row.peers, row.weights.tolist(), strict=True))
        returned = 0.0  # summed in this order and no other: the wire's page promises the bits
        for j in row.peers:
            if j != me and j not in received:
                returned += weights[j]
                self.missed = True
        weights[me] += returned
        here = [j for j in row.peers if j == me or j in received]
        return self.setup.aggregator.combine(
            here.index(me),
            [weights[j] for j in here],
            [own if j == me else received[j] for j in here],
        )

    # --- messages ----------------------------------------------------------------------

    def _check_arrays(self, arrays: tuple[Array, ...]) -> None:
        """Refuse what its facts do not declare, before a neighbour has to."""
        algorithm, x0 = self.setup.algorithm, self.setup.x0
        kinds = {getattr(array, "dtype", type(array).__name__) for array in arrays}
        if kinds != {x0.dtype}:
            found = ", ".join(sorted(map(str, kinds))) or "nothing"
            raise ConfigError(f"{self._who}: sends {found}, expected arrays of {x0.dtype}")
        numbers = sum(array.size for array in arrays)
        facts = algorithm.facts
        if numbers > sum(algorithm.sizes(x0.size) or [x0.size]):
            raise ConfigError(
                f"{self._who}: sends {numbers} numbers in a request, but its facts declare "
                f"vectors={facts.vectors} of {x0.size} and scalars={facts.scalars}"
            )
        if self._nbytes(arrays) > self.setup.max_message:  # cut up, arrays may take more bytes
            found = ", ".join(str(array.size) for array in arrays)
            raise ConfigError(
                f"{self._who}: sends arrays of {found} numbers, expected of {x0.size}, "
                f"as its facts declare"
            )

    def _nbytes(self, arrays: tuple[Array, ...]) -> int:
        """Return how many bytes the arrays take on the wire."""
        return self.compressor.max_nbytes([a.size for a in arrays], self.setup.x0.dtype)

    def _encode(self, arrays: tuple[Array, ...]) -> memoryview:
        """Pack arrays into one of two send buffers, so that a round may change its own.

        Two are enough: a neighbour that has sent its message of this turn has received ours
        of the turn before, so nobody can still need the one before that.
        """
        body = memoryview(self._bodies[self._turns % 2])
        self._turns += 1
        return body[: self.compressor.encode(arrays, body)]

    def _received(self, turn: Turn, like: tuple[Array, ...]) -> dict[int, Array]:
        """Return what each neighbour sent, as one flat vector; drop who sent something else."""
        vectors = {}
        for link in self.every:
            body = link.take(turn)
            if body is None or not len(body):
                continue
            vector = self._decoded(link, body, like)
            if vector is not None:
                vectors[link.neighbour] = vector
        return vectors

    def _decoded(
        self, link: Link, body: bytes | memoryview, like: tuple[Array, ...]
    ) -> Array | None:
        """Return a message as one flat vector; None, and the neighbour is lost, if it is wrong."""
        try:
            return self.compressor.decode(memoryview(body), like)
        except ValueError as error:
            round = self.links.round
            self.links.give_up(link, f"sent a wrong message in round {round}: {error}")
            return None

    async def _gather(self, turn: Turn) -> None:
        """Wait until every neighbour's message of this turn is here or will not come."""
        waiting = [
            link
            for link in self.every
            if link.take(turn) is None and link.open and turn[0] >= link.starts
        ]
        if not waiting:
            await trio.lowlevel.checkpoint()
        else:
            self.links.waiting = True
            limit = self.setup.timing.round_timeout_s
            deadline = self._deadline()
            if not await self._hear(waiting, turn, deadline) and not self.stopping:
                # Somebody hangs. Who itself waits is not to blame, and will soon give up who is.
                for link in waiting:
                    if link.take(turn) is None and not link.waits:
                        self.links.give_up(link, f"no progress for {limit:g} s")
                if not await self._hear(waiting, turn, deadline + limit) and not self.stopping:
                    for link in waiting:
                        if link.take(turn) is None:
                            self.links.give_up(link, f"waited with us for {limit:g} s")
            self.links.waiting = False
        if not waiting:
            await self._await_return()
        for link in waiting:
            if link.open and link.passed(turn):
                sent = min(key for key in link.inbox if key > turn)
                self.links.give_up(
                    link,
                    f"sent (round, request) {sent} where {turn} was due: its algorithm differs",
                )
        self._check_company(turn)

    async def _await_return(self) -> None:
        """Rather than go on alone, wait until a neighbour that is back says from which round on.

        It has a moment of its own to meet its other neighbours before it asks.
        """
        returning = self._returning()
        if not returning or len(returning) < sum(link.open for link in self.every):
            return
        limit = self.setup.timing.reconnect_timeout_s
        self._patience = trio.CancelScope(deadline=trio.current_time() + limit)
        with self._patience:
            while len(self._returning()) == len(returning):
                await self.links.met.park()
        if self._patience.cancelled_caught and not self.stopping:
            for link in self._returning():
                self.links.give_up(link, f"is back, but has not gone on for {limit:g} s")

    def _returning(self) -> list[Link]:
        return [link for link in self.every if link.open and link.starts == NEVER]

    async def _hear(self, waiting: list[Link], turn: Turn, deadline: float) -> bool:
        """Wait for messages until the deadline; return whether all are here, or will not come."""
        self._patience = trio.CancelScope(deadline=deadline)
        with self._patience:
            for link in waiting:
                while link.take(turn) is None and link.open and not link.passed(turn):
                    if turn[0] < link.starts:  # it was started again
                        break
                    await link.arrived.park()
        return not self._patience.cancelled_caught

    def _deadline(self) -> float:
        """Return until when to wait: for who is connected, and for who may still connect."""
        timing, now = self.setup.timing, trio.current_time()
        if self.stopping:
            return now + timing.stop_grace_s
        expected = [link.deadline for link in self.every if math.isfinite(link.deadline)]
        return max([now, *expected]) + timing.round_timeout_s

    def _check_company(self, turn: Turn) -> None:
        """End a peer that nobody talks to, unless it was told that this is fine."""
        every = self.every
        if not every or self.stopping or any(link.take(turn) is not None for link in every):
            self._alone = 0
            return
        if any(link.open and turn[0] < link.starts for link in every):
            return  # soon
        refusals = [why for link in every if (why := link.refusal or link.turned_away)]
        if refusals and turn == (0, 0):
            raise RefusedError(f"no neighbour accepts peer {self.setup.id!r}: {refusals[0]}")
        self._be_alone()

    def _be_alone(self) -> None:
        """Count a round without anybody, and end the peer after too many."""
        self._alone += 1
        limit = self.setup.timing.max_isolated_rounds
        if self._alone == 1:
            self.links.tell("alone", detail="no neighbour is left; training on alone")
        if self._alone >= limit and not self.setup.allow_isolation:
            raise IsolatedError(
                f"peer {self.setup.id!r} has mixed with nobody for {limit} rounds; "
                "give --allow-isolation to train on alone"
            )

    def _settle(self, turn: Turn) -> None:
        """Move all edges past this turn, and give the slots of its messages back."""
        for link in self.every:
            if turn[0] >= link.starts:
                link.used(turn)


def _message(turn: Turn, body: bytes | memoryview) -> wire.Data:
    return wire.Data(round=turn[0], request=turn[1], body=body, crc=wire.body_checksum(body))
