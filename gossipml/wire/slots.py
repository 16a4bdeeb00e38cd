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
        self._held: dict[int, tuple[Data, memoryview]] = {}  # by id of the event, which it keeps

    def take(self) -> memoryview | None:
        """Return a slot to fill, or ``None`` when all are in use."""
        if self._free:
            return self._free.pop()
        if not self._unmade:
            return None
        self._unmade -= 1
        return self._make()

    def take_free(self) -> memoryview | None:
        """Return a slot that was filled before; ``None`` when there is none."""
        return self._free.pop() if self._free else None

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
        self._held[id(event)] = event, slot

    def release(self, event: Data) -> None:
        """Take back the slot of this very event; an equal one will not do."""
        held = self._held.pop(id(event), None)
        if held is None:
            raise LocalProtocolError(
                f"DATA round {event.round} request {event.request} holds no slot: released before?"
            )
        self._free.append(held[1])
