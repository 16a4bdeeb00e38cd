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
    from collections.abc import Iterator, Sequence

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
    weights: Sequence[Any], vectors: Sequence[Array], *, out: Array | None = None
) -> Array:
    """Return Σ_j w_j v_j for vectors ``(..., m)`` of one dtype, summed in the order given.

    acc starts at +0; then, for each j, acc = acc + dtype(w_j) · v_j with two roundings. It is
    done piece by piece, so that acc and the product stay in the processor's cache. The result
    goes to ``out`` if that is given.

    >>> weighted_sum([0.5, 0.5], [np.float32([1, 2]), np.float32([3, 4])])
    array([2., 3.], dtype=float32)
    """
    out = np.empty(vectors[0].shape, vectors[0].dtype) if out is None else out
    for _ in pieces_of_sum(weights, vectors, out=out):
        pass
    return out


def pieces_of_sum(
    weights: Sequence[Any],
    vectors: Sequence[Array],
    *,
    out: Array,
    product: Array | None = None,
) -> Iterator[Array]:
    """Write :func:`weighted_sum` to ``out`` and yield each piece of it when it is done.

    Products go to ``product`` where that is given: for flat vectors at least ``CHUNK`` numbers.
    """
    dtype, length = out.dtype, out.shape[-1]
    factors = [np.asarray(w, dtype) for w in weights]
    step = max(1, CHUNK * length // max(1, out.size))
    if product is None:
        product = np.empty((*out.shape[:-1], min(length, step)), dtype)
    zero = dtype.type(0)
    for begin in range(0, length, step):
        piece = slice(begin, begin + step)
        acc = out[..., piece]
        part = product[..., : acc.shape[-1]]
        np.multiply(vectors[0][..., piece], factors[0], out=acc)
        np.add(acc, zero, out=acc)  # -0 becomes +0
        for w, v in zip(factors[1:], vectors[1:], strict=True):
            np.multiply(v[..., piece], w, out=part)
            np.add(acc, part, out=acc)
        yield acc


AGGREGATORS: dict[str, type[Aggregator]] = {"mean": Mean}
"""Registered rules by name."""
