"""One peer a round, at distances that are powers of two: exponential, hypercube, by machines."""

from __future__ import annotations

from math import isqrt, lcm
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossipml.errors import TopologyError
from gossipml.topology import edges
from gossipml.topology.schedules.base import Varying, alone, at_least, shifted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossipml.topology.edges import Links
    from gossipml.topology.matrix import MixingMatrix
    from gossipml.topology.schedules.base import Index


class OnePeerExponential(Varying):
    """Each peer sends to one other a round: in round t to i + 2^(t mod ⌈log2 n⌉) modulo n.

    Ying, Yuan, Chen, Hu, Pan, Yin 2021, arXiv:2110.13363. Weights are 1/2 and 1/2. For n a
    power of two, log2 n rounds average exactly, in any order of the hops.
    """

    kind = "one-peer-exponential"

    def __init__(self, ids: Sequence[str] | int) -> None:
        super().__init__(ids)
        self.hops = [1 << k for k in range((self.n - 1).bit_length())]

    @property
    def period(self) -> int:
        return max(1, len(self.hops))

    def links(self) -> Links:
        return edges.exponential(self.n)

    def make(self, round: int) -> MixingMatrix:
        if not self.hops:
            return alone(self.n)
        everyone = np.arange(self.n, dtype=np.int64)
        return shifted((everyone - self.hops[round]) % self.n, 0.5)


class OnePeerHypercube(Varying):
    """Each peer exchanges models with one other a round: in round t with i ⊕ 2^(t mod log2 n).

    The hypercube taken one dimension at a time (Shi, Li, Johansson, Johansson 2016,
    "Finite-time convergent gossiping"). Weights are 1/2 and 1/2; log2 n rounds average
    exactly, in any order.

    Raises
    ------
    TopologyError
        If n is no power of two.
    """

    kind = "one-peer-hypercube"
    symmetric: ClassVar[bool] = True

    def __init__(self, ids: Sequence[str] | int) -> None:
        super().__init__(ids)
        if self.n & (self.n - 1):
            low = 1 << (self.n.bit_length() - 1)
            raise TopologyError(
                f"{self.kind}: {self.n} peers, expected a power of two: {low}, {2 * low}"
            )

    @property
    def period(self) -> int:
        return max(1, self.n.bit_length() - 1)

    def links(self) -> Links:
        return edges.hypercube(self.n)

    def make(self, round: int) -> MixingMatrix:
        if self.n == 1:
            return alone(1)
        return shifted(np.arange(self.n, dtype=np.int64) ^ (1 << round), 0.5)


class InnerOuterExponential(Varying):
    """One-peer exponential on machines of ``local`` peers: one link out of each machine a round.

    Every peer sends inside its machine to the one 2^s places on; but for peer t mod ``local``,
    whose model goes to that place in the machine 2^h further on. So each round is a
    permutation, its weights 1/2 and 1/2 are doubly stochastic, and of a machine's models one
    crosses the slow network. After the inner-outer graphs of Ying, Yuan, Hu, Chen, Pan, Yin
    2021, "BlueFog", arXiv:2111.04287, where the peer that goes out takes no part inside.

    Parameters
    ----------
    local
        Peers of a machine, which are consecutive: the largest divisor of n up to √n if not
        given.

    Raises
    ------
    TopologyError
        If n is no multiple of ``local``.
    """

    kind = "inner-outer-exponential"

    def __init__(self, ids: Sequence[str] | int, *, local: int | None = None) -> None:
        super().__init__(ids)
        if local is None:
            local = next(d for d in range(isqrt(self.n), 0, -1) if self.n % d == 0)
        at_least(self.kind, "local", local, 1)
        if self.n % local:
            raise TopologyError(
                f"{self.kind}: local is {local}, expected a divisor of {self.n} peers"
            )
        self.local, self.machines = local, self.n // local
        self.options = {"local": local}
        self._inner = max(1, (local - 1).bit_length())
        self._outer = max(1, (self.machines - 1).bit_length())

    @property
    def period(self) -> int:
        if self.machines == 1:
            return self._inner
        return lcm(self._inner, self.local * self._outer)

    def links(self) -> Links:
        everyone = np.arange(self.n, dtype=np.int64)
        machine, slot = np.divmod(everyone, self.local)
        inside = [machine * self.local + (slot - (1 << s)) % self.local for s in range(self._inner)]
        links = [np.stack([senders, everyone], axis=1) for senders in inside]
        if self.machines > 1:
            round = np.arange(self.period, dtype=np.int64)[:, None]
            begin = np.arange(self.machines, dtype=np.int64)
            out = round % self.local
            to_machine = (begin + (1 << round // self.local % self._outer)) % self.machines
            to_slot = (out + (1 << round % self._inner)) % self.local
            ends = begin * self.local + out, to_machine * self.local + to_slot
            links.append(np.stack([end.ravel() for end in ends], axis=1))
        return np.concatenate(links)

    def make(self, round: int) -> MixingMatrix:
        if self.n == 1:
            return alone(1)
        return shifted(self._senders_in(round), 0.5)

    def _senders_in(self, round: int) -> Index:
        """Return whose model each peer receives."""
        machine, slot = np.divmod(np.arange(self.n, dtype=np.int64), self.local)
        from_slot = (slot - (1 << round % self._inner)) % self.local
        out = from_slot == round % self.local
        far = 1 << (round // self.local) % self._outer
        from_machine = np.where(out, machine - far, machine) % self.machines
        return np.asarray(from_machine * self.local + from_slot, np.int64)
