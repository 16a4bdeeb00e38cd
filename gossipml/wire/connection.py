"""One connection between two peers, as bytes in, events out, and back.

This file puts the parts together: ``states`` says what may come when, ``frames`` and
``events`` what bytes mean, ``slots`` where tensors land. It must not do input or output,
look at a clock, or allocate anything from a length that the other side declared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

from gossipml.errors import (
    ConfigError,
    DamagedError,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
)
from gossipml.wire import limits
from gossipml.wire.checksum import crc32
from gossipml.wire.events import Bye, ByeBody, Data, Eof, Error, Heartbeat, Hello, decode_body
from gossipml.wire.frames import HEADER_SIZE, Header, Kind, unpack_header
from gossipml.wire.outgoing import KINDS, data_frame, flat, frame_of
from gossipml.wire.slots import Slots
from gossipml.wire.states import TRANSITIONS, State, why_not

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import Buffer

    from gossipml.wire.events import Event

_CONTROL_LIMITS: Final[Mapping[Kind, int]] = {
    Kind.HELLO: limits.MAX_HELLO,
    Kind.HEARTBEAT: 0,
    Kind.BYE: limits.MAX_BYE,
    Kind.ERROR: limits.MAX_ERROR,
}
_NO_ROOM: Final = memoryview(b"")


class Connection:
    """The protocol's side of one connection; the transport's side is yours.

    Bytes go in through :meth:`receive_buffer` and :meth:`bytes_received` (straight into
    place, nothing is copied) or through :meth:`receive_data` (any chunks). Events go out
    through :meth:`send`, which returns buffers for a vectored write.

    After two tensors of one length the next frame is taken to be another: header and body are
    read at once. Where that was wrong, the bytes read are heard again as a chunk would be.

    Received bytes end in events or in a :class:`~gossipml.errors.RemoteProtocolError`; any
    other exception is a bug in this package, or a :class:`~gossipml.errors.LocalProtocolError`
    that names one on this side. After an error the connection is dead: everything raises the
    same error again, except that after a remote error this side may still ``send`` one
    :class:`~gossipml.wire.Error` to say why.

    A connection holds at most 32 + 4096 bytes, plus ``slots`` tensors of ``max_body`` bytes
    and their headers once both sides have accepted each other and the other side has sent a
    tensor, plus one more while bytes that were read too far wait for a slot.

    Parameters
    ----------
    max_body
        Largest tensor body in bytes, each way.
    slots
        How many received tensors may wait to be released before reading pauses.
    checksum
        Send tensors with checksums, and refuse those without. Off under TLS. Control
        frames have checksums always.
    allocate
        Makes a writable buffer of so many bytes; called at most ``slots`` times, always
        with ``32 + max_body``: a tensor lands with its header before it.

    Raises
    ------
    ConfigError
        If ``max_body`` is negative or there is no slot.
    """

    def __init__(
        self,
        max_body: int,
        *,
        slots: int = 2,
        checksum: bool = True,
        allocate: Callable[[int], Any] = bytearray,
    ) -> None:
        if max_body < 0 or slots < 1:
            raise ConfigError(f"max_body {max_body}, slots {slots}: expected >= 0 and >= 1")
        self._max_body = max_body
        self._checksum = checksum
        self._sending = State.IDLE
        self._receiving = State.IDLE
        self._accepted = False
        self._tensors_pass = False  # both sides may send tensors now
        self._failure: ProtocolError | None = None
        self._slots = Slots(slots, HEADER_SIZE + max_body, allocate)
        self._header_room = memoryview(bytearray(HEADER_SIZE))
        self._control_room = memoryview(bytearray(limits.MAX_CONTROL))
        self._kept = _NO_ROOM  # what receive_data could not pass on yet
        # the frame being received; no header: it is the header that is being received
        self._header: Header | None = None
        self._slot: memoryview | None = None
        self._room: memoryview | None = self._header_room  # None: waits for a slot
        self._filled = 0
        self._crc = 0
        self._length = 0  # of the last tensor
        self._expected = 0  # bytes of the next frame, if the last tensors say so

    @property
    def sending(self) -> State:
        """How far this side has come."""
        return self._sending

    @property
    def receiving(self) -> State:
        """How far the other side has come."""
        return self._receiving

    @property
    def accepted(self) -> bool:
        """Whether :meth:`accept` was called."""
        return self._accepted

    @property
    def paused(self) -> bool:
        """Whether a tensor waits for a slot, and reading for :meth:`release`."""
        return self._header is not None and self._room is None

    @property
    def waiting(self) -> Header | None:
        """The header of the tensor that waits for a slot; None unless :attr:`paused`."""
        return self._header if self.paused else None

    # --- receiving ------------------------------------------------------------------

    def receive_buffer(self) -> memoryview:
        """Return where to read into next; empty while :attr:`paused`.

        Any number of bytes up to its length may be written there, and then told to
        :meth:`bytes_received`. Do not read into an empty buffer: the 0 bytes that such a
        read returns are not the end of the stream. When it is empty no longer, ask
        :meth:`next_events` first: bytes that were read too far may wait.
        """
        if self._expected and self._room is self._header_room and not self._filled:
            slot = self._slots.take_free() if self._tensors_pass and not self._kept else None
            if slot is not None:  # take the next frame to be a tensor like the last ones
                self._slot, self._room = slot, slot[: self._expected]
                return self._room
        if self._failure is not None:
            self._check_alive()
        if self._room is None or self._kept:
            return _NO_ROOM
        return self._room[self._filled :]

    def bytes_received(self, nbytes: int) -> list[Event]:
        """Take ``nbytes`` bytes from the receive buffer; 0 means the end of the stream.

        Returns
        -------
        list of Event
            None, or the one whose last byte has come; more where another frame had been expected.

        Raises
        ------
        RemoteProtocolError
            If the bytes break the protocol.
        LocalProtocolError
            If they do not fit the receive buffer, or reading is paused.
        """
        room = self._room
        guessed = self._slot is not None and self._header is None
        if guessed and not self._filled and room is not None and nbytes == len(room):
            try:
                if (event := self._whole(room)) is not None:
                    return [event]
            except ProtocolError as error:
                self._fail(error)
        if self._failure is not None:
            self._check_alive()
        if room is None or not 0 <= nbytes <= len(room) - self._filled:
            size = len(room) - self._filled if room is not None else "no bytes: paused"
            self._fail(LocalProtocolError(f"{nbytes} bytes received into a buffer of {size}"))
        try:
            if not nbytes:
                return self._take_eof(room)
            if self._slot is not None and self._header is None:
                return self._take_guessed(room, self._slot, nbytes)
            return self._take(room, nbytes)
        except ProtocolError as error:
            self._fail(error)

    def receive_data(self, data: Buffer) -> list[Event]:
        """Take a chunk of any size; an empty one means the end of the stream.

        Stops after a HELLO (for :meth:`accept`), when no slot is free (for
        :meth:`release`) and before an error that comes behind events. The rest is kept
        for :meth:`next_events`, which must return an empty list before the next chunk::

            events = connection.receive_data(chunk)
            while events:
                ...  # accept, release
                events = connection.next_events()

        Raises
        ------
        RemoteProtocolError
            If the bytes break the protocol.
        LocalProtocolError
            If the rest of an earlier chunk still waits, or reading is paused.
        """
        self._check_alive()
        if self._kept:
            self._fail(LocalProtocolError(f"{len(self._kept)} bytes of the last chunk wait"))
        chunk = flat(data)
        if not chunk:
            return self.bytes_received(0)
        if self._slot is not None and self._header is None:
            chunk = memoryview(self._take_back(self._slot) + chunk)
        self._kept = chunk
        return self.next_events()

    def next_events(self) -> list[Event]:
        """Go on with what :meth:`receive_data` kept; return an empty list when nothing comes.

        Raises
        ------
        RemoteProtocolError
            If the bytes break the protocol.
        """
        self._check_alive()
        events: list[Event] = []
        rest, self._kept = self._kept, _NO_ROOM
        while rest and self._room is not None:
            room = self._room[self._filled :]
            size = min(len(room), len(rest))
            room[:size] = rest[:size]
            rest = rest[size:]
            try:
                events += self.bytes_received(size)
            except ProtocolError:
                if not events:
                    raise
                return events  # they were good; the next call raises
            if events and isinstance(events[-1], Hello):
                break
        self._kept = memoryview(bytes(rest))  # a copy: the chunk is the caller's
        return events

    def accept(self) -> None:
        """Agree to the other side's HELLO; from now on its tensors are let in.

        Raises
        ------
        LocalProtocolError
            If it has not said HELLO, or has left since.
        """
        self._check_alive()
        if self._receiving is not State.OPEN:
            self._fail(LocalProtocolError(f"nothing to accept: they are {self._receiving.name}"))
        self._accepted = True
        self._note_states()

    def release(self, event: Data) -> None:
        """Give back the slot of a received event; its body must not be used any more.

        Does nothing for a token. Works on a dead connection too.

        Raises
        ------
        LocalProtocolError
            If the event holds no slot of this connection.
        """
        if not memoryview(event.body).nbytes:
            return
        try:
            self._slots.release(event)
        except LocalProtocolError as error:
            self._fail(error)
        if self._room is None and self._header is not None:
            self._room = self._find_room(self._header)

    def _take(self, room: memoryview, nbytes: int) -> list[Event]:
        if self._receiving is State.CLOSED:
            raise RemoteProtocolError("bytes after the end: they said BYE or ERROR, or closed")
        start, self._filled = self._filled, self._filled + nbytes
        if self._header is not None and self._header.crc is not None:
            # as they come, while they are in the processor's cache
            self._crc = crc32(room[start : self._filled], self._crc)
        if self._filled < len(room):
            return []
        return self._header_complete() if self._header is None else [self._complete(self._header)]

    # --- guessing ---------------------------------------------------------------------

    def _whole(self, room: memoryview) -> Data | None:
        """Return the tensor that came at once, as most do; None if it is something else."""
        slot = self._slot
        if slot is None or not self._tensors_pass:
            return None
        header = unpack_header(room)
        body = room[HEADER_SIZE:]
        if header.kind is not Kind.DATA or header.length != len(body):
            return None
        if header.crc is None:
            self._check(header)
        elif crc32(body) != header.crc:
            raise DamagedError("DATA body checksum does not match")
        event = Data(header.round, header.request, body.toreadonly(), header.crc, header.missed)
        self._slots.hold(event, slot)
        self._slot, self._room = None, self._header_room
        return event

    def _take_guessed(self, room: memoryview, slot: memoryview, nbytes: int) -> list[Event]:
        """Take bytes into the room that was guessed to be right, until the header says so."""
        filled = self._filled + nbytes
        if filled < HEADER_SIZE:
            self._filled = filled
            return []
        header = unpack_header(room)
        if header.kind is not Kind.DATA or header.length != len(room) - HEADER_SIZE:
            self._filled = filled
            self._kept = memoryview(self._take_back(slot))
            return self.next_events()
        self._check(header)
        self._header = header
        self._room, self._filled = room[HEADER_SIZE:], 0
        body = filled - HEADER_SIZE
        return self._take(self._room, body) if body else []

    def _take_back(self, slot: memoryview) -> bytes:
        """Return what came into a slot that was not meant for it, and be before the frame again."""
        assert self._room is not None
        came = bytes(self._room[: self._filled])
        self._slots.give_back(slot)
        self._next_frame()
        return came

    def _take_eof(self, room: memoryview) -> list[Event]:
        if self._header is not None or self._filled:
            what = "header" if self._header is None else f"body of a {self._header.kind.name}"
            size = HEADER_SIZE if self._header is None else len(room)
            got = f"{self._filled} of {size} bytes of its {what}"
            raise RemoteProtocolError(f"connection closed in the middle of a frame: {got}")
        self._receiving = State.CLOSED
        self._note_states()
        return [Eof()]

    def _header_complete(self) -> list[Event]:
        header = unpack_header(self._header_room)
        self._check(header)
        self._header, self._filled = header, 0
        if not header.length:
            return [self._complete(header)]
        self._room = self._find_room(header)
        return []

    def _check(self, header: Header) -> None:
        """Refuse a frame that may not come now, or not like this."""
        kind, length = header.kind, header.length
        both = self._accepted and self._sending is not State.IDLE
        if (reason := why_not(self._receiving, kind, both_hellos=both)) is not None:
            raise RemoteProtocolError(reason)
        limit = self._max_body if kind is Kind.DATA else _CONTROL_LIMITS[kind]
        if length > limit:
            raise RemoteProtocolError(f"{kind.name} body of {length} bytes: at most {limit}")
        if length and header.crc is None and (self._checksum or kind is not Kind.DATA):
            raise RemoteProtocolError(f"{kind.name} body without a checksum")
        if kind in (Kind.HELLO, Kind.ERROR) and header.round:
            raise RemoteProtocolError(f"{kind.name} with round {header.round} in its header")
        if kind in (Kind.HELLO, Kind.ERROR, Kind.BYE) and header.request:
            raise RemoteProtocolError(f"{kind.name} with request {header.request} in its header")

    def _find_room(self, header: Header) -> memoryview | None:
        if header.kind is not Kind.DATA:
            return self._control_room[: header.length]
        self._slot = self._slots.take()
        return None if self._slot is None else self._slot[HEADER_SIZE:][: header.length]

    def _complete(self, header: Header) -> Event:
        if header.crc is not None and header.crc != self._crc:
            raise DamagedError(f"{header.kind.name} body checksum does not match")
        event = self._event(header)
        self._receiving = TRANSITIONS[self._receiving][header.kind]
        self._note_states()
        self._next_frame()
        return event

    def _event(self, header: Header) -> Event:
        if header.kind is Kind.DATA:
            return self._data_event(header)
        if header.kind is Kind.HEARTBEAT:
            return Heartbeat(header.round, header.request, header.missed)
        body = self._control_room[: header.length]
        try:
            if header.kind is Kind.HELLO:
                return decode_body(body, Hello)
            if header.kind is Kind.ERROR:
                return decode_body(body, Error)
            return Bye(decode_body(body, ByeBody).reason, header.round)
        except ValueError as error:
            raise RemoteProtocolError(f"{header.kind.name}: {error}") from None

    def _data_event(self, header: Header) -> Data:
        if self._slot is None:
            return Data(header.round, header.request, b"", header.crc, header.missed)
        self._expected = HEADER_SIZE + header.length if header.length == self._length else 0
        self._length = header.length
        body = self._slot[HEADER_SIZE : HEADER_SIZE + header.length].toreadonly()
        event = Data(header.round, header.request, body, header.crc, header.missed)
        self._slots.hold(event, self._slot)
        return event

    def _next_frame(self) -> None:
        self._header = None
        self._slot = None
        self._room = self._header_room
        self._filled = 0
        self._crc = 0

    # --- sending --------------------------------------------------------------------

    def send(self, event: Event) -> Sequence[bytes | memoryview]:
        """Return the buffers of an event, to be written in this order, all of them.

        A tensor is not copied: its body must stay unchanged until it is written.

        Raises
        ------
        LocalProtocolError
            If the event cannot be sent, or not now.
        """
        if type(event) is Data and self._tensors_pass:  # nearly always
            frame = event.frame
            if frame is not None and self._checksum and len(frame[1]) <= self._max_body:
                return frame
            try:
                return data_frame(event, max_body=self._max_body, checksum=self._checksum)
            except LocalProtocolError as error:
                self._fail(error)
        if not (isinstance(self._failure, RemoteProtocolError) and isinstance(event, Error)):
            self._check_alive()
        kind = KINDS.get(type(event))
        if kind is None:
            self._fail(LocalProtocolError(f"{event!r} cannot be sent"))
        if reason := why_not(self._sending, kind, both_hellos=self._accepted):
            self._fail(LocalProtocolError(f"cannot send {reason}"))
        try:
            buffers = frame_of(event, max_body=self._max_body, checksum=self._checksum)
        except LocalProtocolError as error:
            self._fail(error)
        self._sending = TRANSITIONS[self._sending][kind]
        self._note_states()
        return buffers

    def _note_states(self) -> None:
        """Note whether both sides may send tensors now."""
        self._tensors_pass = self._sending is State.OPEN is self._receiving and self._accepted

    # --- failing --------------------------------------------------------------------

    def _fail(self, error: ProtocolError) -> NoReturn:
        self._failure = error
        self._receiving = State.FAILED
        if isinstance(error, LocalProtocolError):
            self._sending = State.FAILED
        self._note_states()
        raise error

    def _check_alive(self) -> None:
        if self._failure is not None:
            raise type(self._failure)(str(self._failure))
