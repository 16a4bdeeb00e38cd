"""No compression: the numbers travel as they are."""

from __future__ import annotations

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
            little = array.dtype.newbyteorder("<")
            end = begin + array.nbytes
            np.frombuffer(into[begin:end], little)[:] = array.reshape(-1)
            begin = end
        return begin

    def decode(self, body: memoryview, like: Sequence[Array]) -> Array:
        dtype = like[0].dtype
        vector = np.frombuffer(body, dtype.newbyteorder("<"))
        if vector.size != sum(array.size for array in like):
            raise ValueError(f"{vector.size} numbers, expected {sum(array.size for array in like)}")
        return vector.astype(dtype, copy=False)
