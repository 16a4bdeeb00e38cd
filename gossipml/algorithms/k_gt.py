"""K-GT: gradient tracking with several local steps between two messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml.algorithms.base import Algorithm, Facts, State, average, check_least

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, Objective, Round


@dataclass(kw_only=True)
class KGT(Algorithm):
    """K steps x ← x − η (∇f(x) + c), along z on average; then x ← Wx and c ← c − z + Wz.

    Liu, Lin, Koloskova, Stich 2023, arXiv:2301.01313, with the outer step 1. The correction c
    makes every peer's local steps go along the mean gradient; Σ_i c_i = 0 in every round.

    Attributes
    ----------
    local_steps : int
        K, each step on a fresh minibatch.
    """

    name: ClassVar[str] = "k-gt"
    facts: ClassVar[Facts] = Facts(exact=True, tolerates_loss=False, vectors=2)

    local_steps: int = 5

    def __post_init__(self) -> None:
        check_least("local_steps", self.local_steps)

    def init(self, x0: Array) -> State:
        return State(x=x0, c=np.zeros_like(x0))

    def round(self, s: State, problem: Objective) -> Round:
        x, z = s.x, np.zeros_like(s.x)
        for _ in range(self.local_steps):
            step = problem.gradient(x) + s.c
            x, z = x - self.lr * step, z + step / self.local_steps
        s.x, mixed = yield average(x, z)
        s.c = s.c - (z - mixed)
