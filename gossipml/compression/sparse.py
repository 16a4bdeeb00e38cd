"""What the compressors that keep some of the numbers have in common: how many."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gossipml.compression.base import Compressor
from gossipml.errors import ConfigError


@dataclass(frozen=True)
class Sparsifier(Compressor):
    """Base of compressors that keep k of the P numbers of a vector, and 0 for the rest.

    k is ``ratio`` · P, rounded up.
    """

    ratio: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise ConfigError(
                f"compression.ratio: found {self.ratio}, expected a number above 0 and at most 1"
            )

    def kept(self, size: int) -> int:
        """Return k for vectors of ``size`` numbers."""
        return math.ceil(self.ratio * size * (1 - 1e-12))  # 0.07 · 100 is 7.000000000000001
