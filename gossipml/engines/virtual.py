"""The virtual engine: the production peer code in one process, on links in memory.

A clock of our own advances only when no task can run, straight to the next delivery or
deadline. Scheduling is seeded, so the same experiment gives the same trace, always.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import os
import signal
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np
import trio

from gossipml import seeds
from gossipml.engines.determinism import deterministic_scheduling
from gossipml.errors import GossipError
from gossipml.peer.peer import Peer
from gossipml.peer.reports import Event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from gossipml.peer.checkpoint import Checkpoint
    from gossipml.peer.network import ByteStream
    from gossipml.peer.reports import Report
    from gossipml.peer.setup import Outcome, PeerSetup
    from gossipml.topology import Topology

T = TypeVar("T")
PIECE_S = 0.1  # of a link's bandwidth: what is longer on the wire arrives bit by bit
RETRANSMIT_S = 0.2  # the least that a TCP sender waits before it repeats a lost segment


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


class VirtualClock(trio.abc.Clock):
    """Time that passes only when every task waits; then it jumps to the next thing due."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def call_at(self, time: float, callback: Callable[[], None]) -> None:
        """Run ``callback`` when the clock reaches ``time``; equal times run in this order."""
        heapq.heappush(self._due, (time, next(self._order), callback))

    def start_clock(self) -> None:
        """Part of trio's interface; time starts at 0."""

    def current_time(self) -> float:
        """Return virtual seconds since the start."""
        return self.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Advance: trio asks this only when no task can run."""
        if self._due and self._due[0][0] <= deadline:
            time = self._due[0][0]
            self.now = max(self.now, time)
            while self._due and self._due[0][0] <= time:
                heapq.heappop(self._due)[2]()
            return 0
        if math.isinf(deadline):
            return deadline
        self.now = max(self.now, deadline)
        return 0


class _Pipe:
    """One direction of a stream: bytes arrive in order, each after its delay."""

    def __init__(self, clock: VirtualClock, delay: Callable[[int], float], piece: int) -> None:
        self.clock, self.delay, self.piece = clock, delay, piece
        self.arrived = bytearray()
        self.ended = False
        self.reader = trio.lowlevel.ParkingLot()
        self._last = 0.0

    def push(self, data: bytes | None) -> None:
        """Send bytes, or None for the end, behind all that was sent before.

        Long messages come in pieces, as they do over TCP: the receiver hears that it lives.
        """
        if data is not None and len(data) > self.piece:
            for begin in range(0, len(data), self.piece):
                self.push(data[begin : begin + self.piece])
            return
        self._last = max(self._last, self.clock.now + self.delay(len(data or b"")))
        self.clock.call_at(self._last, lambda: self._arrive(data))

    def _arrive(self, data: bytes | None) -> None:
        if data is None:
            self.ended = True
        else:
            self.arrived += data
        self.reader.unpark_all()


class VirtualStream:
    """One end of a stream in memory."""

    def __init__(self, incoming: _Pipe, outgoing: _Pipe) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._closed = False
        self._said_end = False

    async def send(self, buffers: Sequence[bytes | memoryview]) -> None:
        if self._closed or self._said_end:
            raise OSError("closed")
        self._outgoing.push(b"".join(buffers))

    async def receive_into(self, buffer: memoryview) -> int:
        incoming = self._incoming
        while not incoming.arrived and not incoming.ended and not self._closed:
            await incoming.reader.park()
        if self._closed:
            raise OSError("closed")
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

    def _finish(self) -> None:
        if not self._said_end:
            self._said_end = True
            self._outgoing.push(None)


class VirtualWorld:
    """All links of a topology, and who listens where."""

    def __init__(self, topology: Topology, conditions: Conditions, seed: int) -> None:
        self.topology, self.conditions, self.seed = topology, conditions, seed
        self.clock = VirtualClock()
        self.listeners: dict[int, tuple[trio.Nursery, Callable[[ByteStream], Awaitable[None]]]] = {}
        self._streams = itertools.count()

    def connect(self, dialler: int, listener: int) -> tuple[VirtualStream, VirtualStream]:
        """Return the two ends of a new stream."""
        number = next(self._streams)
        piece = self._piece(dialler, listener)
        there = _Pipe(self.clock, self._delays(dialler, listener, number), piece)
        back = _Pipe(self.clock, self._delays(listener, dialler, number), piece)
        return VirtualStream(back, there), VirtualStream(there, back)

    def latency_s(self, sender: int, receiver: int) -> float:
        """Return the one-way delay of an empty message without jitter."""
        return self._link(sender, receiver)[0]

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


@dataclass(frozen=True)
class VirtualEnds:
    """How a run on the virtual engine ended."""

    peers: list[Outcome | GossipError]  # in peer order
    elapsed_s: float  # virtual
    signal: int | None  # that stopped it


class VirtualNetwork:
    """One peer's place in the virtual world."""

    def __init__(self, world: VirtualWorld, index: int) -> None:
        self.world, self.index = world, index

    async def listen(self, handle: Callable[[ByteStream], Awaitable[None]]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self.world.listeners[self.index] = (nursery, handle)
                await trio.sleep_forever()
        finally:
            self.world.listeners.pop(self.index, None)

    async def dial(self, neighbour: int) -> ByteStream:
        await trio.sleep(self.world.latency_s(self.index, neighbour))
        if neighbour not in self.world.listeners:
            raise ConnectionRefusedError(f"peer {neighbour} is not listening")
        near, far = self.world.connect(self.index, neighbour)
        nursery, handle = self.world.listeners[neighbour]
        nursery.start_soon(handle, far)
        return near

    async def compute(self, work: Callable[..., T], *args: Any) -> T:
        return work(*args)


def run_virtual(
    setups: Sequence[PeerSetup],
    topology: Topology,
    *,
    conditions: Conditions,
    seed: int,
    report: Callable[[Report], None],
    keep: Callable[[Checkpoint, int], object] | None = None,
) -> VirtualEnds:
    """Run all peers in this process; ``keep`` is given their checkpoints.

    SIGINT and SIGTERM end the run after the current round, with what there is.
    """
    world = VirtualWorld(topology, conditions, seed)
    peers: list[Peer] = []
    ends: list[Outcome | GossipError] = [GossipError("did not run")] * len(setups)

    async def live(setup: PeerSetup) -> None:
        start = seeds.stream(seed, "incarnation", setup.index)
        network = VirtualNetwork(world, setup.index)
        peer = Peer(setup, network, incarnation=int(start), report=report, keep=keep)
        peers.append(peer)
        if stopped_by:
            peer.stop()
        try:
            ends[setup.index] = await peer.run()
        except* GossipError as group:
            error = leaf(group)
            ends[setup.index] = error
            report(Event(
                peer=setup.id, t_s=world.clock.now, kind="failed",
                round=getattr(error, "round", 0), detail=str(error),
            ))  # fmt: skip

    stopped_by: list[int] = []

    async def main() -> None:
        with _signals() as signals:  # from before the first peer begins
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_stop_on_signal, signals, peers, stopped_by)
                async with trio.open_nursery() as living:
                    for setup in setups:
                        living.start_soon(live, setup)
                nursery.cancel_scope.cancel()

    try:
        with deterministic_scheduling(seed), np.errstate(all="ignore"):
            trio.run(main, clock=world.clock)
    except BaseExceptionGroup as group:
        raise unwrapped(group) from None
    return VirtualEnds(ends, world.clock.now, stopped_by[0] if stopped_by else None)


@contextlib.contextmanager
def _signals() -> Iterator[AsyncIterator[int] | None]:
    """Listen to SIGINT and SIGTERM, where this is the thread that gets them."""
    if threading.current_thread() is not threading.main_thread():
        yield None
        return
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        yield signals


async def _stop_on_signal(
    signals: AsyncIterator[int] | None, peers: list[Peer], stopped_by: list[int]
) -> None:
    """Stop gently on the first signal, at once on the second."""
    if signals is None:
        return
    async for number in signals:
        if stopped_by:
            os._exit(128 + number)
        stopped_by.append(number)
        for peer in peers:
            peer.stop()


def unwrapped(group: BaseExceptionGroup[Any]) -> BaseException:
    """Return what to raise in place of a group: Ctrl-C, else its first gossipml error, else it."""
    if group.subgroup(KeyboardInterrupt):
        return KeyboardInterrupt()
    try:
        return leaf(group)
    except LookupError:
        return group


def leaf(group: BaseExceptionGroup[Any]) -> GossipError:
    """Return the first gossipml error in a group."""
    for inner in group.exceptions:
        if isinstance(inner, BaseExceptionGroup):
            with contextlib.suppress(LookupError):
                return leaf(inner)
        elif isinstance(inner, GossipError):
            return inner
    raise LookupError("no gossipml error in the group")
