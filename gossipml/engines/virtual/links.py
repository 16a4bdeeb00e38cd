"""What a link is like, and the two ends of a stream in memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gossipml.engines.virtual.clock import VirtualClock
    from gossipml.faults import Way


class Conditions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the links of the virtual network are like, where the topology does not say."""

    latency_ms: float = 1.0
    jitter_ms: float = 0.0  # up to so much is added to each message
    bandwidth_mbps: float | None = None  # megabits a second each way; None is unlimited
    loss: float = 0.0  # share of messages that must be sent again, as TCP does

    def __post_init__(self) -> None:
        for name in ("latency_ms", "jitter_ms"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")
        if self.bandwidth_mbps is not None and not self.bandwidth_mbps > 0:
            raise ValueError(f"bandwidth_mbps is {self.bandwidth_mbps}, expected more than 0")
        if not 0 <= self.loss < 1:
            raise ValueError(f"loss is {self.loss}, expected from 0 to less than 1")


class Pipe:
    """One direction of a stream: bytes arrive in order, each after its delay.

    Parameters
    ----------
    clock : VirtualClock
    delay : callable
        From the size of a message to the seconds that it takes.
    piece : int
        Bytes that arrive at once: a long message comes bit by bit, as over TCP, and the
        receiver hears that the sender lives.
    way : Way, optional
        Faults of single frames.
    withholds : callable
        Whether what would arrive now does not. It waits, and what comes after it too, as TCP
        sends again what nobody acknowledged.
    """

    def __init__(
        self,
        clock: VirtualClock,
        delay: Callable[[int], float],
        piece: int,
        way: Way | None = None,
        withholds: Callable[[], bool] = lambda: False,
    ) -> None:
        self.clock, self.delay, self.piece = clock, delay, piece
        self.way, self.withholds = way, withholds
        self.arrived = bytearray()
        self.ended = False
        self.broken = False
        self.reader = trio.lowlevel.ParkingLot()
        self.held: list[bytes | None] = []
        self._last = 0.0

    def push(self, data: bytes | None) -> None:
        """Send bytes, or None for the end, behind all that was sent before."""
        if self.way is None:
            self._travel(data)
        elif data is None:
            self._travel(self.way.rest())
            self._travel(None)
        else:
            for frame, longer_s in self.way.passes(data):
                self._travel(frame, longer_s)

    def mend(self) -> None:
        """Let what was withheld arrive, if it can."""
        if self.held:
            self.clock.call_at(self.clock.now + self.delay(0), self._release)

    def reset(self) -> None:
        """Lose what is on its way, and what has arrived and was not read."""
        self.broken = True
        self.arrived.clear()
        self.held.clear()
        self.reader.unpark_all()

    def _travel(self, data: bytes | None, longer_s: float = 0.0) -> None:
        if data is not None and len(data) > self.piece:
            for begin in range(0, len(data), self.piece):
                self._travel(data[begin : begin + self.piece], longer_s)
            return
        due = self.clock.now + self.delay(len(data or b"")) + longer_s
        self._last = max(self._last, due)
        self.clock.call_at(self._last, lambda: self._arrive(data))

    def _arrive(self, data: bytes | None) -> None:
        if self.broken:
            return
        if self.withholds() or self.held:
            self.held.append(data)
            return
        self._take(data)

    def _release(self) -> None:
        held, self.held = self.held, []
        for data in held:
            self._arrive(data)

    def _take(self, data: bytes | None) -> None:
        if data is None:
            self.ended = True
        else:
            self.arrived += data
        self.reader.unpark_all()


class VirtualStream:
    """One end of a stream in memory."""

    def __init__(self, incoming: Pipe, outgoing: Pipe) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._closed = False
        self._said_end = False

    @property
    def closed(self) -> bool:
        """Whether this end was closed."""
        return self._closed

    async def identify(self) -> None:
        """Believe everybody: all peers are this process."""

    def send_some(self, buffers: Sequence[bytes | memoryview]) -> Sequence[bytes | memoryview]:
        self._check()
        if self._said_end:
            raise OSError("closed")
        self._outgoing.push(b"".join(buffers))
        return ()

    async def send(self, buffers: Sequence[bytes | memoryview]) -> None:
        self.send_some(buffers)

    async def receive_into(self, buffer: memoryview) -> int:
        while (count := self.receive_now(buffer)) is None:
            await self.readable()
        return count

    def readable_soon(self) -> bool:
        return False

    async def readable(self) -> None:
        self._check()
        await self._incoming.reader.park()

    def receive_now(self, buffer: memoryview) -> int | None:
        self._check()
        incoming = self._incoming
        if not incoming.arrived and not incoming.ended:
            return None
        count = min(len(buffer), len(incoming.arrived))
        buffer[:count] = incoming.arrived[:count]
        del incoming.arrived[:count]
        return count

    async def end(self) -> None:
        self._finish()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._finish()
            self._incoming.reader.unpark_all()

    def reset(self) -> None:
        """Break the connection at both ends."""
        self._incoming.reset()
        self._outgoing.reset()

    def mend(self) -> None:
        """Let what was withheld on the way to this end arrive, if it can."""
        self._incoming.mend()

    def _check(self) -> None:
        if self._closed:
            raise OSError("closed")
        if self._incoming.broken:
            raise OSError("connection reset")

    def _finish(self) -> None:
        if not self._said_end:
            self._said_end = True
            self._outgoing.push(None)
