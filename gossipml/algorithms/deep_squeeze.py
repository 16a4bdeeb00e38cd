"""DeepSqueeze: compress the model itself, and send later what the compressor left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml.algorithms.base import Facts, State, average
from gossipml.algorithms.compressing import Compressing

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, Objective, Round


@dataclass(kw_only=True)
class DeepSqueeze(Compressing):
    """v_i = x_i − η g_i + δ_i is sent as C(v_i); δ_i ← v_i − C(v_i) waits for the next round.

    x_i ← x_i − η g_i + γ Σ_j w_ij (C(v_j) − C(v_i)). Tang, Lian, Qiu, Yuan, Zhang, Zhang, Liu
    2019, arXiv:1907.07346. The error that a peer holds back grows with γ, so by default it is a
    fifth of the compressor's own step. Nobody keeps a copy of a neighbour's model, so peers may
    come and go and weights may change; the price is a larger error than that of CHOCO-SGD.
    """

    name: ClassVar[str] = "deepsqueeze"
    facts: ClassVar[Facts] = Facts(compresses=True)

    def init(self, x0: Array) -> State:
        return State(x=x0, error=np.zeros_like(x0))

    def round(self, s: State, problem: Objective) -> Round:
        x = s.x - self.lr * problem.gradient(s.x)
        v = x + s.error
        q = self.compress(v)
        s.error = v - q
        (mixed,) = yield average(q)
        s.x = x + self.step(x) * (mixed - q)

    def step(self, x: Array) -> float:
        return super().step(x) if self.gamma is not None else super().step(x) / 5
