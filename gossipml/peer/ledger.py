"""What both ends of an edge used of each other's messages, so that they can settle it.

A message may be used at one end and missed at the other: then the mean over the peers has
moved. Each end says with its next message which ones it missed, and what they changed at the other
end is taken back there (apply, then pairwise undo). In the end every exchange has happened at
both ends or at none, as if the edge had been left out of that round's matrix.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.wire import REACH

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Turn = tuple[int, int]


def nothing() -> None:
    """Give nothing back."""


@dataclass(eq=False, slots=True)
class Entry:
    """One exchange that this end is done with."""

    turn: Turn
    used: bool  # the neighbour's message was here in time
    undo: Callable[[], Array] | None  # what to add if ours was not; None once that is known
    release: Callable[[], None] = nothing  # gives back what ``undo`` looks at

    def settled(self) -> None:
        """Need nothing of it any more."""
        self.undo = None
        self.release()
        self.release = nothing


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
    _entries: deque[Entry] = field(default_factory=deque)  # the last of them, oldest first
    lacking: list[Turn] = field(default_factory=list)  # those of them that were not used here
    _open: list[Entry] = field(default_factory=list)  # of which we do not know the other end

    def close(self, entry: Entry) -> None:
        """Take note of an exchange that this end is done with."""
        if not self.keeps:
            entry.settled()
            return
        self._entries.append(entry)
        if entry.undo is not None:
            self._open.append(entry)
        if not entry.used:
            self.lacking.append(entry.turn)
        if len(self._entries) > REACH:
            oldest = self._entries.popleft()
            if oldest.undo is not None:
                self._give_up(oldest)
                self._open.remove(oldest)
            if not oldest.used:
                self.lacking.remove(oldest.turn)

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
            assert entry.undo is not None
            change = entry.undo()
            entry.release()
            entry.undo, entry.release = lambda change=change: change, nothing

    def forget(self) -> None:
        """Start a new page: what is not settled never will be."""
        for entry in self._open:
            self._give_up(entry)
        for entries in (self._entries, self._open, self.lacking):
            entries.clear()

    def after(self, turn: Turn) -> Turn:
        """Return the exchange after this one."""
        round, request = turn
        return (round, request + 1) if request + 1 < self.requests else (round + 1, 0)

    def distance(self, earlier: Turn, later: Turn) -> int:
        """Return how many exchanges one is before the other."""
        return (later[0] - earlier[0]) * self.requests + later[1] - earlier[1]

    def _take_back(self, entry: Entry) -> None:
        assert entry.undo is not None
        change, request = entry.undo(), entry.turn[1]
        held = self.owed.get(request)
        self.owed[request] = change if held is None else held + change
        entry.settled()

    def _give_up(self, entry: Entry) -> None:
        if entry.undo is not None:
            self.unknown += float(np.linalg.norm(entry.undo()))
            entry.settled()
