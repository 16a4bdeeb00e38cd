"""What must hold at every moment of a simulation, watched from where a peer meets its engine.

A :class:`Watch` stands between peers and the virtual network. It takes time for computations,
hashes all that is said, and notes what breaks a promise. It changes nothing that peers see.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np
import trio

from gossipml import wire
from gossipml.algorithms import Average, Begin
from gossipml.algorithms.playing import advance, meanwhile, proceed
from gossipml.peer.link import KEPT
from gossipml.peer.peer import Peer
from gossipml.peer.reports import Event
from gossipml.wire import limits
from gossipml.wire.events import decode_body
from gossipml.wire.frames import HEADER_SIZE, Kind, unpack_header

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from numpy.typing import NDArray

    from gossipml.peer.link import Turn
    from gossipml.peer.network import ByteStream, Network, Pieces
    from gossipml.peer.reports import Report
    from gossipml.peer.setup import PeerSetup
    from gossipml.testing.chaos.cases import Case

    Array = NDArray[Any]

T = TypeVar("T")
MOST_TOLD = 20  # violations of one simulation; more say nothing new
PIECES = (proceed, meanwhile, advance)  # by which a peer computes a part of a round
CLOSE = 1e-9  # what is promised exactly may be off by so much, relative to the largest number


class Stuck(Exception):
    """Peers are still at it when they should long have come to the end."""


class Watch:
    """All peers of one simulation.

    Parameters
    ----------
    case : Case
    limit_s : float
        Virtual seconds after which nobody may be playing any more.
    """

    def __init__(self, case: Case, limit_s: float) -> None:
        self.case, self.limit_s = case, limit_s
        self.violations: list[str] = []
        self.frames: Counter[str] = Counter()
        self.events: list[tuple[float, Event]] = []  # with the time of each
        self.lives: list[Life] = []
        self.said: defaultdict[tuple[int, Turn], list[Array]] = defaultdict(list)
        # by peer and round; a peer that is started again may play a round twice
        self.models: defaultdict[tuple[int, int], list[Array]] = defaultdict(list)
        self.heard: list[tuple[int, int, Turn, Array]] = []  # who mixed whose message of which turn
        self.missed: list[tuple[float, int, int, int]] = []  # when, in which round, who missed whom
        self.mixed_at = 0.0  # when anybody did last
        self.handed: list[tuple[int, int, Array]] = []  # who began in mid-run, in which round, how
        self.begun: dict[int, tuple[float, float]] = {}  # when each process came, and began to play
        self.course: defaultdict[int, list[tuple[float, Array]]] = defaultdict(list)  # of models
        self.joining: dict[str, int] = {}  # who is about to begin in mid-run, and in which round
        self.promised: Counter[str] = Counter()
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> str:
        """The hash of all that was said and reported, with the time of each."""
        return self._digest.hexdigest()

    def make_peer(self, setup: PeerSetup, network: Network, **rest: Any) -> Peer:
        """Return a peer that is watched: the engine makes its peers by this."""
        life = Life(self, setup, network)
        self.joining.pop(setup.id, None)  # the process before was killed before it began
        peer = Peer(setup, life, **rest)
        life.peer = peer
        self.lives.append(life)
        return peer

    def hear(self, report: Report) -> None:
        """Take note of what a peer reports."""
        self._digest.update(msgspec.json.encode(report))
        if isinstance(report, Event):
            self.events.append((trio.current_time(), report))
            if report.kind == "rejoined" and report.about is None and report.round:
                self.joining[report.peer] = report.round

    def broken(self, promise: str) -> None:
        """Take note of a broken promise."""
        if len(self.violations) < MOST_TOLD:
            self.violations.append(f"{trio.current_time():.3f} s {promise}")

    def trace(self, peer: int, stream: int, data: bytes) -> None:
        """Hash what a peer sends, and when."""
        self._digest.update(struct.pack("<dqqq", trio.current_time(), peer, stream, len(data)))
        self._digest.update(data)


class Life:
    """One process of one peer, from its start to its end: its network, and what it does there."""

    def __init__(self, watch: Watch, setup: PeerSetup, network: Network) -> None:
        self.watch, self.setup, self.network = watch, setup, network
        self.peer: Peer | None = None
        self.streams: list[WatchedStream] = []
        self.turn: Turn = (-1, 0)
        self.came_s = trio.current_time()
        self.played: int | None = None  # the last round that it came to the end of
        # Copies: that they stay as they are is what the peer's own memory is compared with.
        self.own: Array | None = None  # what it said in this turn
        self.x: Array | None = None  # its model, as the last part of a round left it

    @property
    def name(self) -> str:
        """How a violation names this peer."""
        return f"peer {self.setup.id}"

    # --- a network for its peer --------------------------------------------------------------

    async def listen(self, handle: Callable[[ByteStream], Awaitable[None]]) -> None:
        async def watched(stream: ByteStream) -> None:
            await handle(self._watched(stream))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._expire)
            await self.network.listen(watched)

    async def dial(self, neighbour: int) -> ByteStream:
        return self._watched(await self.network.dial(neighbour))

    async def compute(self, work: Callable[..., T], *args: Any) -> T:
        if work in PIECES:
            begin = self._model_before()
            await trio.sleep(self.watch.case.compute_s)
            asked = await self.network.compute(work, *args)
            self._advanced(args[1], asked, begin)
            return asked
        return await self.network.compute(work, *args)

    async def compute_in_pieces(self, work: Callable[..., Pieces[T]], *args: Any) -> T:
        done: Any = await self.network.compute_in_pieces(work, *args)
        mixed, all_finite = done  # nothing else is done in pieces
        if all_finite:
            self._mixed(np.asarray(mixed), args[1], args[2])
        return done  # type: ignore[no-any-return]

    def _watched(self, stream: ByteStream) -> WatchedStream:
        watched = WatchedStream(self, stream, len(self.streams))
        self.streams.append(watched)
        return watched

    async def _expire(self) -> None:
        await trio.sleep_until(self.watch.limit_s)
        links = self.peer.links.links.values() if self.peer and self.peer.links else ()
        states = ", ".join(f"{link.id} {link.state}" for link in links)
        raise Stuck(
            f"{self.name} plays at {trio.current_time():.0f} s in round {self.turn[0]} "
            f"(neighbours: {states})"
        )

    # --- what it does ------------------------------------------------------------------------

    def _model_before(self) -> Array:
        """Return the model that a part of a round begins with: nothing else may change it."""
        assert self.peer is not None
        begin = self.peer.state.x.copy()
        if self.x is not None and not np.array_equal(begin, self.x, equal_nan=True):
            self.watch.broken(f"{self.name} has another model than it left in {self.turn}")
        return begin

    def _advanced(self, answer: object, asked: object, begin: Array) -> None:
        """A part of a round is computed: note the turn that it asks for, or the model it made."""
        assert self.peer is not None
        assert self.peer.links is not None
        self.x = self.peer.state.x.copy()
        round = self.peer.links.round
        self._check_links()
        if self.turn < (0, 0):
            self.watch.begun[self.setup.index] = self.came_s, trio.current_time()
        if not isinstance(answer, Begin):  # else this turn was said when it was begun
            self.turn = (round, 0 if answer is None else self.turn[1] + 1)
            request = asked.request if isinstance(asked, Begin) else asked
            if isinstance(request, Average):
                self.own = np.concatenate([array.reshape(-1) for array in request.arrays])
                self.watch.said[self.setup.index, self.turn].append(self.own)
        joined = self.watch.joining.pop(self.setup.id, None)
        if joined is not None:
            if round < joined:
                self.watch.broken(f"{self.name} begins in round {round}, not {joined} as it said")
            self.watch.handed.append((self.setup.index, joined, begin))
            self.watch.models[self.setup.index, joined - 1].append(begin)  # as if it had played
        if self.played is not None and self.watch.case.pushes is None:
            self._passed_over(range(self.played + 1, round), begin)
            self.played = round - 1
        state = self.peer.state.arrays()
        for name, array in state.items():
            if not np.isfinite(array).all():
                self.watch.broken(f"{self.name} has {name} that is not finite in round {round}")
        if asked is None:
            self.watch.models[self.setup.index, round].append(self.x)
            self.watch.course[self.setup.index].append((trio.current_time(), self.x))
            self.played = round

    def _passed_over(self, rounds: range, x: Array) -> None:
        """Note that rounds were left out: all neighbours were missed, and the model stayed."""
        me = self.setup.index
        for round in rounds:
            self.watch.models[me, round].append(x)
            for j in self.setup.schedule.neighbours(me):
                self.watch.missed.append((trio.current_time(), round, me, j))

    def _mixed(self, mixed: Array, own: Array, received: dict[int, Array]) -> None:
        """Check a mix: whose messages it used is seen here, that they are of this turn at the end.

        The sum is taken again, in another way than the peer takes it and from the graph's row.
        """
        watch, me = self.watch, self.setup.index
        if self.own is None or not np.array_equal(own, self.own):
            watch.broken(f"{self.name} mixed as its own of {self.turn} what it has not sent then")
        row = self.setup.schedule.row(me, self.turn[0])
        weights = dict(zip(row.peers, row.weights.tolist(), strict=True))
        kept = 1.0 - sum(weights[j] for j in received)
        expected = kept * own + sum(weights[j] * received[j] for j in sorted(received))
        if not close(mixed, expected):
            watch.broken(f"{self.name} mixed {self.turn} with weights that are not its row's")
        watch.mixed_at = trio.current_time()
        for j in row.peers:
            if j != me and j not in received:
                watch.missed.append((trio.current_time(), self.turn[0], me, j))
        for j, vector in received.items():
            watch.heard.append((me, j, self.turn, vector.copy()))

    def _check_links(self) -> None:
        assert self.peer is not None
        assert self.peer.links is not None
        for link in self.peer.links.links.values():
            if len(link.inbox) > KEPT:
                self.watch.broken(f"{self.name} holds {len(link.inbox)} messages of {link.id}")


class WatchedStream:
    """One end of a stream, as its peer uses it."""

    def __init__(self, life: Life, stream: ByteStream, number: int) -> None:
        self.life, self.stream, self.number = life, stream, number
        self.to = ""  # the neighbour, once said
        self.live = False

    async def identify(self) -> str | None:
        return await self.stream.identify()

    def send_some(self, buffers: Sequence[bytes | memoryview]) -> Sequence[bytes | memoryview]:
        data = b"".join(buffers)
        rest = self.stream.send_some(buffers)
        assert not rest  # streams in memory take whole frames
        self._sent(data)
        return rest

    async def send(self, buffers: Sequence[bytes | memoryview]) -> None:
        data = b"".join(buffers)
        await self.stream.send(buffers)
        self._sent(data)

    async def receive_into(self, buffer: memoryview) -> int:
        return await self.stream.receive_into(buffer)

    def receive_now(self, buffer: memoryview) -> int | None:
        return self.stream.receive_now(buffer)

    def readable_soon(self) -> bool:
        return self.stream.readable_soon()

    async def readable(self) -> None:
        await self.stream.readable()

    async def end(self) -> None:
        await self.stream.end()

    def close(self) -> None:
        self.live = False
        self.stream.close()

    def _sent(self, data: bytes) -> None:
        """Check one frame that went out: its size, its checksum, and that its edge has no other."""
        life, watch = self.life, self.life.watch
        watch.trace(life.setup.index, self.number, data)
        header = unpack_header(data[:HEADER_SIZE])
        watch.frames[header.kind.name] += 1
        most = life.setup.max_body if header.kind is Kind.DATA else limits.MAX_CONTROL
        if header.length > most or header.length != len(data) - HEADER_SIZE:
            watch.broken(f"{life.name} sent a {header.kind.name} of {header.length} bytes")
        if header.length and header.crc is None:
            watch.broken(f"{life.name} sent a {header.kind.name} without a checksum")
        if header.kind is Kind.HELLO:
            self.to = decode_body(data[HEADER_SIZE:], wire.Hello).to
        if header.kind in (Kind.DATA, Kind.HEARTBEAT) and not self.live:
            self.live = True
            if sum(other.live and other.to == self.to for other in life.streams) > 1:
                watch.broken(f"{life.name} has two live connections to {self.to}")


def close(found: Array, expected: Array) -> bool:
    """Return whether two vectors are equal but for rounding."""
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    return bool(np.abs(found - expected).max(initial=0.0) <= CLOSE * scale)
