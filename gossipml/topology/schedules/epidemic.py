"""Epidemic learning: each model goes to a few random peers each round.

De Vos, Farhadkhani, Guerraoui, Kermarrec, Pires, Sharma 2023, "Epidemic Learning",
arXiv:2310.01972.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml import seeds
from gossipml.errors import TopologyError
from gossipml.topology.draws import draw_regular
from gossipml.topology.schedules.base import Varying, at_least, compressed
from gossipml.topology.schedules.random import regular, regular_contraction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gossipml.topology.matrix import MixingMatrix
    from gossipml.topology.schedules.base import Index


class EpidemicLocal(Varying):
    """EL-Local: each peer sends to ``s`` random others, and averages what it got with its own.

    How many models arrive differs, so rows of W sum to 1 but columns in expectation only: a
    round may move the mean. Push-sum methods split what they send in s + 1, which keeps it.

    Parameters
    ----------
    s
        Peers that each sends to, from 1: ⌈log2 n⌉ if not given.
    """

    kind = "epidemic-local"
    balanced: ClassVar[bool] = False

    def __init__(self, ids: Sequence[str] | int, *, s: int | None = None, seed: int = 0) -> None:
        super().__init__(ids)
        self.s, self.seed = _fanout(self.kind, self.n, s), seed
        self.options = {"s": self.s}

    def contraction(self) -> float:
        """Return E‖Wx − x̄‖² / ‖x − x̄‖², around the mean before the round."""
        if self.n == 1:
            return 0.0
        received = self.s / (self.n - 1)  # chance that one peer sends to another
        return (1 - (1 - received) ** self.n) / self.s - 1 / (self.n - 1)

    def make(self, round: int) -> MixingMatrix:
        receivers, senders = self._sent(round)
        arrived = np.bincount(receivers, minlength=self.n)
        return compressed(self.n, receivers, senders, 1 / arrived[receivers])

    def make_push(self, round: int) -> MixingMatrix:
        receivers, senders = self._sent(round)
        return compressed(self.n, receivers, senders, np.full(len(senders), 1 / (self.s + 1)))

    def _sent(self, round: int) -> tuple[Index, Index]:
        """Return receivers and senders, itself included, by ascending sender."""
        everyone = np.arange(self.n, dtype=np.int64)
        starts = seeds.stream(self.seed, "epidemic", everyone, round)
        chosen = _distinct(starts, self.s, self.n - 1)
        chosen += chosen >= everyone[:, None]  # anybody but itself
        receivers = np.concatenate([chosen, everyone[:, None]], axis=1)
        return receivers.ravel(), np.repeat(everyone, self.s + 1)


class EpidemicOracle(Varying):
    """EL-Oracle: a random graph in which all have ``s`` neighbours each round, weights 1/(s + 1).

    Parameters
    ----------
    s
        Neighbours of each peer, from 1; n·s must be even. If not given, ⌈log2 n⌉, or one less
        where that is odd and n too.

    Raises
    ------
    TopologyError
        If there is no such graph.
    """

    kind = "epidemic-oracle"
    symmetric: ClassVar[bool] = True

    def __init__(self, ids: Sequence[str] | int, *, s: int | None = None, seed: int = 0) -> None:
        super().__init__(ids)
        self.s, self.seed = _fanout(self.kind, self.n, s), seed
        if self.n * self.s % 2:
            if s is not None:
                raise TopologyError(
                    f"{self.kind}: {self.n} peers with s = {s}, expected an even product"
                )
            self.s -= 1
        self.options = {"s": self.s}

    def contraction(self) -> float:
        return regular_contraction(self.n, self.s)

    def make(self, round: int) -> MixingMatrix:
        rng = seeds.generator(self.seed, "epidemic", round)
        return regular(self.n, draw_regular(self.n, self.s, rng), self.s)


def _fanout(kind: str, n: int, s: int | None) -> int:
    if n == 1:
        return 0
    if s is None:
        return min(n - 1, (n - 1).bit_length())
    at_least(kind, "s", s, 1, n - 1)
    return s


def _distinct(starts: NDArray[np.uint64], count: int, high: int) -> Index:
    """Draw ``count`` different integers in [0, high) for each of many peers: (n, count).

    Floyd's algorithm: the j-th draw is among the first high − count + j + 1; if it was drawn
    before, the last of these is taken.
    """
    chosen = np.empty((len(starts), count), np.int64)
    bounds = np.arange(high - count, high) + 1
    bits = seeds.integers(starts, count, 1 << 31)
    for j, bound in enumerate(bounds.tolist()):
        drawn = bits[:, j] * bound >> 31
        before = (chosen[:, :j] == drawn[:, None]).any(axis=1)
        chosen[:, j] = np.where(before, bound - 1, drawn)
    return chosen
