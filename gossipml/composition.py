"""Whether a method and a network go together, and what the one needs to know of the other."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from gossipml.algorithms import Algorithm
    from gossipml.topology import MixingMatrix, Schedule, Topology


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
    filled = copy.copy(algorithm)
    for key in missing:
        setattr(filled, key, _KNOWN[key](network))
    return filled


def check_composition(algorithm: Algorithm, network: Network) -> None:
    """Refuse what theory forbids, with the reason."""
    facts, matrix = algorithm.facts, network.matrix
    name = algorithm.name or type(algorithm).__name__
    weights = f"{network.weights!r} on {network.topology.name}"
    if facts.pooled and network.topology.n > 1:
        raise ConfigError(
            f"algorithm.name: {name} wants all data in one place, found "
            f"{network.topology.n} peers; use a graph of one peer"
        )
    if facts.static and not getattr(network.schedule, "static", True):
        raise ConfigError(
            f"algorithm.name: {name} needs the same mixing weights in every round, for what it "
            'remembers of its neighbours was made with them; use topology.schedule = "static"'
        )
    if facts.symmetric and not matrix.is_symmetric:
        raise ConfigError(
            f"algorithm.name: {name} needs symmetric mixing weights, but {weights} are not; "
            "use an undirected graph"
        )
    if facts.row_stochastic and not matrix.is_row_stochastic:
        raise ConfigError(
            f"algorithm.name: {name} averages with rows that sum to 1, but those of {weights} do "
            'not; use topology.weights = "row-stochastic"'
        )
    if facts.doubly_stochastic and not (matrix.is_row_stochastic and matrix.is_column_stochastic):
        raise ConfigError(
            f"algorithm.name: {name} needs doubly stochastic mixing weights, but {weights} are "
            "not; use metropolis"
        )
    n = network.topology.n
    if facts.complete and (len(matrix.data) != n * n or abs(matrix.data * n - 1).max() > 1e-9):
        raise ConfigError(
            f"algorithm.name: {name} needs every peer to hear every other with weight 1/{n}, but "
            f'{weights} is not so; use topology.graph = "complete"'
        )
    if facts.least_eigenvalue > -1 and _lambda_min(network) < facts.least_eigenvalue:
        raise ConfigError(
            f"algorithm.name: {name} diverges unless all eigenvalues of W are above "
            f"{facts.least_eigenvalue:.3g}, but the smallest of {weights} is "
            f'{_lambda_min(network):.3g}; use topology.weights = "lazy-metropolis"'
        )


def _lambda_min(network: Network) -> float:
    from gossipml.topology import lambda_min

    return lambda_min(network.matrix)


def _lambda_2(network: Network) -> float:
    """Return the largest eigenvalue of W but for 1: the gap of (I + W)/2 is (1 − λ2)/2."""
    from gossipml.topology import mixing_matrix, spectral_gap

    if network.topology.n == 1:
        return 0.0
    W = mixing_matrix(network.topology, network.matrix)
    return 1 - 2 * spectral_gap((np.eye(len(W)) + W) / 2)


def _peers(network: Network) -> int:
    return network.topology.n


_KNOWN = {"lambda_2": _lambda_2, "lambda_min": _lambda_min, "peers": _peers}
