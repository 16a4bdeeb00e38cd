"""Gradient tracking: every peer estimates the gradient of all, and steps along that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml.algorithms.base import Algorithm, Facts, State, average

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, Objective, Round


@dataclass(kw_only=True)
class GradientTracking(Algorithm):
    """y_i ← Σ_j w_ij (y_j + g_j⁺ − g_j) tracks the mean gradient; x_i ← Σ_j w_ij (x_j − η y_j).

    DIGing (Nedić, Olshevsky, Shi 2017, arXiv:1607.03218) in the adapt-then-combine form of
    Xu, Zhu, Soh, Xie 2015. Σ y_i = Σ g_i in every round, so it reaches the optimum of all
    with a constant step, also where data differ and weights change with time. It sends two
    vectors, and on a sparse graph a step far above the spectral gap makes it slower.
    """

    name: ClassVar[str] = "gradient-tracking"
    facts: ClassVar[Facts] = Facts(exact=True, tolerates_loss=False, vectors=2)

    def init(self, x0: Array) -> State:
        return State(x=x0, y=np.zeros_like(x0), g=np.zeros_like(x0))

    def round(self, s: State, problem: Objective) -> Round:
        g = problem.gradient(s.x)
        s.y, s.g = s.y + g - s.g, g
        s.x, s.y = yield average(s.x - self.lr * s.y, s.y)


@dataclass(kw_only=True)
class DIGing(GradientTracking):
    """x_i ← Σ_j w_ij x_j − η y_i; y_i ← Σ_j w_ij y_j + g_i⁺ − g_i: combine, then adapt.

    Nedić, Olshevsky, Shi 2017, arXiv:1607.03218, as written there. It diverges at steps where
    the adapt-then-combine form is still stable.
    """

    name: ClassVar[str] = "diging"

    def round(self, s: State, problem: Objective) -> Round:
        g = problem.gradient(s.x)
        y, s.g = s.y + g - s.g, g
        mixed, s.y = yield average(s.x, y)
        s.x = mixed - self.lr * y
