"""What travels: the plug between a round's vectors and the bytes of a message.

A compressor maps a vector to the one that receivers will see (``__call__``), and packs
such a vector into bytes and back without loss (``encode``, ``decode``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Array: TypeAlias = NDArray[Any]


class Compressor(ABC):
    """A map on vectors and its exact coding as bytes."""

    name: str

    @abstractmethod
    def __call__(self, v: Array) -> Array:
        """Return what a receiver sees of ``v``; works along the last axis."""

    @abstractmethod
    def max_nbytes(self, size: int, dtype: np.dtype[Any]) -> int:
        """Return the largest message for ``size`` numbers of ``dtype``."""

    @abstractmethod
    def encode(self, arrays: Sequence[Array], into: memoryview) -> int:
        """Pack the arrays into the buffer in order; return how many bytes were used."""

    @abstractmethod
    def decode(self, body: memoryview, like: Sequence[Array]) -> Array:
        """Unpack to one flat vector as long as the arrays ``like`` together."""


class Identity(Compressor):
    """No compression: little-endian numbers as they are."""

    name = "none"

    def __call__(self, v: Array) -> Array:
        return v

    def max_nbytes(self, size: int, dtype: np.dtype[Any]) -> int:
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


COMPRESSORS: dict[str, type[Compressor]] = {"none": Identity}
"""Registered compressors by name."""
