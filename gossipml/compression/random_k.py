"""Random-k: some numbers, chosen at random; their places travel as a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gossipml.compression.coded import Code, Coded, little, read
from gossipml.compression.sparse import Sparsifier
from gossipml.seeds import choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossipml.compression.base import Array

_SEED = np.dtype(np.uint64)


@dataclass(frozen=True)
class RandomK(Sparsifier, Coded):
    """Keep k numbers at places chosen uniformly at random, and 0 for the rest.

    k is ``ratio`` · P, rounded up. E ‖Q(v) − v‖² = (1 − k/P) ‖v‖² (Stich, Cordonnier, Jaggi
    2018, arXiv:1809.07599). On the wire: the 8 bytes of which receivers make the same places
    again, and the k numbers in the order of their places.

    Attributes
    ----------
    ratio : float
        Share of the numbers that travel, above 0 and at most 1.
    """

    name: ClassVar[str] = "random-k"

    def consensus_step(self, size: int) -> float:
        """Return ratio / 2: found by experiment, stable up to the ratio itself."""
        return 1.0 if self.ratio == 1 else self.ratio / 2

    def code(self, v: Array) -> Code:
        start = self.start(v)
        places = choice(start, self.kept(v.shape[-1]), v.shape[-1])
        return start[..., None], np.take_along_axis(v, places, axis=-1)

    def restore(self, code: Code, size: int, dtype: np.dtype[Any]) -> Array:
        start, numbers = code
        vector = np.zeros((*numbers.shape[:-1], size), dtype)
        places = choice(start[..., 0], numbers.shape[-1], size)
        np.put_along_axis(vector, places, numbers.astype(dtype), axis=-1)
        return vector

    def nbytes(self, size: int, dtype: np.dtype[Any]) -> int:
        return _SEED.itemsize + self.kept(size) * dtype.itemsize

    def pack(self, code: Code, size: int, dtype: np.dtype[Any]) -> Sequence[Array]:
        return [little(code[0], _SEED), little(code[1], dtype)]

    def unpack(self, body: memoryview, size: int, dtype: np.dtype[Any]) -> Code:
        return read(body[: _SEED.itemsize], _SEED), read(body[_SEED.itemsize :], dtype)
