"""D-PSGD with momentum: local, quasi-global, and tracked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml.algorithms.base import Algorithm, Facts, State, average, check_share

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, Objective, Round


@dataclass(kw_only=True)
class DSGDm(Algorithm):
    """m ← β m + g; x ← W (x − η m): every peer has its own momentum.

    Yu, Jin, Yang 2019, arXiv:1905.03817. The effective step is η/(1 − β), the bias that of D-PSGD
    with that step: where data differ, local momentum makes peers drift apart faster.

    Attributes
    ----------
    beta : float
        Memory β, from 0 to below 1.
    """

    name: ClassVar[str] = "dsgdm"
    facts: ClassVar[Facts] = Facts()

    beta: float = 0.9

    def __post_init__(self) -> None:
        check_share("beta", self.beta)

    def init(self, x0: Array) -> State:
        return State(x=x0, m=np.zeros_like(x0))

    def round(self, s: State, problem: Objective) -> Round:
        s.m = self.beta * s.m + problem.gradient(s.x)
        (s.x,) = yield average(s.x - self.lr * s.m)


@dataclass(kw_only=True)
class QGDSGDm(DSGDm):
    """x⁺ = W (x − η (g + β m)); m ← β m + (1 − β) (x − x⁺) / η: momentum of the mixed model.

    Quasi-global momentum: Lin, Karimireddy, Stich, Jaggi 2021, arXiv:2102.04761. What a round
    moved after mixing is the momentum, so it points where all go: the bias on heterogeneous
    data is about 30 times smaller than that of D-PSGD. It remembers about 1/(1 − β)² rounds.
    """

    name: ClassVar[str] = "qg-dsgdm"

    def round(self, s: State, problem: Objective) -> Round:
        before = s.x
        (s.x,) = yield average(s.x - self.lr * (problem.gradient(s.x) + self.beta * s.m))
        if self.lr > 0:  # a schedule may end at 0
            s.m = self.beta * s.m + (1 - self.beta) / self.lr * (before - s.x)


@dataclass(kw_only=True)
class MomentumTracking(DSGDm):
    """m⁺ = β m + g; y ← W (y + m⁺ − m); x ← W (x − η y): gradient tracking of the momentum.

    Takezawa, Bao, Niwa, Sato, Yamada 2022, arXiv:2209.15505. y tracks the mean momentum, so it
    reaches the optimum of all at a rate that does not depend on how much data differ.
    """

    name: ClassVar[str] = "momentum-tracking"
    facts: ClassVar[Facts] = Facts(exact=True, tolerates_loss=False, vectors=2)

    def init(self, x0: Array) -> State:
        return State(x=x0, m=np.zeros_like(x0), y=np.zeros_like(x0))

    def round(self, s: State, problem: Objective) -> Round:
        m = self.beta * s.m + problem.gradient(s.x)
        s.y, s.m = s.y + m - s.m, m
        s.x, s.y = yield average(s.x - self.lr * s.y, s.y)
