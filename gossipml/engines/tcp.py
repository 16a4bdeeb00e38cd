"""The TCP engine: one peer of a run, over sockets.

The socket call comes first and the wait only when it would block: for small messages that
is twice the rate of waiting first, and tensors go straight into and out of their buffers.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import select
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from trio.lowlevel import cancel_shielded_checkpoint, wait_readable, wait_writable

from gossipml.errors import ConfigError
from gossipml.peer.network import next_piece

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gossipml.peer.network import ByteStream, Pieces

T = TypeVar("T")

SLICE = 4 * 2**20  # bytes moved between two checkpoints, about a millisecond's worth
PIECE = 256 * 2**10  # bytes received at once: still in a core's cache when they are checked
CALL_COST = 16 * 2**10  # a call counts as at least so many bytes, so tiny frames yield too
MOMENT_MS = 1  # that a peer alone in its process may wait in the kernel, not in the scheduler
THREAD_FROM_S = 1e-3  # work longer than this runs in a thread, so that links stay alive
LATELY = 16  # calls of a kind of work that are looked at. Two long ones make it long: once, it
# may be that another process had the core. A round's short last piece does not make it short.
HARDLY_S = 1e-4  # work in a thread that takes no more of a processor, and …
TURN_S = 6e-3  # … less time than another thread may have the interpreter, has only waited for it
SURELY_FROM_S = 0.05  # work that took so long counts twice
ACCEPT_BURST = 32  # connections accepted at once; afterwards …
ACCEPT_EVERY_S = 0.02  # … one in so many seconds: a flood costs a bounded share of the time
BACKLOG = 128


class TcpStream:
    """A connected, non-blocking socket as a stream."""

    def __init__(self, sock: socket.socket, *, alone: bool = False) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._moved = 0
        self._poll: select.poll | None = None
        if alone and hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(sock, select.POLLIN)

    async def identify(self) -> None:
        """Believe everybody: on plain TCP nobody can tell."""

    def send_some(self, buffers: Sequence[bytes | memoryview]) -> Sequence[bytes | memoryview]:
        try:
            count = self._sock.sendmsg(buffers)
        except BlockingIOError:
            return buffers
        whole = 0
        for buffer in buffers:
            whole += len(buffer)
        return () if count == whole else _after(buffers, count)

    async def send(self, buffers: Sequence[bytes | memoryview]) -> None:
        rest = list(buffers)
        while rest:
            try:
                count = self._sock.sendmsg(rest)
            except BlockingIOError:
                await self._wait(wait_writable)
                continue
            if self.has_moved(count):
                await cancel_shielded_checkpoint()
            while rest and count >= len(rest[0]):
                count -= len(rest.pop(0))
            if count:
                rest[0] = memoryview(rest[0])[count:]

    async def receive_into(self, buffer: memoryview) -> int:
        while True:
            try:
                count = self._sock.recv_into(buffer[:PIECE])
            except BlockingIOError:
                await self._wait(wait_readable)
                continue
            if self.has_moved(count):
                await cancel_shielded_checkpoint()
            return count

    def receive_now(self, buffer: memoryview) -> int | None:
        try:
            return self._sock.recv_into(buffer)
        except BlockingIOError:
            return None

    def readable_soon(self) -> bool:
        return self._poll is not None and bool(self._poll.poll(MOMENT_MS))

    async def readable(self) -> None:
        await self._wait(wait_readable)

    def send_now(self, data: bytes) -> None:
        """Write what fits without waiting, if anything does."""
        with contextlib.suppress(OSError):
            self._sock.send(data)

    async def end(self) -> None:
        await trio.lowlevel.checkpoint()
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    async def _wait(self, until: Callable[[socket.socket], Awaitable[None]]) -> None:
        self._moved = 0
        try:
            await until(self._sock)
        except trio.ClosedResourceError:
            raise OSError(errno.EBADF, "closed") from None

    def has_moved(self, count: int) -> bool:
        """Take note of so many bytes moved; return whether it is time to let other tasks run."""
        self._moved += count if count > CALL_COST else CALL_COST
        if self._moved < SLICE:
            return False
        self._moved = 0
        return True


def _after(buffers: Sequence[bytes | memoryview], count: int) -> list[bytes | memoryview]:
    """Return what is left of the buffers after so many bytes."""
    rest: list[bytes | memoryview] = []
    for buffer in buffers:
        if count < len(buffer):
            rest.append(memoryview(buffer)[count:] if count else buffer)
        count = max(0, count - len(buffer))
    return rest


class TcpNetwork:
    """One peer's listening socket and its neighbours' addresses.

    Parameters
    ----------
    listener : socket.socket
        Bound and listening; see :func:`bind`.
    addresses : sequence of (host, port) or None
        By peer index; only neighbours' are used.
    alone : bool
        Nothing else runs in this process's event loop, so the peer may hold it for a millisecond.
    """

    def __init__(
        self,
        listener: socket.socket,
        addresses: Sequence[tuple[str, int] | None],
        *,
        alone: bool = False,
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._addresses = addresses
        self._alone = alone
        self._lately: dict[str, _Lately] = {}  # by the name of the work

    async def listen(self, handle: Callable[[ByteStream], Awaitable[None]]) -> None:
        credit, since = float(ACCEPT_BURST), trio.current_time()
        async with trio.open_nursery() as nursery:
            while True:
                sock = await self._accept()
                if sock is None:
                    await trio.sleep(0.1)  # out of descriptors: existing links come first
                    continue
                now = trio.current_time()
                credit = min(ACCEPT_BURST, credit + (now - since) / ACCEPT_EVERY_S) - 1
                since = now
                nursery.start_soon(handle, self._accepted(sock))
                if credit < 0:
                    await trio.sleep(ACCEPT_EVERY_S)

    async def _accept(self) -> socket.socket | None:
        while True:
            try:
                return self._listener.accept()[0]
            except BlockingIOError:
                await wait_readable(self._listener)
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    return None
                await cancel_shielded_checkpoint()  # the dialler left before we got to it

    async def dial(self, neighbour: int) -> ByteStream:
        address = self._addresses[neighbour]
        if address is None:
            raise ConnectionRefusedError("the topology gives no address for this neighbour")
        stream = await trio.open_tcp_stream(*address)
        return self._dialled(socket.socket(fileno=stream.socket.detach()), neighbour)

    def _accepted(self, sock: socket.socket) -> ByteStream:
        return TcpStream(sock, alone=self._alone)

    def _dialled(self, sock: socket.socket, neighbour: int) -> ByteStream:
        del neighbour  # on plain TCP, whoever answers is taken for it
        return TcpStream(sock, alone=self._alone)

    async def compute(self, work: Callable[..., T], *args: Any) -> T:
        name = getattr(work, "__name__", "")
        lately = self._lately.get(name)
        if lately is None:
            lately = self._lately[name] = _Lately()
        if lately.in_thread:
            result, took_s = await trio.to_thread.run_sync(_timed, work, args)
        else:
            begin = time.perf_counter()
            result = work(*args)
            took_s = time.perf_counter() - begin
        if lately.any_long or took_s > THREAD_FROM_S:
            lately.note(took_s)
        return result

    async def compute_in_pieces(self, work: Callable[..., Pieces[T]], *args: Any) -> T:
        pieces, since = work(*args), time.perf_counter()
        while (end := next_piece(pieces)) is None:
            if time.perf_counter() >= since + THREAD_FROM_S:
                await cancel_shielded_checkpoint()
                since = time.perf_counter()
        return end[0]


class _Lately:
    """How long the last calls of one kind of work took."""

    def __init__(self) -> None:
        self._long = deque([True], LATELY)
        self.in_thread = True  # the next call; nobody knows yet
        self.any_long = True

    def note(self, took_s: float) -> None:
        """Take note of one more call."""
        self._long.append(took_s > THREAD_FROM_S)
        if took_s > SURELY_FROM_S:
            self._long.append(True)
        self.in_thread = sum(self._long) > 1
        self.any_long = any(self._long)


def _timed(work: Callable[..., T], args: tuple[Any, ...]) -> tuple[T, float]:
    """Return what work in a thread comes to, and the seconds that it would have taken inline."""
    begin, used = time.perf_counter(), time.thread_time()
    result = work(*args)
    used, took_s = time.thread_time() - used, time.perf_counter() - begin
    return result, used if used < HARDLY_S and took_s < TURN_S else took_s


def parse_address(text: str, place: str) -> tuple[str, int]:
    """Return (host, port) of ``host:port`` or ``[v6]:port``; ConfigError names ``place``."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise ConfigError(f"{place}: found address {text!r}, expected host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    """Return whether nobody but this machine hears what goes to a host, as far as its name says.

    Other names than ``localhost`` are not looked up: what they mean may change.
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the address; port 0 takes a free one.

    Raises
    ------
    ConfigError
        The address is in use or is not one of this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(BACKLOG)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        hint = "; is another peer running there?" if error.errno == errno.EADDRINUSE else ""
        raise ConfigError(f"cannot listen on {host}:{port}: {reason}{hint}") from error
    return sock
