"""What the two ends say to each other: one msgpack message after the other, each with a length.

Neither end believes the other: lengths and amounts have limits, and every wait a deadline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

import gossipml
from gossipml.errors import BenchError

if TYPE_CHECKING:
    import socket

PATIENCE_S = 20.0  # for the next word of the other end
_MOST_BYTES = 4096
MOST_PARAMETERS = 10**8
MOST_NBYTES = 4 * MOST_PARAMETERS
MOST_TIMES = 10**7


class Greeting(msgspec.Struct, tag="gossipml bench"):
    """The first word of both ends."""

    version: str = gossipml.__version__


class Echo(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """Messages of ``nbytes`` go there and come back, ``times`` times."""

    nbytes: int
    times: int


class Flood(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """Messages of ``nbytes`` go one way, ``times`` times; then one byte comes back."""

    nbytes: int
    times: int


class Swap(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """Both ends send ``nbytes`` and receive as many, ``times`` times."""

    nbytes: int
    times: int


class Play(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """Both ends become peers and average a model of ``parameters`` numbers, ``rounds`` times."""

    parameters: int
    rounds: int


class Ready(msgspec.Struct, tag=True):
    """The end that obeys has done so far what it was told."""


class End(msgspec.Struct, tag=True):
    """That was all."""


Word: TypeAlias = Greeting | Echo | Flood | Swap | Play | Ready | End
_decoder: msgspec.msgpack.Decoder[Word] = msgspec.msgpack.Decoder(Word)


def say(sock: socket.socket, word: Word) -> None:
    """Send a word."""
    body = msgspec.msgpack.encode(word)
    sock.sendall(len(body).to_bytes(4, "little") + body)


def hear(sock: socket.socket, who: str) -> Word:
    """Receive a word.

    Raises
    ------
    BenchError
        It is none, or none comes.
    """
    sock.settimeout(PATIENCE_S)
    try:
        size = int.from_bytes(fill(sock, bytearray(4)), "little")
        if size > _MOST_BYTES:
            raise BenchError(f"{who}: found something else than gossipml bench")
        return _decoder.decode(fill(sock, bytearray(size)))
    except TimeoutError:
        raise BenchError(f"{who}: said nothing for {PATIENCE_S:g} s") from None
    except msgspec.DecodeError:
        raise BenchError(f"{who}: found something else than gossipml bench") from None
    except OSError as error:
        raise BenchError(f"{who}: the connection ended: {error.strerror or error}") from None


def greet(sock: socket.socket, who: str) -> None:
    """Say who is here, and hear that the other end is the same.

    Raises
    ------
    BenchError
        It is not.
    """
    say(sock, Greeting())
    theirs = hear(sock, who)
    if not isinstance(theirs, Greeting):
        raise BenchError(f"{who}: found something else than gossipml bench")
    if theirs.version != gossipml.__version__:
        raise BenchError(
            f"{who}: runs gossipml {theirs.version}, expected {gossipml.__version__} as here"
        )


def fill(sock: socket.socket, buffer: bytearray | memoryview) -> bytearray | memoryview:
    """Receive until the buffer is full; return it."""
    view = memoryview(buffer)
    while view:
        count = sock.recv_into(view)
        if not count:
            raise ConnectionResetError("closed by the other end")
        view = view[count:]
    return buffer


def check_amounts(word: Word, who: str) -> None:
    """Refuse what takes more memory or time than a measurement may."""
    match word:
        case Echo(nbytes, times) | Flood(nbytes, times) | Swap(nbytes, times):
            allowed = 0 < nbytes <= MOST_NBYTES and 0 < times <= MOST_TIMES
        case Play(parameters, rounds):
            allowed = 1 < parameters <= MOST_PARAMETERS and 0 < rounds <= MOST_TIMES
        case _:
            allowed = True
    if not allowed:
        raise BenchError(f"{who}: asks for too much: {word}")
