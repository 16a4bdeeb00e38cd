"""All peers side by side: what synchronous rounds and single events have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from gossipml.engines.stacked.allocation import keep_freed_memory
from gossipml.engines.stacked.memory import default_threads
from gossipml.engines.stacked.team import Team

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from gossipml.engines.stacked.setup import Checkpoint, StackSetup

    Array = NDArray[Any]

COUNTS = ("payload_sent", "bytes_sent", "bytes_received")

T = TypeVar("T")
S = TypeVar("S")


class Stack(ABC):
    """All peers, in the middle of a run.

    Parameters
    ----------
    setup : StackSetup
    resume : Checkpoint, optional
        Where to go on from.
    threads : int, optional
        How many pieces are worked on at once; by default as many as there are cores.
        No result depends on it.

    Attributes
    ----------
    payload_sent, bytes_sent, bytes_received : ndarray of int64, shape (n,)
        Model bytes by sender over all receivers, and bytes with the messages' headers.
    played : int
        Rounds played here, over all peers.
    """

    def __init__(
        self, setup: StackSetup, *, resume: Checkpoint | None = None, threads: int | None = None
    ) -> None:
        if resume is not None:
            resume.check(setup)
        keep_freed_memory()
        self.setup = setup
        self.threads = threads or default_threads()
        self._team = Team(self.threads)
        counts = resume.counts if resume else {name: np.zeros(setup.n, np.int64) for name in COUNTS}
        self.payload_sent, self.bytes_sent, self.bytes_received = (
            counts[name].copy() for name in COUNTS
        )
        self.played = 0

    def close(self) -> None:
        """End the threads."""
        self._team.close()

    def each(self, work: Callable[[S], T], items: Iterable[S]) -> list[T]:
        """Return the results of ``work`` on each item, worked on by all threads."""
        return self._team.each(work, items)

    def counts(self) -> dict[str, Array]:
        """Return copies of what was counted so far, for a checkpoint."""
        counts = {name: getattr(self, name).copy() for name in COUNTS}
        return {**counts, "gradients": self.gradients()}

    @abstractmethod
    def play(self, round: int) -> None:
        """Play one round of all peers, or as many events as make one on average."""

    @abstractmethod
    def checkpoint(self, round: int) -> Checkpoint:
        """Return all that is needed to go on after ``round`` rounds, to be written at once.

        Its state is not a copy, which a million peers would have no room for: the next round
        changes it.
        """

    @abstractmethod
    def gradients(self) -> NDArray[np.int64]:
        """Return how many gradients each peer has computed."""

    @abstractmethod
    def chunks(self) -> list[Array]:
        """Return the models in pieces (k, P), in peer order."""

    @abstractmethod
    def models(self, peers: NDArray[np.int64]) -> Array:
        """Return the models of some peers, given in ascending order."""

    @abstractmethod
    def parameters(self) -> Array:
        """Return the models (n, P), and let go of all else."""
