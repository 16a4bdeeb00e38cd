"""What a peer needs to go on as if it had never stopped, and how many of it to keep.

Peers of a run in step are a few rounds apart, and one can be killed while it writes. So each
keeps several, and all go on from the newest round of which everybody has one that is whole and
was reached with no neighbour missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gossipml.topology import Schedule

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What a peer has done besides its model: sums since round 0."""

    elapsed_s: float = 0.0
    gradients: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    payload_bytes_sent: int = 0


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One peer after some rounds.

    Attributes
    ----------
    peer
        Its id.
    round
        Rounds completed.
    clean
        Whether every neighbour's message of all these rounds was there: only then is it what
        an undisturbed run would have.
    state
        All that the method remembers, by name.
    done
        What it took.
    """

    peer: str
    round: int
    clean: bool
    state: Mapping[str, Array]
    done: Traffic = field(default_factory=Traffic)


def generations(schedule: Schedule, peer: int, every: int) -> int:
    """Return how many checkpoints a peer keeps, so that all peers share a round.

    Peers at a distance of d links are at most d rounds apart, and any two at most twice as far
    as the farthest is from this one.
    """
    apart = 2 * _farthest(schedule, peer)
    return 2 + ceil(apart / max(1, every))


def _farthest(schedule: Schedule, peer: int) -> int:
    """Return over how many links the farthest peer is."""
    seen, edge, steps = {peer}, [peer], 0
    while True:
        edge = sorted({j for i in edge for j in schedule.neighbours(i)} - seen)
        if not edge:
            return steps
        seen.update(edge)
        steps += 1


def outdated(kept: Iterable[tuple[int, bool]], most: int) -> list[tuple[int, bool]]:
    """Return which of the (round, clean) checkpoints may go.

    The newest ``most`` clean ones stay however long ago they were, and the newest of all.

    >>> outdated([(1, True), (2, True), (3, True), (4, False), (5, False)], 2)
    [(1, True), (4, False)]
    """
    ordered = sorted(kept)
    stay = {*[one for one in ordered if one[1]][-most:], *ordered[-1:]}
    return [one for one in ordered if one not in stay]


def common_round(kept: Iterable[Iterable[tuple[int, bool]]]) -> int | None:
    """Return the newest round of which every peer has a clean checkpoint; None if there is none.

    >>> common_round([[(10, True), (20, True)], [(10, True), (20, False)]])
    10
    """
    rounds = [{round for round, clean in one if clean} for one in kept]
    return max(set.intersection(*rounds), default=None) if rounds else None
