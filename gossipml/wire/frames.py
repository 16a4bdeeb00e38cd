"""The 32-byte header in front of every body. Knows no states, bodies or limits.

What no header of version 1 can say (foreign magic, unknown kind, reserved flags, a bad
checksum) is refused here; what is wrong only now (a HELLO too long, DATA too early) is
for the connection.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import msgspec

from gossipml.errors import DamagedError, RemoteProtocolError
from gossipml.wire.checksum import crc32

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAGIC: Final = b"GSSP"
VERSION: Final = 1
HEADER_SIZE: Final = 32
FLAG_CRC: Final = 0x0001
REACH: Final = 14
"""Exchanges before this one of which a header says whether the sender missed a message."""

_MISSED: Final = ((1 << REACH) - 1) << 1

_CHECKED = struct.Struct("<4sBBHIIQI")  # everything but the header's own checksum
_BEGIN = struct.Struct("<4sB")
_CRC = struct.Struct("<I")
_CRC_AT: Final = _CHECKED.size
_WHOLE = struct.Struct(f"{_CHECKED.format}I")


class Kind(IntEnum):
    """What a frame carries."""

    HELLO = 1
    DATA = 2
    HEARTBEAT = 3
    BYE = 4
    ERROR = 5

    __hash__ = int.__hash__  # that of enums is written in Python, and this is looked up a lot


_KINDS: Final = {int(kind): kind for kind in Kind}
_MISSING: Final = (Kind.DATA, Kind.HEARTBEAT)  # kinds that say what was missed


class Header(msgspec.Struct, frozen=True):
    """The meaning of one header.

    ``crc`` is ``None`` when the body carries no checksum. Bit k of ``missed`` says that the
    sender did not use the receiver's message of k + 1 exchanges before.
    """

    kind: Kind
    round: int
    request: int
    length: int
    crc: int | None
    missed: int = 0


def pack_header(header: Header) -> bytes:
    """Return the 32 bytes of a header."""
    flags, crc = (0, 0) if header.crc is None else (FLAG_CRC, header.crc)
    flags |= header.missed << 1
    checked = _CHECKED.pack(
        MAGIC, VERSION, header.kind, flags, header.round, header.request, header.length, crc
    )
    return checked + _CRC.pack(crc32(checked))


def unpack_header(buffer: Buffer) -> Header:
    """Return what 32 received bytes say.

    Raises
    ------
    RemoteProtocolError
        If they are no header of protocol version 1.
    """
    magic, version, number, flags, round_, request, length, crc, check = _WHOLE.unpack_from(buffer)
    # Magic and version come before the checksum, so that an HTTP client or a later version
    # is told from a damaged header.
    if (magic, version) != (MAGIC, VERSION) and _is_ours(buffer):
        raise DamagedError("header starts with damaged bytes: the rest is as its checksum says")
    if magic != MAGIC:
        raise RemoteProtocolError(f"not a gossipml peer: starts with {magic!r}, not {MAGIC!r}")
    if version != VERSION:
        raise RemoteProtocolError(f"protocol version: ours {VERSION}, theirs {version}")
    if crc32(memoryview(buffer)[:_CRC_AT]) != check:
        raise DamagedError("header checksum does not match: damaged on the way")
    kind = _KINDS.get(number)
    if kind is None:
        raise RemoteProtocolError(f"kind {number}: version 1 has 1 to {max(Kind)}")
    known = FLAG_CRC | (_MISSED if kind in _MISSING else 0)
    if flags & ~known:
        raise RemoteProtocolError(f"flags {flags:#06x}: kind {number} knows only {known:#06x}")
    checked = flags & FLAG_CRC
    if crc and not checked:
        raise RemoteProtocolError("body checksum without its flag")
    missed = (flags & _MISSED) >> 1
    return Header(kind, round_, request, length, crc if checked else None, missed)


def _is_ours(buffer: Buffer) -> bool:
    """Whether the checksum says that a header began with our magic and version when it left."""
    begin = _BEGIN.pack(MAGIC, VERSION)
    sent = begin + bytes(memoryview(buffer)[len(begin) : _CRC_AT])
    return bool(crc32(sent) == _CRC.unpack_from(buffer, _CRC_AT)[0])
