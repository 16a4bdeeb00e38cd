"""LEAD: exact diffusion whose messages are compressed differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml.algorithms.base import Facts, State, average
from gossipml.algorithms.compressing import Compressing
from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, Objective, Round


@dataclass(kw_only=True)
class LEAD(Compressing):
    """A primal-dual method that reaches the optimum of all through an unbiased quantiser.

    y = x − η g − η D is known to all as ŷ = h + Q(y − h); D ← D + γ/(2η) (ŷ − Wŷ) and
    x ← x − η g − η D with the new D; h follows ŷ with rate α. Liu, Li, Wang, Tang, Yan 2021,
    arXiv:2007.00232. It needs E Q(v) = v, such as ``max-norm`` gives; with a biased Q it can
    diverge. Σ_i D_i = 0 in every round.

    Attributes
    ----------
    alpha : float
        Rate α, above 0 and at most 1, at which the reference h follows.
    gamma : float, optional
        Dual step; 1 by default.
    """

    name: ClassVar[str] = "lead"
    facts: ClassVar[Facts] = Facts(
        symmetric=True,
        exact=True,
        tolerates_loss=False,
        settles=False,
        static=True,
        compresses=True,
        unbiased=True,
    )

    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.alpha <= 1:
            raise ConfigError(
                f"algorithm.alpha: found {self.alpha}, expected a number above 0 and at most 1"
            )

    def init(self, x0: Array) -> State:
        zero = np.zeros_like(x0)
        return State(x=x0, D=zero, h=zero.copy(), gap=zero.copy())

    def round(self, s: State, problem: Objective) -> Round:
        gamma = 1.0 if self.gamma is None else self.gamma
        z = s.x - self.lr * problem.gradient(s.x)
        q = self.compress(z - self.lr * s.D - s.h)
        (mixed,) = yield average(q)
        away = s.gap + (q - mixed)  # Σ_j w_ij (ŷ_i − ŷ_j), where ŷ = h + q
        s.h = s.h + self.alpha * q
        s.gap = s.gap + self.alpha * (away - s.gap)  # the same of h
        s.D = s.D + gamma / (2 * self.lr) * away
        s.x = z - self.lr * s.D
