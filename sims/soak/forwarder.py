"""Links that can be cut without a word: bytes pass through here until they no longer do.

One listening port for each way from a peer to a neighbour. What is cut is read by nobody and
closed by nobody, as behind a router that has gone; when it is whole again, new connections pass.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

PIECE = 256 * 2**10
Way = tuple[str, str]
"""From who dials to who is dialled."""


@dataclass(eq=False)
class _Pipe:
    """One accepted connection, both ways."""

    way: Way
    near: socket.socket
    far: socket.socket
    dead: bool = False  # it was cut: even whole again, what was lost in between stays lost
    ended: int = 0  # directions that are over

    def close(self) -> None:
        for sock in (self.near, self.far):
            with contextlib.suppress(OSError):
                sock.close()

    def end(self, sink: socket.socket, *, broken: bool) -> None:
        """One direction is over: say so to the other side; both are, or it broke: close."""
        self.ended += 1
        if broken or self.ended == 2:
            self.close()
            return
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


class Forwarder:
    """Forwards until told not to, on a thread of its own for each direction.

    Parameters
    ----------
    ways : mapping of (str, str) to int
        The port where each neighbour really listens, by the way to it.
    """

    def __init__(self, ways: dict[Way, int]) -> None:
        self._targets = ways
        self._cut: set[Way] = set()
        self._pipes: list[_Pipe] = []
        self._listeners = {way: socket.create_server(("127.0.0.1", 0)) for way in ways}
        self.ports = {way: sock.getsockname()[1] for way, sock in self._listeners.items()}
        self._over = threading.Event()
        for way, listener in self._listeners.items():
            threading.Thread(target=self._accept, args=(way, listener), daemon=True).start()

    def cut(self, ways: Iterable[Way]) -> None:
        """From now on nothing passes, either way, and nobody is told."""
        ways = set(ways)
        self._cut |= ways
        for pipe in self._pipes:
            pipe.dead |= pipe.way in ways

    def heal(self) -> None:
        """Let new connections pass everywhere; those that were cut end now."""
        self._cut.clear()
        for pipe in [pipe for pipe in self._pipes if pipe.dead]:
            self._pipes.remove(pipe)
            pipe.close()

    def _accept(self, way: Way, listener: socket.socket) -> None:
        while not self._over.is_set():
            try:
                near, _ = listener.accept()
            except OSError:
                return
            if way in self._cut:  # its SYN would be lost; that it is accepted tells it nothing
                self._pipes.append(_Pipe(way, near, near, dead=True))
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._targets[way]), timeout=2)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            pipe = _Pipe(way, near, far)
            self._pipes.append(pipe)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(pipe, source, sink), daemon=True).start()

    def _pass(self, pipe: _Pipe, source: socket.socket, sink: socket.socket) -> None:
        """Pass bytes on from one socket to the other until one ends."""
        buffer = bytearray(PIECE)
        view = memoryview(buffer)
        broken = True
        with selectors.DefaultSelector() as selector, contextlib.suppress(OSError, ValueError):
            selector.register(source, selectors.EVENT_READ)
            while not pipe.dead:
                if not selector.select(0.05) or pipe.dead:
                    continue
                count = source.recv_into(buffer)
                if not count:
                    broken = False
                    break
                sink.sendall(view[:count])
        if not pipe.dead:
            pipe.end(sink, broken=broken)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for listener in self._listeners.values():
            listener.close()
        for pipe in self._pipes:
            pipe.close()
