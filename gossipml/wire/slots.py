"""The tensor buffers of one connection: few, made when first needed, kept and reused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossipml.errors import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossipml.wire.events import Data


class Slots:
    """At most ``count`` buffers of ``nbytes`` each, made by ``allocate(nbytes)``.

    A slot is free, being filled (the caller has it from :meth:`take`), or held by the
    event that carries it, until the event is released.
    """

    def __init__(self, count: int, nbytes: int, allocate: Callable[[int], Any]) -> None:
        self._unmade = count
        self._nbytes = nbytes
        self._allocate = allocate
        self._free: list[memoryview] = []
        self._held: list[tuple[Data, memoryview]] = []

    def take(self) -> memoryview | None:
        """Return a slot to fill, or ``None`` when all are in use."""
        if self._free:
            return self._free.pop()
        if not self._unmade:
            return None
        self._unmade -= 1
        return self._make()

    @property
    def free(self) -> bool:
        """Whether there is one to take."""
        return bool(self._free or self._unmade)

    def give_back(self, slot: memoryview) -> None:
        """Take back a slot that was not filled."""
        self._free.append(slot)

    def _make(self) -> memoryview:
        try:
            slot = memoryview(self._allocate(self._nbytes)).cast("B")
        except Exception as error:  # the caller's code, which may raise anything
            raise LocalProtocolError(f"allocate({self._nbytes}) failed: {error!r}") from error
        if slot.readonly or slot.nbytes < self._nbytes:
            raise LocalProtocolError(f"allocate({self._nbytes}) gave no such writable buffer")
        return slot

    def hold(self, event: Data, slot: memoryview) -> None:
        """Keep a filled slot for the event that carries it."""
        self._held.append((event, slot))

    def release(self, event: Data) -> None:
        """Take back the slot of this very event; an equal one will not do."""
        for place, (held, slot) in enumerate(self._held):
            if held is event:
                del self._held[place]
                self._free.append(slot)
                return
        raise LocalProtocolError(
            f"DATA round {event.round} request {event.request} holds no slot: released before?"
        )
