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

CHUNK = 65_536
"""Numbers summed at a time: what a core's cache holds, and a thread seldom waits in between."""


class Aggregator(ABC):
    """A rule from a neighbourhood's vectors to one vector."""

    name: str
    linear: bool  # whether the mean over peers is preserved under doubly stochastic weights

    @abstractmethod
    def combine(self, own: Any, weights: Sequence[Any], vectors: Sequence[Array]) -> Array:
        """Combine the vectors of a neighbourhood, or of many equally large ones side by side.

        Parameters
        ----------
        own : int, or ndarray of int, shape (k,)
            Which of the vectors is the peer's own.
        weights : sequence of float, or of ndarray (k, 1)
            Mixing weights, one for each vector.
        vectors : sequence of ndarray, shape (m,) or (k, m)
            In ascending order of the peers that they came from.
        """


class Mean(Aggregator):
    """The weighted mean Σ_j w_j v_j in canonical order."""

    name = "mean"
    linear = True

    def combine(self, own: Any, weights: Sequence[Any], vectors: Sequence[Array]) -> Array:
        del own
        return weighted_sum(weights, vectors)


def weighted_sum(
    weights: Sequence[Any],
    vectors: Sequence[Array],
    *,
    out: Array | None = None,
    product: Array | None = None,
) -> Array:
    """Return Σ_j w_j v_j for vectors ``(..., m)`` of one dtype, summed in the order given.

    acc starts at +0; then, for each j, acc = acc + dtype(w_j) · v_j with two roundings. It is
    done piece by piece, so that acc and the product stay in the processor's cache. The result
    goes to ``out``, and products to ``product``, where they are given: for flat vectors at least
    ``CHUNK`` numbers.

    >>> weighted_sum([0.5, 0.5], [np.float32([1, 2]), np.float32([3, 4])])
    array([2., 3.], dtype=float32)
    """
    dtype = vectors[0].dtype
    out = np.empty(vectors[0].shape, dtype) if out is None else out
    factors = [w if type(w) is dtype.type else np.asarray(w, dtype) for w in weights]
    length = out.shape[-1]
    step = max(1, CHUNK * length // max(1, out.size))
    if product is None:
        product = np.empty((*out.shape[:-1], min(length, step)), dtype)
    if length <= step:
        _sum_piece(factors, vectors, out, product[..., :length])
    for begin in range(0, length if length > step else 0, step):
        piece = slice(begin, begin + step)
        acc = out[..., piece]
        pieces = [v[..., piece] for v in vectors]
        _sum_piece(factors, pieces, acc, product[..., : acc.shape[-1]])
    return out


def _sum_piece(factors: list[Any], vectors: Sequence[Array], acc: Array, product: Array) -> None:
    np.multiply(vectors[0], factors[0], out=acc)
    np.add(acc, acc.dtype.type(0), out=acc)  # -0 becomes +0
    for w, v in zip(factors[1:], vectors[1:], strict=True):
        np.multiply(v, w, out=product)
        np.add(acc, product, out=acc)


AGGREGATORS: dict[str, type[Aggregator]] = {"mean": Mean}
"""Registered rules by name."""
