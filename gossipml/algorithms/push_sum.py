"""Stochastic gradient push: push-sum averaging, for graphs whose links go one way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml.algorithms.base import Algorithm, Facts, State, push
from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, Objective, Round


@dataclass(kw_only=True)
class SGP(Algorithm):
    """u_i ← Σ_j c_ij (u_j − η g_j) and w_i ← Σ_j c_ij w_j; the model is x_i = u_i / w_i.

    Assran, Loizou, Ballas, Rabbat 2019 (SGP), arXiv:1811.10792, on the push-sum of Kempe,
    Dobra, Gehrke 2003; Nedić, Olshevsky 2015, arXiv:1303.2289. Every sender j splits what it
    has among its receivers and itself, c_ij = 1/(1 + out-degree of j), so a peer need not
    know who sends to others. Σ u_i is kept and Σ w_i = n; w_i makes up for the peers that
    receive more than others. It runs on any strongly connected graph, and ends at a distance
    O(η) from the optimum as D-PSGD does. A lost message would be lost mass.

    Attributes
    ----------
    floor : float
        x moves by η g / w, so a peer whose w is below ``floor`` takes a step that is smaller in
        proportion. It matters where peers do not keep step; 0 never does so, as in the paper.
    """

    name: ClassVar[str] = "sgp"
    facts: ClassVar[Facts] = Facts(
        doubly_stochastic=False, tolerates_loss=False, scalars=1, mass=("u", "w")
    )

    floor: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= 1:
            raise ConfigError(f"algorithm.floor: found {self.floor}, expected a number from 0 to 1")

    def init(self, x0: Array) -> State:
        return State(x=x0, u=x0.copy(), w=np.ones((*x0.shape[:-1], 1), x0.dtype))

    def round(self, s: State, problem: Objective) -> Round:
        step = self.lr * problem.gradient(s.x)
        if self.floor:
            step = np.minimum(s.w / s.w.dtype.type(self.floor), 1) * step
        s.u, s.w = yield push(s.u - step, s.w)
        s.x = s.u / s.w
