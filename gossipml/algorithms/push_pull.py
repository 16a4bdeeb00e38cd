"""Methods for directed graphs that reach the optimum of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml.algorithms.base import Algorithm, Facts, State, average, push

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, Objective, Round


@dataclass(kw_only=True)
class PushDIGing(Algorithm):
    """u ← C (u − η y), w ← C w, x = u / w, and y ← C y + g⁺ − g: gradient tracking by push-sum.

    Nedić, Olshevsky, Shi 2017, arXiv:1607.03218. It runs where links go one way and may change;
    senders split by C, so nobody needs to know who sends to others. A lost message is lost mass.
    """

    name: ClassVar[str] = "push-diging"
    facts: ClassVar[Facts] = Facts(
        doubly_stochastic=False, exact=True, tolerates_loss=False, vectors=2, scalars=1
    )

    def init(self, x0: Array) -> State:
        w = np.ones((*x0.shape[:-1], 1), x0.dtype)
        return State(x=x0, u=x0.copy(), w=w, y=np.zeros_like(x0), g=np.zeros_like(x0))

    def round(self, s: State, problem: Objective) -> Round:
        g = problem.gradient(s.x)
        s.y, s.g = s.y + g - s.g, g
        s.u, s.w, s.y = yield push(s.u - self.lr * s.y, s.w, s.y)
        s.x = s.u / s.w


@dataclass(kw_only=True)
class PushPull(Algorithm):
    """x ← R (x − η y) pulls models, y ← C y + g⁺ − g pushes gradients; R rows, C columns sum to 1.

    AB: Xin, Khan 2018, arXiv:1803.02503; Push-Pull: Pu, Shi, Xu, Nedić 2018, arXiv:1810.06653.
    It reaches the optimum of all on any strongly connected graph without dividing by a weight.
    """

    name: ClassVar[str] = "push-pull"
    facts: ClassVar[Facts] = Facts(
        doubly_stochastic=False, row_stochastic=True, keeps_mean=False, exact=True,
        tolerates_loss=False, vectors=2, requests=2,
    )  # fmt: skip

    def init(self, x0: Array) -> State:
        return State(x=x0, y=np.zeros_like(x0), g=np.zeros_like(x0))

    def largest(self, size: int) -> list[int]:
        return [size]

    def round(self, s: State, problem: Objective) -> Round:
        g = problem.gradient(s.x)
        y, s.g = s.y + g - s.g, g
        (s.x,) = yield average(s.x - self.lr * y)
        (s.y,) = yield push(y)
