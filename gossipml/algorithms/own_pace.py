"""Methods for peers that do not wait for each other; in step they run too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml.algorithms.base import Algorithm, Facts, average
from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, Objective, Round, State

_SLOWEST = 0.05  # of all speeds that a step makes up for: a first round says little


@dataclass(kw_only=True)
class ADPSGD(Algorithm):
    """x_i ← (x_i + x_j) / 2 − (η / p_i) g_i with one neighbour j at a time; g_i at x_i before.

    Lian, Zhang, Zhang, Liu 2018, arXiv:1710.06952, for ``schedule.kind = "pairwise"``. Peers
    that play more often pull the model to their own data: the optimum of Σ p_i f_i, where p_i
    is how often peer i plays. Dividing the step by p_i undoes that.

    Attributes
    ----------
    correct_speed : bool
        Divide by p_i; without it this is the paper's method.
    """

    name: ClassVar[str] = "ad-psgd"
    facts: ClassVar[Facts] = Facts()

    correct_speed: bool = True

    def round(self, s: State, problem: Objective) -> Round:
        step = self.lr * problem.gradient(s.x)
        if self.correct_speed:
            step = step / np.maximum(problem.speed, _SLOWEST).astype(s.x.dtype)
        (mixed,) = yield average(s.x)
        s.x = mixed - step


@dataclass(kw_only=True)
class SWIFT(Algorithm):
    """x_i ← x_i + κ_i (Σ_j w_ij x_j − x_i) − (η / p_i) g_i with the newest x_j that are there.

    Bornstein, Rabbani, Wang, Bedi, Huang 2022 (SWIFT), arXiv:2210.14026, for
    ``schedule.kind = "async"``: nobody waits for anybody. A peer that plays p_i times as often
    as the others pulls them p_i times as often too, so W keeps the mean only if each turn counts
    for less: κ_i = min(1, c / p_i) makes p_i κ_i w_ij symmetric for all that play c times a round
    or more, which is what the paper's choice of weights by influence is for.

    Attributes
    ----------
    slowest : float
        c, from above 0 to 1. The smaller, the slower the peers that are made up for, and the
        less the others mix in one turn.
    """

    name: ClassVar[str] = "swift"
    facts: ClassVar[Facts] = Facts()

    slowest: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.slowest <= 1:
            raise ConfigError(
                f"algorithm.slowest: found {self.slowest}, expected a number above 0, at most 1"
            )

    def round(self, s: State, problem: Objective) -> Round:
        speed = np.maximum(problem.speed, _SLOWEST).astype(s.x.dtype)
        step = self.lr / speed * problem.gradient(s.x)
        (mixed,) = yield average(s.x)
        s.x = s.x + np.minimum(self.slowest / speed, 1) * (mixed - s.x) - step


@dataclass(kw_only=True)
class GossipLearning(Algorithm):
    """x_i ← merge of what it has and what came, then x_i ← x_i − η_t ∇f_i(x_i): merge, update.

    Ormándi, Hegedűs, Jelasity 2013, arXiv:1109.1396 (MU). The step is that of Pegasos where
    ``regularisation`` λ is given: η_t = 1 / (λ t), t being the updates that a model has seen,
    the most of those that were merged or close to it; else η.

    Attributes
    ----------
    regularisation : float
        λ; 0 takes ``lr``.
    """

    name: ClassVar[str] = "gossip-learning"
    facts: ClassVar[Facts] = Facts(scalars=1)

    regularisation: float = 0.0

    def start(self, x0: Array, degree: int) -> State:
        s = super().start(x0, degree)
        s.age = np.zeros((*x0.shape[:-1], 1), x0.dtype)
        return s

    def round(self, s: State, problem: Objective) -> Round:
        x, age = yield average(s.x, s.age)
        s.age = age + 1
        lam = self.regularisation
        s.x = x - (1 / (s.age * x.dtype.type(lam)) if lam else self.lr) * problem.gradient(x)
