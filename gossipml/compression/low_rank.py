"""Low rank: a vector as a matrix, and the matrix as a product of two thin ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gossipml.compression.coded import Code, Coded, little, read
from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossipml.compression.base import Array


@dataclass(frozen=True)
class LowRank(Coded):
    """Q(M) = P Pᵀ M, where the ``rank`` columns of P span M V for a random V.

    One step of the power method from a random start: Vogels, Karimireddy, Jaggi 2019
    (PowerSGD), arXiv:1905.13727. It is a projection, so ‖Q(v) − v‖ ≤ ‖v‖. The vector of P
    numbers fills a matrix of ``rows`` rows row by row, with zeros at the end. On the wire: P
    and MᵀP, rank · (rows + columns) numbers.

    Attributes
    ----------
    rank : int
        Columns of P.
    rows : int
        Rows of the matrix; 0 takes ⌈√P⌉. A layer of a inputs and b outputs that is stored
        (a, b) has a.
    """

    name: ClassVar[str] = "low-rank"

    rank: int = 1
    rows: int = 0

    def __post_init__(self) -> None:
        for key, value, least in (("rank", self.rank, 1), ("rows", self.rows, 0)):
            if value < least:
                raise ConfigError(
                    f"compression.{key}: found {value}, expected a number of {least} or more"
                )

    def consensus_step(self, size: int) -> float:
        """Return a step in proportion to the share of the numbers that travel."""
        rows, columns = self.shape(size)
        return min(1.0, self.rank * (rows + columns) / max(1, rows * columns))

    def shape(self, size: int) -> tuple[int, int]:
        """Return rows and columns of the matrix that a vector of ``size`` numbers fills."""
        rows = self.rows or max(1, math.isqrt(max(0, size - 1)) + 1)
        rows = max(1, min(rows, size))
        return rows, max(1, -(-size // rows))

    def _rank(self, size: int) -> int:
        return min(self.rank, *self.shape(size))

    def code(self, v: Array) -> Code:
        rows, columns = self.shape(v.shape[-1])
        M = np.zeros((*v.shape[:-1], rows * columns), v.dtype)
        M[..., : v.shape[-1]] = v
        M = M.reshape(*v.shape[:-1], rows, columns)
        ends = np.empty((*v.shape[:-1], columns), v.dtype)
        kept: list[Array] = []
        for _ in range(self._rank(v.shape[-1])):
            random = self.uniforms(ends) - v.dtype.type(0.5)
            p = (M * random[..., None, :]).sum(axis=-1)
            for _ in range(2):  # twice is enough: Kahan
                for other in kept:
                    p = p - (p * other).sum(axis=-1, keepdims=True) * other
            norm = np.sqrt(np.square(p).sum(axis=-1, keepdims=True))
            kept.append(p / np.where(norm > 0, norm, 1))
        # Products as sums along the last axis: a lone peer and a stack add in one order.
        turned = np.ascontiguousarray(np.swapaxes(M, -1, -2))
        ahead = [(turned * p[..., None, :]).sum(axis=-1) for p in kept]
        return np.stack(kept, axis=-2), np.stack(ahead, axis=-2)

    def restore(self, code: Code, size: int, dtype: np.dtype[Any]) -> Array:
        P, Q = (part.astype(dtype) for part in code)
        M = P[..., 0, :, None] * Q[..., 0, None, :]
        for r in range(1, P.shape[-2]):
            M += P[..., r, :, None] * Q[..., r, None, :]
        return np.asarray(M.reshape(*M.shape[:-2], -1)[..., :size])

    def nbytes(self, size: int, dtype: np.dtype[Any]) -> int:
        return self._rank(size) * sum(self.shape(size)) * dtype.itemsize

    def pack(self, code: Code, size: int, dtype: np.dtype[Any]) -> Sequence[Array]:
        return [little(part, dtype) for part in code]

    def unpack(self, body: memoryview, size: int, dtype: np.dtype[Any]) -> Code:
        rows, columns = self.shape(size)
        rank = self._rank(size)
        numbers = read(body, dtype)
        P, Q = numbers[: rank * rows], numbers[rank * rows :]
        return P.reshape(rank, rows), Q.reshape(rank, columns)
