"""Graphs drawn anew each round, the same at every peer without a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml import seeds
from gossipml.errors import ConfigError
from gossipml.topology.draws import connected_random_regular
from gossipml.topology.schedules.base import Varying, compressed, shifted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossipml.topology.edges import Links
    from gossipml.topology.matrix import MixingMatrix
    from gossipml.topology.schedules.base import Index
    from gossipml.topology.topology import Topology


class RandomRegular(Varying):
    """A new connected random regular graph each round, weights 1/(degree + 1).

    All peers have the degree of the given topology. Any two may meet, so a peer needs a link
    to every other.

    Raises
    ------
    ConfigError
        If the degrees of the topology differ, or its links go one way.
    """

    kind = "random-regular"
    symmetric: ClassVar[bool] = True

    def __init__(self, topology: Topology, seed: int) -> None:
        super().__init__(topology.ids)
        degrees = topology.degrees
        if topology.directed or degrees.min() != degrees.max():
            raise ConfigError(
                'topology.schedule: "random-regular" draws graphs of one degree, expected '
                f'graph = "random-regular" or another regular one, found {topology.name!r}'
            )
        self.degree, self.seed = int(degrees[0]), seed

    def contraction(self) -> float:
        return regular_contraction(self.n, self.degree)

    def make(self, round: int) -> MixingMatrix:
        links = connected_random_regular(self.n, self.degree, self.seed, 1 + round)
        return regular(self.n, links, self.degree)


class RandomMatching(Varying):
    """Peers average in random pairs, drawn anew each round; of an odd number one is idle.

    Weights are 1/2 and 1/2. With n even, a round leaves ½ (1 − 1/(n − 1)) of the squared
    distance to the mean, in expectation: E[WᵀW] = E[W] as in Boyd, Ghosh, Prabhakar, Shah
    2006, "Randomized gossip algorithms".
    """

    kind = "random-matching"
    symmetric: ClassVar[bool] = True

    def __init__(self, ids: Sequence[str] | int, *, seed: int = 0) -> None:
        super().__init__(ids)
        self.seed = seed

    def contraction(self) -> float:
        if self.n == 1:
            return 0.0
        return 0.5 if self.n % 2 else 0.5 * (1 - 1 / (self.n - 1))

    def make(self, round: int) -> MixingMatrix:
        pairs = shuffled(self.n, self.seed, round)[: self.n // 2 * 2].reshape(-1, 2)
        partner = np.arange(self.n, dtype=np.int64)
        partner[pairs] = pairs[:, ::-1]
        return shifted(partner, 0.5)


def shuffled(n: int, seed: int, round: int) -> Index:
    """Return the peers in a random order that is a function of the seed and the round."""
    return np.argsort(seeds.stream(seed, "matching", np.arange(n), round), kind="stable")


def regular(n: int, links: Links, degree: int) -> MixingMatrix:
    """Return the weights 1/(degree + 1) on a graph of one degree."""
    everyone = np.arange(n, dtype=np.int64)
    columns = np.concatenate([links[:, 1], links[:, 0], everyone])
    order = np.argsort(columns, kind="stable")
    rows = np.concatenate([links[:, 0], links[:, 1], everyone])[order]
    return compressed(n, rows, columns[order], np.full(len(rows), 1 / (degree + 1)))


def regular_contraction(n: int, degree: int) -> float:
    """Return ‖E[WᵀW] − J‖ of random regular graphs.

    All peers are alike, so E[WᵀW] is a multiple of the identity on what differs from the
    mean, and its trace tells which: (E‖W‖² − 1) / (n − 1).
    """
    if n == 1:
        return 0.0
    return (1 - degree / (n - 1)) / (degree + 1)
