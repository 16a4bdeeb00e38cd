"""The mixing matrix as a record: rows of weights, and what their sums promise."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from gossipml.topology.topology import in_order

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

Vector: TypeAlias = "NDArray[np.float64]"
Index: TypeAlias = "NDArray[np.int64]"

TOLERANCE = 1e-9
"""How far a row or column sum may be from 1."""


@dataclass(frozen=True, eq=False)
class MixingMatrix:
    """A sparse matrix in compressed rows; columns ascend in a row, the diagonal is stored.

    Attributes
    ----------
    n
        Number of peers.
    indptr, indices, data
        int64 ``(n + 1,)``, int64 ``(nnz,)`` and float64 ``(nnz,)``. Row i holds
        ``data[indptr[i]:indptr[i + 1]]`` in the columns ``indices[indptr[i]:indptr[i + 1]]``. All
        links of the graph are stored, even those of weight zero.
    """

    n: int
    indptr: Index
    indices: Index
    data: Vector

    def __post_init__(self) -> None:
        for array in (self.indptr, self.indices, self.data):
            array.flags.writeable = False

    @classmethod
    def from_entries(cls, n: int, rows: Index, columns: Index, values: Vector) -> MixingMatrix:
        """Build from entries in any order, none twice."""
        order = in_order(rows, columns, n)
        indptr = np.zeros(n + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=n), out=indptr[1:])
        return cls(n, indptr, columns[order], values[order])

    @cached_property
    def rows(self) -> Index:
        """``(nnz,)`` int64: the row of each entry."""
        return np.repeat(np.arange(self.n, dtype=np.int64), np.diff(self.indptr))

    def row(self, peer: int) -> tuple[Index, Vector]:
        """Return whom this peer averages, ascending, itself included, and their weights."""
        entries = slice(self.indptr[peer], self.indptr[peer + 1])
        return self.indices[entries], self.data[entries]

    def dense(self) -> Vector:
        """Return the ``(n, n)`` float64 array."""
        dense = np.zeros((self.n, self.n))
        dense[self.rows, self.indices] = self.data
        return dense

    def csr(self) -> csr_array[Any]:
        """Return the scipy array."""
        from scipy.sparse import csr_array

        return csr_array((self.data, self.indices, self.indptr), shape=(self.n, self.n))

    def digest(self) -> str:
        """Return the SHA-256 of n, indptr, indices (int64) and data (float64), little-endian."""
        sha = hashlib.sha256(self.n.to_bytes(8, "little"))
        for array, kind in ((self.indptr, "<i8"), (self.indices, "<i8"), (self.data, "<f8")):
            sha.update(np.ascontiguousarray(array, kind).tobytes())
        return sha.hexdigest()

    @cached_property
    def row_sums(self) -> Vector:
        """``(n,)`` float64."""
        return sums(self.rows, self.data, self.n)

    @cached_property
    def column_sums(self) -> Vector:
        """``(n,)`` float64."""
        return sums(self.indices, self.data, self.n)

    @property
    def is_row_stochastic(self) -> bool:
        """Whether rows sum to 1 and nothing is negative: a round averages."""
        return self.rows_sum_to_one and not self.has_negative

    @property
    def is_column_stochastic(self) -> bool:
        """Whether columns sum to 1 and nothing is negative: a round keeps the total."""
        return self.columns_sum_to_one and not self.has_negative

    @property
    def rows_sum_to_one(self) -> bool:
        """Whether a round leaves peers that agree as they are."""
        return bool((np.abs(self.row_sums - 1) <= TOLERANCE).all())

    @property
    def columns_sum_to_one(self) -> bool:
        """Whether a round keeps the mean over peers."""
        return bool((np.abs(self.column_sums - 1) <= TOLERANCE).all())

    @property
    def has_negative(self) -> bool:
        """Whether a weight is below zero, so that a round may leave the range of the models."""
        return bool((self.data < 0).any())

    @cached_property
    def is_symmetric(self) -> bool:
        """Whether W equals its transpose exactly."""
        return self.asymmetry() is None

    def asymmetry(self, tolerance: float = 0.0) -> tuple[int, int] | None:
        """Return the first (row, column) whose entry differs from its mirror image."""
        order = in_order(self.indices, self.rows, self.n)
        same = np.abs(self.data - self.data[order]) <= tolerance
        same &= (self.rows == self.indices[order]) & (self.indices == self.rows[order])
        wrong = np.flatnonzero(~same)
        if not wrong.size:
            return None
        return int(self.rows[wrong[0]]), int(self.indices[wrong[0]])


def sums(groups: Index, values: Vector, n: int) -> Vector:
    """Return the sum of the values of each of n groups."""
    return np.bincount(groups, weights=values, minlength=n).astype(np.float64)
