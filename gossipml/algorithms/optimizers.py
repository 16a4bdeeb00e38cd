"""Local optimisers: from a gradient to the direction of a local step.

Their memory lives in the algorithm's state record, so a checkpoint holds it too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, State


class Optimizer(ABC):
    """Turns gradients into steps: x ← x − η · direction."""

    def init(self, x0: Array) -> dict[str, Array]:
        """Return the arrays that this optimiser keeps in the state."""
        del x0
        return {}

    @abstractmethod
    def direction(self, s: State, g: Array) -> Array:
        """Return the direction for gradient ``g`` and update the memory in ``s``."""


@dataclass(frozen=True)
class SGD(Optimizer):
    """The gradient itself."""

    def direction(self, s: State, g: Array) -> Array:
        del s
        return g


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Heavy ball (Polyak 1964): m ← β m + g. The effective step is η/(1−β)."""

    beta: float = 0.9

    def __post_init__(self) -> None:
        _check_share("beta", self.beta)

    def init(self, x0: Array) -> dict[str, Array]:
        return {"m": np.zeros_like(x0)}

    def direction(self, s: State, g: Array) -> Array:
        s.m = self.beta * s.m + g
        return s.m


@dataclass(frozen=True)
class Nesterov(Momentum):
    """Nesterov's momentum (Sutskever et al. 2013): m ← β m + g, step along g + β m."""

    def direction(self, s: State, g: Array) -> Array:
        s.m = self.beta * s.m + g
        return g + self.beta * s.m


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma, Ba 2014, arXiv:1412.6980) with bias correction."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        _check_share("beta1", self.beta1)
        _check_share("beta2", self.beta2)
        if not self.epsilon > 0:
            raise ConfigError(
                f"algorithm.optimizer.epsilon: found {self.epsilon}, expected a positive number"
            )

    def init(self, x0: Array) -> dict[str, Array]:
        steps = np.zeros((*x0.shape[:-1], 1), np.int64)  # of each peer
        return {"m": np.zeros_like(x0), "v": np.zeros_like(x0), "k": steps}

    def direction(self, s: State, g: Array) -> Array:
        s.k = s.k + 1
        s.m = self.beta1 * s.m + (1 - self.beta1) * g
        s.v = self.beta2 * s.v + (1 - self.beta2) * g * g
        m = s.m / (1 - self.beta1**s.k).astype(g.dtype)
        v = s.v / (1 - self.beta2**s.k).astype(g.dtype)
        return np.asarray(m / (np.sqrt(v) + self.epsilon))


def _check_share(option: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ConfigError(
            f"algorithm.optimizer.{option}: found {value}, expected from 0 to less than 1"
        )


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adam": Adam,
}
