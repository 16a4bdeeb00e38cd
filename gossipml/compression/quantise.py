"""Quantisers: a scale and a few bits for each number, rounded at random."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gossipml.compression.coded import (
    Code,
    Coded,
    little,
    pack_bits,
    packed_nbytes,
    read,
    unpack_bits,
)
from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossipml.compression.base import Array


@dataclass(frozen=True)
class QSGD(Coded):
    """Q(v) = ‖v‖ sgn(v) ξ / (s τ), where ξ is s |v| / ‖v‖ rounded at random to an integer.

    Alistarh, Grubic, Li, Tomioka, Vojnović 2017, arXiv:1610.02132. τ = 1 + min(P/s², √P/s)
    makes a contraction of the unbiased quantiser: E ‖Q(v) − v‖² ≤ (1 − 1/τ) ‖v‖² (Koloskova,
    Stich, Jaggi 2019, arXiv:1902.00340).

    On the wire: the norm, then ⌈log2(2s + 1)⌉ bits for each number.

    Attributes
    ----------
    levels : int
        s, from 1 to 32767.
    """

    name: ClassVar[str] = "qsgd"

    levels: int = 15

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= 32767:
            raise ConfigError(
                f"compression.levels: found {self.levels}, expected a number from 1 to 32767"
            )

    @property
    def bits(self) -> int:
        """Bits of a number on the wire."""
        return (2 * self.levels).bit_length()

    def expansion(self, size: int) -> float:
        """Return τ for vectors of ``size`` numbers."""
        return 1 + min(size / self.levels**2, math.sqrt(size) / self.levels)

    def consensus_step(self, size: int) -> float:
        """Return ω = 1/τ: found stable by experiment; large s allow 1."""
        return 1 / self.expansion(size)

    def code(self, v: Array) -> Code:
        norm = np.sqrt(np.square(v).sum(axis=-1, keepdims=True))
        share = np.abs(v) / np.where(norm > 0, norm, 1) * v.dtype.type(self.levels)
        xi = np.minimum(np.floor(share + self.uniforms(v)), self.levels)
        levels = np.nan_to_num(np.copysign(xi, v)).astype(np.int32)
        return norm.astype(v.dtype), levels

    def restore(self, code: Code, size: int, dtype: np.dtype[Any]) -> Array:
        norm, levels = code
        unit = norm.astype(dtype) / dtype.type(self.levels * self.expansion(size))
        return np.asarray(unit * levels.astype(dtype))

    def nbytes(self, size: int, dtype: np.dtype[Any]) -> int:
        return dtype.itemsize + packed_nbytes(size, self.bits)

    def pack(self, code: Code, size: int, dtype: np.dtype[Any]) -> Sequence[Array]:
        norm, levels = code
        return [little(norm, dtype), pack_bits(levels + self.levels, self.bits)]

    def unpack(self, body: memoryview, size: int, dtype: np.dtype[Any]) -> Code:
        shifted = unpack_bits(body[dtype.itemsize :], self.bits, size).astype(np.int32)
        if (shifted > 2 * self.levels).any():
            raise ValueError(f"levels beyond {self.levels}")
        return read(body[: dtype.itemsize], dtype), shifted - self.levels


@dataclass(frozen=True)
class MaxNorm(Coded):
    """Q(v) = ‖v‖∞ 2^(1−b) sgn(v) ⌊2^(b−1) |v| / ‖v‖∞ + u⌋ in blocks, u uniform: unbiased.

    Liu, Li, Wang, Tang, Yan 2021 (LEAD), arXiv:2007.00232, with b = 2 and blocks of 512. On
    the wire: the norm of each block, then ⌈log2(2^b + 1)⌉ bits for each number.

    Attributes
    ----------
    bits : int
        b, from 1 to 16.
    block : int
        Numbers that share a scale.
    """

    name: ClassVar[str] = "max-norm"
    unbiased: ClassVar[bool] = True

    bits: int = 2
    block: int = 512

    def __post_init__(self) -> None:
        for key, value, most in (("bits", self.bits, 16), ("block", self.block, 1 << 30)):
            if not 1 <= value <= most:
                raise ConfigError(
                    f"compression.{key}: found {value}, expected a number from 1 to {most}"
                )

    @property
    def levels(self) -> int:
        """The largest level, 2^(b−1)."""
        return 1 << (self.bits - 1)

    def consensus_step(self, size: int) -> float:
        """Return the step that the variance of so few levels allows, found by experiment."""
        return min(1.0, 4 * self.levels / math.sqrt(min(size, self.block)))

    def _blocks(self, size: int) -> int:
        return max(1, -(-size // self.block))

    def code(self, v: Array) -> Code:
        edges = np.arange(self._blocks(v.shape[-1])) * self.block
        magnitude = np.abs(v)
        norms = (
            np.maximum.reduceat(magnitude, edges, axis=-1)
            if v.shape[-1]
            else np.zeros((*v.shape[:-1], 1), v.dtype)
        )
        each = self._spread(np.where(norms > 0, norms, 1), v.shape[-1])
        xi = np.floor(magnitude / each * v.dtype.type(self.levels) + self.uniforms(v))
        levels = np.copysign(np.minimum(xi, self.levels), v)
        return norms, np.nan_to_num(levels).astype(np.int32)

    def _spread(self, norms: Array, size: int) -> Array:
        return np.repeat(norms, self.block, axis=-1)[..., :size]

    def restore(self, code: Code, size: int, dtype: np.dtype[Any]) -> Array:
        norms, levels = code
        units = norms.astype(dtype) / dtype.type(self.levels)
        return np.asarray(self._spread(units, size) * levels.astype(dtype))

    def _width(self) -> int:
        return (2 * self.levels).bit_length()

    def nbytes(self, size: int, dtype: np.dtype[Any]) -> int:
        return self._blocks(size) * dtype.itemsize + packed_nbytes(size, self._width())

    def pack(self, code: Code, size: int, dtype: np.dtype[Any]) -> Sequence[Array]:
        norms, levels = code
        return [little(norms, dtype), pack_bits(levels + self.levels, self._width())]

    def unpack(self, body: memoryview, size: int, dtype: np.dtype[Any]) -> Code:
        middle = self._blocks(size) * dtype.itemsize
        shifted = unpack_bits(body[middle:], self._width(), size).astype(np.int32)
        if (shifted > 2 * self.levels).any():
            raise ValueError(f"levels beyond {self.levels}")
        return read(body[:middle], dtype), shifted - self.levels


@dataclass(frozen=True)
class Sign(Coded):
    """Q(v) = mean |v| · sgn(v): one bit a number, and one float.

    Bernstein, Wang, Azizzadenesheli, Anandkumar 2018, arXiv:1802.04434, scaled as in
    Karimireddy, Rebjock, Stich, Jaggi 2019, arXiv:1901.09847, which makes it a contraction by
    1 − ‖v‖₁² / (P ‖v‖₂²): 1 − 2/π for Gaussian vectors. The sign of 0 is +.
    """

    name: ClassVar[str] = "sign"

    def consensus_step(self, size: int) -> float:
        return 1.0

    def code(self, v: Array) -> Code:
        mean = np.abs(v).sum(axis=-1, keepdims=True) / v.dtype.type(max(1, v.shape[-1]))
        return mean.astype(v.dtype), (v < 0).astype(np.uint8)

    def restore(self, code: Code, size: int, dtype: np.dtype[Any]) -> Array:
        mean, negative = code
        mean = mean.astype(dtype)
        return np.where(negative, -mean, mean)

    def nbytes(self, size: int, dtype: np.dtype[Any]) -> int:
        return dtype.itemsize + packed_nbytes(size, 1)

    def pack(self, code: Code, size: int, dtype: np.dtype[Any]) -> Sequence[Array]:
        return [little(code[0], dtype), pack_bits(code[1], 1)]

    def unpack(self, body: memoryview, size: int, dtype: np.dtype[Any]) -> Code:
        return read(body[: dtype.itemsize], dtype), unpack_bits(body[dtype.itemsize :], 1, size)
