"""Mixing without waiting: with the newest message of each neighbour, or with all shares so far."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import trio

from gossipml import wire
from gossipml.algorithms import Average, Push, playing
from gossipml.errors import ConfigError, RemoteProtocolError
from gossipml.peer.link import Link
from gossipml.peer.neighbourhood import Neighbourhood

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gossipml.algorithms import Request
    from gossipml.peer.link import Turn
    from gossipml.peer.session import Session

    Array = NDArray[Any]


@dataclass(eq=False)
class LooseLink(Link):
    """An edge whose ends do not keep step: a message is copied out, and its slot is free again."""

    def __post_init__(self) -> None:
        self.sent = deque(maxlen=0)

    def has(self, data: wire.Data) -> bool:
        return False

    def deliver(self, data: wire.Data, session: Session) -> None:
        body = bytes(data.body)
        session.connection.release(data)
        self.reached = max(self.reached, (data.round, 0))
        self.keep(data.round, data.request, body)
        self.arrived.unpark_all()

    def keep(self, round: int, request: int, body: bytes) -> None:
        """Take in what a message says."""
        raise NotImplementedError


@dataclass(eq=False)
class NewestLink(LooseLink):
    """Only the newest message counts, on both sides of the wire."""

    newest: bytes = b""
    newest_round: int = -1
    age: int = 0  # rounds of this peer since it came

    def __post_init__(self) -> None:
        self.sent = deque(maxlen=1)

    def keep(self, round: int, request: int, body: bytes) -> None:
        if round > self.newest_round:
            self.newest, self.newest_round, self.age = body, round, 0

    def attach(self, session: Session) -> None:
        if self.incarnation not in (None, session.incarnation):  # it counts from 0 again
            self.newest, self.newest_round = b"", -1
        super().attach(session)

    def post(self, event: wire.Event) -> None:
        if isinstance(event, wire.Data) and self.session is not None:
            _take_data(self.session.outbox)  # not out yet, and out of date
        super().post(event)


@dataclass(eq=False)
class ShareLink(LooseLink):
    """Every share counts, once; those that wait, here or there, are added up."""

    dtype: str = "float32"
    size: int = 0
    total: Array | None = None
    waiting: wire.Data | None = None  # for a connection

    def keep(self, round: int, request: int, body: bytes) -> None:
        kind = np.dtype(self.dtype).newbyteorder("<")
        if len(body) != self.size * kind.itemsize:
            expected = self.size * kind.itemsize
            raise RemoteProtocolError(f"DATA of {len(body)} bytes, expected {expected}")
        share = np.frombuffer(body, kind)
        self.total = share.astype(self.dtype) if self.total is None else self.total + share

    def take_total(self) -> Array | None:
        """Return the sum of the shares that came, and forget it."""
        total, self.total = self.total, None
        return total

    def post(self, event: wire.Event) -> None:
        if isinstance(event, wire.Data):
            pending = [self.waiting] if self.waiting is not None else []
            if self.session is not None:
                pending += _take_data(self.session.outbox)
            event = self._merged([*pending, event])
            self.waiting = event if self.session is None else None
        super().post(event)

    def attach(self, session: Session) -> None:
        super().attach(session)
        if self.waiting is not None:
            event, self.waiting = self.waiting, None
            self.post(event)

    def detach(self, session: Session) -> bool:
        unsent = _take_data(session.outbox)
        if not super().detach(session):
            return False
        if unsent:
            self.waiting = self._merged(unsent)
        return True

    def _merged(self, events: list[wire.Data]) -> wire.Data:
        if len(events) == 1:
            return events[0]
        kind = np.dtype(self.dtype).newbyteorder("<")
        total = np.sum(
            [np.frombuffer(memoryview(event.body), kind) for event in events], axis=0, dtype=kind
        )
        body = memoryview(total.tobytes())
        last = events[-1]
        return wire.Data(last.round, last.request, body, wire.body_checksum(body))


class Loose(Neighbourhood):
    """A neighbourhood that a peer does not wait for."""

    @property
    def go_on(self) -> Callable[..., Request | None]:
        """A request is sent when its answer is asked for: nobody waits for it."""
        return playing.advance

    async def assemble(self) -> None:
        """Wait until every neighbour is connected, or given up."""
        with self.before():
            for link in self.every:
                while link.open and link.session is None:
                    await link.changed.park()

    async def sleep_until(self, time: float) -> None:
        """Wait for the next round of this peer."""
        with self.before():
            await trio.sleep_until(time)
        await trio.lowlevel.checkpoint()

    def check_company(self) -> None:
        """End a peer all of whose neighbours were lost, unless it was told that this is fine."""
        if self.every and all(link.state == "lost" for link in self.every):
            self._be_alone()

    def message(self, turn: Turn, arrays: tuple[Array, ...]) -> wire.Data:
        """Return the arrays as a message with a body of its own: nobody knows when it is sent."""
        body = memoryview(bytearray(self._nbytes(arrays)))
        body = body[: self.compressor.encode(arrays, body)]
        return wire.Data(turn[0], turn[1], body, wire.body_checksum(body))


class Mail(Loose):
    """Averages with the newest message of each neighbour, as long as it is not too old."""

    async def resolve(self, turn: Turn, request: Request) -> tuple[Array, ...]:
        if not isinstance(request, Average):
            raise ConfigError(f'{self._who}: only averages can be "async"')
        arrays, me = request.arrays, self.setup.index
        self._check_arrays(arrays)
        self.check_company()
        data = self.message(turn, arrays)
        receivers = set(self.setup.schedule.receivers(me, turn[0]))
        received: dict[int, Array] = {}
        assert self.setup.pace is not None
        for link in self.every:
            assert isinstance(link, NewestLink)
            if link.neighbour in receivers:
                link.post(data)
            if link.newest and link.age < self.setup.pace.staleness:
                vector = self._decoded(link, link.newest, arrays)
                if vector is not None:
                    received[link.neighbour] = vector
            link.age += 1
        own = np.concatenate([array.reshape(-1) for array in arrays])
        row = self.setup.schedule.row(me, turn[0])
        return parts(await self.network.compute(self._mix, row, own, received), arrays)


class Shares(Loose):
    """Sends a share to each receiver, and adds up its own and all that came.

    While nothing comes a peer keeps what it has, or its weight would dwindle, and a step of
    u / w grow without bound; but it sends at least once in so many rounds as messages count for,
    so that no two wait for each other.
    """

    _quiet = 0  # rounds since anything came or went

    async def resolve(self, turn: Turn, request: Request) -> tuple[Array, ...]:
        if not isinstance(request, Push):
            raise ConfigError(f'{self._who}: only pushes can be sent by "push"')
        arrays, me = request.arrays, self.setup.index
        self._check_arrays(arrays)
        self.check_company()
        receivers = set(self.setup.schedule.receivers(me, turn[0]))
        assert self.setup.pace is not None
        came = [link.take_total() for link in self.every if isinstance(link, ShareLink)]
        arrived = [total for total in came if total is not None]
        self._quiet = 0 if arrived or turn[0] == 0 else self._quiet + 1
        there = [link for link in self.every if link.neighbour in receivers and link.open]
        if self._quiet % self.setup.pace.staleness:
            there = []
        share = 1 / (1 + len(there))  # who has left takes no share with it
        shared = tuple((array * array.dtype.type(share)).astype(array.dtype) for array in arrays)
        data = self.message(turn, shared)
        total = np.concatenate([part.reshape(-1) for part in shared])
        for link in there:
            link.post(data)
        for other in arrived:
            total = total + other
        await trio.lowlevel.checkpoint()
        return parts(total, arrays)


def parts(flat: Array, like: tuple[Array, ...]) -> tuple[Array, ...]:
    """Cut a flat vector into arrays of these shapes."""
    ends = np.cumsum([array.size for array in like])[:-1]
    pairs = zip(np.split(flat, ends), like, strict=True)
    return tuple(part.reshape(array.shape) for part, array in pairs)


def _take_data(outbox: deque[wire.Event]) -> list[wire.Data]:
    """Remove and return the tensors that wait to be written."""
    found = [event for event in outbox if isinstance(event, wire.Data)]
    others = [event for event in outbox if not isinstance(event, wire.Data)]
    outbox.clear()
    outbox.extend(others)
    return found
