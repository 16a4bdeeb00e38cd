"""What a decentralised method is measured against: all data in one place, and no exchange."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gossipml.algorithms.base import Facts, average
from gossipml.algorithms.descent import Descent

if TYPE_CHECKING:
    from gossipml.algorithms.base import Objective, Round, State


@dataclass(kw_only=True)
class Isolated(Descent):
    """Every peer trains alone: x_i ← x_i − η g_i. A method must beat this to be worth its bytes."""

    name: ClassVar[str] = "isolated"
    facts: ClassVar[Facts] = Facts(doubly_stochastic=False, vectors=0, requests=0)

    def round(self, s: State, problem: Objective) -> Round:
        s.x = self.descend(s, problem, s.x)
        yield from ()


@dataclass(kw_only=True)
class AllReduce(Descent):
    """x_i ← 1/n Σ_j (x_j − η g_j): every peer sends to every other, and all stay equal.

    What decentralised methods save (Goyal et al. 2017, arXiv:1706.02677): it needs a complete
    graph with weights 1/n.
    """

    name: ClassVar[str] = "all-reduce"
    facts: ClassVar[Facts] = Facts(complete=True, exact=True)  # with one local step

    def round(self, s: State, problem: Objective) -> Round:
        (s.x,) = yield average(self.descend(s, problem, s.x))


@dataclass(kw_only=True)
class Centralised(Isolated):
    """One model on the data of all peers, with the batches of all peers in each step.

    It takes the same number of rounds, local steps and samples as the peers together: the
    limit W = 11ᵀ/n of D-PSGD. It needs the data in one place, so it runs as one peer.
    """

    name: ClassVar[str] = "centralised"
    facts: ClassVar[Facts] = Facts(doubly_stochastic=False, vectors=0, requests=0, pooled=True)
