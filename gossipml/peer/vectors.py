"""The arrays of a request as one vector, and back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def finite(vector: Array) -> bool:
    """Return whether all numbers of a vector are finite.

    Where the sum of their squares is, they are; it reads each once, and writes nothing.
    """
    return math.isfinite(vector.dot(vector)) or bool(np.isfinite(vector).all())


def joined(arrays: tuple[Array, ...]) -> Array:
    """Return a flat copy of the arrays, one after the other."""
    return np.concatenate([array.reshape(-1) for array in arrays])


def parts(flat: Array, like: tuple[Array, ...]) -> tuple[Array, ...]:
    """Cut a flat vector into arrays of these shapes."""
    if len(like) == 1:
        return (flat.reshape(like[0].shape),)
    ends = np.cumsum([array.size for array in like])[:-1]
    pairs = zip(np.split(flat, ends), like, strict=True)
    return tuple(part.reshape(array.shape) for part, array in pairs)
