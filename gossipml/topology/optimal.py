"""Weights chosen by eigenvalues: the best constant, and the fastest there are.

With one weight w for every link, W = I − wL, whose distance from averaging is least at
w = 2 / (λ2 + λmax), eigenvalues of the Laplacian L: the best constant (Xiao, Boyd 2004, "Fast
linear iterations for distributed averaging"). With a weight for each link, the fastest is the
solution of a convex program: FDLA where weights may be negative (the same paper), FMMC, the
fastest mixing Markov chain, where they may not (Boyd, Diaconis, Xiao 2004, "Fastest mixing Markov
chain on a graph").

The optimum of the program has ∂λ2/∂w_l equal to the multipliers of link l. Where the constant
weight meets that, on rings, paths, stars, hypercubes, square tori, complete graphs and wherever
links look alike, it is the solution, and no solver is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.errors import MissingExtraError, TopologyError
from gossipml.topology.matrix import Index, MixingMatrix, Vector, sums
from gossipml.topology.spectrum import extremes

if TYPE_CHECKING:
    from gossipml.topology.topology import Topology

MOST_CERTIFIED = 1000
"""Peers up to which a closed form is looked for: it takes all eigenvectors."""

MOST_SOLVED = 80
"""Peers up to which the convex program is solved: seconds for 40, minutes for 80."""

_SAME = 1e-7  # relative difference within which eigenvalues and slopes count as equal
_GRID = 1e-9  # weights are rounded to it, so that the last bits of a solver do not show


def best_constant(topology: Topology) -> Vector:
    """Return 2 / (λ2 + λmax) for each arc; the diagonal may become negative."""
    _refuse_directed(topology, "best-constant")
    return np.full(len(topology.arcs[0]), _constant(topology))


def fastest(topology: Topology) -> Vector:
    """Return the weights of the fastest mixing Markov chain, for each arc."""
    return _by_link(topology, "fastest", negative=False)


def fdla(topology: Topology) -> Vector:
    """Return the weights of the fastest distributed linear averaging, for each arc."""
    return _by_link(topology, "fdla", negative=True)


def _by_link(topology: Topology, rule: str, *, negative: bool) -> Vector:
    _refuse_directed(topology, rule)
    weights = _closed_form(topology, negative) if topology.n <= MOST_CERTIFIED else None
    if weights is None:
        if topology.n > MOST_SOLVED:
            raise TopologyError(
                f"{topology.name}: {rule} weights of {topology.n} peers are no closed form, and "
                f"the solver takes up to {MOST_SOLVED}; use best-constant or metropolis"
            )
        weights = _solved(topology, negative)
    return weights[topology.arcs[2]]


def _refuse_directed(topology: Topology, rule: str) -> None:
    if topology.directed:
        raise TopologyError(
            f"{topology.name}: {rule} weights are symmetric, expected an undirected graph; "
            "use column-stochastic or row-stochastic"
        )


def _constant(topology: Topology) -> float:
    if topology.n == 1:
        return 0.0
    # With all weights 1/c, W = I - L/c, where c keeps the eigenvalues from crossing over.
    c = 2 * int(topology.degrees.max())
    receivers, senders, _ = topology.arcs
    everyone = np.arange(topology.n, dtype=np.int64)
    lambda_2, lambda_min = extremes(
        MixingMatrix.from_entries(
            topology.n,
            np.concatenate([receivers, everyone]),
            np.concatenate([senders, everyone]),
            np.concatenate([np.full(len(receivers), 1 / c), 1 - topology.degrees / c]),
        )
    )
    return float(2 / (c * (1 - lambda_2) + c * (1 - lambda_min)))


def _closed_form(topology: Topology, negative: bool) -> Vector | None:
    """Return the constant weight if the conditions of optimality hold for it; else None."""
    n, (u, v) = topology.n, topology.edges.T
    if not len(u):
        return np.empty(0)
    laplacian = np.diag(topology.degrees.astype(np.float64))
    laplacian[u, v] = laplacian[v, u] = -1
    values, vectors = np.linalg.eigh(laplacian)
    # How λ2 and λmax change with each weight, averaged over their eigenvectors.
    slow = ((vectors[u] - vectors[v]) ** 2)[:, np.abs(values - values[1]) < _SAME * n].sum(1)
    quick = ((vectors[u] - vectors[v]) ** 2)[:, np.abs(values - values[-1]) < _SAME * n].sum(1)
    weight = 2 / (values[1] + values[-1])
    most = topology.degrees.max()
    if negative or weight * most <= 1 + 1e-12:
        optimal = _proportional(slow, quick)
    else:  # the peers of most links keep nothing: each link needs a share of their multipliers
        weight = 1 / most
        full = (topology.degrees == most).astype(np.float64)
        optimal = _proportional(slow, full[u] + full[v])
    return np.full(len(u), weight) if optimal else None


def _proportional(a: Vector, b: Vector) -> bool:
    return bool(b.all() and np.ptp(a / b) <= _SAME * float((a / b).max()))


def _solved(topology: Topology, negative: bool) -> Vector:
    """Return the weight of each link that minimises s, where −sI ⪯ W − J ⪯ sI.

    Raises
    ------
    MissingExtraError
        The solver is not installed.
    """
    try:
        import clarabel
    except ImportError:
        raise MissingExtraError("clarabel", "convex") from None
    from scipy import sparse

    n, m, (u, v) = topology.n, len(topology.edges), topology.edges.T
    links, everyone = np.arange(m), np.arange(n)
    # Symmetric matrices are their upper triangles column by column, √2 times off the diagonal.
    size = n * (n + 1) // 2
    diagonal = _place(everyone, everyone)
    laplacians = sparse.csc_array(
        (
            np.repeat([1.0, 1.0, -np.sqrt(2)], m),
            (np.concatenate([_place(u, u), _place(v, v), _place(u, v)]), np.tile(links, 3)),
        ),
        shape=(size, m),
    )
    identity, deviation = np.zeros((size, 1)), np.full(size, -np.sqrt(2) / n)  # I, and I − J
    identity[diagonal], deviation[diagonal] = 1, 1 - 1 / n
    blocks: list[list[Any]] = [[-laplacians, -identity], [laplacians, -identity]]
    bounds = [-deviation, deviation]
    cones = [clarabel.PSDTriangleConeT(n), clarabel.PSDTriangleConeT(n)]
    if not negative:
        ends = (np.concatenate([u, v]), np.tile(links, 2))
        blocks += [
            [-sparse.eye_array(m), None],
            [sparse.csc_array((np.ones(2 * m), ends), shape=(n, m)), None],
        ]
        bounds += [np.zeros(m), np.ones(n)]
        cones.append(clarabel.NonnegativeConeT(m + n))
    settings = clarabel.DefaultSettings()
    settings.verbose, settings.max_threads = False, 1
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-9
    solution = clarabel.DefaultSolver(
        sparse.csc_matrix((m + 1, m + 1)),
        np.append(np.zeros(m), 1.0),
        sparse.csc_matrix(sparse.block_array(blocks)),
        np.concatenate(bounds),
        cones,
        settings,
    ).solve()
    if solution.status not in (clarabel.SolverStatus.Solved, clarabel.SolverStatus.AlmostSolved):
        raise TopologyError(f"{topology.name}: the solver found no weights: {solution.status}")
    weights = np.asarray(solution.x[:-1])
    if not negative:
        weights = np.maximum(weights, 0)
        given = sums(u, weights, n) + sums(v, weights, n)
        weights = weights / np.maximum(1, np.maximum(given[u], given[v]))
        return np.asarray(np.floor(weights / _GRID) * _GRID)
    return np.asarray(np.round(weights / _GRID) * _GRID)


def _place(i: Index, j: Index) -> Index:
    """Return where entry (i, j), i ≤ j, of a matrix is in its upper triangle."""
    return j * (j + 1) // 2 + i
