"""What an engine must provide to a peer: byte streams, and a place to compute.

The same peer code runs over TCP and over links in memory; these protocols are the whole
difference between the two.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

T = TypeVar("T")

Pieces: TypeAlias = Generator[None, None, T]
"""Work that yields now and then, and returns what it comes to."""


def next_piece(pieces: Pieces[T]) -> tuple[T] | None:
    """Do the next piece of some work; return what the work comes to if that was the last."""
    try:
        next(pieces)
    except StopIteration as end:
        return (end.value,)
    return None


def run_through(pieces: Pieces[T]) -> T:
    """Return what work in pieces comes to, done in one go."""
    while (end := next_piece(pieces)) is None:
        pass
    return end[0]


class UntrustedError(OSError):
    """Who is at the other end is not who may be; the message says why."""


class UnwelcomeError(OSError):
    """The other end, whom we trust, does not trust us; the message says why."""


class ByteStream(Protocol):
    """An ordered, reliable stream of bytes to one neighbour; it may break at any time.

    A broken or closed stream raises ``OSError`` from what sends and receives, among them
    ``UnwelcomeError`` where the other end refuses us in place of its first words.
    """

    async def identify(self) -> str | None:
        """Find out who is at the other end, before all else; None where nobody can tell.

        Raises
        ------
        UntrustedError
            It is not a neighbour, or not the one that was dialled.
        """
        ...

    def send_some(self, buffers: Sequence[bytes | memoryview]) -> Sequence[bytes | memoryview]:
        """Write what goes without waiting, maybe nothing; return the buffers that are left.

        Buffers are of single bytes, as :meth:`wire.Connection.send` returns them. Not to be
        called while ``send`` is under way.
        """
        ...

    async def send(self, buffers: Sequence[bytes | memoryview]) -> None:
        """Write all buffers in order; cancelled half-way, the stream must be closed."""
        ...

    async def receive_into(self, buffer: memoryview) -> int:
        """Wait for bytes, write them to ``buffer`` and return how many; 0 is the end."""
        ...

    def receive_now(self, buffer: memoryview) -> int | None:
        """Write what has come to ``buffer`` without waiting; None if nothing has, 0 at the end.

        Not to be called while ``receive_into`` is under way.
        """
        ...

    def readable_soon(self) -> bool:
        """Wait a moment, if the stream can, while no other task runs; return whether it helped.

        That is whether there may be something for ``receive_now``.
        """
        ...

    async def readable(self) -> None:
        """Wait until there may be something for ``receive_now``."""
        ...

    async def end(self) -> None:
        """Say that nothing more will be sent; what was sent is still delivered."""
        ...

    def close(self) -> None:
        """Drop the stream now. Safe to call twice."""
        ...


class Network(Protocol):
    """One peer's view of the world."""

    async def listen(self, handle: Callable[[ByteStream], Awaitable[None]]) -> None:
        """Accept streams for ever and run ``handle`` on each, until cancelled."""
        ...

    async def dial(self, neighbour: int) -> ByteStream:
        """Open a stream to a neighbour. ``OSError`` when it cannot be reached now."""
        ...

    async def compute(self, work: Callable[..., T], *args: Any) -> T:
        """Run ``work(*args)`` so that links stay alive meanwhile."""
        ...

    async def compute_in_pieces(self, work: Callable[..., Pieces[T]], *args: Any) -> T:
        """Run ``work(*args)`` here, and let links live between its pieces, each well below 1 ms."""
        ...
