"""CHOCO: compress the difference to what the neighbours already know of a model.

Koloskova, Stich, Jaggi 2019, "Decentralized stochastic optimization and gossip algorithms with
compressed communication", arXiv:1902.00340.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml.algorithms.base import Facts, State, average
from gossipml.algorithms.compressing import Compressing

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, Objective, Round


@dataclass(kw_only=True)
class ChocoGossip(Compressing):
    """x_i ← x_i + γ Σ_j w_ij (x̂_j − x̂_i), where x̂_j ← x̂_j + Q(x_j − x̂_j): averages only.

    Koloskova, Stich, Jaggi 2019, arXiv:1902.00340. Only Q(…) travels; x̂_j is what all know
    of x_j. The mean over peers stays for any Q, and x converges to it at a linear rate, where
    averages of compressed models stall. Every peer keeps Σ_j w_ij (x̂_j − x̂_i) as one running sum,
    so W must stay the same, and a lost message is never made up for.

    Attributes
    ----------
    compress : Compressor
        Q, such as ``TopK(ratio=0.01)``.
    gamma : float, optional
        The consensus step γ; by default the compressor's own ``consensus_step``.
    """

    name: ClassVar[str] = "choco-gossip"
    facts: ClassVar[Facts] = Facts(
        symmetric=True,
        tolerates_loss=False,
        settles=False,
        static=True,
        compresses=True,
        averages=True,
    )

    def init(self, x0: Array) -> State:
        return State(x=x0, hat=np.zeros_like(x0), gap=np.zeros_like(x0))

    def round(self, s: State, problem: Objective) -> Round:
        yield from self.mix(s, s.x)

    def mix(self, s: State, x: Array) -> Round:
        """Tell the neighbours of ``x``, and step towards what is known of theirs."""
        q = self.compress(x - s.hat)
        s.hat = s.hat + q
        (mixed,) = yield average(q)
        s.gap = s.gap + (mixed - q)  # Σ_j w_ij (x̂_j − x̂_i): small at the end, and so its rounding
        s.x = x + self.step(x) * s.gap


@dataclass(kw_only=True)
class ChocoSGD(ChocoGossip):
    """x_i ← x_i − η g_i + γ Σ_j w_ij (x̂_j − x̂_i), where x̂_j ← x̂_j + Q(x_j − η g_j − x̂_j).

    Koloskova, Stich, Jaggi 2019, arXiv:1902.00340; for non-convex models Koloskova, Lin, Stich,
    Jaggi 2020, arXiv:1907.09356. The mean over peers is that of D-PSGD without compression for
    any Q; see :class:`ChocoGossip` for the rest.
    """

    name: ClassVar[str] = "choco-sgd"
    facts: ClassVar[Facts] = replace(ChocoGossip.facts, averages=False)

    def round(self, s: State, problem: Objective) -> Round:
        yield from self.mix(s, s.x - self.lr * problem.gradient(s.x))
