"""What went wrong in a run, told by its events, as faults that can be planned again.

Reads nothing and plays nothing: events in, faults out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gossipml.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gossipml.peer.reports import Event

_CAME = re.compile(r"faults\[(\d+)\]: .*(begins|happens)")
_PLANNED = re.compile(r"its process was (ended by faults\[|still paused)")
_LATE = "the others had ended"
_SILENT = "silent for"


@dataclass(frozen=True, kw_only=True)
class Incident:
    """Something that went wrong, and the words of the run about it."""

    fault: Fault
    words: str


def incidents(
    events: Sequence[Event], planned: Sequence[Fault], *, dead_after_s: float, stopped: bool
) -> list[Incident]:
    """Return what went wrong in a run, in the order of its rounds.

    Planned faults that came about stay as they are, those by the clock at the round of that
    moment. Processes that died are crashes or restarts; peers that left before the end are
    crashes. Broken connections are resets; silence is a pause of the peer of which no neighbour
    heard anything, else a black hole. Of connections, only those count that broke before the
    first planned fault came about: afterwards they may be its doing.

    Parameters
    ----------
    events
        In the order in which they were reported.
    planned
        The faults of the run's experiment.
    dead_after_s
        How long a connection was silent before it was given up.
    stopped
        The whole run was stopped by a signal: nobody left of its own accord.

    Raises
    ------
    ValueError
        What the events tell cannot have happened.
    """
    reading = _Reading(list(events), dead_after_s)
    found = [
        *reading.planned(planned),
        *reading.deaths(),
        *(() if stopped else reading.leavers()),
        *reading.connections(),
    ]
    return sorted(found, key=lambda incident: incident.fault.at_round or 0)


def came_about(events: Iterable[Event]) -> dict[int, Event]:
    """Return by number which planned faults a run says came about, and its words."""
    found = {}
    for event in events:
        match = _CAME.match(event.detail) if event.kind == "fault" else None
        if match is not None:
            found[int(match[1])] = event
    return found


class _Reading:
    """The events of a run with what was found in them."""

    def __init__(self, events: list[Event], dead_after_s: float) -> None:
        self.events, self.dead_after_s = events, dead_after_s
        self.dead = [
            x for x, e in enumerate(events) if e.kind == "lost" and e.about == e.peer
        ]  # said by the supervisor

    def planned(self, faults: Sequence[Fault]) -> Iterator[Incident]:
        for k, event in came_about(self.events).items():
            if k >= len(faults):
                raise ValueError(f"faults[{k}] came about, but {len(faults)} were planned")
            fault = faults[k]
            if fault.at_s is not None:
                fault = msgspec.structs.replace(fault, at_s=None, at_round=max(0, event.round))
            yield Incident(fault=fault, words=event.detail)

    def deaths(self) -> Iterator[Incident]:
        for x in self.dead:
            event = self.events[x]
            peer = event.peer
            if _PLANNED.match(event.detail) or event.detail.startswith(_LATE):
                continue
            noticed = [d for d in self._breaks(peer) if self._due_to(d, x)]
            round = max(event.round, min((self.events[d].round for d in noticed), default=0))
            fault = Fault(kind="crash", peers=(peer,), at_round=round)
            again = self._successor(x)
            if again is not None:
                away = [s for s in map(self._away_s, noticed) if s is not None]
                for_s = max(0.0, min(away, default=again.t_s - event.t_s))
                fault = msgspec.structs.replace(fault, kind="restart", for_s=_rounded(for_s))
            yield Incident(fault=fault, words=f"peer {peer}: {event.detail}")

    def leavers(self) -> Iterator[Incident]:
        for event in self.events:
            if event.kind == "stopping":
                fault = Fault(kind="crash", peers=(event.peer,), at_round=event.round)
                yield Incident(fault=fault, words=f"peer {event.peer} was stopped {event.detail}")

    def connections(self) -> Iterator[Incident]:
        """Yield what broke while both ends lived."""
        first = self._next(-1, lambda e: e.kind == "fault")
        last = len(self.events) if first is None else first
        over: dict[frozenset[str], int] = {}  # by pair: where its connection is back
        frozen: dict[str, int] = {}  # by peer: until where all is said of it
        for d, event in enumerate(self.events[:last]):
            if event.kind != "disconnected" or event.about is None:
                continue
            if any(self._due_to(d, x) for x in self.dead):
                continue
            pair = frozenset((event.peer, event.about))
            if d < over.get(pair, -1) or any(d < frozen.get(peer, -1) for peer in pair):
                continue
            back = self._back(d)
            over[pair] = len(self.events) if back is None else back
            silent = event.detail.startswith(_SILENT)
            whole = silent and self._silent_to_all(event.about, d, over[pair])
            if whole:
                frozen[event.about] = over[pair]
            yield Incident(
                fault=self._broken(d, silent=silent, whole=whole),
                words=f"peer {event.peer} and {event.about}: {event.detail}",
            )

    def _broken(self, d: int, *, silent: bool, whole: bool) -> Fault:
        event = self.events[d]
        peer, about = event.peer, str(event.about)
        if not silent:
            return Fault(kind="reset", links=((peer, about),), at_round=event.round)
        away_s = self._away_s(d)
        for_s = None if away_s is None else _rounded(away_s + self.dead_after_s)
        if whole:
            return Fault(kind="pause", peers=(about,), at_round=event.round, for_s=for_s)
        links = ((about, peer), (peer, about))
        return Fault(kind="black-hole", links=links, at_round=event.round, for_s=for_s)

    def _silent_to_all(self, peer: str, begin: int, end: int) -> bool:
        """Return whether all neighbours of a peer, two at least, found it silent in this time."""
        neighbours = {e.peer for e in self.events if e.kind == "connected" and e.about == peer}
        silent = {
            e.peer
            for e in self.events[begin:end]
            if e.kind == "disconnected" and e.about == peer and e.detail.startswith(_SILENT)
        }
        return len(neighbours) > 1 and silent == neighbours

    def _successor(self, x: int) -> Event | None:
        """Return what is said of the next process of a peer that died, if one came in time."""
        peer = self.events[x].peer
        kinds = ("restarted", "lost")  # about itself: the supervisor says so
        after = self.events[x + 1 :]
        own = [e for e in after if e.kind in kinds and e.peer == e.about == peer]
        late = any(e.detail.startswith(_LATE) for e in own[1:2])
        return own[0] if own and own[0].kind == "restarted" and not late else None

    # --- what belongs together -----------------------------------------------------------

    def _breaks(self, peer: str) -> list[int]:
        """Return where neighbours say that a connection to a peer broke."""
        return [
            x for x, e in enumerate(self.events) if e.kind == "disconnected" and e.about == peer
        ]

    def _due_to(self, d: int, x: int) -> bool:
        """Return whether a connection broke because one of its ends had died."""
        dead = self.events[x].peer
        if dead not in (self.events[d].peer, self.events[d].about):
            return False
        if d < x:  # reports race; but it was not back before
            back = self._back(d)
            return back is None or back > x
        back = self._next(x, lambda e: e.kind == "connected" and e.about == dead)
        return back is None or d < back or self._back(d) == back

    def _back(self, d: int) -> int | None:
        """Return where the same end says that the connection is there again."""
        peer, about = self.events[d].peer, self.events[d].about
        return self._next(d, lambda e: (e.kind, e.peer, e.about) == ("connected", peer, about))

    def _away_s(self, d: int) -> float | None:
        """Return for how long a connection was not there, by the clock of one end."""
        back = self._back(d)
        return None if back is None else self.events[back].t_s - self.events[d].t_s

    def _next(self, x: int, condition: Callable[[Event], bool]) -> int | None:
        after = range(x + 1, len(self.events))
        return next((y for y in after if condition(self.events[y])), None)


def _rounded(seconds: float) -> float:
    return round(seconds, 3)
