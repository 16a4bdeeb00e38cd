"""Time that passes only when every task waits; then it jumps to the next thing due."""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable


class VirtualClock(trio.abc.Clock):
    """A clock for ``trio.run``, with callbacks that are due at a time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def call_at(self, time: float, callback: Callable[[], None]) -> None:
        """Run ``callback`` when the clock reaches ``time``; equal times run in this order."""
        heapq.heappush(self._due, (time, next(self._order), callback))

    def start_clock(self) -> None:
        """Part of trio's interface; time starts at 0."""

    def current_time(self) -> float:
        """Return virtual seconds since the start."""
        return self.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Advance: trio asks this only when no task can run."""
        if self._due and self._due[0][0] <= deadline:
            time = self._due[0][0]
            self.now = max(self.now, time)
            while self._due and self._due[0][0] <= time:
                heapq.heappop(self._due)[2]()
            return 0
        if math.isinf(deadline):
            return deadline
        self.now = max(self.now, deadline)
        return 0
