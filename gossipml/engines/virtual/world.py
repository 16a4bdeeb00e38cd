"""All links of a topology, who listens where, and one peer's place in it."""

from __future__ import annotations

import itertools
import math
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from gossipml import seeds
from gossipml.engines.virtual.clock import VirtualClock
from gossipml.engines.virtual.links import Pipe, VirtualStream
from gossipml.faults import Way
from gossipml.peer.network import run_through

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gossipml.engines.virtual.links import Conditions
    from gossipml.faults import Course
    from gossipml.peer.network import ByteStream, Pieces
    from gossipml.topology import Topology

T = TypeVar("T")
PIECE_S = 0.1  # of a link's bandwidth: what is longer on the wire arrives bit by bit
RETRANSMIT_S = 0.2  # the least that a TCP sender waits before it repeats a lost segment


class VirtualWorld:
    """All links of a topology, and who listens where."""

    def __init__(self, topology: Topology, conditions: Conditions, seed: int) -> None:
        self.topology, self.conditions, self.seed = topology, conditions, seed
        self.clock = VirtualClock()
        self.course: Course | None = None  # of what goes wrong on purpose
        self.listeners: dict[int, trio.MemorySendChannel[ByteStream]] = {}
        self.mended = trio.lowlevel.ParkingLot()  # woken when links are no longer cut
        self._streams = itertools.count()
        # Dialler, listener and their ends of each stream that is not closed at both.
        self._open: dict[int, tuple[int, int, VirtualStream, VirtualStream]] = {}

    def connect(self, dialler: int, listener: int) -> tuple[VirtualStream, VirtualStream]:
        """Return the two ends of a new stream."""
        number = next(self._streams)
        there = self._pipe(dialler, listener, number)
        back = self._pipe(listener, dialler, number)
        near, far = VirtualStream(back, there), VirtualStream(there, back)
        if self.course is not None:
            self._forget()
            self._open[number] = dialler, listener, near, far
        return near, far

    def latency_s(self, sender: int, receiver: int) -> float:
        """Return the one-way delay of an empty message without jitter."""
        return self._link(sender, receiver)[0]

    # --- faults ------------------------------------------------------------------------

    def withholds(self, sender: int, receiver: int) -> bool:
        """Return whether what would arrive now does not, and count it."""
        return self.course is not None and self.course.withholds(sender, receiver)

    def vanish(self, peer: int) -> None:
        """Close all that a process had, as the kernel does when it is gone."""
        self.listeners.pop(peer, None)
        for dialler, listener, near, far in self._open.values():
            for end, stream in ((dialler, near), (listener, far)):
                if end == peer:
                    stream.close()

    def reset(self, hits: Callable[[int, int], bool]) -> int:
        """Break the connections between two peers that are hit; return how many."""
        self._forget()
        found = [
            near for i, j, near, _ in self._open.values() if hits(i, j) or hits(j, i)
        ]  # fmt: skip
        for stream in found:
            stream.reset()
        return len(found)

    def mend(self) -> None:
        """Let what was withheld travel on, where it can."""
        self.mended.unpark_all()
        assert self.course is not None
        for i, j, near, far in self._open.values():
            if not self.course.cuts(i, j):
                far.mend()
            if not self.course.cuts(j, i):
                near.mend()

    def _forget(self) -> None:
        """Forget streams that nobody holds any more."""
        over = [k for k, (_, _, near, far) in self._open.items() if near.closed and far.closed]
        for k in over:
            del self._open[k]

    # --- links -------------------------------------------------------------------------

    def _pipe(self, sender: int, receiver: int, number: int) -> Pipe:
        delays, piece = self._delays(sender, receiver, number), self._piece(sender, receiver)
        if self.course is None:
            return Pipe(self.clock, delays, piece)
        way = Way(self.course, sender, receiver) if self.course.plan.about_frames else None
        withholds = partial(self.withholds, sender, receiver)
        return Pipe(self.clock, delays, piece, way, withholds)

    def _piece(self, sender: int, receiver: int) -> int:
        """Return how many bytes at most arrive at once."""
        per_byte = self._link(sender, receiver)[1]
        return max(1, int(PIECE_S / per_byte)) if per_byte else sys.maxsize

    def _link(self, sender: int, receiver: int) -> tuple[float, float]:
        """Return seconds of latency and seconds a byte of one direction of an edge."""
        conditions, topology = self.conditions, self.topology
        latency = bandwidth = math.nan
        if receiver in topology.neighbours(sender):  # a schedule may link others too
            forward = not topology.directed or receiver in topology.receivers(sender)
            edge = topology.edge(*((sender, receiver) if forward else (receiver, sender)))
            latency, bandwidth = topology.latency_ms[edge], topology.bandwidth_mbps[edge]
        if math.isnan(latency):
            latency = conditions.latency_ms
        if math.isnan(bandwidth):
            bandwidth = conditions.bandwidth_mbps or math.inf
        return float(latency) / 1e3, 8 / (float(bandwidth) * 1e6)

    def _delays(self, sender: int, receiver: int, number: int) -> Callable[[int], float]:
        """Return a function from a message's size to its delay, drawing jitter and loss."""
        latency, per_byte = self._link(sender, receiver)
        conditions = self.conditions
        free = 0.0  # when the sender's end of the link has sent all that it was given
        messages = itertools.count()

        def delay(nbytes: int) -> float:
            nonlocal free
            now = self.clock.now
            free = max(free, now) + nbytes * per_byte
            total = free - now + latency
            if conditions.jitter_ms or conditions.loss:
                start = seeds.stream(self.seed, "network", sender, receiver, number, next(messages))
                jitter, fate = seeds.uniforms(start, 2).tolist()
                total += jitter * conditions.jitter_ms / 1e3
                if conditions.loss:  # how often it is lost before it gets through: geometric
                    again = int(math.log(1 - fate) / math.log(conditions.loss))
                    total += again * max(RETRANSMIT_S, 2 * latency)
            return total

        return delay


class VirtualNetwork:
    """One process's place in the virtual world."""

    def __init__(self, world: VirtualWorld, index: int) -> None:
        self.world, self.index = world, index
        self._gone = False

    def vanish(self) -> None:
        """Close all that it has, and let nothing more begin."""
        self._gone = True
        self.world.vanish(self.index)

    async def listen(self, handle: Callable[[ByteStream], Awaitable[None]]) -> None:
        listeners = self.world.listeners
        backlog: trio.MemorySendChannel[ByteStream]
        arriving: trio.MemoryReceiveChannel[ByteStream]
        backlog, arriving = trio.open_memory_channel(math.inf)
        listeners[self.index] = backlog
        try:
            async with trio.open_nursery() as nursery:
                async for stream in arriving:
                    nursery.start_soon(handle, stream)
        finally:
            if listeners.get(self.index) is backlog:  # the next process has its own
                del listeners[self.index]

    async def dial(self, neighbour: int) -> ByteStream:
        world = self.world
        await trio.sleep(world.latency_s(self.index, neighbour))
        while world.withholds(self.index, neighbour) or world.withholds(neighbour, self.index):
            await world.mended.park()
        if self._gone or neighbour not in world.listeners:
            raise ConnectionRefusedError(f"peer {neighbour} is not listening")
        near, far = world.connect(self.index, neighbour)
        world.listeners[neighbour].send_nowait(far)
        return near

    async def compute(self, work: Callable[..., T], *args: Any) -> T:
        return work(*args)

    async def compute_in_pieces(self, work: Callable[..., Pieces[T]], *args: Any) -> T:
        return run_through(work(*args))
