"""No compression: the numbers travel as they are."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gossipml.compression.base import Array, Compressor

if TYPE_CHECKING:
    from collections.abc import Sequence


class Identity(Compressor):
    """No compression: little-endian numbers as they are."""

    name: ClassVar[str] = "none"
    unbiased: ClassVar[bool] = True

    def consensus_step(self, size: int) -> float:
        return 1.0

    def __call__(self, v: Array) -> Array:
        return v

    def nbytes(self, size: int, dtype: np.dtype[Any]) -> int:
        return size * dtype.itemsize

    def encode(self, arrays: Sequence[Array], into: memoryview) -> int:
        begin = 0
        for array in arrays:
            end = begin + array.nbytes
            np.frombuffer(into[begin:end], _little(array.dtype))[:] = array.reshape(-1)
            begin = end
        return begin

    def decode(self, body: memoryview, like: Sequence[Array]) -> Array:
        dtype = like[0].dtype
        little = _little(dtype)
        vector = np.frombuffer(body, little)
        size = like[0].size if len(like) == 1 else sum(array.size for array in like)
        if vector.size != size:
            raise ValueError(f"{vector.size} numbers, expected {size}")
        return vector if little is dtype else vector.astype(dtype, copy=False)


def _little(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of the same numbers with their bytes in the order of the wire."""
    return dtype if sys.byteorder == "little" and dtype.isnative else dtype.newbyteorder("<")
