"""What theory says of a graph and its weights before anything runs."""

from __future__ import annotations

from math import ceil, log, log1p, sqrt
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from gossipml.errors import TopologyError
from gossipml.topology.spectra import known_rho
from gossipml.topology.weights import MixingMatrix, mixing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.topology.topology import Topology

_DENSE = 500  # peers up to which a dense decomposition is as fast as an iteration
_DIAMETER = 2000  # peers up to which all shortest paths, and iterations, take about a second
_QUICK = 20_000  # peers up to which an iteration takes seconds
_SUMS = 1e-9


class Degree(msgspec.Struct, frozen=True):
    """Degrees over the peers; in a directed graph how many each sends to."""

    min: int
    mean: float
    max: int


class TopologyFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What ``gossipml topology show --json`` prints."""

    name: str
    nodes: int
    edges: int
    degree: Degree
    connected: bool
    directed: bool
    diameter: int | None  # None beyond 2000 peers
    spectral_gap: float | None  # None where a long period of many peers takes too long
    predicted_rounds: int | None = msgspec.field(name="predicted_rounds_to_1e-3")
    weights: str
    exact_after_rounds: int | None = None  # None: never
    schedule: str = "static"
    period: int | None = 1  # rounds after which weights repeat; None: they are drawn anew
    round_degree: Degree  # peers that are sent a model in one round
    gap_of: str = "one round"  # what the spectral gap is of
    expected_contraction: float | None = None  # of the squared distance, where rounds are random
    W: list[list[float]] | msgspec.UnsetType = msgspec.UNSET


def describe(
    topology: Topology, rule: Any = "metropolis", *, matrix: bool = False
) -> TopologyFacts:
    """Return the facts of a topology under a rule of :func:`gossipml.topology.mixing`.

    ``matrix=True`` adds the mixing matrix as ``W``.
    """
    from gossipml.topology.schedules import Static
    from gossipml.topology.schedules.agreement import exact_after

    weights = mixing(topology, rule)
    gap = spectral_gap(weights)
    degrees = topology.degrees
    degree = Degree(int(degrees.min()), float(degrees.mean()), int(degrees.max()))
    return TopologyFacts(
        name=topology.name,
        nodes=topology.n,
        edges=len(topology.edges),
        degree=degree,
        connected=topology.is_connected(),
        directed=topology.directed,
        diameter=diameter(topology),
        spectral_gap=gap,
        predicted_rounds=predicted_rounds(gap),
        weights=rule if isinstance(rule, str) else "own",
        exact_after_rounds=exact_after(Static(topology, weights)),
        round_degree=degree,
        W=weights.dense().tolist() if matrix else msgspec.UNSET,
    )


def spectral_gap(W: Any) -> float:
    """Return 1 - rho, where rho = ||W - J||_2 and J averages over all peers.

    A round of mixing shrinks the distance to the mean by rho at least. The gap is 1 for a
    complete graph and for a single peer, and at most 0 where mixing need not converge.

    Parameters
    ----------
    W
        ``(n, n)`` numpy array, scipy sparse array or :class:`MixingMatrix`. Up to 500 peers the
        value is exact to rounding; beyond, it is found by iteration, to about 1e-10. Beyond 2000
        it is exact again where the network is regular (``spectra.py``).

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
    if isinstance(W, MixingMatrix) and W.n > _DIAMETER:
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
    matrix = _matrix(W)
    if not _is_symmetric(matrix):
        raise TopologyError("lambda_min: the mixing matrix is not symmetric")
    if matrix.shape[0] <= _DENSE:
        return float(np.linalg.eigvalsh(_array(matrix))[0])
    return _smallest(matrix)


def predicted_rounds(gap: float, to: float = 1e-3) -> int | None:
    """Return how many rounds of mixing shrink the distance to the mean by ``to``, at most.

    ceil(ln to / ln rho); None where the gap promises nothing (gap <= 0).

    >>> predicted_rounds(0.4), predicted_rounds(1.0), predicted_rounds(0.0)
    (14, 1, None)
    """
    if gap <= 0:
        return None
    if gap >= 1:
        return 1
    return max(1, ceil(log(to) / log1p(-gap)))


def diameter(topology: Topology) -> int | None:
    """Return the most links between two peers; None beyond 2000 peers, where it takes too long."""
    n = topology.n
    if n > _DIAMETER:
        return None
    # Bit j of reached[i]: within ``steps`` links, news of j can be at i.
    reached = [1 << i for i in range(n)]
    everyone = (1 << n) - 1
    steps = 0
    while any(known != everyone for known in reached):
        before = reached
        reached = list(before)
        for i in range(n):
            for j in topology.senders(i):
                reached[i] |= before[j]
        steps += 1
    return steps


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
