"""The eigenvalues of mixing matrices: how fast averaging agrees."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.errors import TopologyError
from gossipml.topology.matrix import MixingMatrix
from gossipml.topology.regular import known_rho

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DENSE = 500  # peers up to which a dense decomposition is as fast as an iteration
_LONG = 2000  # peers up to which an iteration takes about a second
_QUICK = 20_000  # peers up to which an iteration takes seconds
_SUMS = 1e-9


def spectral_gap(W: Any) -> float:
    """Return 1 - rho, where rho = ||W - J||_2 and J averages over all peers.

    A round of mixing shrinks the distance to the mean by rho at least. The gap is 1 for a
    complete graph and for a single peer, and at most 0 where mixing need not converge.

    Parameters
    ----------
    W
        ``(n, n)`` numpy array, scipy sparse array or :class:`MixingMatrix`. Up to 500 peers the
        value is exact to rounding; beyond, it is found by iteration, to about 1e-10. Beyond 2000
        it is exact again where the network is regular (``regular.py``).

    Raises
    ------
    TopologyError
        If W is not a square matrix of finite numbers.

    Examples
    --------
    >>> import gossipml.topology as topology
    >>> round(spectral_gap(topology.mixing_matrix(topology.hypercube(16))), 12)
    0.4
    """
    if isinstance(W, MixingMatrix) and W.n > _LONG:
        rho = known_rho(W)
        if rho is not None:
            return 1.0 - rho
    matrix = _matrix(W)
    n = matrix.shape[0]
    if n == 1:
        return 1.0
    if n <= _DENSE:
        return 1.0 - _dense_rho(_array(matrix))
    return 1.0 - _sparse_rho(matrix)


def known_gap(W: MixingMatrix) -> float | None:
    """Return the spectral gap where it is found in seconds; None for other large graphs."""
    if W.n <= _QUICK:
        return spectral_gap(W)
    rho = known_rho(W)
    return None if rho is None else 1.0 - rho


def lambda_min(W: Any) -> float:
    """Return the smallest eigenvalue of a symmetric mixing matrix, in [-1, 1].

    D^2 and exact diffusion need it above -1/3 and -1; lazy rules make it positive.

    Raises
    ------
    TopologyError
        If W is not symmetric, not square or not finite.
    """
    if isinstance(W, MixingMatrix) and W.n > _LONG and W.is_symmetric:
        first = _first_row(W)
        if first is not None:
            return float(np.fft.fft(first).real.min())
    matrix = _matrix(W)
    if not _is_symmetric(matrix):
        raise TopologyError("lambda_min: the mixing matrix is not symmetric")
    if matrix.shape[0] <= _DENSE:
        return float(np.linalg.eigvalsh(_array(matrix))[0])
    return _smallest(matrix)


def effective_neighbors(W: Any, gamma: float) -> float:
    """Return with how many others a peer averages, in effect, over 1 / (1 - gamma) rounds.

    Vogels, Hendrikx, Jaggi 2022, arXiv:2206.03093. By how much gossip lowers the variance of a
    random walk x <- W (sqrt(gamma) x + noise), against a peer alone:
    [1 / (1 - gamma)] / mean_i C_ii, where C = sum_s gamma^s M_s M_s^T and M_s is the product of
    the s + 1 matrices of consecutive rounds, averaged over the round that it ends in. Between 1,
    for a peer alone, and n. Learning with a rate at which a peer remembers its gradients for
    1 / (1 - gamma) rounds behaves like averaging so many of them, which tells more of a graph
    than its gap alone.

    Parameters
    ----------
    W
        ``(n, n)`` numpy or scipy array or :class:`MixingMatrix`; or a list of them, one for each
        round of a period, applied in this order again and again.
    gamma
        From 0, one round, to below 1.

    Raises
    ------
    TopologyError
        For matrices that are not square, finite and of one size, or none, or another gamma.

    Examples
    --------
    >>> import gossipml.topology as topology
    >>> round(effective_neighbors(topology.mixing_matrix(topology.ring(32)), 0.9), 3)
    6.632
    """
    if not 0 <= gamma < 1:
        raise TopologyError(f"effective_neighbors: gamma is {gamma:g}, expected from 0 to below 1")
    first = _first_row(W) if isinstance(W, MixingMatrix) else None
    if first is not None:
        return _of_normal(np.abs(np.fft.fft(first)) ** 2, gamma)
    # A list of matrices is a period; a list of rows of numbers is one matrix.
    several = isinstance(W, list | tuple) and (not len(W) or np.ndim(W[0]) != 1)
    period = [_array(_matrix(matrix)) for matrix in (W if several else [W])]
    if not period or len({len(matrix) for matrix in period}) > 1:
        raise TopologyError("effective_neighbors: expected matrices of one size, at least one")
    if len(period) == 1 and _is_symmetric(period[0]):
        return _of_normal(np.linalg.eigvalsh(period[0]) ** 2, gamma)
    variances = [float(np.trace(C)) / len(C) for C in _stationary_covariances(period, gamma)]
    return 1 / ((1 - gamma) * (sum(variances) / len(variances)))


def known_neighbors(period: list[MixingMatrix], gamma: float) -> float | None:
    """Return the effective number of neighbours where it is found in seconds; None elsewhere."""
    W, *others = period
    if not all(matrix.rows_sum_to_one for matrix in period):
        return None
    if others:
        return effective_neighbors(period, gamma) if W.n * len(period) <= _LONG else None
    most = _LONG if W.is_symmetric else _DENSE
    if W.n <= most or _first_row(W) is not None:
        return effective_neighbors(W, gamma)
    return None


def _of_normal(squares: NDArray[Any], gamma: float) -> float:
    """Return the effective number for the squared moduli of a normal matrix's eigenvalues."""
    return 1 / ((1 - gamma) * float(np.mean(squares / (1 - gamma * squares))))


def _stationary_covariances(
    period: list[NDArray[np.float64]], gamma: float
) -> list[NDArray[np.float64]]:
    """Return C after each round of a period, where C <- W (gamma C + I) W^T again and again.

    C_0 = B + gamma^p P C_0 P^T over a period of p rounds; the sum of that series doubles its
    number of terms in each step.
    """
    identity = np.eye(len(period[0]))
    total, product, decay = np.zeros_like(identity), identity, 1.0
    for W in period:
        total, product, decay = W @ (gamma * total + identity) @ W.T, W @ product, decay * gamma
    while decay > 1e-18:
        total = total + decay * (product @ total @ product.T)
        product, decay = product @ product, decay * decay
    found = []
    for W in period:
        total = W @ (gamma * total + identity) @ W.T
        found.append(total)
    return found


def stationary_distribution(W: Any) -> NDArray[np.float64]:
    """Return how much each peer counts in the end: pi with pi W = pi and a sum of 1.

    Averaging with rows that sum to 1 comes to sum_i pi_i x_i, and D-PSGD to the optimum of
    sum_i pi_i f_i. Only columns that sum to 1 too make it the mean; with ``row-stochastic``
    weights on an undirected graph pi_i grows with 1 + degree.

    Parameters
    ----------
    W
        ``(n, n)`` array, scipy sparse array or :class:`MixingMatrix` with rows that sum to 1.

    Raises
    ------
    TopologyError
        If W is not square or not finite, its rows do not sum to 1, or mixing has no one end.
    """
    matrix = _array(_matrix(W))
    if np.abs(matrix.sum(axis=1) - 1).max() > _SUMS:
        raise TopologyError("stationary_distribution: the rows do not sum to 1")
    try:
        # 1 pi = 1 turns pi (I - W) = 0 into a system with one solution.
        pi = np.linalg.solve(np.eye(len(matrix)) - matrix.T + 1, np.ones(len(matrix)))
    except np.linalg.LinAlgError:
        raise TopologyError("stationary_distribution: the matrix has more than one") from None
    return np.asarray(pi)


def extremes(W: MixingMatrix) -> tuple[float, float]:
    """Return the largest eigenvalue of a symmetric W but for 1, and the smallest; n > 1.

    W has rows that sum to 1 and no eigenvalue above 1.
    """
    if W.n <= _DENSE:
        values = np.linalg.eigvalsh(W.dense())
        return float(values[-2]), float(values[0])
    first = _first_row(W)
    if first is not None:
        others = np.fft.fft(first).real[1:]
        return float(others.max()), float(others.min())
    matrix = W.csr()
    return _largest(matrix), _smallest(matrix)


def _first_row(W: MixingMatrix) -> NDArray[np.float64] | None:
    """Return the first row if every row is the one before, shifted by one: a circulant matrix."""
    count = int(W.indptr[1])
    if len(W.data) != W.n * count or (np.diff(W.indptr) != count).any():
        return None
    shift = (W.indices - W.rows) % W.n
    order = np.lexsort((shift, W.rows))
    shifts, values = shift[order].reshape(W.n, count), W.data[order].reshape(W.n, count)
    if (shifts != shifts[0]).any() or (np.abs(values - values[0]) > 1e-15).any():
        return None
    first = np.zeros(W.n)
    first[shifts[0]] = values[0]
    return first


def _matrix(W: Any) -> Any:
    """Return W as a numpy array or a scipy CSR array, checked."""
    if isinstance(W, MixingMatrix):
        W = W.csr() if W.n > _DENSE else W.dense()
    matrix = W.tocsr() if hasattr(W, "tocsr") else np.asarray(W, np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.shape[0]:
        raise TopologyError(f"mixing matrix has shape {matrix.shape}, expected square")
    entries = matrix if isinstance(matrix, np.ndarray) else matrix.data
    if not np.isfinite(entries).all():
        raise TopologyError("mixing matrix has entries that are not finite")
    return matrix


def _array(matrix: Any) -> NDArray[np.float64]:
    return matrix if isinstance(matrix, np.ndarray) else np.asarray(matrix.toarray())


def _is_symmetric(matrix: Any) -> bool:
    return float(abs(matrix - matrix.T).max()) <= 1e-12


def _dense_rho(W: NDArray[np.float64]) -> float:
    deviation = W - 1 / len(W)
    if _is_symmetric(W):
        return float(np.abs(np.linalg.eigvalsh(deviation)).max())
    return float(np.linalg.norm(deviation, 2))


def _sparse_rho(matrix: Any) -> float:
    """Return ||W - J||_2 for many peers.

    With rows and columns that sum to 1, (W - J)^T (W - J) = W^T W - J, so that a sparse
    symmetric matrix is left in every case but that of the user's own odd matrix.
    """
    from scipy.sparse import csc_array

    W = csc_array(matrix)
    ones = np.ones(W.shape[0])
    if np.abs(W @ ones - 1).max() > _SUMS or np.abs(W.T @ ones - 1).max() > _SUMS:
        return _dense_rho(_array(matrix))
    if _is_symmetric(W):
        top = _largest(W)
        rough = _eigenvalues(W, k=1, which="SA", tol=1e-3)[0]
        return top if -rough < top - 0.01 else max(top, -_smallest(W))
    return sqrt(max(0.0, _largest(csc_array(W.T @ W))))


def _largest(S: Any) -> float:
    """Return the largest eigenvalue of the symmetric S - J, S having rows that sum to 1."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator

    def deflated(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(S @ x - x.mean())

    try:
        operator = LinearOperator(S.shape, matvec=deflated, dtype=np.float64)
        return float(_eigenvalues(operator, k=1, which="LA")[0])
    except ArpackNoConvergence:  # long graphs crowd their eigenvalues near 1, but factor fast
        above = float(abs(S).sum(axis=0).max()) + 1e-8
        near = _eigenvalues(S, k=2, sigma=above, which="LM")
        return float(np.delete(near, np.abs(near - 1).argmin())[0])


def _smallest(S: Any) -> float:
    """Return the smallest eigenvalue of the symmetric S."""
    from scipy.sparse.linalg import ArpackNoConvergence

    try:
        return float(_eigenvalues(S, k=1, which="SA")[0])
    except ArpackNoConvergence:
        rough = _eigenvalues(S, k=1, which="SA", tol=1e-5)[0]
        return float(_eigenvalues(S, k=1, sigma=rough - 1e-4, which="LM")[0])


def _eigenvalues(operator: Any, **options: Any) -> NDArray[np.float64]:
    """Return eigenvalues by Lanczos iteration from a start that is the same every time."""
    from scipy.sparse.linalg import eigsh

    n = operator.shape[0]
    start = np.random.default_rng(0).standard_normal(n)
    found = eigsh(operator, v0=start, ncv=40, maxiter=50, return_eigenvectors=False, **options)
    return np.asarray(found)
