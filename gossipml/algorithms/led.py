"""LED: exact diffusion with several local steps between two messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml.algorithms.base import Algorithm, Facts, State, average, check_least

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, Objective, Round


@dataclass(kw_only=True)
class LED(Algorithm):
    """K times z ← z − η (∇f(z) + D) from z = x; x ← (z + Wz) / 2 and D ← D + (z − x) / (K η).

    Local exact diffusion: Alghunaim 2024, arXiv:2211.00889. With K = 1 it is exact diffusion.
    It sends one vector for K steps and still reaches the optimum of all; K steps pay where η is
    held down by the noise of gradients. The step that works best is about 1/(2 K L).

    Attributes
    ----------
    local_steps : int
        K, each step on a fresh minibatch.
    """

    name: ClassVar[str] = "led"
    facts: ClassVar[Facts] = Facts(symmetric=True, exact=True, tolerates_loss=False, static=True)

    local_steps: int = 5

    def __post_init__(self) -> None:
        check_least("local_steps", self.local_steps)

    def init(self, x0: Array) -> State:
        return State(x=x0, D=np.zeros_like(x0))

    def round(self, s: State, problem: Objective) -> Round:
        z = s.x
        for _ in range(self.local_steps):
            z = z - self.lr * (problem.gradient(z) + s.D)
        (mixed,) = yield average(z)
        s.x = (z + mixed) / 2
        if self.lr > 0:  # a schedule may end at 0
            s.D = s.D + (z - mixed) / (2 * self.local_steps * self.lr)
