"""What a peer is given before it starts, and what it hands back: plain records."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
from numpy.typing import NDArray

from gossipml.aggregation import Aggregator, Mean
from gossipml.algorithms.describing import settles
from gossipml.compression import Compressor, Identity
from gossipml.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gossipml.algorithms import Algorithm, Problem, State
    from gossipml.peer.checkpoint import Checkpoint
    from gossipml.peer.pace import OwnPace
    from gossipml.topology import Schedule

Array: TypeAlias = NDArray[Any]

SMALL = 64 * 2**10  # bytes of a message


class Timing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Deadlines of a peer, in seconds on the engine's clock. No wait is without one."""

    heartbeat_s: float = 0.2  # say something at least this often
    dead_after_s: float = 0.8  # a connection silent for so long is closed and dialled again
    connect_timeout_s: float = 60.0  # from the start until a neighbour must have appeared
    reconnect_timeout_s: float = 3.0  # a neighbour away for so long in a run is given up
    round_timeout_s: float = 120.0  # a connected neighbour that makes no progress is given up
    skip_after_s: float | None = None  # a round goes on without who is so late; None: it waits
    hello_timeout_s: float = 2.0  # a stranger must introduce itself within this
    stop_grace_s: float = 1.0  # after a signal the current round may take so long
    linger_s: float = 5.0  # at the end, wait so long for slower neighbours to say goodbye
    max_isolated_rounds: int = 10  # rounds in a row without any neighbour before giving up

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}, expected a positive number")
        if self.dead_after_s < 2 * self.heartbeat_s:
            raise ValueError(
                f"dead_after_s is {self.dead_after_s}, expected at least twice heartbeat_s "
                f"({self.heartbeat_s})"
            )


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What both ends of an edge must agree on; compared in HELLO, field by field."""

    run: str
    topology: str
    algorithm: str


@dataclass(frozen=True, kw_only=True)
class PeerSetup:
    """One peer's part of an experiment, ready to run."""

    index: int  # position in ascending order of ids: seeds and sums go by it
    ids: tuple[str, ...]  # of all peers
    agreement: Agreement
    seed: int
    rounds: int
    evaluate_every: int
    schedule: Schedule
    algorithm: Algorithm
    problem: Problem
    x0: Array  # (P,)
    test: tuple[Array, Array]  # samples and targets that the model is measured on
    compressor: Compressor = field(default_factory=Identity)
    aggregator: Aggregator = field(default_factory=Mean)
    timing: Timing = field(default_factory=Timing)
    allow_isolation: bool = False
    stop_diverged: bool = True
    pace: OwnPace | None = None  # None: in step with the neighbours
    missed: Literal["settle", "naive"] = "settle"  # what to do about messages that are missed
    checkpoint_every: int = 0  # rounds; 0: never
    begin: Checkpoint | None = None  # None: from the start

    def __post_init__(self) -> None:
        if self.begin is None:
            return
        start = self.algorithm.start(self.x0, len(self.schedule.neighbours(self.index)))
        found, expected = _shapes(self.begin.state), _shapes(start.arrays())
        if found != expected:
            raise CheckpointError(
                f"checkpoint of peer {self.id!r}: found {_told(found, expected)}, "
                f"expected {_told(expected, found)}: the experiment has changed since"
            )
        if self.begin.round > self.rounds:
            raise CheckpointError(
                f"checkpoint of peer {self.id!r}: found round {self.begin.round}, "
                f"expected at most rounds = {self.rounds}: the experiment has changed since"
            )

    @property
    def id(self) -> str:
        """This peer's id as the topology file writes it."""
        return self.ids[self.index]

    @cached_property
    def on_missing(self) -> Literal["settle", "skip", "give up"]:
        """What comes of a message that one end of an edge missed.

        Both ends settle it, so that the mean over the peers stays; or each goes on with what it
        has; or the neighbour is given up, where a method needs every message.
        """
        facts = self.algorithm.facts
        sums = settles(facts) and self.aggregator.linear
        if self.pace is None and sums and self.missed == "settle":
            return "settle"
        return "skip" if facts.tolerates_loss or self.missed == "naive" else "give up"

    @property
    def takes_back(self) -> bool:
        """Whether a neighbour that was given up is taken back when it is there again."""
        return self.takes_anew or self.on_missing == "settle"

    @property
    def takes_anew(self) -> bool:
        """Whether one whose process was started again is taken back, too.

        Methods that remember what each neighbour sent cannot, nor those whose sums it is part of.
        """
        facts = self.algorithm.facts
        if self.pace is not None and self.pace.kind == "push":  # it begins with a part of the sums
            return self.missed == "settle" and bool(facts.mass)
        return facts.tolerates_loss

    @property
    def max_message(self) -> int:
        """The most bytes that the algorithm may send in a request."""
        sizes = self.algorithm.largest(self.x0.size) or [self.x0.size]
        return self.compressor.max_nbytes(sizes, self.x0.dtype)

    @property
    def small(self) -> bool:
        """Whether a message may wait in a socket until the round reads it itself."""
        return self.max_message <= SMALL

    @property
    def slots(self) -> int:
        """How many messages of a neighbour this peer has memory for.

        A neighbour may be a turn ahead. Large messages of peers in step wait in its socket: a
        second model of each neighbour would cost more than it gains.
        """
        in_step = self.pace is None and self.timing.skip_after_s is None
        return 1 if in_step and not self.small else 2

    @property
    def max_body(self) -> int:
        """The largest DATA body, in bytes: one that was started again is handed a whole model."""
        whole = self.x0.nbytes if self.takes_anew else 0
        return max(self.max_message, whole)


def _shapes(arrays: Mapping[str, Array]) -> dict[str, str]:
    return {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}


def _told(shapes: dict[str, str], others: dict[str, str]) -> str:
    differing = [f"{k} {v}" for k, v in sorted(shapes.items()) if others.get(k) != v]
    return ", ".join(differing) or "nothing besides"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one peer ended."""

    state: State
    rounds: int  # completed
    lost: tuple[str, ...]  # neighbours given up as dead
    stopped: bool  # by a signal before the last round
