"""How a peer combines its neighbourhood's vectors: the plug between messages and a round.

The weighted mean is the canonical rule. Sums run over peers in ascending order, each
product and each sum rounded on its own in the vectors' dtype, whatever order the
messages came in: that is what makes every engine end with the same bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Array: TypeAlias = NDArray[Any]

_CHUNK = 16_384  # elements: product and sum of a chunk stay in the first- and second-level cache


class Aggregator(ABC):
    """A rule from a neighbourhood's vectors to one vector."""

    name: str
    linear: bool  # whether the mean over peers is preserved under doubly stochastic weights

    @abstractmethod
    def combine(self, own: int, weights: Sequence[float], vectors: Sequence[Array]) -> Array:
        """Combine ``vectors`` (each ``(m,)``, ascending peer order), of which ``own`` is ours."""


class Mean(Aggregator):
    """The weighted mean Σ_j w_j v_j in canonical order."""

    name = "mean"
    linear = True

    def combine(self, own: int, weights: Sequence[float], vectors: Sequence[Array]) -> Array:
        del own
        return weighted_sum(weights, vectors)


def weighted_sum(weights: Sequence[float], vectors: Sequence[Array]) -> Array:
    """Return Σ_j w_j v_j for vectors ``(m,)`` of one dtype, summed in the order given.

    acc starts at +0; then, for each j, acc = acc + dtype(w_j) · v_j with two roundings.

    >>> weighted_sum([0.5, 0.5], [np.float32([1, 2]), np.float32([3, 4])])
    array([2., 3.], dtype=float32)
    """
    dtype = vectors[0].dtype.type
    out = np.zeros_like(vectors[0])
    product = np.empty(min(out.size, _CHUNK), dtype)
    factors = [dtype(w) for w in weights]
    for begin in range(0, out.size, _CHUNK):
        acc = out[begin : begin + _CHUNK]
        part = product[: acc.size]
        for w, v in zip(factors, vectors, strict=True):
            np.multiply(v[begin : begin + _CHUNK], w, out=part)
            np.add(acc, part, out=acc)
    return out


AGGREGATORS: dict[str, type[Aggregator]] = {"mean": Mean}
"""Registered rules by name."""
