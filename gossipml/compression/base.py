"""The contract of a compressor: a map on vectors, and its exact coding as bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from gossipml.seeds import Draws

Array: TypeAlias = NDArray[Any]


class Compressor(ABC):
    """A map on vectors and its exact coding as bytes.

    The object of an experiment keeps nothing between calls, so all peers of a process share
    it; what a round needs to remember lives in the copy that :meth:`bound` makes for it.
    """

    name: ClassVar[str]
    unbiased: ClassVar[bool] = False
    """Whether E Q(v) = v."""

    @abstractmethod
    def consensus_step(self, size: int) -> float:
        """Return a step γ in (0, 1] with which CHOCO-SGD is stable on vectors of ``size``."""

    @abstractmethod
    def __call__(self, v: Array) -> Array:
        """Return what a receiver sees of ``v``; works along the last axis."""

    def bound(self, draws: Draws) -> Self:
        """Return this compressor for one round of some peers, with their random numbers."""
        del draws
        return self

    @abstractmethod
    def nbytes(self, size: int, dtype: np.dtype[Any]) -> int:
        """Return the bytes of one coded array of ``size`` numbers of ``dtype``."""

    def max_nbytes(self, sizes: Sequence[int], dtype: np.dtype[Any]) -> int:
        """Return the bytes of a message of several arrays with so many numbers each."""
        return sum(self.nbytes(size, dtype) for size in sizes)

    @abstractmethod
    def encode(self, arrays: Sequence[Array], into: memoryview) -> int:
        """Pack the arrays into the buffer in order; return how many bytes were used.

        Raises
        ------
        AlgorithmError
            An array is not one that this compressor made in this round.
        """

    @abstractmethod
    def decode(self, body: memoryview, like: Sequence[Array]) -> Array:
        """Unpack to one flat vector as long as the arrays ``like`` together.

        Raises
        ------
        ValueError
            The bytes are not such a message.
        """
