"""What CHOCO is for: averaging compressed models themselves, which the library refuses to do.

``[compression]`` goes to methods that send differences. This one sends its model, rounded anew in
every round, and so never settles: the scheme (Q2) of Koloskova, Stich, Jaggi 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from gossipml.algorithms import ChocoGossip, State, average

if TYPE_CHECKING:
    from gossipml.algorithms import Facts, Objective, Round


@dataclass(kw_only=True)
class NaiveGossip(ChocoGossip):
    """x_i ← x_i + γ Σ_j w_ij (Q(x_j) − Q(x_i)) with an unbiased Q.

    Attributes
    ----------
    scale : float
        What makes the compressor unbiased: τ for ``qsgd``, 1/ratio for ``random-k``.
    """

    name: ClassVar[str] = "naive-gossip"
    facts: ClassVar[Facts] = replace(ChocoGossip.facts, static=False)

    scale: float = 1.0

    def round(self, s: State, problem: Objective) -> Round:
        q = self.compress(s.x)
        (mixed,) = yield average(q)
        s.x = s.x + s.x.dtype.type(self.step(s.x) * self.scale) * (mixed - q)
