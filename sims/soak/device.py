"""D-PSGD on a device of its own: a step takes its time and leaves the processor to others.

Sixteen peers on a few cores otherwise compete with the processes that are just being started,
which peers on machines of their own would not.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossipml.algorithms import DPSGD, average

if TYPE_CHECKING:
    from gossipml.algorithms import Objective, Round, State


@dataclass(kw_only=True)
class Device(DPSGD):
    """D-PSGD whose round takes at least ``step_ms`` milliseconds before it sends."""

    step_ms: float = 50.0

    def round(self, s: State, problem: Objective) -> Round:
        x = self.descend(s, problem, s.x)
        time.sleep(self.step_ms / 1e3)
        (s.x,) = yield average(x)
