"""What both ends of an edge used of each other's messages, so that they can settle it.

A message may be used at one end and missed at the other: then the mean over the peers has
moved. Each end says with its next message which ones it missed, and what they changed at the other
end is taken back there (apply, then pairwise undo). In the end every exchange has happened at
both ends or at none, as if the edge had been left out of that round's matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.wire import REACH

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Turn = tuple[int, int]


@dataclass(eq=False, slots=True)
class Entry:
    """One exchange that this end is done with, and does not know how the other end is."""

    turn: Turn
    undo: Callable[[], Array]  # what to add if the neighbour has not used ours
    release: Callable[[], None] | None  # gives back what ``undo`` looks at

    def settled(self) -> None:
        """Need nothing of it any more."""
        if self.release is not None:
            self.release()


@dataclass(eq=False)
class Ledger:
    """One end's account of an edge.

    Parameters
    ----------
    keeps : bool
        Whether anything is noted at all.
    requests : int
        Exchanges in a round, at most.
    """

    keeps: bool = False
    requests: int = 1
    owed: dict[int, Array] = field(default_factory=dict)  # by request: to add to the next answer
    unknown: float = 0.0  # norm of what may have been used at this end only, and nobody can say
    lacking: list[Turn] = field(default_factory=list)  # lately, that were not used here
    _open: list[Entry] = field(default_factory=list)

    def close(
        self,
        turn: Turn,
        used: bool,
        undo: Callable[[], Array] | None = None,
        release: Callable[[], None] | None = None,
    ) -> None:
        """Take note of an exchange that this end is done with.

        ``used``: the neighbour's message was here in time; ``undo``: what to add if ours was not
        there; ``release`` gives back what that looks at, when it is of no use any more.
        """
        if self.keeps and undo is not None:
            self._open.append(Entry(turn, undo, release))
        elif release is not None:
            release()
        if self.keeps and not used:
            self.lacking.append(turn)
        while self._open and self.distance(self._open[0].turn, turn) >= REACH:
            self._give_up(self._open.pop(0))
        while self.lacking and self.distance(self.lacking[0], turn) >= REACH:
            del self.lacking[0]

    def missed(self, turn: Turn) -> int:
        """Return what a message of this exchange says of those before it, as bits."""
        bits = 0
        for lacking in self.lacking:
            distance = self.distance(lacking, turn)
            if 0 < distance <= REACH:
                bits |= 1 << (distance - 1)
        return bits

    def hear(self, turn: Turn, bits: int, *, ended: bool = False) -> None:
        """Settle what the neighbour's message of an exchange says of those before it.

        ``ended``: it has used nothing of this exchange and later ones.
        """
        heard, self._open = self._open, []
        for entry in heard:
            distance = self.distance(entry.turn, turn)
            if distance > REACH:
                self._give_up(entry)
            elif bits >> (distance - 1) & 1 if distance > 0 else ended:
                self._take_back(entry)
            elif distance > 0:
                entry.settled()
            else:
                self._open.append(entry)

    def take(self, request: int) -> Array | None:
        """Return what to add to the answer of a request, and forget it."""
        return self.owed.pop(request, None)

    def copy_out(self) -> None:
        """Hold no buffers of a connection that may never come back."""
        for entry in self._open:
            change = entry.undo()
            entry.settled()
            entry.undo, entry.release = partial(_unchanged, change), None

    def forget(self) -> None:
        """Start a new page: what is not settled never will be."""
        for entry in self._open:
            self._give_up(entry)
        self._open.clear()
        self.lacking.clear()

    def after(self, turn: Turn) -> Turn:
        """Return the exchange after this one."""
        round, request = turn
        return (round, request + 1) if request + 1 < self.requests else (round + 1, 0)

    def distance(self, earlier: Turn, later: Turn) -> int:
        """Return how many exchanges one is before the other."""
        return (later[0] - earlier[0]) * self.requests + later[1] - earlier[1]

    def _take_back(self, entry: Entry) -> None:
        change, request = entry.undo(), entry.turn[1]
        held = self.owed.get(request)
        self.owed[request] = change if held is None else held + change
        entry.settled()

    def _give_up(self, entry: Entry) -> None:
        self.unknown += float(np.linalg.norm(entry.undo()))
        entry.settled()


def _unchanged(change: Array) -> Array:
    return change
