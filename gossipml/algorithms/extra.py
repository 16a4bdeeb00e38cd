"""EXTRA: D-PSGD corrected by the sum of all disagreement that was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml.algorithms.base import Algorithm, Facts, State, average

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, Objective, Round


@dataclass(kw_only=True)
class EXTRA(Algorithm):
    """x⁺ = Wx − η (g + D) and D ← D + (x − Wx) / (2η): the optimum of all, one vector sent.

    Shi, Ling, Wu, Yin 2015, arXiv:1404.6264. These are the rounds of its recursion
    x⁺⁺ = (I + W) x⁺ − (I + W)/2 x − η (g⁺ − g), summed up: D remembers less than two models and
    a gradient would, and a rate may change with time. Stable for steps below (1 + λmin)/L.
    """

    name: ClassVar[str] = "extra"
    facts: ClassVar[Facts] = Facts(
        symmetric=True, exact=True, tolerates_loss=False, static=True, least_eigenvalue=-1.0
    )

    def init(self, x0: Array) -> State:
        return State(x=x0, D=np.zeros_like(x0))

    def round(self, s: State, problem: Objective) -> Round:
        g = problem.gradient(s.x)
        (mixed,) = yield average(s.x)
        x, s.x = s.x, mixed - self.lr * (g + s.D)
        if self.lr > 0:  # a schedule may end at 0
            s.D = s.D + (x - mixed) / (2 * self.lr)
