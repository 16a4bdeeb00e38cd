"""Learning-rate schedules: a factor on the base rate as a function of the round, no state."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from gossipml.errors import ConfigError


class LearningRate(ABC):
    """A factor on the learning rate for each round, the same at every peer."""

    @abstractmethod
    def __call__(self, round: int) -> float:
        """Return the factor for ``round`` (0 is the first)."""


@dataclass(frozen=True)
class Constant(LearningRate):
    """The same rate throughout, after an optional linear warm-up of ``warmup`` rounds."""

    warmup: int = 0

    def __post_init__(self) -> None:
        _at_least("warmup", self.warmup, 0)

    def __call__(self, round: int) -> float:
        return _warm(round, self.warmup)


@dataclass(frozen=True)
class Cosine(LearningRate):
    """Half a cosine from 1 to ``floor`` (Loshchilov, Hutter 2016, arXiv:1608.03983)."""

    rounds: int
    floor: float = 0.0
    warmup: int = 0

    def __post_init__(self) -> None:
        _at_least("rounds", self.rounds, 0)
        _at_least("floor", self.floor, 0)
        _at_least("warmup", self.warmup, 0)

    def __call__(self, round: int) -> float:
        done = min(1.0, round / max(1, self.rounds))
        wave = self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2
        return _warm(round, self.warmup) * wave


@dataclass(frozen=True)
class Step(LearningRate):
    """Multiply by ``factor`` after every ``every`` rounds."""

    every: int
    factor: float = 0.1
    warmup: int = 0

    def __post_init__(self) -> None:
        _at_least("every", self.every, 1)
        _positive("factor", self.factor)
        _at_least("warmup", self.warmup, 0)

    def __call__(self, round: int) -> float:
        return _warm(round, self.warmup) * self.factor ** (round // self.every)


@dataclass(frozen=True)
class InverseSqrt(LearningRate):
    """1/√(1 + round/scale): the decay that removes the bias of D-PSGD in the long run."""

    scale: float = 1.0
    warmup: int = 0

    def __post_init__(self) -> None:
        _positive("scale", self.scale)
        _at_least("warmup", self.warmup, 0)

    def __call__(self, round: int) -> float:
        return _warm(round, self.warmup) / math.sqrt(1 + round / self.scale)


def _warm(round: int, warmup: int) -> float:
    return min(1.0, (round + 1) / (warmup + 1))


def _at_least(option: str, value: float, least: int) -> None:
    if not least <= value < math.inf:
        raise ConfigError(
            f"algorithm.lr_schedule.{option}: found {value}, expected {least} or more"
        )


def _positive(option: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ConfigError(
            f"algorithm.lr_schedule.{option}: found {value}, expected a positive number"
        )


LEARNING_RATES: dict[str, type[LearningRate]] = {
    "constant": Constant,
    "cosine": Cosine,
    "step": Step,
    "inverse-sqrt": InverseSqrt,
}
