"""CHOCO-SGD: compress the difference to what the neighbours already know of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml.algorithms.base import Algorithm, Facts, State, average
from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array, Objective, Round
    from gossipml.compression import Compressor


@dataclass(kw_only=True)
class ChocoSGD(Algorithm):
    """x_i ← x_i − η g_i + γ Σ_j w_ij (x̂_j − x̂_i), where x̂_j ← x̂_j + Q(x_j − η g_j − x̂_j).

    Koloskova, Stich, Jaggi 2019, arXiv:1902.00340. Only Q(…) travels; x̂_j is what all know
    of x_j. The mean over peers is that of the uncompressed method for any Q. Every peer keeps
    Σ_j w_ij x̂_j as one running sum, so W must stay the same, and a lost message is never
    made up for.

    Attributes
    ----------
    compress : Compressor
        Q, such as ``TopK(ratio=0.01)``.
    gamma : float, optional
        The consensus step γ; by default the compressor's own ``consensus_step``.
    """

    name: ClassVar[str] = "choco-sgd"
    facts: ClassVar[Facts] = Facts(
        symmetric=True, tolerates_loss=False, static=True, compresses=True
    )

    compress: Compressor
    gamma: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.compress, type) or not hasattr(self.compress, "consensus_step"):
            raise ConfigError(
                f"compress: found {self.compress!r}, expected a compressor such as TopK(ratio=0.01)"
            )
        if self.gamma is not None and not 0 < self.gamma <= 1:
            raise ConfigError(
                f"algorithm.gamma: found {self.gamma}, expected a number above 0 and at most 1"
            )

    def init(self, x0: Array) -> State:
        return State(x=x0, hat=np.zeros_like(x0), neighbourhood=np.zeros_like(x0))

    def round(self, s: State, problem: Objective) -> Round:
        gamma = self.compress.consensus_step if self.gamma is None else self.gamma
        x = s.x - self.lr * problem.gradient(s.x)
        q = self.compress(x - s.hat)
        s.hat = s.hat + q
        (mixed,) = yield average(q)
        s.neighbourhood = s.neighbourhood + mixed  # Σ_j w_ij x̂_j
        s.x = x + gamma * (s.neighbourhood - s.hat)
