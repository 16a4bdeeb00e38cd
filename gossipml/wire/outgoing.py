"""Events to buffers. Knows no states: the connection has asked before."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Final

from gossipml.errors import ConfigError, LocalProtocolError
from gossipml.wire.checksum import crc32
from gossipml.wire.events import Bye, ByeBody, Data, Error, Heartbeat, Hello, encode_body
from gossipml.wire.frames import REACH, Header, Kind, pack_header

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Buffer

    from gossipml.wire.events import Event

KINDS: Final[Mapping[type, Kind]] = {
    Hello: Kind.HELLO,
    Data: Kind.DATA,
    Heartbeat: Kind.HEARTBEAT,
    Bye: Kind.BYE,
    Error: Kind.ERROR,
}

# First characters of a struct format: explicit order, or this machine's.
_LITTLE_ENDIAN: Final = "<" if sys.byteorder == "big" else "<=@bBhHiIlLqQnNefd"


def sealed(round: int, request: int, body: Buffer) -> Data:
    """Return a tensor that goes to several neighbours, its checksums taken and header made once."""
    view = flat(body)
    crc = crc32(view)
    if not view.nbytes:
        return Data(round, request, view, crc)
    header = _header(Kind.DATA, round, request, view.nbytes, crc)
    return Data(round, request, view, crc, 0, (header, view))


def body_checksum(body: Buffer) -> int:
    """Return the checksum of a body.

    >>> hex(body_checksum(b"123456789"))
    '0xcbf43926'
    """
    return crc32(flat(body))


def flat(body: Buffer) -> memoryview:
    """Return the bytes of a C-contiguous buffer, without a copy.

    Raises
    ------
    LocalProtocolError
        If it is no such buffer, or its numbers are not little-endian.
    """
    if type(body) is memoryview and body.format == "B" and body.ndim == 1 and body.c_contiguous:
        return body  # as most are
    try:
        view = memoryview(body)
        # memoryview.cast refuses shapes with a zero in them
        data = view.cast("B") if view.nbytes else memoryview(b"")
    except (TypeError, ValueError, BufferError) as error:
        raise LocalProtocolError(f"not a C-contiguous buffer: {error}") from None
    if view.itemsize > 1 and view.format[0] not in _LITTLE_ENDIAN:
        raise LocalProtocolError(f"numbers of format {view.format!r} are not little-endian")
    return data


def frame_of(event: Event, *, max_body: int, checksum: bool) -> Sequence[bytes | memoryview]:
    """Return the buffers of an event's frame: its header, then its body if it has one.

    Raises
    ------
    LocalProtocolError
        If no receiver could accept the frame.
    """
    if isinstance(event, Data):
        return data_frame(event, max_body=max_body, checksum=checksum)
    if isinstance(event, Heartbeat):
        return [_header(Kind.HEARTBEAT, event.round, event.request, missed=event.missed)]
    if isinstance(event, Bye):
        return _control(Kind.BYE, _bye_body(event), event.round)
    if isinstance(event, Hello):
        return _control(Kind.HELLO, event)
    if isinstance(event, Error):
        return _control(Kind.ERROR, event)
    raise LocalProtocolError(f"{event!r} cannot be sent")


def data_frame(event: Data, *, max_body: int, checksum: bool) -> Sequence[bytes | memoryview]:
    """Return the buffers of a tensor's frame, as :func:`frame_of` does."""
    body = flat(event.body)
    if body.nbytes > max_body:
        raise LocalProtocolError(f"DATA body of {body.nbytes} bytes: at most {max_body}")
    crc = None
    if checksum and body.nbytes:
        crc = crc32(body) if event.crc is None else event.crc
    header = _header(Kind.DATA, event.round, event.request, body.nbytes, crc, event.missed)
    return [header, body] if body.nbytes else [header]


def _bye_body(event: Bye) -> ByeBody:
    try:
        return ByeBody(reason=event.reason)
    except ConfigError as error:
        raise LocalProtocolError(f"BYE: {error}") from None


def _control(
    kind: Kind, body: Hello | Error | ByeBody, round_: int = 0
) -> list[bytes | memoryview]:
    try:
        encoded = encode_body(body)
    except ValueError as error:
        raise LocalProtocolError(f"{kind.name}: {error}") from None
    return [_header(kind, round_, 0, len(encoded), crc32(encoded)), encoded]


def _header(
    kind: Kind,
    round_: int,
    request: int,
    length: int = 0,
    crc: int | None = None,
    missed: int = 0,
) -> bytes:
    if not 0 <= missed < 1 << REACH:
        raise LocalProtocolError(f"{kind.name}: missed {missed!r} does not fit a header")
    try:
        return pack_header(Header(kind, round_, request, length, crc, missed))
    except struct.error as error:
        where = f"{kind.name} round {round_!r} request {request!r}"
        raise LocalProtocolError(f"{where} does not fit a header: {error}") from None
