"""What the stacked engine is given, and what it hands back: plain records."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from gossipml.aggregation import Aggregator, Mean
from gossipml.algorithms import BlockProblem, Problem
from gossipml.compression import Compressor, Identity
from gossipml.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gossipml.algorithms import Algorithm
    from gossipml.models import Model
    from gossipml.peer.pace import Wakeups
    from gossipml.topology import Schedule

Array = NDArray[Any]
Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """When peers play, where they do not play in step.

    Attributes
    ----------
    kind
        ``async``: a peer that wakes mixes with the newest messages that have arrived.
        ``pairwise``: it meets one neighbour, and both play a round and average.
    wakeups
        When peers wake.
    staleness
        ``async``: a message counts for so many rounds of its receiver, by its mean pace.
    latency_s
        Delay of a message, one for each entry of the mixing matrix.
    jitter_s, loss
        Up to so much is added to a delay; share of the messages, or meetings, that are lost.
    """

    kind: Literal["async", "pairwise"]
    wakeups: Wakeups
    staleness: int
    latency_s: NDArray[np.float64]
    jitter_s: float
    loss: float

    @property
    def history(self) -> int:
        """How many messages of each peer to keep: one, where the newest is there at once.

        Else so many that one of a thousand receivers misses the newest that it could have.
        """
        lag_s = float(self.latency_s.max(initial=0)) + self.jitter_s
        if self.kind == "pairwise" or not (self.loss or lag_s):
            return 1
        sent_meanwhile = 3 + math.ceil(2 * lag_s / self.wakeups.interval_s)
        lost_in_a_row = math.ceil(math.log(1e-3) / math.log(self.loss)) if self.loss else 0
        return min(self.staleness, sent_meanwhile + lost_in_a_row)

    def elapsed_s(self, round: int) -> float:
        """Return the virtual time of so many rounds."""
        return round * self.wakeups.interval_s


@dataclass(frozen=True, kw_only=True)
class StackSetup:
    """All peers' parts of an experiment, ready to run as one stack.

    Peer i's samples are ``X[starts[i] : starts[i] + sizes[i]]``; peers may share samples.
    """

    ids: tuple[str, ...]
    seed: int
    rounds: int
    evaluate_every: int
    evaluate_peers: int  # measure no more than so many, evenly chosen
    schedule: Schedule
    algorithm: Algorithm
    model: Model
    X: Array
    y: Array
    starts: Index  # (n,)
    sizes: Index  # (n,)
    batch_size: int | None
    x0: Array  # (P,)
    test: tuple[Array, Array]
    compressor: Compressor = field(default_factory=Identity)
    aggregator: Aggregator = field(default_factory=Mean)
    pace: Pace | None = None  # None: in step
    stop_diverged: bool = True
    starts_apart: Array | None = None  # (n, P), where peers do not all start at x0

    @property
    def n(self) -> int:
        """Number of peers."""
        return len(self.ids)

    def problem(self, peers: slice | Index) -> BlockProblem:
        """Return what some peers minimise, side by side."""
        return BlockProblem(
            self.model,
            self.X,
            self.y,
            starts=self.starts[peers],
            sizes=self.sizes[peers],
            peers=np.arange(*peers.indices(self.n)) if isinstance(peers, slice) else peers,
            seed=self.seed,
            batch_size=self.batch_size,
        )

    def lone_problem(self, peer: int) -> Problem:
        """Return what one peer minimises."""
        own = slice(int(self.starts[peer]), int(self.starts[peer] + self.sizes[peer]))
        return Problem(
            self.model, self.X[own], self.y[own],
            seed=self.seed, peer=peer, batch_size=self.batch_size,
        )  # fmt: skip

    def measured(self) -> Index:
        """Return the peers that are evaluated, ascending: all, or evenly chosen ones."""
        count = min(self.n, self.evaluate_peers)
        return np.arange(count, dtype=np.int64) * self.n // count


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that is needed to go on as if never stopped."""

    round: int  # rounds completed
    state: Mapping[str, Array]  # what the method remembers, with all peers' rows
    counts: Mapping[str, Array]  # what was sent and computed so far

    def check(self, setup: StackSetup) -> None:
        """Raise CheckpointError if it is of another experiment."""
        if self.round > setup.rounds:
            raise _changed(f"round {self.round}", f"at most rounds = {setup.rounds}")
        for name, one in setup.algorithm.start(setup.x0, 1).arrays().items():
            rows = self.state.get(name)
            expected = f"{name} {one.dtype} of {setup.n} peers with {one.shape[-1]} numbers"
            if rows is None:
                raise _changed(f"no {name}", expected)
            if (rows.dtype, len(rows), rows.shape[-1]) != (one.dtype, setup.n, one.shape[-1]):
                raise _changed(f"{name} {rows.dtype}{list(rows.shape)}", expected)


def _changed(found: str, expected: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint: found {found}, expected {expected}: the experiment has changed since"
    )


@dataclass(frozen=True, kw_only=True)
class StackedEnds:
    """How a run on the stacked engine ended."""

    parameters: Array  # (n, P), the final models
    rounds: int  # completed
    signal: int | None  # that stopped it
    elapsed_s: float | None  # virtual, where the schedule has a clock
    traffic: tuple[int, int]  # bytes sent by all peers, and the part of them that is model
    playing_s: float  # wall time of the rounds, without evaluations
    played: int  # rounds played here by all peers together
