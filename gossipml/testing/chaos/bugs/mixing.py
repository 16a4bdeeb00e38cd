"""Bugs of weights, and of the accounts of what both ends of an edge used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.peer.ledger import Entry, Ledger
from gossipml.peer.neighbourhood import Neighbourhood

if TYPE_CHECKING:
    from collections.abc import Iterator

from gossipml.testing.chaos.bugs.registry import bug, changed

# --- weights ---------------------------------------------------------------------------------


@bug("the weight of a neighbour that is missing is left out")
def _() -> Iterator[None]:
    def change(mix: Any) -> Any:
        def losing(self: Neighbourhood, row: Any, own: Any, received: Any, *rest: Any) -> Any:
            gone = [w for j, w in zip(*row, strict=True) if j != self.setup.index
                    and j not in received]  # fmt: skip
            mixed, looked = yield from mix(self, row, own, received, *rest)
            return mixed - np.float64(sum(gone)) * own, looked

        return losing

    with changed(Neighbourhood, "mix", change):
        yield


@bug("weights are off by one neighbour")
def _() -> Iterator[None]:
    def change(mix: Any) -> Any:
        def shifted(self: Neighbourhood, row: Any, *rest: Any) -> Any:
            return mix(self, row._replace(weights=np.roll(row.weights, 1)), *rest)

        return shifted

    with changed(Neighbourhood, "mix", change):
        yield


@bug("the weight of a neighbour that is missing goes to the first one that is there")
def _() -> Iterator[None]:
    def change(mix: Any) -> Any:
        def misplacing(self: Neighbourhood, row: Any, own: Any, received: Any, *rest: Any) -> Any:
            gone = sum(w for j, w in zip(*row, strict=True) if j != self.setup.index
                       and j not in received)  # fmt: skip
            mixed, looked = yield from mix(self, row, own, received, *rest)
            first = received[min(received)] if received else own
            return mixed + np.float64(gone) * (first - own), looked

        return misplacing

    with changed(Neighbourhood, "mix", change):
        yield


# --- accounts --------------------------------------------------------------------------------


@bug("what the neighbour missed is not taken back", sums=True)
def _() -> Iterator[None]:
    with changed(Ledger, "_take_back", lambda _: lambda self, entry: entry.settled()):
        yield


@bug("what the neighbour missed is taken back twice", sums=True)
def _() -> Iterator[None]:
    def change(take_back: Any) -> Any:
        def twice(self: Ledger, entry: Entry) -> None:
            take_back(self, Entry(entry.turn, entry.undo, None))
            take_back(self, entry)

        return twice

    with changed(Ledger, "_take_back", change):
        yield


@bug("the neighbour is not told what was missed", sums=True)
def _() -> Iterator[None]:
    with changed(Ledger, "missed", lambda _: lambda self, turn: 0):
        yield


@bug("what was missed is told of the exchange after it", sums=True)
def _() -> Iterator[None]:
    with changed(Ledger, "missed", lambda missed: lambda self, turn: missed(self, turn) >> 1):
        yield


@bug("what is owed is added to the wrong request", sums=True)
def _() -> Iterator[None]:
    with changed(Ledger, "take", lambda take: lambda self, request: take(self, request + 1)):
        yield


@bug("accounts are not settled before the last answer", sums=True)
def _() -> Iterator[None]:
    with changed(Neighbourhood, "_is_last", lambda _: lambda self, turn: False):
        yield


@bug("an account is closed unsettled when an edge is given up", sums=True)
def _() -> Iterator[None]:
    def change(forget: Any) -> Any:
        def silent(self: Ledger) -> None:
            forget(self)
            self.unknown = 0.0

        return silent

    with changed(Ledger, "forget", change):
        yield
