"""Two connections joined by a wire that cuts the bytes as you like. No input, no output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossipml.wire import Connection, Data, Eof, Hello

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gossipml.wire import Event


class PeerPair:
    """A dialler and an acceptor, each with a :class:`~gossipml.wire.Connection`.

    Parameters
    ----------
    dialler, acceptor
        The two ends.
    chunk_nbytes
        Cut what travels into chunks of this size; all frames of one :meth:`send` in one
        chunk when ``None``.
    in_place
        Receive through ``receive_buffer`` and ``bytes_received``, as a fast transport does,
        instead of ``receive_data``.

    Examples
    --------
    >>> from gossipml.wire import Connection, Heartbeat
    >>> pair = PeerPair(Connection(max_body=8), Connection(max_body=8), chunk_nbytes=1)
    >>> hello = dict(run="r", topology="t", parameters=2, dtype="float32", algorithm="a", round=0)
    >>> ours = Hello(peer="0", to="1", incarnation=7, **hello)
    >>> theirs = Hello(peer="1", to="0", incarnation=8, **hello)
    >>> pair.handshake(ours, theirs)
    >>> pair.send(pair.dialler, Heartbeat(0, 0))
    [Heartbeat(round=0, request=0)]
    """

    def __init__(
        self,
        dialler: Connection,
        acceptor: Connection,
        *,
        chunk_nbytes: int | None = None,
        in_place: bool = False,
    ) -> None:
        self.dialler = dialler
        self.acceptor = acceptor
        self._chunk_nbytes = chunk_nbytes
        self._in_place = in_place

    def handshake(self, dialler: Hello, acceptor: Hello) -> None:
        """Exchange the two HELLOs; both ends accept without looking."""
        self.send(self.dialler, dialler)
        self.send(self.acceptor, acceptor)

    def send(self, sender: Connection, *events: Event) -> list[Event]:
        """Send events from one end and return what the other end got.

        The other end accepts each HELLO. It releases each tensor, and the event returned
        has a copy of its body. A last :class:`~gossipml.wire.Eof` ends the sender's stream.
        """
        ends = bool(events) and isinstance(events[-1], Eof)
        frames = events[:-1] if ends else events
        wire = b"".join(buffer for event in frames for buffer in sender.send(event))
        got = self.push(sender, wire) if wire else []
        return got + self.push(sender, b"") if ends else got

    def push(self, sender: Connection, data: bytes) -> list[Event]:
        """Put raw bytes on the wire from one end; return what the other end got.

        Empty data is the end of the stream.
        """
        receiver = self.acceptor if sender is self.dialler else self.dialler
        take = _fill if self._in_place else _feed
        size = self._chunk_nbytes or max(1, len(data))
        chunks = [data[i : i + size] for i in range(0, len(data), size)] or [b""]
        return [event for chunk in chunks for event in take(receiver, chunk)]


def _feed(receiver: Connection, chunk: bytes) -> Iterator[Event]:
    events = receiver.receive_data(chunk)
    while events:
        for event in events:
            yield _settle(receiver, event)
        events = receiver.next_events() if chunk else []


def _fill(receiver: Connection, chunk: bytes) -> Iterator[Event]:
    start = 0
    while True:
        room = receiver.receive_buffer()
        size = min(len(room), len(chunk) - start)
        room[:size] = chunk[start : start + size]
        start += size
        for event in receiver.bytes_received(size):
            yield _settle(receiver, event)
        if start == len(chunk):
            return


def _settle(receiver: Connection, event: Event) -> Event:
    if isinstance(event, Hello):
        receiver.accept()
    if not isinstance(event, Data):
        return event
    copy = Data(event.round, event.request, bytes(event.body), event.crc)
    receiver.release(event)
    return copy
