"""Whether a method and a network go together, and what the one needs to know of the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from gossipml.algorithms import Algorithm
    from gossipml.topology import MixingMatrix, Schedule, Topology

_FEW = 2000  # peers whose weights are found in a second
ROUNDING = 1e-9
"""To how much eigenvalues are known."""


@dataclass(frozen=True)
class Network:
    """A graph with its mixing weights."""

    topology: Topology
    matrix: MixingMatrix
    schedule: Schedule
    weights: str


def composed(algorithm: Algorithm, network: Network) -> Algorithm:
    """Return the method for this network, with what it takes from it filled in.

    Raises
    ------
    ConfigError
        What theory forbids, with the reason.
    """
    check_composition(algorithm, network)
    missing = [key for key in algorithm.facts.given if getattr(algorithm, key) is None]
    if not missing:
        return algorithm
    known: dict[str, Any] = {key: _KNOWN[key](network) for key in missing}
    return replace(algorithm, **known)


def check_composition(algorithm: Algorithm, network: Network) -> None:
    """Refuse what theory forbids, with the reason."""
    facts, matrix, schedule = algorithm.facts, network.matrix, network.schedule
    varies = not getattr(schedule, "static", True)
    name = algorithm.name or type(algorithm).__name__
    weights = f"{network.weights!r} on {network.topology.name}"
    if facts.pooled and network.topology.n > 1:
        raise ConfigError(
            f"algorithm.name: {name} wants all data in one place, found "
            f"{network.topology.n} peers; use a graph of one peer"
        )
    if facts.static and varies:
        raise ConfigError(
            f"algorithm.name: {name} needs the same mixing weights in every round, for what it "
            'remembers of its neighbours was made with them; use topology.schedule = "static"'
        )
    if facts.tree and network.topology.links != network.topology.n - 1:
        raise ConfigError(
            f"algorithm.name: {name} needs a graph without cycles, but {network.topology.name} has "
            f"{network.topology.links} links between {network.topology.n} peers; "
            'use topology.graph = "tree", "path" or "star"'
        )
    if facts.symmetric and not (schedule.symmetric if varies else matrix.is_symmetric):
        raise ConfigError(
            f"algorithm.name: {name} needs symmetric mixing weights, but {weights} are not; "
            "use an undirected graph"
        )
    if facts.row_stochastic and not (varies or matrix.rows_sum_to_one):
        raise ConfigError(
            f"algorithm.name: {name} averages with rows that sum to 1, but those of {weights} do "
            'not; use topology.weights = "row-stochastic"'
        )
    if facts.doubly_stochastic and varies and not (schedule.balanced or facts.in_expectation):
        raise ConfigError(
            f"algorithm.name: {name} needs doubly stochastic mixing weights in every round, but "
            f"the columns of {schedule.kind} sum to 1 in expectation only; use another schedule, "
            'such as "epidemic-oracle"'
        )
    doubly = matrix.rows_sum_to_one and matrix.columns_sum_to_one
    if facts.doubly_stochastic and not (varies or doubly):
        raise ConfigError(
            f"algorithm.name: {name} needs doubly stochastic mixing weights, but {weights} are "
            f"not{_counted(network)}; use metropolis"
        )
    n = network.topology.n
    if facts.complete and (len(matrix.data) != n * n or abs(matrix.data * n - 1).max() > 1e-9):
        raise ConfigError(
            f"algorithm.name: {name} needs every peer to hear every other with weight 1/{n}, but "
            f'{weights} is not so; use topology.graph = "complete"'
        )
    if facts.least_eigenvalue is not None and not _all_above(matrix, facts.least_eigenvalue):
        raise ConfigError(
            f"algorithm.name: {name} diverges unless all eigenvalues of W are above "
            f"{facts.least_eigenvalue:.3g}, but the smallest of {weights} is "
            f'{_lambda_min(network):.3g}; use topology.weights = "lazy-metropolis"'
        )


def _counted(network: Network) -> str:
    """Return what averaging with rows alone that sum to 1 would do: weigh the peers."""
    from gossipml.topology import stationary_distribution

    matrix, ids = network.matrix, network.topology.ids
    if not matrix.rows_sum_to_one or matrix.n > _FEW:
        return ""
    pi = stationary_distribution(matrix)
    least, most = int(pi.argmin()), int(pi.argmax())
    return (
        f": it would minimise a weighted objective, with weights from {pi[least]:.3g} (peer "
        f"{ids[least]!r}) to {pi[most]:.3g} (peer {ids[most]!r}) where 1/{matrix.n} is meant"
    )


def _all_above(matrix: MixingMatrix, least: float) -> bool:
    """Return whether all eigenvalues of a symmetric W are above ``least``."""
    from gossipml.topology import lambda_min

    own = matrix.data[matrix.rows == matrix.indices]
    if matrix.is_row_stochastic and 2 * own.min() - 1 > least:  # Gershgorin's circles
        return True
    return lambda_min(matrix) > least + ROUNDING


def _lambda_2(network: Network) -> float:
    """Return the largest eigenvalue of W but for 1, or a little more.

    The spectral gap of (I + W)/2, which has no negative eigenvalues, is (1 − λ2)/2. Rounding
    keeps the bits of a method from depending on how many threads found the eigenvalue.
    """
    from gossipml.topology import MixingMatrix, spectral_gap

    W = network.matrix
    if W.n == 1:
        return 0.0
    lazy = W.data / 2 + np.where(W.rows == W.indices, 0.5, 0)
    gap = spectral_gap(MixingMatrix(W.n, W.indptr, W.indices, lazy))
    return round(1 - 2 * gap + ROUNDING, 9)


def _lambda_min(network: Network) -> float:
    """Return the smallest eigenvalue of W, or a little less."""
    from gossipml.topology import lambda_min

    return 0.0 if network.matrix.n == 1 else round(lambda_min(network.matrix) - ROUNDING, 9)


def _peers(network: Network) -> int:
    return network.topology.n


_KNOWN = {"lambda_2": _lambda_2, "lambda_min": _lambda_min, "peers": _peers}
