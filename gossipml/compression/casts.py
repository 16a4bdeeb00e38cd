"""Casts: the same numbers in fewer bits each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gossipml.compression.coded import Code, Coded, little, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossipml.compression.base import Array

_HALF_MAX = 65504.0
_U2 = np.dtype(np.uint16)


class _Cast(Coded):
    """16 bits a number: relative error 2⁻¹¹ (fp16) or 2⁻⁸ (bf16), so γ = 1 is stable."""

    def consensus_step(self, size: int) -> float:
        return 1.0

    def nbytes(self, size: int, dtype: np.dtype[Any]) -> int:
        return 2 * size

    def pack(self, code: Code, size: int, dtype: np.dtype[Any]) -> Sequence[Array]:
        return [little(code[0], _U2)]

    def unpack(self, body: memoryview, size: int, dtype: np.dtype[Any]) -> Code:
        return (read(body, _U2),)


@dataclass(frozen=True)
class FP16(_Cast):
    """IEEE half precision; what is beyond ±65504 is cut to it."""

    name: ClassVar[str] = "fp16"

    def code(self, v: Array) -> Code:
        return (np.clip(v, -_HALF_MAX, _HALF_MAX).astype(np.float16).view(np.uint16),)

    def restore(self, code: Code, size: int, dtype: np.dtype[Any]) -> Array:
        return code[0].view(np.float16).astype(dtype)


@dataclass(frozen=True)
class BF16(_Cast):
    """bfloat16: the upper half of a float32, rounded to nearest, ties to even."""

    name: ClassVar[str] = "bf16"

    def code(self, v: Array) -> Code:
        bits = v.astype(np.float32).view(np.uint32)
        rounded = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
        nan = np.isnan(v)
        return (np.where(nan, np.uint32(0x7FC0), rounded >> np.uint32(16)).astype(np.uint16),)

    def restore(self, code: Code, size: int, dtype: np.dtype[Any]) -> Array:
        return (code[0].astype(np.uint32) << np.uint32(16)).view(np.float32).astype(dtype)


@dataclass(frozen=True)
class Int8(Coded):
    """Integers from −127 to 127 times one scale, max |v| / 127, rounded to the nearest.

    One byte a number and one float. The error of a number is at most half the scale.
    """

    name: ClassVar[str] = "int8"

    def consensus_step(self, size: int) -> float:
        return 1.0

    def code(self, v: Array) -> Code:
        largest = np.abs(v).max(axis=-1, keepdims=True, initial=0)
        scale = (largest / 127).astype(v.dtype)
        levels = np.rint(v / np.where(scale > 0, scale, 1))
        return scale, np.clip(np.nan_to_num(levels), -127, 127).astype(np.int8)

    def restore(self, code: Code, size: int, dtype: np.dtype[Any]) -> Array:
        scale, levels = code
        return np.asarray(scale.astype(dtype) * levels.astype(dtype))

    def nbytes(self, size: int, dtype: np.dtype[Any]) -> int:
        return dtype.itemsize + size

    def pack(self, code: Code, size: int, dtype: np.dtype[Any]) -> Sequence[Array]:
        return [little(code[0], dtype), code[1]]

    def unpack(self, body: memoryview, size: int, dtype: np.dtype[Any]) -> Code:
        return read(body[: dtype.itemsize], dtype), np.frombuffer(body[dtype.itemsize :], np.int8)
