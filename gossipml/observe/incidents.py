"""What went wrong in a run, told by its events, as faults that can be planned again.

Reads nothing and plays nothing: events in, faults out.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from gossipml.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gossipml.peer.reports import Event

_CAME = re.compile(r"faults\[(\d+)\]: .*(begins|happens)")
_PLANNED = re.compile(r"its process was (ended by faults\[|still paused)")
_LATE = "the others had ended"
_SILENT = "silent for"

_NEVER = sys.maxsize  # a place beyond all events

_ByPeer: TypeAlias = "defaultdict[str, list[int]]"
_ByPair: TypeAlias = "defaultdict[tuple[str, str], list[int]]"


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
    reading = _Reading(events, dead_after_s)
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


class _Places:
    """Where in a run's events each thing is said that their reading asks for, in order.

    So that reading takes time in proportion to the events, looking up aside.
    """

    def __init__(self, events: Sequence[Event]) -> None:
        self.connected: _ByPair = defaultdict(list)  # by who says so and about whom
        self.broken: _ByPair = defaultdict(list)
        self.silent: _ByPair = defaultdict(list)  # of the broken
        self.there: _ByPeer = defaultdict(list)  # somebody is connected to this peer
        self.dead: _ByPeer = defaultdict(list)  # said by the supervisor, as …
        self.own: _ByPeer = defaultdict(list)  # … that a process died or has a successor
        self.faults: list[int] = []
        self.ends: defaultdict[str, set[str]] = defaultdict(set)  # who was connected to a peer
        self.accusers: defaultdict[str, set[str]] = defaultdict(set)  # whose connection to it broke
        for x, e in enumerate(events):
            if e.kind == "fault":
                self.faults.append(x)
            if e.about is None:
                continue
            pair = e.peer, e.about
            if e.kind == "connected":
                self.connected[pair].append(x)
                self.there[e.about].append(x)
                self.ends[e.about].add(e.peer)
            elif e.kind == "disconnected":
                self.broken[pair].append(x)
                self.accusers[e.about].add(e.peer)
                if e.detail.startswith(_SILENT):
                    self.silent[pair].append(x)
            elif e.peer == e.about and e.kind in ("restarted", "lost"):
                self.own[e.peer].append(x)
                if e.kind == "lost":
                    self.dead[e.peer].append(x)


class _Reading:
    """The events of a run with what was found in them."""

    def __init__(self, events: Sequence[Event], dead_after_s: float) -> None:
        self.events, self.dead_after_s = events, dead_after_s
        self.places = _Places(events)

    def planned(self, faults: Sequence[Fault]) -> Iterator[Incident]:
        for k, event in came_about(self.events).items():
            if k >= len(faults):
                raise ValueError(f"faults[{k}] came about, but {len(faults)} were planned")
            fault = faults[k]
            if fault.at_s is not None:
                fault = msgspec.structs.replace(fault, at_s=None, at_round=max(0, event.round))
            yield Incident(fault=fault, words=event.detail)

    def deaths(self) -> Iterator[Incident]:
        for x in sorted(x for places in self.places.dead.values() for x in places):
            event = self.events[x]
            peer = event.peer
            if _PLANNED.match(event.detail) or event.detail.startswith(_LATE):
                continue
            noticed = self._noticed(x)
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
        last = next(iter(self.places.faults), len(self.events))
        over: dict[frozenset[str], int] = {}  # by pair: where its connection is back
        frozen: dict[str, int] = {}  # by peer: until where all is said of it
        for d, event in enumerate(self.events[:last]):
            if event.kind != "disconnected" or event.about is None:
                continue
            pair = frozenset((event.peer, event.about))
            if any(self._died(d, end) for end in pair):
                continue
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

    def _silent_to_all(self, peer: str, begin: int, until: int) -> bool:
        """Return whether all neighbours of a peer, two at least, found it silent in this time."""
        neighbours = self.places.ends[peer]
        return len(neighbours) > 1 and all(
            (_first(self.places.silent[end, peer], begin - 1) < until) == (end in neighbours)
            for end in neighbours | self.places.accusers[peer]
        )

    def _successor(self, x: int) -> Event | None:
        """Return what is said of the next process of a peer that died, if one came in time."""
        own = self.places.own[self.events[x].peer]
        after = own[bisect_right(own, x) :][:2]
        late = any(self.events[y].detail.startswith(_LATE) for y in after[1:])
        again = bool(after) and self.events[after[0]].kind == "restarted" and not late
        return self.events[after[0]] if again else None

    # --- what belongs together -----------------------------------------------------------

    def _noticed(self, x: int) -> list[int]:
        """Return where neighbours say that their connection to a peer broke, as it had died."""
        places, dead = self.places, self.events[x].peer
        back = _first(places.there[dead], x)
        noticed = []
        for end in places.accusers[dead]:
            # Reports race, so it may break before; but then it is not back before.
            since = _last(places.connected[end, dead], x)
            broken = places.broken[end, dead]
            noticed += broken[bisect_right(broken, since) : bisect_left(broken, back)]
        return noticed

    def _died(self, d: int, end: str) -> bool:
        """Return whether a connection broke because this end of it had died: see ``_noticed``."""
        dead = self.places.dead[end]
        back = self._back(d)
        before = _last(dead, d)
        if before >= 0 and _last(self.places.there[end], d) < before:
            return True
        return _first(dead, d) < (_NEVER if back is None else back)

    def _back(self, d: int) -> int | None:
        """Return where the same end says that the connection is there again."""
        peer, about = self.events[d].peer, str(self.events[d].about)
        back = _first(self.places.connected[peer, about], d)
        return None if back == _NEVER else back

    def _away_s(self, d: int) -> float | None:
        """Return for how long a connection was not there, by the clock of one end."""
        back = self._back(d)
        return None if back is None else self.events[back].t_s - self.events[d].t_s


def _first(places: list[int], after: int) -> int:
    """Return the first place after another; _NEVER if there is none."""
    k = bisect_right(places, after)
    return places[k] if k < len(places) else _NEVER


def _last(places: list[int], before: int) -> int:
    """Return the last place before another; -1 if there is none."""
    k = bisect_left(places, before)
    return places[k - 1] if k else -1


def _rounded(seconds: float) -> float:
    return round(seconds, 3)
