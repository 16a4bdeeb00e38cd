"""NoLoCo: many local steps, and an outer momentum over what the neighbours moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml.algorithms.base import Facts, State, average, check_share
from gossipml.algorithms.descent import Descent

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, Objective, Round


@dataclass(kw_only=True)
class NoLoCo(Descent):
    """x moves H local steps from φ; with Δ = x − φ: δ ← α δ + β Δ̄ + γ (φ̄ − φ), φ ← φ + δ, x = φ.

    Kolehmainen, Blagoev, Donaghy, Ersoy, Nies 2025, arXiv:2506.10911: DiLoCo (Douillard et al.
    2023, arXiv:2311.08105) without an all-reduce. Means are over the neighbourhood, in the
    paper over random pairs: ``topology.schedule = "random-matching"``. The term with γ holds
    the peers together.

    Attributes
    ----------
    local_steps : int
        H, steps of the inner optimiser between two messages.
    alpha, beta, gamma : float
        Outer momentum, outer step, and pull to the neighbourhood.
    """

    name: ClassVar[str] = "noloco"
    facts: ClassVar[Facts] = Facts(vectors=2)

    local_steps: int = 20
    alpha: float = 0.5
    beta: float = 0.7
    gamma: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("alpha", self.alpha)

    def init(self, x0: Array) -> State:
        return State(x=x0, delta=np.zeros_like(x0), **self.optimizer.init(x0))

    def round(self, s: State, problem: Objective) -> Round:
        moved = self.descend(s, problem, s.x) - s.x
        mean_moved, mean = yield average(moved, s.x)
        s.delta = self.alpha * s.delta + self.beta * mean_moved + self.gamma * (mean - s.x)
        s.x = s.x + s.delta
