"""Mixing matrices: how much each peer takes of what each neighbour sends.

Row v says how peer v averages: x_v <- sum over u of W[v, u] x_u, where W[v, u] may differ
from zero only if v = u or u's model travels to v. scipy is imported only for what needs it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.errors import ConfigError, TopologyError, nearest
from gossipml.topology.matrix import TOLERANCE, MixingMatrix, Vector, sums
from gossipml.topology.optimal import best_constant, fastest, fdla
from gossipml.topology.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable

    import networkx as nx


def mixing(topology: Topology, rule: Any = "metropolis") -> MixingMatrix:
    """Return the mixing matrix of a topology under a rule.

    Parameters
    ----------
    topology
        The graph. Directed graphs admit ``metropolis``, ``max-degree``, ``uniform`` and the lazy
        forms only where every peer receives as many models as it sends (for ``metropolis`` and
        ``uniform``: all peers the same number; the two are then equal), and ``column-stochastic``
        always.
    rule
        - ``metropolis``: w = 1 / (1 + max of the two degrees) (Metropolis-Hastings; Xiao, Boyd,
          Kim 2007). Needs to know no more than the neighbours' degrees.
        - ``max-degree``: I - L / (1 + the largest degree).
        - ``row-stochastic``: w_ij = 1 / (1 + in-degree of i); columns need not sum to 1.
        - ``lazy-metropolis``, ``lazy-max-degree``: (I + W) / 2, with no negative eigenvalue.
        - ``uniform``: 1 / (1 + degree); regular graphs only.
        - ``file``: the edges' ``weight``; a peer keeps what is left to 1.
        - ``column-stochastic``: sender u splits 1 / (1 + out-degree of u) equally, for push-sum.
        - ``best-constant``: I - wL with the w that mixes fastest, 2 / (lambda_2 + lambda_max) of L
          (Xiao, Boyd 2004). A peer may keep a negative share.
        - ``fastest``: the fastest mixing Markov chain, FMMC (Boyd, Diaconis, Xiao 2004): of all
          symmetric weights from 0 the ones with the largest gap.
        - ``fdla``: of all symmetric weights the ones with the largest gap, negative ones
          included (Xiao, Boyd 2004). Both are closed forms where the constant weight is the
          optimum, as on rings, paths, stars, hypercubes, square tori and complete graphs; else a
          convex program is solved, which needs the extra ``convex`` and at most 80 peers.
        - an ``(n, n)`` numpy or scipy array or a MixingMatrix of your own; negative weights
          are allowed there.

    Raises
    ------
    ConfigError
        For an unknown rule.
    MissingExtraError
        For ``fastest`` and ``fdla`` where a solver is needed and there is none.
    TopologyError
        If the rule does not fit the graph, or the weights fail :func:`check_mixing`.
    """
    if not isinstance(rule, str):
        matrix = rule if isinstance(rule, MixingMatrix) else _own(topology, rule)
        check_mixing(matrix, topology, "own")
        return matrix
    if rule not in RULES:
        raise ConfigError(f"topology.weights: unknown rule {rule!r}{nearest(rule, RULES)}")
    base = rule.removeprefix("lazy-")
    weights = _WEIGHTS[base](topology)
    if base == "column-stochastic":
        matrix = _assembled(topology, weights, 1 / (1 + topology.out_degrees))
    else:
        kept = 1 - sums(topology.arcs[0], weights, topology.n)
        kept[np.abs(kept) < 1e-12] = 0  # what rounding leaves of nothing would count as negative
        if base != rule:
            weights, kept = weights / 2, (1 + kept) / 2
        matrix = _assembled(topology, weights, kept)
    check_mixing(matrix, topology, rule)
    return matrix


def mixing_matrix(graph: nx.Graph[Any] | Topology, weights: Any = "metropolis") -> Vector:
    """Return the mixing matrix of a networkx graph or a :class:`Topology` as an array.

    Parameters
    ----------
    graph
        Any connected networkx graph; integer nodes are taken in numerical order, others as
        strings in lexicographic order.
    weights
        A rule of :func:`mixing`, or weights of your own.

    Returns
    -------
    ndarray
        ``(n, n)`` float64; row v holds the weights with which peer v averages.

    Raises
    ------
    ConfigError, TopologyError
        As :func:`mixing`.

    Examples
    --------
    >>> import gossipml.topology
    >>> mixing_matrix(gossipml.topology.star(3))[0].round(3).tolist()
    [0.333, 0.333, 0.333]
    """
    topology = graph if isinstance(graph, Topology) else Topology.from_networkx(graph)
    return mixing(topology, weights).dense()


def with_weights(topology: Topology, matrix: MixingMatrix) -> Topology:
    """Return the topology with the matrix's weights on its links, for rule ``file``.

    An undirected link holds one weight, so the matrix must be symmetric there (TopologyError).
    """
    check_mixing(matrix, topology)
    W = matrix.csr()
    senders, receivers = topology.edges.T
    return replace(topology, weight=np.asarray(W[receivers, senders], np.float64))


def check_mixing(matrix: MixingMatrix, topology: Topology, rule: str = "own") -> None:
    """Raise TopologyError, naming peer and value, unless the matrix averages on this graph.

    It must be finite, vanish off the graph, have rows and columns that sum to 1, and be
    symmetric where the graph is undirected. ``column-stochastic`` and ``row-stochastic`` need
    what they are called only. Weights of the user's own
    (``rule="own"``), of ``best-constant`` and of ``fdla`` may be negative.
    """
    check_support(matrix, topology, rule)
    _check_entries(matrix, topology, rule)
    if rule != "row-stochastic":
        _check_sums(matrix.column_sums, "column", topology, rule)
    if rule != "column-stochastic":
        _check_sums(matrix.row_sums, "row", topology, rule)
    if rule in ("column-stochastic", "row-stochastic"):
        return
    if not topology.directed and (pair := matrix.asymmetry(TOLERANCE)):
        v, u = (repr(topology.ids[i]) for i in pair)
        raise TopologyError(
            f"{topology.name}: {rule} weights are not symmetric: what {v} takes of {u} "
            f"differs from what {u} takes of {v}"
        )


def check_support(matrix: MixingMatrix, topology: Topology, rule: str = "own") -> None:
    """Raise TopologyError if the matrix has another size or a weight off the graph."""
    if matrix.n != topology.n:
        raise TopologyError(
            f"{topology.name}: {rule} weights are for {matrix.n} peers, expected {topology.n}"
        )
    receivers, senders, _ = topology.arcs
    links = receivers * topology.n + senders
    off = np.flatnonzero((matrix.rows != matrix.indices) & (matrix.data != 0))
    entries = matrix.rows[off] * topology.n + matrix.indices[off]
    if np.array_equal(entries, links):
        return
    stray = off[~np.isin(entries, links)]
    for k in stray.tolist():
        v, u, value = matrix.rows[k], matrix.indices[k], matrix.data[k]
        _refuse_off_graph(topology, rule, int(v), int(u), float(value))


def _metropolis(topology: Topology) -> Vector:
    if topology.directed:
        return _uniform(topology, "metropolis")
    receivers, senders, _ = topology.arcs
    degrees = topology.degrees
    return 1 / (1 + np.maximum(degrees[receivers], degrees[senders]))


def _max_degree(topology: Topology) -> Vector:
    differ = np.flatnonzero(topology.in_degrees != topology.out_degrees)
    if differ.size:
        i = int(differ[0])
        raise TopologyError(
            f"{topology.name}: max-degree weights need a peer to receive as many models as it "
            f"sends, but {topology.ids[i]!r} receives {topology.in_degrees[i]} and sends "
            f"{topology.out_degrees[i]}; use column-stochastic"
        )
    return np.full(len(topology.arcs[0]), 1 / (1 + topology.degrees.max()))


def _uniform(topology: Topology, rule: str = "uniform") -> Vector:
    instead = "column-stochastic" if topology.directed else "metropolis"
    for kind, degrees in (("in-", topology.in_degrees), ("out-", topology.out_degrees)):
        a, b = int(degrees.argmin()), int(degrees.argmax())
        if degrees[a] != degrees[b]:
            raise TopologyError(
                f"{topology.name}: {rule} weights need equal degrees, but {topology.ids[a]!r} has "
                f"{kind if topology.directed else ''}degree {degrees[a]} and {topology.ids[b]!r} "
                f"has {degrees[b]}; use {instead}"
            )
    return np.full(len(topology.arcs[0]), 1 / (1 + topology.degrees[0]))


def _from_file(topology: Topology) -> Vector:
    missing = np.flatnonzero(np.isnan(topology.weight))
    if missing.size:
        link = topology.between(*topology.edges[missing[0]].tolist())
        raise TopologyError(
            f"{topology.name}: link {link} has no weight, which weights 'file' need"
        )
    return topology.weight[topology.arcs[2]]


def _row_stochastic(topology: Topology) -> Vector:
    return 1 / (1 + topology.in_degrees[topology.arcs[0]])


def _column_stochastic(topology: Topology) -> Vector:
    return 1 / (1 + topology.out_degrees[topology.arcs[1]])


# Weight of each arc of Topology.arcs; the diagonal takes what is left.
_WEIGHTS: dict[str, Callable[[Topology], Vector]] = {
    "metropolis": _metropolis,
    "max-degree": _max_degree,
    "uniform": _uniform,
    "file": _from_file,
    "row-stochastic": _row_stochastic,
    "column-stochastic": _column_stochastic,
    "best-constant": best_constant,
    "fastest": fastest,
    "fdla": fdla,
}

RULES = (*_WEIGHTS, "lazy-metropolis", "lazy-max-degree")
"""The names of the rules of :func:`mixing`."""

NEGATIVE = ("own", "best-constant", "fdla")
"""Rules that may give negative weights."""


def _assembled(topology: Topology, weights: Vector, kept: Vector) -> MixingMatrix:
    receivers, senders, _ = topology.arcs
    everyone = np.arange(topology.n, dtype=np.int64)
    return MixingMatrix.from_entries(
        topology.n,
        np.concatenate([receivers, everyone]),
        np.concatenate([senders, everyone]),
        np.concatenate([weights, kept]),
    )


def _own(topology: Topology, matrix: Any) -> MixingMatrix:
    """Return the user's numpy or scipy array on the links of the graph, zeros included."""
    given = matrix.tocoo() if hasattr(matrix, "tocoo") else np.asarray(matrix, np.float64)
    n = topology.n
    if given.shape != (n, n):
        raise TopologyError(
            f"{topology.name}: mixing matrix has shape {given.shape}, expected {(n, n)}"
        )
    if isinstance(given, np.ndarray):
        rows, columns = given.nonzero()
        values = given[rows, columns]
    else:
        given.sum_duplicates()
        rows, columns, values = given.row, given.col, given.data
    keys = rows.astype(np.int64) * n + columns
    pattern = _assembled(topology, np.zeros(len(topology.arcs[0])), np.zeros(n))
    places = pattern.rows * n + pattern.indices
    at = np.minimum(np.searchsorted(places, keys), len(places) - 1)
    off = np.flatnonzero((places[at] != keys) & (values != 0))
    if off.size:
        k = off[0]
        _refuse_off_graph(topology, "own", int(rows[k]), int(columns[k]), float(values[k]))
    data = np.zeros(len(places))
    on = places[at] == keys
    data[at[on]] = values[on]
    return MixingMatrix(n, pattern.indptr, pattern.indices, data)


def _refuse_off_graph(topology: Topology, rule: str, v: int, u: int, value: float) -> None:
    raise TopologyError(
        f"{topology.name}: {rule} weight of {topology.ids[u]!r} in the row of peer "
        f"{topology.ids[v]!r} is {value:g}, but there is no link {topology.between(u, v)}"
    )


def _check_entries(matrix: MixingMatrix, topology: Topology, rule: str) -> None:
    wrong = ~np.isfinite(matrix.data)
    if rule not in NEGATIVE:
        wrong |= matrix.data < -TOLERANCE
    for k in np.flatnonzero(wrong).tolist():
        v, u = (topology.ids[i[k]] for i in (matrix.rows, matrix.indices))
        expected = "a finite number" if rule in NEGATIVE else "0 or more"
        raise TopologyError(
            f"{topology.name}: {rule} weight of {'itself' if u == v else repr(u)} in the row of "
            f"peer {v!r} is {matrix.data[k]:g}, expected {expected}"
        )


def _check_sums(sums: Vector, line: str, topology: Topology, rule: str) -> None:
    for i in np.flatnonzero(np.abs(sums - 1) > TOLERANCE).tolist():
        raise TopologyError(
            f"{topology.name}: {rule} weights: the {line} of peer {topology.ids[i]!r} sums to "
            f"{sums[i]:.9g}, expected 1"
        )
