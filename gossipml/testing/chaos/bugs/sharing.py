"""Bugs of shares that peers push at their own pace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossipml import wire
from gossipml.peer.session import TAKEN
from gossipml.peer.share_links import ExactShareLink
from gossipml.peer.shares import Shares
from gossipml.testing.chaos.bugs.registry import BREAKS, bug, changed

if TYPE_CHECKING:
    from collections.abc import Iterator


@bug("a share that came twice counts twice", *BREAKS, "duplication", pushes=True, dies=False)
def _() -> Iterator[None]:
    def change(keep: Any) -> Any:
        def greedy(self: ExactShareLink, round: int, request: int, body: bytes) -> None:
            self.taken = min(self.taken, round - 1)
            keep(self, round, request, body)

        return greedy

    with changed(ExactShareLink, "keep", change):
        yield


@bug("shares are forgotten with the connection", *BREAKS, pushes=True, dies=False)
def _() -> Iterator[None]:
    def change(attach: Any) -> Any:
        def forgetful(self: ExactShareLink, session: Any) -> None:
            attach(self, session)
            self.sent.clear()

        return forgetful

    with changed(ExactShareLink, "attach", change):
        yield


@bug("a share that is missing is passed over", "loss", pushes=True, dies=False)
def _() -> Iterator[None]:
    def change(keep: Any) -> Any:
        def lenient(self: ExactShareLink, round: int, request: int, body: bytes) -> None:
            self.taken = max(self.taken, round - 1)
            keep(self, round, request, body)

        return lenient

    with changed(ExactShareLink, "keep", change):
        yield


@bug("who misses a share is not asked", "loss", pushes=True, dies=False)
def _() -> Iterator[None]:
    with changed(ExactShareLink, "doubt", lambda _: lambda self: None):
        yield


@bug("what a neighbour that left did not take is lost", pushes=True, dies=False)
def _() -> Iterator[None]:
    def change(_: Any) -> Any:
        def careless(self: ExactShareLink, *, unsent_only: bool = False) -> None:
            self.rest, self.pending = None, False
            if not unsent_only:
                self.sent.clear()
            self.announce()

        return careless

    with changed(ExactShareLink, "_take_back", change):
        yield


@bug("the share of a neighbour that is gone leaves with it", *BREAKS, pushes=True, dies=False)
def _() -> Iterator[None]:
    with changed(ExactShareLink, "takes", lambda _: property(lambda self: True)):
        yield


@bug("what comes after the last round is not added up", pushes=True, dies=False)
def _() -> Iterator[None]:
    with changed(Shares, "collect", lambda _: lambda self, state: None):
        yield


@bug("who takes a share does not say so", pushes=True)
def _() -> Iterator[None]:
    def change(post: Any) -> Any:
        def silent(self: ExactShareLink, event: wire.Event) -> None:
            if not (isinstance(event, wire.Heartbeat) and event.request == TAKEN):
                post(self, event)

        return silent

    with changed(ExactShareLink, "post", change):
        yield
