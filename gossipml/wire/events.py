"""What two peers say to each other: small frozen records, and their msgpack bodies.

The records of control frames are checked in one place, when a body is decoded. What we
would refuse to hear we also refuse to say: encoding decodes again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import msgspec

from gossipml.errors import ConfigError, DamagedError
from gossipml.wire import limits

if TYPE_CHECKING:
    from typing_extensions import Buffer

_U32 = Annotated[int, msgspec.Meta(ge=0, le=limits.U32_MAX)]
_U64 = Annotated[int, msgspec.Meta(ge=0)]  # msgpack itself ends at 2**64 - 1
_Name = Annotated[str, msgspec.Meta(max_length=limits.MAX_NAME)]
_Dtype = Annotated[str, msgspec.Meta(max_length=limits.MAX_DTYPE)]
_Algorithm = Annotated[str, msgspec.Meta(max_length=limits.MAX_ALGORITHM)]
_Reason = Annotated[str, msgspec.Meta(max_length=limits.MAX_REASON)]
_Field = Annotated[str, msgspec.Meta(max_length=limits.MAX_FIELD)]
_Value = Annotated[str, msgspec.Meta(max_length=limits.MAX_VALUE)]
_Message = Annotated[str, msgspec.Meta(max_length=limits.MAX_MESSAGE)]


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    """A msgpack map; keys that we do not know are ignored, for later versions."""

    def __post_init__(self) -> None:
        # These strings end in logs and terminals: no line feeds, no escape sequences.
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, str) and not value.isprintable():
                raise ConfigError(f"{name} {value!r} has characters that cannot be printed")


class Hello(_Body, frozen=True, kw_only=True):
    """The first frame each way: who speaks to whom, and about what.

    Attributes
    ----------
    protocol_min, protocol_max : int
        Protocol versions that the sender can speak.
    run, peer, to : str
        Ids of the run, of the sender and of the peer that the sender wants to talk to.
    topology, algorithm : str
        Digests; equal on all peers of an experiment.
    parameters : int
        Number of parameters of the model.
    dtype : str
        Their type, ``"float32"`` or ``"float64"``.
    round : int
        The round that the sender does next.
    incarnation : int
        Drawn at random by each process, to tell a restarted peer from a second connection.
    """

    protocol_min: _U32 = 1
    protocol_max: _U32 = 1
    run: _Name
    peer: _Name
    to: _Name
    topology: _Name
    parameters: _U64
    dtype: _Dtype
    algorithm: _Algorithm
    round: _U32
    incarnation: _U64


class Error(_Body, frozen=True, kw_only=True):
    """Why the sender closes the connection; ``ours`` is the sender's value.

    See :meth:`swapped` for the receiver's view.
    """

    field: _Field
    ours: _Value = ""
    theirs: _Value = ""
    message: _Message

    @classmethod
    def of(cls, field: str, ours: str, theirs: str) -> Error:
        """Return an error about two values that differ, shortened to what fits."""
        message = f"{field}: ours {clip(ours, 160)}, theirs {clip(theirs, 160)}"
        size = limits.MAX_VALUE
        return cls(field=field, ours=clip(ours, size), theirs=clip(theirs, size), message=message)

    @classmethod
    def about(cls, problem: Exception) -> Error:
        """Return what to tell the other side about its broken protocol, in one line.

        Bytes that were damaged on the way say nothing about who sent them: it may try again.
        """
        field = "connection" if isinstance(problem, DamagedError) else "frame"
        return cls(field=field, message=clip(str(problem), limits.MAX_MESSAGE))

    def swapped(self) -> Error:
        """Return the same disagreement from the other side.

        >>> Error.of("parameters", "650", "7850").swapped().message
        'parameters: ours 7850, theirs 650'
        """
        if not self.ours and not self.theirs:
            return self
        return Error.of(self.field, self.theirs, self.ours)


class Data(msgspec.Struct, frozen=True, eq=False):
    """One tensor body, or a token without a body: "I have reached this exchange".

    ``body`` is any C-contiguous buffer to send. Received, it is a read-only view of a
    slot, good until ``Connection.release`` gets this very event. ``crc`` is the body's
    checksum, if it is known already, and ``frame`` what is sent where bodies have checksums:
    see :func:`~gossipml.wire.sealed`. Bit k of ``missed``: the sender did not use the receiver's
    message of k + 1 exchanges before.
    """

    round: int
    request: int
    body: Buffer = b""
    crc: int | None = None
    missed: int = 0
    frame: tuple[bytes, memoryview] | None = None

    def __eq__(self, other: object) -> bool:
        """Whether both say the same; of the body's checksum no matter whether it is known."""
        if not isinstance(other, Data):
            return NotImplemented
        ours = self.round, self.request, self.body, self.missed
        return ours == (other.round, other.request, other.body, other.missed)

    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The sender lives; ``request`` says what more it says, and of which ``round``."""

    round: int
    request: int
    missed: int = 0


@dataclass(frozen=True, slots=True)
class Bye:
    """The sender leaves in good order: finished or stopped"""

    reason: str
    round: int


@dataclass(frozen=True, slots=True)
class Eof:
    """The stream ended between two frames. Received only."""


Event: TypeAlias = Hello | Data | Heartbeat | Bye | Error | Eof


class ByeBody(_Body, frozen=True, kw_only=True):
    """The body of a BYE; its round is in the header."""

    reason: _Reason


_B = TypeVar("_B", bound=_Body)


def encode_body(body: Hello | Error | ByeBody) -> bytes:
    """Return the msgpack body; raise ValueError for one that a receiver would refuse."""
    try:
        encoded = msgspec.msgpack.encode(body)
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from None
    decode_body(encoded, type(body))
    return encoded


def decode_body(buffer: Buffer, body: type[_B]) -> _B:
    """Return the record in a msgpack body; raise ValueError for anything else."""
    try:
        return msgspec.msgpack.decode(buffer, type=body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None


def clip(text: str, size: int) -> str:
    """Return the text as one printable line, cut to ``size`` characters."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= size else line[: size - 1] + "…"
