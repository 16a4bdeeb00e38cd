"""What theory says of a graph and its weights before anything runs."""

from __future__ import annotations

from math import ceil, log, log1p
from typing import TYPE_CHECKING, Any

import msgspec

from gossipml.topology.spectrum import known_neighbors, lambda_min, spectral_gap
from gossipml.topology.weights import mixing

if TYPE_CHECKING:
    from gossipml.topology.topology import Topology

GAMMAS = (0.9, 0.99)
"""Memories for which the effective number of neighbours is told: 10 rounds and 100."""

_DIAMETER = 2000  # peers up to which all shortest paths take about a second


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
    lambda_min: float | None  # None unless W is symmetric
    effective_neighbours: dict[str, float | None]  # by gamma; None where it takes too long
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
        lambda_min=lambda_min(weights) if weights.is_symmetric else None,
        effective_neighbours={str(g): known_neighbors([weights], g) for g in GAMMAS},
        weights=rule if isinstance(rule, str) else "own",
        exact_after_rounds=exact_after(Static(topology, weights)),
        round_degree=degree,
        W=weights.dense().tolist() if matrix else msgspec.UNSET,
    )


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
