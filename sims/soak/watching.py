"""What a run of real processes reports, with the moment when it was heard."""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from gossipml.peer.reports import Evaluation, Event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gossipml.peer.reports import Report

_HOLE = re.compile(r": black-hole on all links of (.+) begins")


@dataclass
class Life:
    """One process of a peer, from its start to its end; moments in seconds of the run."""

    peer: str
    pid: int
    listening: float
    spawned: float | None = None  # when its predecessor was replaced; None for the first
    rejoined: float | None = None
    begins: int | None = None  # in this round
    company: tuple[str, ...] = ()  # neighbours that played when it began
    counted: dict[str, int] = field(default_factory=dict)  # neighbour: from which round on
    steps: list[tuple[float, int, int]] = field(default_factory=list)  # moment, round, gradients
    killed: float | None = None
    frozen: list[tuple[float, float]] = field(default_factory=list)

    @property
    def plays(self) -> bool:
        """Whether it has begun with the others."""
        return bool(self.steps) or self.rejoined is not None

    def steps_until(self, moment: float) -> int:
        """Return how many steps it had reported by then."""
        return max((steps for t, _, steps in self.steps if t <= moment), default=0)

    @property
    def resynced_in(self) -> int | None:
        """Rounds from its first one until the last neighbour counts on it."""
        if self.begins is None or self.rejoined is None:
            return None
        first = [self.counted.get(peer) for peer in self.company]
        return None if None in first else max([0, *(r - self.begins for r in first if r)])


class Watch:
    """Listens to a run, and knows which process is which peer.

    Reports come on the thread of the run; who disturbs it looks from another.

    Parameters
    ----------
    neighbours : mapping of str to sequence of str
        Of every peer.
    """

    def __init__(self, neighbours: Mapping[str, Sequence[str]]) -> None:
        self.neighbours = neighbours
        self.begin, self.began = time.monotonic(), time.time()
        self.lives: list[Life] = []
        self.events: list[tuple[float, Event]] = []
        self.now: dict[str, Life] = {}
        self._spawned: dict[str, float] = {}

    def clock(self) -> float:
        """Return the seconds since the run began."""
        return time.monotonic() - self.begin

    def __call__(self, report: Report) -> None:
        now = self.clock()
        if isinstance(report, Evaluation):
            life = self.now[report.peer]
            life.steps.append((now, report.round, report.gradients))
        elif isinstance(report, Event):
            self.events.append((now, report))
            self._note(report, now)

    def _note(self, event: Event, now: float) -> None:
        if event.kind == "restarted" and event.about:
            self._spawned[event.about] = now
        elif event.kind == "listening":
            pid = re.fullmatch(r"process (\d+)", event.detail)
            assert pid, event
            spawned = self._spawned.get(event.peer)
            life = Life(event.peer, int(pid[1]), now, spawned=spawned)
            self.lives.append(life)
            self.now[event.peer] = life
        elif event.kind == "rejoined":
            number = re.search(r"round (\d+)", event.detail)
            assert number, event
            if event.about is None:
                life = self.now[event.peer]
                life.rejoined, life.begins = now, int(number[1])
                others = [self.now[peer] for peer in self.neighbours[event.peer]]
                life.company = tuple(o.peer for o in others if o.killed is None and o.plays)
            elif event.about in self.now:
                # A neighbour that is started again itself says so once more, later.
                self.now[event.about].counted.setdefault(event.peer, int(number[1]))

    # --- for who disturbs the run -----------------------------------------------------

    def all_play(self, peers: int) -> bool:
        """Return whether every peer has played a round."""
        lives = list(self.now.values())
        return len(lives) == peers and all(any(r for _, r, _ in life.steps) for life in lives)

    def wait(self, condition: Callable[[], bool], limit_s: float) -> bool:
        """Wait until a condition holds; return whether it came to."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.005)
        return condition()

    def alive(self) -> list[Life]:
        """Return the processes that live and have said so."""
        return [life for life in list(self.now.values()) if life.killed is None]

    def send(self, life: Life, number: int) -> bool:
        """Send a signal to a peer's process; return whether it was there."""
        try:
            os.kill(life.pid, number)
        except ProcessLookupError:
            return False
        return True

    # --- afterwards -------------------------------------------------------------------

    def holes(self) -> list[tuple[float, str, str]]:
        """Return when black holes began, and around whom."""
        found = []
        for moment, event in list(self.events):
            hole = _HOLE.search(event.detail) if event.kind == "fault" else None
            if hole is not None:
                found.append((moment, "black hole", hole[1]))
        return found

    def steps(self, begin: float, end: float) -> int:
        """Return how many steps all peers reported between two moments."""
        return sum(life.steps_until(end) - life.steps_until(begin) for life in self.lives)

    def standstills(self, begin: float, end: float) -> dict[str, float]:
        """Return the longest time that a living process of each peer reported no round."""
        longest: defaultdict[str, float] = defaultdict(float)
        for life in self.lives:
            last = min(life.killed or end, end)
            # From the start of its first round: a process that only begins is not hung.
            moments = [t for t, _, _ in life.steps if begin <= t <= last]
            if not moments and life.rejoined is not None and life.rejoined <= last:
                moments = [life.rejoined]
            if not moments:
                continue
            for a, b in zip(moments, [*moments[1:], last], strict=True):
                if not any(start < b and a < stop for start, stop in life.frozen):
                    longest[life.peer] = max(longest[life.peer], b - a)
        return dict(longest)

    def left_behind(self) -> list[int]:
        """Return the processes of the run that still are there."""
        found = []
        for life in self.lives:
            try:
                process = psutil.Process(life.pid)
                mine = process.create_time() < self.began + life.listening
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(life.pid)
            except psutil.NoSuchProcess:
                continue
        return found
