"""Local steps, shared by the methods that take them between two averages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gossipml.algorithms.base import Algorithm, State, check_least
from gossipml.algorithms.optimizers import SGD, Optimizer
from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, Objective


@dataclass(kw_only=True)
class Descent(Algorithm):
    """An algorithm whose local work is ``local_steps`` steps of an optimiser.

    Attributes
    ----------
    local_steps : int
        H, optimiser steps between two averages, each on a fresh minibatch.
    optimizer : Optimizer
        SGD, Momentum, Nesterov or Adam; its memory stays local.
    """

    local_steps: int = 1
    optimizer: Optimizer = field(default_factory=SGD)

    def __post_init__(self) -> None:
        if not isinstance(self.optimizer, Optimizer):
            raise ConfigError(
                f"optimizer: found {self.optimizer!r}, expected an Optimizer such as Adam()"
            )
        check_least("local_steps", self.local_steps)

    def init(self, x0: Array) -> State:
        return State(x=x0, **self.optimizer.init(x0))

    def descend(self, s: State, problem: Objective, x: Array) -> Array:
        """Return x after H times: x ← x − η · direction(∇f(x))."""
        for _ in range(self.local_steps):
            x = x - self.lr * self.optimizer.direction(s, problem.gradient(x))
        return x
