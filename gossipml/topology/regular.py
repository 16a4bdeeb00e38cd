"""How fast large networks mix, where their regularity tells: no iteration, no dense matrix.

The eigenvalues of a matrix that looks the same from every peer, or from every group of peers,
are found by a Fourier transform (Davis 1979, "Circulant Matrices"); those of paths, grids and
stars with equal weights are known in closed form (Brouwer, Haemers 2012, "Spectra of Graphs").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gossipml.topology import edges

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossipml.topology.matrix import MixingMatrix

Vector: TypeAlias = NDArray[np.float64]
Index: TypeAlias = NDArray[np.int64]

_GROUP = 32  # peers up to which a group that repeats is looked for
_SAME = 1e-15


def known_rho(W: MixingMatrix) -> float | None:
    """Return ``||W - J||_2`` where a regularity of W gives it; None for other matrices.

    Parameters
    ----------
    W : MixingMatrix
        With rows and columns that sum to 1, of at least two peers.
    """
    if not (W.is_row_stochastic and np.abs(W.column_sums - 1).max() < 1e-9):
        return None
    for rho in (_of_groups, _of_torus, _of_hypercube, _of_equal_weights):
        found = rho(W)
        if found is not None:
            return found
    return None


def _of_groups(W: MixingMatrix) -> float | None:
    """Rings, circulant graphs, cavemen: group after group of peers looks the same."""
    counts = np.diff(W.indptr)
    for size in range(1, min(_GROUP, W.n // 2) + 1):
        groups, odd = divmod(W.n, size)
        if odd or (counts.reshape(groups, size) != counts[:size]).any():
            continue
        row = int(W.indptr[size])
        if _repeats(W, size, row, 2) is None:  # the first two groups tell most differences
            continue
        same = _repeats(W, size, row, groups)
        if same is not None:
            columns, values = same
            blocks = np.zeros((size, groups, size))  # what the first group takes of each
            blocks[W.rows[:row], columns // size, columns % size] = values
            return _largest(np.fft.rfft(blocks, axis=1).transpose(1, 0, 2))
    return None


def _repeats(W: MixingMatrix, size: int, row: int, groups: int) -> tuple[Index, Vector] | None:
    """Return the columns and values of the first group, if as many groups do the same."""
    some = slice(0, row * groups)
    shift = (W.indices[some] - W.rows[some] // size * size) % W.n
    order = np.argsort(W.rows[some] * W.n + shift)
    columns, values = shift[order].reshape(groups, row), W.data[some][order].reshape(groups, row)
    if (columns != columns[0]).any() or (np.abs(values - values[0]) > _SAME).any():
        return None
    return columns[0], values[0]


def _largest(blocks: NDArray[np.complex128]) -> float:
    """Return the largest singular value of blocks by frequency, less the mean of all peers."""
    blocks[0] -= 1 / blocks.shape[-1]
    if blocks.shape[-1] == 1:
        return float(np.abs(blocks).max())
    return float(np.linalg.norm(blocks, 2, axis=(1, 2)).max())


def _of_torus(W: MixingMatrix) -> float | None:
    """Rows and columns that close: the same from every peer, as (row, column) move."""
    neighbours, values = W.row(0)
    for columns in neighbours.tolist():
        if 1 < columns < W.n and W.n % columns == 0:

            def moved(peer: Index, by: Index, columns: int = columns) -> Index:
                down, along = by // columns * columns, by % columns
                start = peer - peer % columns
                return (start + down) % W.n + (peer + along) % columns

            if _looks_alike(W, moved):
                first = np.zeros(W.n)
                first[neighbours] = values
                spectrum = np.abs(np.fft.fft2(first.reshape(-1, columns))).ravel()
                return float(spectrum[1:].max())
    return None


def _of_hypercube(W: MixingMatrix) -> float | None:
    """The same from every peer, as bits of its number flip."""
    if W.n & (W.n - 1) or not _looks_alike(W, np.bitwise_xor):
        return None
    spectrum = np.zeros(W.n)
    spectrum[W.row(0)[0]] = W.row(0)[1]
    for bit in range(W.n.bit_length() - 1):  # the Walsh-Hadamard transform
        pair = spectrum.reshape(-1, 2, 1 << bit)
        spectrum = np.stack([pair[:, 0] + pair[:, 1], pair[:, 0] - pair[:, 1]], axis=1).ravel()
    return float(np.abs(spectrum[1:]).max())


def _looks_alike(W: MixingMatrix, moved: Callable[[Index, Index], Index]) -> bool:
    """Return whether each row is the first, its columns moved to where the peer is."""
    neighbours, values = W.row(0)
    if (np.diff(W.indptr) != len(neighbours)).any():
        return False
    everyone = np.arange(W.n)
    columns = W.indices.reshape(W.n, -1)
    data = W.data.reshape(W.n, -1)
    expected = moved(everyone[:, None], neighbours[None, :])
    order = np.argsort(expected, axis=1)
    return bool(
        (np.take_along_axis(expected, order, axis=1) == columns).all()
        and (np.abs(values[order] - data) <= _SAME).all()
    )


def _of_equal_weights(W: MixingMatrix) -> float | None:
    """Paths, grids and stars where every link has the same weight c: W = I - c L."""
    lower = W.rows < W.indices
    links = np.stack([W.rows[lower], W.indices[lower]], axis=1)
    c = W.data[lower].max(initial=0)
    if (np.abs(W.data[W.rows != W.indices] - c) > _SAME).any():
        return None
    if len(links) == W.n - 1 and (links[:, 0] == 0).all():
        return float(max(abs(1 - c) if W.n > 2 else 0.0, abs(1 - c * W.n)))
    columns = int(links[links[:, 0] == 0, 1].max())
    if W.n % columns:
        return None
    rows = W.n // columns if columns > 1 else 1
    columns = W.n // rows
    if not np.array_equal(edges.tidy(W.n, edges.grid(W.n, rows=rows)), links):
        return None
    down, along = (2 - 2 * np.cos(np.pi * np.arange(k) / k) for k in (rows, columns))
    least = min(part[1] for part in (down, along) if len(part) > 1)
    return float(max(abs(1 - c * least), abs(1 - c * (down[-1] + along[-1]))))
