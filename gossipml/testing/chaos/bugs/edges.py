"""Bugs of one edge: bytes, messages kept and repeated, silence and loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs

from gossipml import wire
from gossipml.peer import link as link_module
from gossipml.peer.buffers import Buffers
from gossipml.peer.link import Link
from gossipml.peer.links import Links
from gossipml.peer.neighbourhood import Neighbourhood
from gossipml.peer.session import Session
from gossipml.wire import connection as connection_module
from gossipml.wire.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator

from gossipml.testing.chaos.bugs.registry import BREAKS, bug, changed

# --- bytes -----------------------------------------------------------------------------------


@bug("the checksum of a body is not compared", "corruption")
def _() -> Iterator[None]:
    def change(complete: Any) -> Any:
        return lambda self, header: complete(self, structs.replace(header, crc=None))

    with changed(Connection, "_complete", change):
        yield


@bug("the checksum of a header is not compared", "corruption")
def _() -> Iterator[None]:
    def change(unpack: Any) -> Any:
        def unchecked(buffer: Any) -> Any:
            raw = bytes(buffer)
            return unpack(raw[:28] + wire.body_checksum(raw[:28]).to_bytes(4, "little"))

        return unchecked

    with changed(connection_module, "unpack_header", change):
        yield


@bug("the slot of a message that came twice is not given back", "duplication", "reset")
def _() -> Iterator[None]:
    def change(deliver: Any) -> Any:
        def leaking(self: Link, data: wire.Data, session: Session) -> None:
            key = (data.round, data.request)
            if key > self.reached and key not in self.inbox:
                deliver(self, data, session)

        return leaking

    with changed(Link, "deliver", change):
        yield


@bug("a link holds one message where it needs two", *BREAKS)
def _() -> Iterator[None]:
    with changed(link_module, "KEPT", lambda _: 1):
        yield


# --- one edge --------------------------------------------------------------------------------


@bug("a message of the turn before is taken where the new one is missing")
def _() -> Iterator[None]:
    kept: dict[int, bytes] = {}

    def change(take: Any) -> Any:
        def stale(self: Link, key: Any) -> Any:
            body = take(self, key)
            if body is not None:
                kept[id(self)] = bytes(body)
            elif not self.open and id(self) in kept:
                return memoryview(kept[id(self)])
            return body

        return stale

    with changed(Link, "take", change):
        yield


@bug("a message that is past is kept for the next turn")
def _() -> Iterator[None]:
    def change(deliver: Any) -> Any:
        def late(self: Link, data: wire.Data, session: Session) -> None:
            key = (data.round, data.request)
            after = (self.reached[0] + 1, 0)
            if key > self.reached or after in self.inbox or not len(memoryview(data.body)):
                deliver(self, data, session)
                return
            self.inbox[after] = (data, session)
            self.arrived.unpark_all()

        return late

    with changed(Link, "deliver", change):
        yield


@bug("messages are not sent again over a new connection", "reset")
def _() -> Iterator[None]:
    def change(attach: Any) -> Any:
        def forgetful(self: Link, session: Session) -> None:
            self.sent.clear()
            attach(self, session)

        return forgetful

    with changed(Link, "attach", change):
        yield


@bug("a new connection leaves the old one open", *BREAKS)
def _() -> Iterator[None]:
    def change(attach: Any) -> Any:
        def double(self: Link, session: Session) -> None:
            self.session = None
            attach(self, session)

        return double

    with changed(Link, "attach", change):
        yield


@bug("memory is lent again while others still have it")
def _() -> Iterator[None]:
    def change(take: Any) -> Any:
        def same(self: Buffers) -> Any:
            return self._arrays[0] if self._arrays else take(self)

        return same

    with changed(Buffers, "take", change):
        yield


# --- silence and loss ------------------------------------------------------------------------


@bug("no heartbeats are sent")
def _() -> Iterator[None]:
    def change(post: Any) -> Any:
        def silent(self: Link, event: wire.Event) -> None:
            if not (isinstance(event, wire.Heartbeat) and event.request in (0, 1)):
                post(self, event)

        return silent

    with changed(Link, "post", change):
        yield


@bug("silence is not noticed", "partition", "black-hole")
def _() -> Iterator[None]:
    def change(watch: Any) -> Any:
        async def trusting(self: Session) -> None:
            self.timing = msgspec.structs.replace(self.timing, dead_after_s=1e9)
            await watch(self)

        return trusting

    with changed(Session, "_watch", change):
        yield


@bug("a neighbour that is gone is never given up", "crash")
def _() -> Iterator[None]:
    with changed(Links, "give_up", lambda _: lambda self, link, why: None):
        yield


@bug("a neighbour whose connection broke is given up at once", *BREAKS)
def _() -> Iterator[None]:
    def change(detach: Any) -> Any:
        def hasty(self: Link, session: Session) -> bool:
            live = detach(self, session)
            if live and self.open and self.farewell is None:
                self.state = "lost"
            return bool(live)

        return hasty

    with changed(Link, "detach", change):
        yield


@bug("a neighbour that was given up is never looked for again", *BREAKS)
def _() -> Iterator[None]:
    def change(_: Any) -> Any:
        async def resigned(self: Links, link: Link) -> None:
            await link.changed.park()

        return resigned

    with changed(Links, "_try_again", change):
        yield


@bug("there is no deadline for a message that does not come", "loss")
def _() -> Iterator[None]:
    def change(hear: Any) -> Any:
        async def patient(self: Neighbourhood, waiting: Any, turn: Any, deadline: float) -> bool:
            return bool(await hear(self, waiting, turn, float("inf")))

        return patient

    with changed(Neighbourhood, "_hear", change):
        yield


@bug("a peer ends without saying goodbye")
def _() -> Iterator[None]:
    def change(post: Any) -> Any:
        def rude(self: Link, event: wire.Event) -> None:
            if not isinstance(event, wire.Bye):
                post(self, event)

        return rude

    with changed(Link, "post", change):
        yield
