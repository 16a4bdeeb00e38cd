"""Training that stands still now and then: in Python's eyes asleep, or with everybody waiting.

A peer's links live beside its training. They go on while a step sleeps; where a step holds the
interpreter's lock (a C extension that does not let go), they stand still with it.
"""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossipml.algorithms import DPSGD, average

if TYPE_CHECKING:
    from gossipml.algorithms import Objective, Round, State

EVERY = 10  # rounds between two stalls


@dataclass(kw_only=True)
class Sleepy(DPSGD):
    """D-PSGD whose peer 0 sleeps in its steps of some rounds."""

    stall_s: float = 3.0
    stalls: int = 1

    def round(self, s: State, problem: Objective) -> Round:
        x = self.descend(s, problem, s.x)
        count, rest = divmod(problem.round, EVERY)
        if problem.peer == 0 and rest == 0 and 0 < count <= self.stalls:
            self.stall()
        (s.x,) = yield average(x)

    def stall(self) -> None:
        """Stand still, and let others run."""
        time.sleep(self.stall_s)


class Greedy(Sleepy):
    """The same, holding the interpreter's lock."""

    def stall(self) -> None:
        """Stand still, and let nobody run."""
        ctypes.PyDLL(None).usleep(int(self.stall_s * 1e6))
