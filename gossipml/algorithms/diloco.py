"""DiLoCo over a graph: many local steps, and an outer Nesterov step along what all moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml.algorithms.base import Facts, State, average, check_share
from gossipml.algorithms.descent import Descent

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, Objective, Round


@dataclass(kw_only=True)
class DiLoCoGossip(Descent):
    """Δ is what H local steps move φ; with means: δ ← α δ + Δ̄, φ ← φ̄ + β (Δ̄ + α δ), x = φ.

    Douillard et al. 2023, arXiv:2311.08105, whose all-reduce is here an average over the
    neighbourhood; on a complete graph it is DiLoCo itself. A negative eigenvalue −λ of W turns the
    momentum against itself: it diverges unless λ < (1 − α)/(β − 1 + α), which for the paper's
    α = 0.9 is 1/6, so take lazy weights with it.

    Attributes
    ----------
    local_steps : int
        H, steps of the inner optimiser between two messages; 50 to 500 in the paper.
    alpha, beta : float
        Outer momentum, 0.9 in the paper, and outer step.
    """

    name: ClassVar[str] = "diloco-gossip"
    facts: ClassVar[Facts] = Facts(vectors=2)

    local_steps: int = 20
    alpha: float = 0.7
    beta: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("alpha", self.alpha)

    def init(self, x0: Array) -> State:
        return State(x=x0, delta=np.zeros_like(x0), **self.optimizer.init(x0))

    def round(self, s: State, problem: Objective) -> Round:
        moved = self.descend(s, problem, s.x) - s.x
        mean_moved, mean = yield average(moved, s.x)
        s.delta = self.alpha * s.delta + mean_moved
        s.x = mean + self.beta * (mean_moved + self.alpha * s.delta)
