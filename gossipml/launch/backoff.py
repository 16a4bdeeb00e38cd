"""How long a peer whose process died waits for the next: not at all, unless it dies at once again.

Looks at no clock and starts nothing.
"""

from __future__ import annotations

from collections import Counter

FIRST_S, MOST_S = 0.5, 30.0  # doubles from the first to the second
WELL_S = 1.0  # who has taken part for so long did not die of being started


class Backoff:
    """The pauses between the processes of each peer of a run."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}  # when the present process took part first, by peer
        self._deaths: Counter[int] = Counter()  # of processes in a row that did not last

    def started(self, peer: int) -> None:
        """Take note of a new process, which takes no part yet."""
        self._since.pop(peer, None)

    def takes_part(self, peer: int, now: float) -> None:
        """Take note that the present process is one of the run's peers, or is still."""
        self._since.setdefault(peer, now)

    def died(self, peer: int, now: float) -> float:
        """Return for how many seconds no other process is to take the place."""
        if now - self._since.get(peer, now) >= WELL_S:
            self._deaths[peer] = 0
        before = self._deaths[peer]
        self._deaths[peer] += 1
        return min(MOST_S, FIRST_S * 2.0 ** min(before - 1, 64)) if before else 0.0
