"""Bugs of peers that are started again, and of edges that are taken up again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossipml.peer import links as links_module
from gossipml.peer import peer as peer_module
from gossipml.peer import rejoining
from gossipml.peer.link import Link
from gossipml.peer.links import Links

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gossipml import wire
    from gossipml.peer.session import Session

from gossipml.testing.chaos.bugs.registry import BREAKS, bug, changed


@bug("who is started again begins with its first model", "restart")
def _() -> Iterator[None]:
    def change(farthest: Any) -> Any:
        def stale(ahead: Any, x0: Any, rounds: int) -> Any:
            return farthest(ahead, x0, rounds)[0], x0

        return stale

    with changed(rejoining, "farthest", change):
        yield


@bug("who is started again is handed a model of long ago", "restart")
def _() -> Iterator[None]:
    def change(count_on: Any) -> Any:
        def outdated(links: Links, link: Link, round: int) -> None:
            links.model = links.setup.x0.tobytes
            count_on(links, link, round)

        return outdated

    with changed(links_module, "count_on", change):
        yield


@bug("who is started again begins in round 0, as if all did", "restart")
def _() -> Iterator[None]:
    def change(take_up: Any) -> Any:
        async def first(links: Links, x0: Any) -> Any:
            round, x = await take_up(links, x0)
            return min(round, 1), x

        return first

    with changed(peer_module, "take_up", change):
        yield


@bug("a restart is taken for a connection that came back", "restart")
def _() -> Iterator[None]:
    def change(again: Any) -> Any:
        def blind(self: Links, link: Link, incarnation: int) -> bool:
            return bool(again(self, link, link.incarnation or incarnation))

        return blind

    with changed(Links, "takes_up", change):
        yield


@bug("one end counts on the other a round too late", "restart", *BREAKS)
def _() -> Iterator[None]:
    def change(start_from: Any) -> Any:
        def late(self: Link, round: int, *, skip: bool = False) -> None:
            start_from(self, round if skip else round + 1, skip=skip)

        return late

    with changed(Link, "start_from", change):
        yield


@bug("rounds before an edge is taken up again are not answered", "restart", *BREAKS)
def _() -> Iterator[None]:
    def change(deliver: Any) -> Any:
        def mute(self: Link, data: wire.Data, session: Session) -> None:
            if self.reached < (data.round, data.request) < (self.skips, 0):
                self.reached = data.round, data.request
                session.connection.release(data)
                return
            deliver(self, data, session)

        return mute

    with changed(Link, "deliver", change):
        yield
