"""What the methods that compress have in common: a compressor and a consensus step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossipml.algorithms.base import Algorithm
from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from gossipml.algorithms.base import Array
    from gossipml.compression import Compressor


@dataclass(kw_only=True)
class Compressing(Algorithm):
    """Base of these methods.

    Attributes
    ----------
    compress : Compressor
        Q, such as ``TopK(ratio=0.01)``.
    gamma : float, optional
        The consensus step γ; by default one that is stable with this compressor.
    """

    compress: Compressor
    gamma: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.compress, type) or not hasattr(self.compress, "consensus_step"):
            raise ConfigError(
                f"compress: found {self.compress!r}, expected a compressor such as TopK(ratio=0.01)"
            )
        if self.facts.unbiased and not self.compress.unbiased:
            raise ConfigError(
                f"compression.name: found {self.compress.name!r}, but {self.name} needs an "
                'unbiased compressor; use "max-norm"'
            )
        if self.gamma is not None and not 0 < self.gamma <= 1:
            raise ConfigError(
                f"algorithm.gamma: found {self.gamma}, expected a number above 0 and at most 1"
            )

    def step(self, x: Array) -> float:
        """Return γ for models like ``x``."""
        return self.compress.consensus_step(x.shape[-1]) if self.gamma is None else self.gamma
