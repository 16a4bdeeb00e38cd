"""Memory that is used again: a large array made anew costs as much in page faults as in sums."""

from __future__ import annotations

from sys import getrefcount
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 4
"""Buffers kept: the two messages that a neighbour may still need, a model and the next one."""


class Buffers:
    """Arrays of bytes, each lent again when nobody has it any more.

    Whoever holds a buffer, an array or a memoryview of it, keeps it from being lent: the
    interpreter counts references, and so does this. What is held for long is let go, and a new
    one takes its place.
    """

    def __init__(self, nbytes: int) -> None:
        self._nbytes = nbytes
        self._arrays: list[NDArray[np.uint8]] = []

    def take(self) -> NDArray[np.uint8]:
        """Return a buffer that nobody else holds, with any contents."""
        arrays = self._arrays
        for k in range(len(arrays)):  # what was lent first is free first
            if getrefcount(arrays[k]) == _FREE:
                arrays.append(arrays.pop(k))
                return arrays[-1]
        if len(arrays) == MOST:
            del arrays[0]
        arrays.append(np.empty(self._nbytes, np.uint8))
        return arrays[-1]


_FREE = next(getrefcount(held[0]) for held in ([object()],))
"""References to an object that a list has and nobody else, as it counts them."""
