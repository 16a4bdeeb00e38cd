"""D-PSGD: decentralised parallel stochastic gradient descent, in its two orders.

Lian, Zhang, Zhang, Hsieh, Zhang, Liu 2017, "Can decentralized algorithms outperform
centralized algorithms?", arXiv:1705.09056.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gossipml.algorithms.base import Facts, average, begin
from gossipml.algorithms.descent import Descent

if TYPE_CHECKING:
    from gossipml.algorithms.base import Objective, Round, State


@dataclass(kw_only=True)
class DPSGD(Descent):
    """Adapt, then combine: x_i ← Σ_j w_ij (x_j − η g_j).

    With constant η on heterogeneous data it stops at distance O(η) from the optimum.
    With ``local_steps`` H > 1 it is local SGD over gossip.
    """

    name: ClassVar[str] = "d-psgd"
    facts: ClassVar[Facts] = Facts(in_expectation=True)

    def round(self, s: State, problem: Objective) -> Round:
        (s.x,) = yield average(self.descend(s, problem, s.x))


@dataclass(kw_only=True)
class DPSGDCTA(Descent):
    """Combine, then adapt: x_i ← Σ_j w_ij x_j − η g_i, with g_i at the peer's own x_i.

    The order of Lian, Zhang, Zhang, Hsieh, Zhang, Liu 2017, arXiv:1705.09056, in which neither
    waits for the other: models travel while gradients are computed. With ``local_steps`` H > 1
    the average is that of H steps ago, as in Wang, Liang, Joshi 2020, "Overlap local-SGD",
    arXiv:2002.09539.
    """

    name: ClassVar[str] = "d-psgd-cta"
    facts: ClassVar[Facts] = Facts(in_expectation=True)

    def round(self, s: State, problem: Objective) -> Round:
        mixing = yield begin(average(s.x))
        step = self.descend(s, problem, s.x) - s.x
        (mixed,) = yield mixing
        s.x = mixed + step
