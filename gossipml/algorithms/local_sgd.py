"""Local SGD over gossip: several local steps between two averages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gossipml.algorithms.base import Facts, average
from gossipml.algorithms.descent import Descent

if TYPE_CHECKING:
    from gossipml.algorithms.base import Objective, Round, State


@dataclass(kw_only=True)
class LocalSGD(Descent):
    """H local steps, then one average with the neighbours.

    Stich 2018, "Local SGD converges fast and communicates little", arXiv:1805.09767; over a
    graph in Koloskova, Loizou, Boreiri, Jaggi, Stich 2020, arXiv:2003.10422. It saves
    messages and, on heterogeneous data, pays with a bias that grows with H.
    """

    name: ClassVar[str] = "local-sgd"
    facts: ClassVar[Facts] = Facts(in_expectation=True)

    local_steps: int = 5

    def round(self, s: State, problem: Objective) -> Round:
        x = self.descend(s, problem, s.x)
        (s.x,) = yield average(x)
