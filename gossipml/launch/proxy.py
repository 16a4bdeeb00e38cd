"""All links between peers by way of this process, so that they can be made to fail.

For each peer and each neighbour that it may dial a socket listens here. What comes in goes on
to the neighbour, frame by frame, and its answers back. A way that is cut passes nothing, not even
the end of a stream: connections stay open, new ones hang, and what was held goes on later.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING

import trio

from gossipml.engines.tcp import bind
from gossipml.faults import Way

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from gossipml.faults import Course

CHUNK = 2**16  # bytes read at once
HELD = 2**22  # bytes held for a receiver that gets none, before reading stops
RESET = struct.pack("ii", 1, 0)  # linger, for no time: closing sends RST
BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


class Proxy:
    """The links of all peers.

    Parameters
    ----------
    edges : iterable of (int, int)
        Who may dial whom.
    addresses : sequence of (host, port)
        Where each peer really listens.
    """

    def __init__(
        self,
        edges: Iterable[tuple[int, int]],
        addresses: Sequence[tuple[str, int]],
    ) -> None:
        self._addresses = addresses
        self.course: Course
        self._listeners: dict[tuple[int, int], socket.socket] = {}
        self._connections: set[_Connection] = set()
        self._mended = trio.lowlevel.ParkingLot()
        try:
            for edge in edges:
                self._listeners[edge] = bind("127.0.0.1", 0)
        except BaseException:
            self.close()
            raise

    def addresses_for(self, peer: int) -> dict[int, str]:
        """Return the addresses here of all whom a peer may dial, by index."""
        return {
            j: f"127.0.0.1:{sock.getsockname()[1]}"
            for (i, j), sock in self._listeners.items()
            if i == peer
        }

    def reset(self, hits: Callable[[int, int], bool]) -> int:
        """Break connections of which one way or the other is hit; return how many."""
        found = [c for c in self._connections if hits(*c.ends) or hits(*c.ends[::-1])]
        for connection in found:
            for stream in connection.streams:
                _reset(stream)
        return len(found)

    def mend(self) -> None:
        """Let go what was held on ways that are no longer cut."""
        self._mended.unpark_all()

    async def run(self, course: Course) -> None:
        """Carry connections until cancelled; the course of the faults says what passes."""
        self.course = course
        try:
            async with trio.open_nursery() as nursery:
                for (i, j), sock in self._listeners.items():
                    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
                    nursery.start_soon(trio.serve_listeners, self._server(i, j), [listener])
        finally:
            self.close()

    def close(self) -> None:
        """Listen no more."""
        for sock in self._listeners.values():
            sock.close()

    async def passage(self, *ways: tuple[int, int]) -> None:
        """Wait until all these ways are open."""
        while any(self.course.withholds(i, j) for i, j in ways):
            await self._mended.park()

    def _server(self, i: int, j: int) -> Callable[[trio.SocketStream], Awaitable[None]]:
        async def serve(near: trio.SocketStream) -> None:
            async with near:
                await self.passage((i, j), (j, i))  # no handshake passes a cut
                try:
                    far = await trio.open_tcp_stream(*self._addresses[j])
                except OSError:
                    _reset(near)
                    return
                async with far:
                    connection = _Connection(self, i, j, near, far)
                    self._connections.add(connection)
                    try:
                        await connection.run()
                    finally:
                        self._connections.remove(connection)

        return serve


class _Connection:
    """One that i dialled to j, as two flows of bytes."""

    def __init__(
        self, proxy: Proxy, i: int, j: int, near: trio.SocketStream, far: trio.SocketStream
    ) -> None:
        self.ends, self.streams = (i, j), (near, far)
        self.flows = _Flow(proxy, i, j, near, far), _Flow(proxy, j, i, far, near)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for flow in self.flows:
                nursery.start_soon(flow.run)


class _Flow:
    """What one connection carries one way."""

    def __init__(
        self,
        proxy: Proxy,
        sender: int,
        receiver: int,
        source: trio.SocketStream,
        sink: trio.SocketStream,
    ) -> None:
        self._proxy, self._ends = proxy, (sender, receiver)
        self._source, self._sink = source, sink
        self._way = Way(proxy.course, sender, receiver)
        self._queue: deque[tuple[float, bytes | None]] = deque()  # None is the end
        self._held = 0
        self._last = 0.0
        self._changed = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        """Carry bytes until the end of the stream has passed, or nobody is there to get them."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            with contextlib.suppress(*BROKEN):
                await self._write()
            nursery.cancel_scope.cancel()

    async def _read(self) -> None:
        with contextlib.suppress(*BROKEN):
            while data := await self._source.receive_some(CHUNK):
                for piece, later_s in self._way.passes(data):
                    self._put(piece, later_s)
                while self._held >= HELD:
                    await self._changed.park()
        self._put(self._way.rest())
        self._put(None)

    def _put(self, piece: bytes | None, later_s: float = 0.0) -> None:
        self._last = max(self._last, trio.current_time() + later_s)  # in order, always
        self._queue.append((self._last, piece))
        self._held += len(piece or b"")
        self._changed.unpark_all()

    async def _write(self) -> None:
        while True:
            while not self._queue:
                await self._changed.park()
            due, piece = self._queue.popleft()
            await trio.sleep_until(due)
            await self._proxy.passage(self._ends)
            if piece is None:
                await self._sink.send_eof()
                return
            await self._sink.send_all(piece)
            self._held -= len(piece)
            self._changed.unpark_all()


def _reset(stream: trio.SocketStream) -> None:
    """Close a connection so that the other end is told it broke."""
    if stream.socket.fileno() >= 0:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        stream.socket.close()
