"""One way of one connection, frame by frame: what is lost, comes twice, late or damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossipml import wire
from gossipml.errors import RemoteProtocolError
from gossipml.wire.frames import unpack_header

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gossipml.faults.course import Course


class Way:
    """Takes in bytes as they are sent, and gives out those that travel.

    Parameters
    ----------
    course : Course
        Decides on each frame.
    sender, receiver : int
        Indices of the two ends.
    """

    def __init__(self, course: Course, sender: int, receiver: int) -> None:
        self._course, self._sender, self._receiver = course, sender, receiver
        self._rest = bytearray()
        self._foreign = False  # not our protocol: it passes as it is

    def passes(self, data: bytes | memoryview) -> Iterator[tuple[bytes, float]]:
        """Yield what travels of ``data`` and what came before, with seconds that it takes longer.

        A frame travels when it is complete.
        """
        self._rest += data
        while not self._foreign and (length := self._complete()):
            frame, kind = bytes(self._rest[:length]), wire.Kind(self._rest[5])
            del self._rest[:length]
            fate = self._course.fate(self._sender, self._receiver, kind, length)
            for bit in fate.bits:
                frame = turned(frame, bit)
            for _ in range(fate.copies):
                yield frame, fate.delay_s
        if self._foreign and self._rest:
            yield self.rest(), 0.0

    def rest(self) -> bytes:
        """Return the part of a frame after which nothing came, and forget it."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest

    def _complete(self) -> int:
        """Return the length of the frame at the beginning; 0 while there is none."""
        if len(self._rest) < wire.HEADER_SIZE:
            return 0
        try:
            length = wire.HEADER_SIZE + unpack_header(self._rest).length
        except RemoteProtocolError:
            self._foreign = True
            return 0
        return length if len(self._rest) >= length else 0


def turned(frame: bytes, bit: int) -> bytes:
    """Return a frame with one bit turned, counted from the lowest of the first byte."""
    damaged = bytearray(frame)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)
