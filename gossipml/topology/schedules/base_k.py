"""The Base-(k+1) graph: exact averaging in finitely many rounds, whatever the number of peers.

Takezawa, Sato, Bao, Niwa, Yamada 2023, arXiv:2305.11420. A round is a few *pieces*, from
which its weights follow as arrays. Logarithms are integers: floating-point ones are wrong at
243 = 3^5.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeAlias

import numpy as np

from gossipml.topology.matrix import MixingMatrix
from gossipml.topology.schedules.base import Varying, at_least

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gossipml.topology.edges import Links
    from gossipml.topology.schedules.base import Index, Vector

    Entries: TypeAlias = tuple[Index, Index, Vector]


class Groups(NamedTuple):
    """Peers average in groups of ``width``, ``stride`` apart: one digit of their number."""

    begin: int
    size: int
    stride: int
    width: int

    def entries(self) -> Entries:
        """Return rows, columns and weights, without the diagonal."""
        number = np.arange(self.size, dtype=np.int64)
        digit = number // self.stride % self.width
        others = [(digit + step) % self.width for step in range(1, self.width)]
        columns = [number + (other - digit) * self.stride for other in others]
        rows = np.tile(number, len(others))
        weights = np.full(len(rows), 1 / self.width)
        return rows + self.begin, np.concatenate(columns) + self.begin, weights


class Swap(NamedTuple):
    """Each of the last peers swaps with one peer of each of ``copies`` equal parts before them."""

    begin: int  # where the first part begins
    copies: int
    span: int  # peers of a part
    late: int  # where the last peers begin
    peers: int  # how many they are
    weight: float  # of each link

    def entries(self) -> Entries:
        """Return rows, columns and weights, without the diagonal."""
        late = np.tile(np.arange(self.late, self.late + self.peers, dtype=np.int64), self.copies)
        part = np.repeat(np.arange(self.copies, dtype=np.int64), self.peers)
        early = self.begin + part * self.span + late - self.late
        rows, columns = np.concatenate([late, early]), np.concatenate([early, late])
        return rows, columns, np.full(len(rows), self.weight)


class Round(NamedTuple):
    """Pieces on the first ``span`` peers, repeated in every ``span`` peers."""

    pieces: tuple[Groups | Swap, ...]
    span: int

    def entries(self, n: int) -> Entries:
        """Return rows, columns and weights for n peers, without the diagonal."""
        parts = [piece.entries() for piece in self.pieces]
        rows, columns, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
        starts = np.arange(0, n, self.span, dtype=np.int64)[:, None]
        return (rows + starts).ravel(), (columns + starts).ravel(), np.tile(weights, len(starts))


def base_graph(n: int, k: int) -> list[Round]:
    """Return the rounds of the Base-(k+1) graph (algorithm 3).

    n = p·q, where p has no prime factor above k + 1 and q none up to it: the simple graph on
    each of p parts, then a hyper-hypercube across them; or the simple graph on all, if shorter.
    """
    p, q = 1, n
    for prime in range(2, k + 2):
        while q % prime == 0:
            p, q = p * prime, q // prime
    simple = [Round(pieces, n) for pieces in _simple(n, k)]
    if q == 1:
        return simple
    parted = [Round(pieces, q) for pieces in _simple(q, k)]
    parted += [Round((piece,), n) for piece in _hyper_hypercube(0, n, _factors(p, k) or (), q)]
    return parted if len(parted) < len(simple) else simple


def _simple(n: int, k: int) -> list[tuple[Groups | Swap, ...]]:
    """Return the rounds of the simple Base-(k+1) graph (algorithm 2).

    V_1, V_2, … have a_l (k+1)^{p_l} peers each, the digits of n to the base k + 1. All V_l
    average inside; then round q lets every later peer take V_q's share from a_q of its peers,
    so that each of the a_q parts of V_q has the mean of all, which it spreads inside.
    """
    factors = _factors(n, k)
    if factors is not None:
        return [(piece,) for piece in _hyper_hypercube(0, n, factors)]
    base = k + 1
    parts, begin = [], 0
    for digit, power in _digits(n, base):
        parts.append((begin, digit, power))
        begin += digit * base**power
    inside = []
    for begin, digit, power in parts:
        size = digit * base**power
        inside.append(_hyper_hypercube(begin, size, _factors(size, k) or ()))
    first = len(inside[0])
    rounds: list[tuple[Groups | Swap, ...]] = []
    for t in range(first + 1 + parts[0][2]):
        if t < first:
            rounds.append(tuple(steps[t] for steps in inside if t < len(steps)))
            continue
        pieces: list[Groups | Swap] = []
        q = t - first
        if q < len(parts) - 1:
            begin, digit, power = parts[q]
            late = begin + digit * base**power
            share = (late - begin) / (n - begin)
            pieces.append(Swap(begin, digit, base**power, late, n - late, share / digit))
        for earlier, (begin, digit, power) in enumerate(parts[: min(q, len(parts) - 1)]):
            step = q - 1 - earlier
            if step < power:
                pieces.append(Groups(begin, digit * base**power, base**step, base))
        rounds.append(tuple(pieces))
    return rounds


def _hyper_hypercube(
    begin: int, size: int, factors: Iterable[int], stride: int = 1
) -> list[Groups]:
    """Return rounds that average exactly, one for each factor (algorithm 1)."""
    rounds = []
    for width in factors:
        rounds.append(Groups(begin, size, stride, width))
        stride *= width
    return rounds


def _factors(n: int, k: int) -> tuple[int, ...] | None:
    """Return as few factors of n as there are, all up to k + 1; None if there are none."""
    if n == 1:
        return ()
    best: tuple[int, ...] | None = None
    for factor in range(min(k + 1, n), 1, -1):
        if n % factor == 0:
            rest = _factors(n // factor, k)
            if rest is not None and (best is None or len(rest) + 1 < len(best)):
                best = (factor, *rest)
    return best


def _digits(n: int, base: int) -> list[tuple[int, int]]:
    """Return the digits of n that are not zero, with their powers, the highest first.

    >>> _digits(25, 3)
    [(2, 2), (2, 1), (1, 0)]
    """
    found, power = [], 0
    while n:
        n, digit = divmod(n, base)
        if digit:
            found.append((digit, power))
        power += 1
    return found[::-1]


class BaseK(Varying):
    """The Base-(k+1) graph: at most ``k`` neighbours a round, exact after finitely many rounds.

    Takezawa, Sato, Bao, Niwa, Yamada 2023, "Beyond Exponential Graph", arXiv:2305.11420: exact
    for every n, after at most 2 log_{k+1} n + 2 rounds.

    Parameters
    ----------
    k
        The most neighbours of a peer in a round, from 1.
    """

    kind = "base-k"
    symmetric: ClassVar[bool] = True

    def __init__(self, ids: Sequence[str] | int, *, k: int = 1) -> None:
        super().__init__(ids)
        at_least(self.kind, "k", k, 1)
        self.k = k
        self.options = {"k": k}

    @cached_property
    def rounds(self) -> list[Round]:
        """One period."""
        return base_graph(self.n, min(self.k, max(1, self.n - 1)))

    @property
    def period(self) -> int:
        return max(1, len(self.rounds))

    def links(self) -> Links:
        none = np.empty((0, 2), np.int64)
        used = [np.stack(round.entries(self.n)[:2], axis=1) for round in self.rounds]
        return np.concatenate([none, *used])

    def make(self, round: int) -> MixingMatrix:
        everyone = np.arange(self.n, dtype=np.int64)
        rows, columns, weights = everyone[:0], everyone[:0], np.empty(0)
        if self.rounds:
            rows, columns, weights = self.rounds[round].entries(self.n)
        kept = 1 - np.bincount(rows, weights, minlength=self.n)
        return MixingMatrix.from_entries(
            self.n,
            np.concatenate([rows, everyone]),
            np.concatenate([columns, everyone]),
            np.concatenate([weights, kept]),
        )
