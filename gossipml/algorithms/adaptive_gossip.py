"""Consensus control: as many averages in a round as keep the peers as close as asked."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log
from typing import TYPE_CHECKING, ClassVar

from gossipml.algorithms.base import Facts, average, check_least, declare
from gossipml.algorithms.descent import Descent
from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from gossipml.algorithms.base import Objective, Round, State


@dataclass(kw_only=True)
class AdaptiveGossip(Descent):
    """x ← W^k (x − η g) with the least k for which η ρ^k / (1 − ρ^k) ≤ ``distance``.

    Kong, Lin, Koloskova, Jaggi, Stich 2021, arXiv:2102.04828, show that training is as good as
    on a complete graph while the peers' distance from their mean stays below a critical one.
    The left side is that distance, where D-PSGD settles, for gradients that differ by 1. It is a
    bound known to all from W and the round's η, so that all peers agree on k without a word; the
    paper's own measurement needs the mean of all models. A falling rate needs fewer averages.

    Attributes
    ----------
    distance : float
        What to keep the distance below, in units of how much the peers' gradients differ.
    most : int
        Averages in a round, at most.
    lambda_2, lambda_min : float, optional
        Largest eigenvalue of W but for 1, and the smallest, for ρ; taken from the network by
        default.
    """

    name: ClassVar[str] = "adaptive-gossip"
    facts: ClassVar[Facts] = Facts(symmetric=True, static=True, given=("lambda_2", "lambda_min"))

    distance: float = 0.1
    most: int = 10
    lambda_2: float | None = None
    lambda_min: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least("most", self.most)
        if not self.distance > 0:
            raise ConfigError(
                f"algorithm.distance: found {self.distance}, expected a positive number"
            )
        if self.lambda_2 is not None and self.lambda_min is not None:
            steps = self.averages()  # at the full rate: no round takes more
            declare(self, vectors=steps, requests=steps)

    def largest(self, size: int) -> list[int]:
        return [size]

    def averages(self) -> int:
        """Return k for the rate of this round."""
        if self.lambda_2 is None or self.lambda_min is None:
            raise ConfigError(
                f"{self.name}: lambda_2 and lambda_min are not set, expected the eigenvalues of W"
            )
        rho = max(self.lambda_2, -self.lambda_min)
        share = self.distance / (self.lr + self.distance)  # ρ^k has to be at most that
        if rho <= share:
            return 1
        return self.most if rho >= 1 else min(self.most, ceil(log(share) / log(rho)))

    def round(self, s: State, problem: Objective) -> Round:
        x = self.descend(s, problem, s.x)
        for _ in range(self.averages()):
            (x,) = yield average(x)
        s.x = x
