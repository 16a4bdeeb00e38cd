"""Averaging by weights of which only rows, or only columns, sum to 1: biased, so not built in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gossipml.algorithms import DPSGD, Facts, average, push

if TYPE_CHECKING:
    from gossipml.algorithms import Objective, Round, State


@dataclass(kw_only=True)
class RowAveraging(DPSGD):
    """x_i ← Σ_j r_ij (x_j − η g_j), the rows of R summing to 1: what a peer hears, averaged."""

    name: ClassVar[str] = "row-averaging"
    facts: ClassVar[Facts] = Facts(doubly_stochastic=False, row_stochastic=True, keeps_mean=False)

    def round(self, s: State, problem: Objective) -> Round:
        (s.x,) = yield average(s.x - self.lr * problem.gradient(s.x))


@dataclass(kw_only=True)
class PushedSums(DPSGD):
    """x_i ← Σ_j c_ij (x_j − η g_j), the columns of C summing to 1: push-sum without its weight."""

    name: ClassVar[str] = "pushed-sums"
    facts: ClassVar[Facts] = Facts(doubly_stochastic=False)

    def round(self, s: State, problem: Objective) -> Round:
        (s.x,) = yield push(s.x - self.lr * problem.gradient(s.x))
