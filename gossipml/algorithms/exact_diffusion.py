"""Exact diffusion and D²: D-PSGD with a dual variable that removes its bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml.algorithms.base import Algorithm, Facts, State, average

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, Objective, Round


@dataclass(kw_only=True)
class ExactDiffusion(Algorithm):
    """z = x − η (g + D), x ← (z + Wz) / 2 and D ← D + (z − x) / η: exact, with one vector sent.

    Yuan, Ying, Zhao, Sayed 2018, arXiv:1702.05122; the same rounds as NIDS (Li, Shi, Yan 2019,
    arXiv:1704.07807), here in the primal-dual form, where a peer that starts again only sets
    its D to 0. D_i becomes −∇f_i at the optimum, whatever η, so a rate may change with time.
    Σ_i D_i = 0 in every round. Mixing with (I + W)/2 makes any symmetric W do, and
    steps up to 1.5/L are stable on every graph.
    """

    name: ClassVar[str] = "exact-diffusion"
    facts: ClassVar[Facts] = Facts(symmetric=True, exact=True, tolerates_loss=False, static=True)

    def init(self, x0: Array) -> State:
        return State(x=x0, D=np.zeros_like(x0))

    def round(self, s: State, problem: Objective) -> Round:
        z = s.x - self.lr * (problem.gradient(s.x) + s.D)
        (mixed,) = yield average(z)
        s.x = (z + mixed) / 2
        if self.lr > 0:  # a schedule may end at 0
            s.D = s.D + (z - mixed) / (2 * self.lr)


@dataclass(kw_only=True)
class D2(ExactDiffusion):
    """z = x − η (g + D), x ← Wz and D ← D + (z − x) / η: exact diffusion with W itself.

    Tang, Lian, Yan, Zhang, Liu 2018, arXiv:1803.07068. It needs a W whose smallest eigenvalue
    is above −1/3, which lazy weights always have; 0.01 above it is asked for.
    """

    name: ClassVar[str] = "d2"
    facts: ClassVar[Facts] = Facts(
        symmetric=True,
        exact=True,
        tolerates_loss=False,
        static=True,
        least_eigenvalue=-1 / 3 + 0.01,
    )

    def round(self, s: State, problem: Objective) -> Round:
        z = s.x - self.lr * (problem.gradient(s.x) + s.D)
        (s.x,) = yield average(z)
        if self.lr > 0:
            s.D = s.D + (z - s.x) / self.lr
