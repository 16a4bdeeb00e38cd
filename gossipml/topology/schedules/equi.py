"""EquiTopo: graphs of random shifts, which mix at a rate that does not depend on n.

Song, Li, Jin, Shi, Yan, Yin, Yuan 2022, "Communication-Efficient Topologies for Decentralized
Learning with O(1) Consensus Rate", arXiv:2210.07881. Their basis are the n − 1 matrices
A_u = (n−1)/n S_u + 1/n I, where S_u takes the model of the peer u places before.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml import seeds
from gossipml.errors import TopologyError
from gossipml.topology.edges import tidy
from gossipml.topology.matrix import MixingMatrix
from gossipml.topology.schedules.base import Varying, alone, at_least, shifted
from gossipml.topology.schedules.static import Static
from gossipml.topology.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossipml.topology.edges import Links
    from gossipml.topology.schedules.base import Index, Vector

_DRAWS = 100


class DirectedEquiStatic(Static):
    """D-EquiStatic: W = (1/M) Σ A_u over ``M`` random shifts u, the same in every round.

    Parameters
    ----------
    M
        Shifts, from 1 to n − 1: ⌈log2 n⌉ if not given. They are drawn again until the graph is
        connected.
    """

    kind: ClassVar[str] = "d-equi-static"
    both_ways: ClassVar[bool] = False

    def __init__(self, ids: Sequence[str] | int, *, M: int | None = None, seed: int = 0) -> None:
        ids = tuple(map(str, range(ids))) if isinstance(ids, int) else tuple(ids)
        n = len(ids)
        shifts = _connected_shifts(self.kind, n, M, seed)
        off = np.bincount(shifts, minlength=n) * ((n - 1) / n / max(1, len(shifts)))
        if self.both_ways:
            off = (off + np.roll(off[::-1], 1)) / 2  # what comes from u before, and from u after
        used = np.flatnonzero(off)
        everyone = np.arange(n, dtype=np.int64)
        senders = (everyone[:, None] - used) % n
        links = np.stack([senders.ravel(), np.repeat(everyone, len(used))], axis=1)
        graph = Topology(
            name=self.kind,
            ids=ids,
            edges=tidy(n, links, directed=not self.both_ways),
            directed=not self.both_ways,
        )
        matrix = MixingMatrix.from_entries(
            n,
            np.concatenate([links[:, 1], everyone]),
            np.concatenate([links[:, 0], everyone]),
            np.concatenate([np.tile(off[used], n), np.full(n, 1 - off.sum())]),
        )
        super().__init__(graph, matrix)

    @property
    def _push_mixing(self) -> MixingMatrix:
        return self._mixing  # its columns sum to 1


class UndirectedEquiStatic(DirectedEquiStatic):
    """U-EquiStatic: (W + Wᵀ)/2 of D-EquiStatic: symmetric, with up to 2 ``M`` neighbours."""

    kind: ClassVar[str] = "u-equi-static"
    both_ways: ClassVar[bool] = True


class DirectedEquiDyn(Varying):
    """OD-EquiDyn: W = (1−η) I + η A_u, u drawn anew each round: one peer a round.

    Parameters
    ----------
    eta
        η, between 0 and 1.
    M
        Draw from a basis of so many random shifts; from all n − 1 if not given, of which any
        two peers may meet.
    """

    kind = "od-equi-dyn"

    def __init__(
        self, ids: Sequence[str] | int, *, eta: float = 0.5, M: int | None = None, seed: int = 0
    ) -> None:
        super().__init__(ids)
        if not 0 < eta < 1:
            raise TopologyError(f"{self.kind}: eta is {eta:g}, expected between 0 and 1")
        self.eta, self.seed = eta, seed
        self.basis = None if M is None else _connected_shifts(self.kind, self.n, M, seed)
        self.options = {"eta": eta, "M": M}
        self.off = eta * (self.n - 1) / self.n

    def links(self) -> Links | None:
        if self.basis is None:
            return None
        everyone = np.arange(self.n, dtype=np.int64)
        receivers = (everyone[:, None] + self.basis) % self.n
        return np.stack([np.repeat(everyone, len(self.basis)), receivers.ravel()], axis=1)

    def contraction(self) -> float:
        """Return (1−b)² + b² + 2 (1−b) b max λ(E[P]): E[P] averages over permutations P."""
        if self.n == 1:
            return 0.0
        mean = np.zeros(self.n)
        for u in self._shifts():
            self._add_mean(mean, int(u))
        most = float(np.fft.fft(mean / len(self._shifts())).real[1:].max())
        return (1 - self.off) ** 2 + self.off**2 + 2 * (1 - self.off) * self.off * most

    def make(self, round: int) -> MixingMatrix:
        if self.n == 1:
            return alone(1)
        which, offset = seeds.uniforms(seeds.stream(self.seed, "equi", round), 2).tolist()
        shifts = self._shifts()
        u = int(shifts[int(which * len(shifts))])
        return shifted(self._senders_at(u, int(offset * self.n)), self.off)

    def _shifts(self) -> Index:
        return np.arange(1, self.n, dtype=np.int64) if self.basis is None else self.basis

    def _senders_at(self, u: int, offset: int) -> Index:
        del offset
        return (np.arange(self.n, dtype=np.int64) - u) % self.n

    def _add_mean(self, mean: Vector, u: int) -> None:
        """Add the first row of E[P] for a shift."""
        mean[u] += 1


class UndirectedEquiDyn(DirectedEquiDyn):
    """OU-EquiDyn: peers u places apart exchange models in pairs, u drawn anew each round.

    The shift u falls into cycles. Along each, every other link is used, from a random one on,
    so that of a cycle of odd length one peer is idle. Weights are those of OD-EquiDyn.
    """

    kind = "ou-equi-dyn"
    symmetric: ClassVar[bool] = True

    def _senders_at(self, u: int, offset: int) -> Index:
        """Return everyone's partner: peer r + m u of a cycle meets its (m ± 1)-th."""
        number = np.arange(self.n, dtype=np.int64)
        common = gcd(u, self.n)
        length = self.n // common
        place = (number // common * pow(u // common, -1, length) + offset) % length
        step = np.where(place % 2 == 0, u, -u)
        if length % 2:
            step[place == length - 1] = 0
        return (number + step) % self.n

    def _add_mean(self, mean: Vector, u: int) -> None:
        length = self.n // gcd(u, self.n)
        used = (length // 2) / length
        mean[u] += used
        mean[-u % self.n] += used
        mean[0] += length % 2 / length


def _connected_shifts(kind: str, n: int, count: int | None, seed: int) -> Index:
    """Draw different shifts until their graph is connected: they and n have no common divisor."""
    if n == 1:
        return np.empty(0, np.int64)
    if count is None:
        count = min(n - 1, (n - 1).bit_length())
    at_least(kind, "M", count, 1, n - 1)
    for attempt in range(_DRAWS):
        start = seeds.stream(seed, "equi", 1 << 40, attempt)  # apart from those of rounds
        shifts = 1 + seeds.choice(start, count, n - 1)
        if gcd(n, *shifts.tolist()) == 1:
            return shifts
    raise TopologyError(f"{kind}: {_DRAWS} draws of {count} shifts were all disconnected; raise M")
