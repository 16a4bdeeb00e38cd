"""Top-k: only the numbers of largest magnitude travel, with their places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gossipml.compression.coded import pack_bits, packed_nbytes, unpack_bits
from gossipml.compression.sparse import Sparsifier
from gossipml.errors import AlgorithmError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossipml.compression.base import Array


@dataclass(frozen=True)
class TopK(Sparsifier):
    """Keep the k numbers of largest magnitude in a vector of P, and 0 for the rest.

    k is ``ratio`` · P, rounded up. Of equal magnitudes the first are kept; a NaN counts as
    infinite. ‖Q(v) − v‖² ≤ (1 − k/P) ‖v‖² (Stich, Cordonnier, Jaggi 2018,
    arXiv:1809.07599).

    On the wire an array is k places (⌈log2 P⌉ bits each, ascending) and then the k numbers at
    them, so its size depends on P only. Where fewer than k numbers differ from 0, zeros at the
    first free places fill it up.

    Attributes
    ----------
    ratio : float
        Share of the numbers that travel, above 0 and at most 1.
    """

    name: ClassVar[str] = "top-k"

    def consensus_step(self, size: int) -> float:
        """Return min(1, 2 · ratio): found by experiment; theory's step is far smaller."""
        return min(1.0, 2 * self.ratio)

    def __call__(self, v: Array) -> Array:
        size = v.shape[-1]
        k = self.kept(size)
        if k == size:
            return v + 0.0
        magnitude = np.abs(v)
        magnitude[np.isnan(magnitude)] = np.inf  # nothing compares with NaN
        least = np.partition(magnitude, size - k, axis=-1)[..., size - k, np.newaxis]
        larger = magnitude > least
        equal = magnitude == least
        room = k - larger.sum(axis=-1, keepdims=True)
        keep = larger | (equal & (np.cumsum(equal, axis=-1) <= room))
        return np.where(keep, v, 0) + 0.0  # a −0.0 would come out of the bytes as +0.0

    def nbytes(self, size: int, dtype: np.dtype[Any]) -> int:
        k = self.kept(size)
        return packed_nbytes(k, _bits(size)) + k * dtype.itemsize

    def encode(self, arrays: Sequence[Array], into: memoryview) -> int:
        begin = 0
        for array in arrays:
            vector = array.reshape(-1)
            k = self.kept(vector.size)
            places = self._places(vector, k)
            bits, numbers = self._columns(into[begin:], vector.size, array.dtype)
            bits[:] = pack_bits(places, _bits(vector.size))
            numbers[:] = vector[places]
            begin += self.nbytes(vector.size, array.dtype)
        return begin

    def _places(self, vector: Array, k: int) -> Array:
        places = np.flatnonzero(vector)
        if places.size > k:
            raise AlgorithmError(
                f"top-k: the algorithm sends {places.size} numbers other than 0 of {vector.size}, "
                f"expected at most {k}: it sends something that was not compressed"
            )
        free = np.flatnonzero(vector[:k] == 0)  # the first places hold enough: k minus those used
        return np.sort(np.concatenate([places, free[: k - places.size]]))

    def decode(self, body: memoryview, like: Sequence[Array]) -> Array:
        dtype = like[0].dtype
        sizes = [array.size for array in like]
        if len(body) != self.max_nbytes(sizes, dtype):
            raise ValueError(f"{len(body)} bytes, expected {self.max_nbytes(sizes, dtype)}")
        vector = np.zeros(sum(sizes), dtype)
        begin = first = 0
        for size in sizes:
            bits, numbers = self._columns(body[begin:], size, dtype)
            places = unpack_bits(bits, _bits(size), self.kept(size))
            if places.size and (places[-1] >= size or (places[1:] <= places[:-1]).any()):
                raise ValueError(f"places that do not ascend from 0 to at most {size - 1}")
            vector[first : first + size][places] = numbers
            begin += self.nbytes(size, dtype)
            first += size
        return vector

    def _columns(self, body: memoryview, size: int, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Return views of the packed places and of the numbers at the beginning of a buffer."""
        k = self.kept(size)
        middle = packed_nbytes(k, _bits(size))
        numbers = np.frombuffer(body[middle:], dtype.newbyteorder("<"), count=k)
        return np.frombuffer(body[:middle], np.uint8), numbers


def _bits(size: int) -> int:
    """Return how many bits say a place among ``size``."""
    return max(0, size - 1).bit_length()
