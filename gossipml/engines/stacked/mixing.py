"""A round's weights applied to what all peers sent: rows of a sparse product.

Whichever way is taken, row i is the canonical sum of :func:`gossipml.aggregation.weighted_sum`:
ascending peers, product and sum rounded one by one.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array

from gossipml.aggregation import Mean, weighted_sum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gossipml.aggregation import Aggregator
    from gossipml.topology import MixingMatrix

    Array = NDArray[Any]

WIDE = 1 << 16
"""Numbers in a row from which rows are combined one by one, in pieces that fit the cache."""


class Mixer:
    """The mixing matrix of one round, cut into the rows of each block.

    Parameters
    ----------
    matrix : MixingMatrix
    aggregator : Aggregator
        Combines what arrives; the weighted mean takes the fast way.
    dtype : dtype
        Of what is mixed; weights are rounded to it.
    """

    def __init__(self, matrix: MixingMatrix, aggregator: Aggregator, dtype: np.dtype[Any]) -> None:
        self.matrix, self.aggregator, self.dtype = matrix, aggregator, dtype
        self.receivers = np.bincount(matrix.indices, minlength=matrix.n) - 1  # not itself
        self.senders = np.diff(matrix.indptr) - 1
        self._indices = matrix.indices.astype(np.int32)
        self._data = matrix.data.astype(dtype)
        self._rows: dict[int, csr_array[Any]] = {}

    def mix(self, begin: int, end: int, sent: Sequence[Array]) -> tuple[Array, ...]:
        """Return rows ``begin`` to ``end`` of what the peers get, of arrays (n, m) sent."""
        if not isinstance(self.aggregator, Mean):  # a rule may weigh the vectors as a whole
            whole = self._combine(begin, end, np.concatenate(sent, axis=1))
            ends = np.cumsum([array.shape[1] for array in sent])[:-1]
            return tuple(np.split(whole, ends, axis=1))
        return tuple(self._mean(begin, end, array) for array in sent)

    def _mean(self, begin: int, end: int, sent: Array) -> Array:
        if sent.shape[1] >= WIDE:
            return self._one_by_one(begin, end, sent)
        if not sparse_product_is_canonical(self.dtype):
            return self._combine(begin, end, sent)
        rows = self._rows.get(begin)
        if rows is None or rows.shape[0] != end - begin:
            first, last = self.matrix.indptr[begin], self.matrix.indptr[end]
            pointers = (self.matrix.indptr[begin : end + 1] - first).astype(np.int32)
            parts = self._data[first:last], self._indices[first:last], pointers
            rows = csr_array(parts, shape=(end - begin, self.matrix.n))
            self._rows[begin] = rows
        return np.asarray(rows @ sent)

    def _one_by_one(self, begin: int, end: int, sent: Array) -> Array:
        out = np.empty((end - begin, sent.shape[1]), sent.dtype)
        for i in range(begin, end):
            peers, weights = self.matrix.row(i)
            weighted_sum(weights.tolist(), [sent[j] for j in peers.tolist()], out=out[i - begin])
        return out

    def _combine(self, begin: int, end: int, sent: Array) -> Array:
        """Combine side by side the peers that have equally many neighbours."""
        out = np.empty((end - begin, sent.shape[1]), sent.dtype)
        first = self.matrix.indptr[begin : end + 1]
        degrees = np.diff(first)
        for degree in np.unique(degrees).tolist():
            rows = np.flatnonzero(degrees == degree)
            places = first[rows][:, None] + np.arange(degree)
            peers = self.matrix.indices[places]
            own = (peers == begin + rows[:, None]).argmax(axis=1)
            weights = [self.matrix.data[places[:, j], None] for j in range(degree)]
            vectors = [sent[peers[:, j]] for j in range(degree)]
            out[rows] = self.aggregator.combine(own, weights, vectors)
        return out


@cache
def sparse_product_is_canonical(dtype: np.dtype[Any]) -> bool:
    """Whether scipy's sparse product rounds each product and each sum, as the canonical sum does.

    It does unless scipy was compiled to fuse the two, which some processors invite to.
    """
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((8, 8)).astype(dtype)
    for width in (1, 67):
        sent = rng.standard_normal((8, width)).astype(dtype)
        found = np.asarray(csr_array(dense) @ sent)
        for row, weights in zip(found, dense, strict=True):
            if not np.array_equal(row, weighted_sum(weights.tolist(), list(sent))):
                return False
    return True
