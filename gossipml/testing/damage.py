"""Streams of frames with damage in them. Random numbers come in blocks: one by one they cost."""

from __future__ import annotations

import struct
from array import array
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from gossipml.wire import Bye, Connection, Data, Error, Heartbeat, Hello, Kind, body_checksum
from gossipml.wire.frames import HEADER_SIZE, Header, pack_header

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BODY: Final = 48

_SHARED: dict[str, Any] = {
    "run": "r", "topology": "9f2c", "parameters": 12, "dtype": "float32", "algorithm": "d-psgd",
    "round": 0,
}  # fmt: skip
OURS: Final = Hello(peer="1", to="0", incarnation=2, **_SHARED)
THEIRS: Final = Hello(peer="0", to="1", incarnation=1, **_SHARED)
TENSOR: Final = array("f", range(12)).tobytes()
SESSION: Final = (
    Data(0, 0, TENSOR), Data(0, 1), Heartbeat(0, 1), Data(1, 0, TENSOR[::-1]), Data(1, 1, b"\0"),
    Error.of("run", "r", "s"),
)  # fmt: skip
GENUINE: Final = frozenset({TENSOR, TENSOR[::-1], b"\0", b""})
"""All bodies that were ever sent: no other may come out."""

_LENGTHS: Final = (0, 1, 47, 48, 49, 1024, 1025, 4096, 4097, 2**31, 2**63, 2**64 - 1)
_ROUNDS: Final = (0, 1, 2**32 - 1)
_KINDS: Final = tuple(Kind)
_LENGTH_AT: Final = struct.Struct("<QI")  # of the body, and its checksum
_U32: Final = struct.Struct("<I")
_BLOCK: Final = 4096
_NOISE: Final = 1 << 14


def _frames() -> list[bytes]:
    """Return the frames of a whole run, as a peer may send them, each on its own."""
    sender = Connection(MAX_BODY)
    sender.receive_data(b"".join(Connection(0).send(OURS)))
    sender.accept()
    return [b"".join(sender.send(event)) for event in (THEIRS, *SESSION)]


def _goodbye() -> bytes:
    sender = Connection(0)
    sender.send(THEIRS)
    return b"".join(sender.send(Bye("finished", 2)))


FRAMES: Final = tuple(_frames())
BYE: Final = _goodbye()
GREETING: Final = FRAMES[0]
MIDDLE: Final = FRAMES[1:-1]  # what may come any number of times
ANY: Final = (*FRAMES, BYE)


class Stream(NamedTuple):
    """What a victim is to hear, in chunks; an empty chunk is the end of the stream.

    ``forged``: somebody may have put a right checksum to a body that was never sent.
    """

    chunks: list[bytes]
    forged: bool


class Draws:
    """Endless random numbers below 2**32 and random bytes, from one seed."""

    def __init__(self, *seed: int) -> None:
        rng = np.random.default_rng(seed)
        blocks = (rng.integers(0, 2**32, _BLOCK, np.uint32).tolist() for _ in repeat(None))
        self.number: Callable[[], int] = chain.from_iterable(blocks).__next__
        self._noise = rng.bytes(_NOISE)

    def bytes(self, nbytes: int) -> bytes:
        """Return so many of the bytes drawn at the beginning, from anywhere among them."""
        start = self.number() % (_NOISE - nbytes)
        return self._noise[start : start + nbytes]


# --- damage -----------------------------------------------------------------------------


def flip(draws: Draws, data: bytearray) -> None:
    """Turn one to four bits."""
    for _ in range(1 + draws.number() % 4):
        place = draws.number()
        data[(place >> 3) % len(data)] ^= 1 << (place & 7)


def truncate(draws: Draws, data: bytearray) -> None:
    """Leave out the end."""
    del data[draws.number() % len(data) :]


def cut_out(draws: Draws, data: bytearray) -> None:
    """Leave out some bytes in the middle."""
    start = draws.number() % len(data)
    del data[start : start + 1 + draws.number() % 8]


def insert(draws: Draws, data: bytearray) -> None:
    """Put bytes in."""
    start = draws.number() % (len(data) + 1)
    data[start:start] = draws.bytes(1 + draws.number() % 40)


def garbage(draws: Draws, data: bytearray) -> None:
    """Send something else altogether."""
    data[:] = draws.bytes(1 + draws.number() % 80)


def lie(draws: Draws, data: bytearray) -> None:
    """Put a whole new header in front of what is left, with a right checksum."""
    draw = draws.number
    crc = (None, 0, draw())[draw() % 3]
    kind, length = _KINDS[draw() % len(_KINDS)], _LENGTHS[draw() % len(_LENGTHS)]
    header = Header(kind, _ROUNDS[draw() % 3], _ROUNDS[draw() % 3], length, crc)
    data[:HEADER_SIZE] = pack_header(header)


def forge(draws: Draws, data: bytearray) -> None:
    """Turn bits, and make all checksums right again: what lies behind them is to be tested."""
    flip(draws, data)
    if len(data) < HEADER_SIZE:
        return
    if draws.number() % 4:
        body = data[HEADER_SIZE:]
        _LENGTH_AT.pack_into(data, 16, len(body), body_checksum(body))
    _U32.pack_into(data, HEADER_SIZE - 4, body_checksum(data[: HEADER_SIZE - 4]))


DAMAGE: Final[tuple[Callable[[Draws, bytearray], None], ...]] = (
    flip, truncate, cut_out, insert, garbage, lie, forge,
)  # fmt: skip


def damaged(draws: Draws, *, greeted: bool) -> Stream:
    """Return some frames, one of them damaged in one or two ways."""
    draw = draws.number
    frames = FRAMES[1:] if greeted else FRAMES
    frame = bytearray(frames[draw() % len(frames)])
    forged = False
    for _ in range(1 + (draw() % 3 == 0)):
        damage = DAMAGE[draw() % len(DAMAGE)]
        if frame:
            damage(draws, frame)
            forged = forged or damage is forge
    before = [] if greeted or draw() & 1 else [GREETING]
    if (greeted or before) and draw() & 3 == 0:
        before += [MIDDLE[draw() % len(MIDDLE)] for _ in range(1 + draw() % 3)]
    after = ANY[draw() % len(ANY)] if draw() & 1 else b""
    return Stream(_cut(draws, b"".join((*before, frame, after))) + _end(draws), forged)


def moves(draws: Draws) -> Stream:
    """Return good frames in any order, for after a good handshake."""
    draw = draws.number
    most = (MIDDLE, MIDDLE, MIDDLE, ANY)
    some = [pick[draw() % len(pick)] for pick in (most[draw() & 3] for _ in range(1 + draw() % 24))]
    return Stream(_cut(draws, b"".join(some)) + _end(draws), forged=False)


def _end(draws: Draws) -> list[bytes]:
    return [b""] if draws.number() & 1 else []


def _cut(draws: Draws, data: bytes) -> list[bytes]:
    """Return the bytes whole, cut at random places, or one by one; rarely the last: it is slow."""
    draw = draws.number
    style = draw() % 128
    if style >= 52 or len(data) < 2:
        return [data] if data else []
    if style == 0:
        return [data[i : i + 1] for i in range(len(data))]
    places = sorted({1 + draw() % (len(data) - 1) for _ in range(1 + style % 5)})
    return [data[i:j] for i, j in zip((0, *places), (*places, len(data)), strict=True)]
