"""The course of a run: what the peers reported, round by round, as columns.

Holds numbers only. It reads no files (``runfolder`` does) and draws nothing (``plots`` does).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import msgspec
import numpy as np

from gossipml.errors import ConfigError, nearest
from gossipml.peer.reports import Evaluation, Event, Finished, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

Column: TypeAlias = list[float | None]
"""One number a round, None where nobody reported it."""

ColumnName: TypeAlias = Literal[
    "accuracy", "loss", "train_loss", "bytes_sent", "bytes_received", "payload_bytes_sent",
    "gradients", "t_s",
]  # fmt: skip


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy and loss on the test set over rounds: mean, least and greatest over the peers."""

    rounds: list[int]
    accuracy_mean: Column
    accuracy_min: Column
    accuracy_max: Column
    loss_mean: Column
    loss_min: Column
    loss_max: Column

    @classmethod
    def single(
        cls, rounds: Sequence[int], *, accuracy: Sequence[float | None], loss: Sequence[float]
    ) -> Curve:
        """Return the curve of one model, such as the centralised one."""
        a, b = list(accuracy), [*loss]
        return cls(
            rounds=list(rounds),
            accuracy_mean=a, accuracy_min=a, accuracy_max=a,
            loss_mean=[*b], loss_min=[*b], loss_max=[*b],
        )  # fmt: skip


class Scatter:
    """The consensus distance of one round, from the peers' sketches as they come in.

    Keeps the mean and the sum of squared distances to it (Welford 1962), not the sketches.
    """

    def __init__(self) -> None:
        self.peers: set[str] = set()
        self._mean: NDArray[np.float64] = np.zeros(())
        self._squares = 0.0

    def add(self, peer: str, sketch: bytes) -> None:
        """Count a sketch in; a peer's second one (it was restarted) says nothing new."""
        if not sketch or peer in self.peers:
            return
        self.peers.add(peer)
        n = len(self.peers)
        with np.errstate(all="ignore"):  # a diverged run has a distance of NaN
            step = np.frombuffer(sketch, "<f4") - self._mean
            self._mean = self._mean + step / n
            self._squares += float(step @ step) * (n - 1) / n

    def distance(self) -> float | None:
        """Return the consensus distance of the peers so far; None without any."""
        return math.sqrt(self._squares / len(self.peers)) if self.peers else None


class History:
    """Everything that the peers of one run reported.

    Peers may be missing at a round (lost, or not there yet): numbers are over those present.
    Where a restarted peer reports a round again, the later report counts.

    Attributes
    ----------
    evaluations
        In order of arrival, without their sketches: these are used up on arrival.
    events, finished
        The other reports; ``finished`` by peer.
    baselines
        Curves to compare with, by name: ``"centralised"``, ``"isolated"``.
    """

    def __init__(self) -> None:
        self.evaluations: list[Evaluation] = []
        self.events: list[Event] = []
        self.finished: dict[str, Finished] = {}
        self.baselines: dict[str, Curve] = {}
        self._by_round: dict[int, dict[str, Evaluation]] = {}
        self._scatter: dict[int, Scatter] = {}
        self._known_consensus: dict[int, float | None] = {}

    def add(self, report: Report) -> None:
        """Take in one report."""
        match report:
            case Evaluation():
                self._scatter.setdefault(report.round, Scatter()).add(report.peer, report.sketch)
                report = msgspec.structs.replace(report, sketch=b"")
                self.evaluations.append(report)
                self._by_round.setdefault(report.round, {})[report.peer] = report
            case Event():
                self.events.append(report)
            case Finished():
                self.finished[report.peer] = report

    def rounds(self) -> list[int]:
        """Return the rounds with an evaluation, ascending; the columns below are along these."""
        return sorted(self._by_round)

    def peers(self) -> list[str]:
        """Return the peers that were evaluated at least once, in order of first report."""
        return list(dict.fromkeys(e.peer for e in self.evaluations))

    def mean(self, column: ColumnName) -> Column:
        """Return the mean over the peers for each round.

        Raises
        ------
        ConfigError
            If there is no such column (the same holds for :meth:`min` and :meth:`max`).
        """
        return self._over_peers(column, np.mean)

    def min(self, column: ColumnName) -> Column:
        """Return the least over the peers for each round."""
        return self._over_peers(column, np.min)

    def max(self, column: ColumnName) -> Column:
        """Return the greatest over the peers for each round."""
        return self._over_peers(column, np.max)

    def consensus(self) -> Column:
        """Return the consensus distance for each round.

        Exact up to 1024 parameters and within about 5 % beyond, see
        :func:`gossipml.peer.reports.sketch`; None where it is not known.
        """
        return [self._known_consensus.get(r, self._scatter[r].distance()) for r in self.rounds()]

    def set_consensus(self, round: int, distance: float | None) -> None:
        """Give the consensus distance of a round whose sketches are gone (read from a file)."""
        self._known_consensus[round] = distance

    def curve(self) -> Curve:
        """Return accuracy and loss over rounds; a run without edges gives a baseline this way."""
        return Curve(
            rounds=self.rounds(),
            accuracy_mean=self.mean("accuracy"),
            accuracy_min=self.min("accuracy"),
            accuracy_max=self.max("accuracy"),
            loss_mean=self.mean("loss"),
            loss_min=self.min("loss"),
            loss_max=self.max("loss"),
        )

    def to_columns(self) -> dict[str, list[Any]]:
        """Return one list for each column, one row a round: ready for ``pandas.DataFrame``.

        Columns: ``round``, ``peers`` (how many reported), ``consensus_distance``, and
        ``<name>_mean``, ``_min``, ``_max`` for accuracy, losses, bytes,
        ``gradients`` and ``t_s``.
        """
        columns: dict[str, list[Any]] = {
            "round": self.rounds(),
            "peers": [len(self._by_round[r]) for r in self.rounds()],
            "consensus_distance": self.consensus(),
        }
        for name in get_args(ColumnName):
            columns[f"{name}_mean"] = self.mean(name)
            columns[f"{name}_min"] = self.min(name)
            columns[f"{name}_max"] = self.max(name)
        return columns

    def _over_peers(self, column: str, reduce: Callable[[list[float]], Any]) -> Column:
        if column not in get_args(ColumnName):
            raise ConfigError(f"no column {column!r}{nearest(column, get_args(ColumnName))}")
        result: Column = []
        with np.errstate(all="ignore"):  # a diverged run has infinities: they are the result
            for r in self.rounds():
                found = (getattr(e, column) for e in self._by_round[r].values())
                values = [v for v in found if v is not None]
                result.append(float(reduce(values)) if values else None)
        return result
