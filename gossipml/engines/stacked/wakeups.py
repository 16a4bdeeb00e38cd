"""When peers wake, whom they meet, and which of these events may be played at once.

Nothing here depends on the models: times and partners are functions of the seed alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from gossipml.peer.pace import Wakeups

    Index = NDArray[np.int64]
    Numbers = NDArray[np.float64]


class Alarm:
    """The next wake-up of every peer, and how often each has woken.

    Parameters
    ----------
    wakeups : Wakeups
    seed, n : int
    due, counts : ndarray (n,), optional
        Where to go on from.
    """

    def __init__(
        self,
        wakeups: Wakeups,
        seed: int,
        n: int,
        due: Numbers | None = None,
        counts: Index | None = None,
    ) -> None:
        self.wakeups, self.seed = wakeups, seed
        self.means = wakeups.means(seed, n)
        self.due = wakeups.first(seed, self.means) if due is None else due.copy()
        self.counts = np.zeros(n, np.int64) if counts is None else counts.copy()

    def until(self, end: float) -> tuple[Index, Numbers, Index]:
        """Return all wake-ups before ``end`` in order of time: (peers, times, counts)."""
        peers, times, counts = [], [], []
        while (late := np.flatnonzero(self.due < end)).size:
            peers.append(late)
            times.append(self.due[late])
            counts.append(self.counts[late])
            self.counts[late] += 1
            self.due[late] += self.wakeups.pauses(self.seed, self.means, late, self.counts[late])
        if not peers:
            return np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64)
        who, when, count = np.concatenate(peers), np.concatenate(times), np.concatenate(counts)
        order = np.lexsort((who, when))
        return who[order], when[order], count[order]


def lone_batches(peers: Index, indptr: Index, indices: Index) -> Iterator[Index]:
    """Yield batches of events, no two of them at the same peer or at neighbours.

    Playing batch after batch is the same as playing one event after the other: an event is
    in a batch when it comes before all that are left at its own peer and its neighbours.

    Parameters
    ----------
    peers
        The peer of each event, in order of time.
    indptr, indices
        Compressed rows of who reads from whom or is read, the peer itself included.
    """
    n = len(indptr) - 1
    order, begins = _by_peer(peers, n)
    ends = np.append(begins[1:], len(peers))
    place = begins.copy()  # in ``order``, of the first event left of each peer
    active = np.flatnonzero(place < ends)
    head = np.full(n, len(peers), np.int64)
    head[active] = order[place[active]]
    while active.size:
        soonest = np.minimum.reduceat(head[indices], indptr[:-1])
        ready = active[head[active] == soonest[active]]
        yield head[ready]
        place[ready] += 1
        left = ready[place[ready] < ends[ready]]
        head[ready] = len(peers)
        head[left] = order[place[left]]
        active = active[head[active] < len(peers)]


def pair_batches(first: Index, second: Index, n: int) -> Iterator[Index]:
    """Yield batches of events between two peers, no two of them with a peer in common."""
    left = np.arange(len(first))
    while left.size:
        earliest = np.empty(n, np.int64)
        both = np.stack([first[left], second[left]], axis=1)
        earliest[both[::-1].ravel()] = np.repeat(left[::-1], 2)  # the last write is the soonest
        ready = (earliest[both[:, 0]] == left) & (earliest[both[:, 1]] == left)
        yield left[ready]
        left = left[~ready]


def _by_peer(peers: Index, n: int) -> tuple[Index, Index]:
    """Return the events sorted by peer and then time, and where each peer's begin."""
    order = np.argsort(peers, kind="stable")
    counts = np.bincount(peers, minlength=n)
    return order, np.cumsum(counts) - counts
