"""Compressors whose receivers rebuild the vector from a short code.

A code is a tuple of arrays: scales, levels, places. A subclass says how a vector becomes a
code, how a code becomes a vector again, and how a code is laid out as bytes. The sender
rebuilds from its own code too, so both ends hold the same bits.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np

from gossipml.compression.base import Array, Compressor
from gossipml.errors import AlgorithmError
from gossipml.seeds import Draws, uniforms

if TYPE_CHECKING:
    from collections.abc import Sequence

Code: TypeAlias = tuple[Array, ...]


class Coded(Compressor):
    """Base of such compressors."""

    _draws: Draws | None = None
    _made: list[tuple[Array, Code]] | None = None

    @abstractmethod
    def code(self, v: Array) -> Code:
        """Return the code of vectors ``(..., P)``, all parts with the same leading axes."""

    @abstractmethod
    def restore(self, code: Code, size: int, dtype: np.dtype[Any]) -> Array:
        """Return the vectors ``(..., size)`` that a code stands for."""

    @abstractmethod
    def pack(self, code: Code, size: int, dtype: np.dtype[Any]) -> Sequence[Array]:
        """Return arrays of little-endian numbers that together are the code of one vector."""

    @abstractmethod
    def unpack(self, body: memoryview, size: int, dtype: np.dtype[Any]) -> Code:
        """Return the code that was packed into these bytes; ValueError if none was."""

    def __call__(self, v: Array) -> Array:
        code = self.code(v)
        seen = self.restore(code, v.shape[-1], v.dtype)
        if self._made is not None and v.ndim == 1:
            self._made.append((seen, code))
        return seen

    def bound(self, draws: Draws) -> Self:
        """Return a copy that draws from ``draws`` and remembers the codes that it made."""
        bound = copy.copy(self)
        object.__setattr__(bound, "_draws", draws)
        object.__setattr__(bound, "_made", [])
        return bound

    def start(self, v: Array) -> Array:
        """Return the start of the next stream of random numbers, one for each vector of ``v``.

        Outside a round, where nobody has given it any, every stream is the same.
        """
        if self._draws is None:
            return np.zeros(v.shape[:-1], np.uint64)
        return np.broadcast_to(self._draws.next(), v.shape[:-1])

    def uniforms(self, v: Array) -> Array:
        """Return random numbers in [0, 1), in the shape and dtype of ``v``."""
        drawn = uniforms(self.start(v), v.shape[-1]).astype(v.dtype)
        # Rounding to float32 can reach 1, and a level above the largest has no code.
        return np.asarray(np.minimum(drawn, np.nextafter(v.dtype.type(1), v.dtype.type(0))))

    def encode(self, arrays: Sequence[Array], into: memoryview) -> int:
        begin = 0
        for array in arrays:
            for part in self.pack(self._code_of(array), array.size, array.dtype):
                end = begin + part.nbytes
                np.frombuffer(into[begin:end], part.dtype)[:] = part.reshape(-1)
                begin = end
        return begin

    def _code_of(self, array: Array) -> Code:
        for seen, code in self._made or ():
            if seen is array:
                return code
        raise AlgorithmError(
            f"{self.name}: the algorithm sends an array that was not compressed in this round; "
            "send what self.compress(…) returned, as it is"
        )

    def decode(self, body: memoryview, like: Sequence[Array]) -> Array:
        dtype = like[0].dtype
        sizes = [array.size for array in like]
        if len(body) != self.max_nbytes(sizes, dtype):
            raise ValueError(f"{len(body)} bytes, expected {self.max_nbytes(sizes, dtype)}")
        parts, begin = [], 0
        for size in sizes:
            end = begin + self.nbytes(size, dtype)
            parts.append(self.restore(self.unpack(body[begin:end], size, dtype), size, dtype))
            begin = end
        return np.concatenate(parts)


def pack_bits(levels: Array, bits: int) -> Array:
    """Return non-negative integers below 2**bits as bytes, lowest bit first.

    >>> pack_bits(np.array([1, 2, 3]), 2)
    array([57], dtype=uint8)
    """
    narrow = _narrowest(bits)
    numbers = levels.astype(narrow)
    planes = np.empty((numbers.size, bits), np.uint8)
    for bit in range(bits):  # a bit of all at a time: few passes over narrow numbers
        planes[:, bit] = (numbers >> narrow.type(bit)) & narrow.type(1)
    return np.packbits(planes.reshape(-1), bitorder="little")


def unpack_bits(body: memoryview | Array, bits: int, count: int) -> Array:
    """Return the ``count`` integers that :func:`pack_bits` packed."""
    narrow = _narrowest(bits)
    flat = np.unpackbits(np.frombuffer(body, np.uint8), count=count * bits, bitorder="little")
    planes = flat.reshape(count, bits)
    numbers = np.zeros(count, narrow)
    for bit in range(bits):
        numbers |= planes[:, bit].astype(narrow) << narrow.type(bit)
    return numbers.astype(np.uint32)


def _narrowest(bits: int) -> np.dtype[Any]:
    """Return the smallest type that holds so many bits."""
    return np.dtype(np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32)


def packed_nbytes(count: int, bits: int) -> int:
    """Return how many bytes :func:`pack_bits` needs."""
    return -(-count * bits // 8)


def little(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return an array as little-endian numbers of ``dtype``."""
    return array.astype(dtype.newbyteorder("<"))


def read(body: memoryview, dtype: np.dtype[Any], native: np.dtype[Any] | None = None) -> Array:
    """Return little-endian numbers of ``dtype`` in native order."""
    return np.frombuffer(body, dtype.newbyteorder("<")).astype(native or dtype)
