"""What is measured of a stack while it runs, and told as reports."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.peer.divergence import Losses, Watch, diverged
from gossipml.peer.reports import Evaluation, Finished, model_sha256

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gossipml.engines.stacked.stack import Stack
    from gossipml.peer.reports import Report

    Array = NDArray[Any]
    Measured = tuple[NDArray[np.int64], Array, Array | None, Array]

_SAMPLES = 20_000  # of the test set, over a chunk of peers that is measured at once


class Measure:
    """Evaluates the chosen peers one by one, and the agreement of all.

    Parameters
    ----------
    stack : Stack
    report : callable
        Called with Evaluation, Event and Finished records.
    consensus : callable
        Called with a round and the consensus distance over all peers.
    """

    def __init__(
        self,
        stack: Stack,
        report: Callable[[Report], None],
        consensus: Callable[[int, float], None],
    ) -> None:
        self.stack, self.report, self.consensus = stack, report, consensus
        self._begin = time.perf_counter()
        self.peers = stack.setup.measured()
        self._watches: list[Watch] | None = None  # of the measured peers

    def evaluate(self, round: int) -> None:
        """Report the state after ``round`` rounds.

        Raises
        ------
        DivergedError
            The model of a peer is not finite, or far worse than the first one.
        """
        distance, finite = self._agreement()
        now = self._now(round)
        sent, payload = self.stack.bytes_sent, self.stack.payload_sent
        gradients = self.stack.gradients()
        chunks = self.stack.each(self._measured, self._chunks())
        self._check(round, chunks, finite=finite)
        self.consensus(round, distance)
        for peers, losses, accuracies, train_losses in chunks:
            for k, peer in enumerate(peers.tolist()):
                self.report(
                    Evaluation(
                        peer=self.stack.setup.ids[peer],
                        round=round,
                        t_s=now,
                        loss=float(losses[k]),
                        accuracy=None if accuracies is None else float(accuracies[k]),
                        train_loss=float(train_losses[k]),
                        bytes_sent=int(sent[peer]),
                        bytes_received=int(self.stack.bytes_received[peer]),
                        payload_bytes_sent=int(payload[peer]),
                        gradients=int(gradients[peer]),
                        sketch=b"",
                    )
                )

    def _check(self, round: int, chunks: list[Measured], *, finite: bool) -> None:
        """Raise the error of the first peer that has diverged, in the words that it would say."""
        setup = self.stack.setup
        if self._watches is None:  # the first evaluation, or the first after a resume
            start = chunks if round == 0 else self.stack.each(self._at_start, self._chunks())
            self._watches = [
                Watch(
                    setup.algorithm,
                    Losses(float(train[k]), float(test[k])),
                    stop=setup.stop_diverged,
                )
                for _, test, _, train in start
                for k in range(len(train))
            ]
        watches = iter(self._watches)
        found: dict[int, str] = {}
        if not finite:
            rows = np.concatenate([np.isfinite(x).all(axis=1) for x in self.stack.chunks()])
            found[int(rows.argmin())] = "its parameters are not finite"
        for peers, test, _, train in chunks:
            for k, peer in enumerate(peers.tolist()):
                now = Losses(float(train[k]), float(test[k]))
                ok = peer not in found
                what = next(watches).symptom(now, finite=ok, last=round == setup.rounds)
                if what is not None:
                    found[peer] = what
        if found:
            peer = min(found)
            raise diverged(
                setup.algorithm, found[peer], peer=setup.ids[peer], round=round,
                problem=setup.lone_problem(peer), x0=setup.x0,
            )  # fmt: skip

    def finish(self, round: int, *, stopped: bool) -> None:
        """Report the end of the measured peers."""
        now = self._now(round)
        sent, payload = self.stack.bytes_sent, self.stack.payload_sent
        models = self.stack.models(self.peers)
        for x, peer in zip(models, self.peers.tolist(), strict=True):
            self.report(
                Finished(
                    peer=self.stack.setup.ids[peer],
                    rounds=round,
                    t_s=now,
                    bytes_sent=int(sent[peer]),
                    bytes_received=int(self.stack.bytes_received[peer]),
                    payload_bytes_sent=int(payload[peer]),
                    lost=(),
                    stopped=stopped,
                    model_sha256=model_sha256(x),
                )
            )

    def _now(self, round: int) -> float:
        """Return the seconds since the start: virtual ones, where there is a virtual clock."""
        pace = self.stack.setup.pace
        return pace.elapsed_s(round) if pace else time.perf_counter() - self._begin

    def _agreement(self) -> tuple[float, bool]:
        """Return the consensus distance over all peers, and whether all parameters are finite."""
        chunks, n = self.stack.chunks(), self.stack.setup.n
        sums = self.stack.each(lambda x: x.sum(axis=0, dtype=np.float64), chunks)
        centre = np.sum(sums, axis=0) / n
        finite = bool(np.isfinite(centre).all())  # no sum is, where a term is not
        squares = self.stack.each(
            lambda x: float(np.square(x - centre).sum()) if finite else math.nan, chunks
        )
        distance = math.sqrt(sum(squares) / n)
        return distance, finite and math.isfinite(distance)

    def _chunks(self) -> list[NDArray[np.int64]]:
        each = max(1, _SAMPLES // max(1, len(self.stack.setup.test[1])))
        return np.array_split(self.peers, -(-len(self.peers) // each))

    def _measured(self, peers: NDArray[np.int64]) -> Measured:
        """Return (peers, test losses, test accuracies, losses on their own samples)."""
        return self._losses(peers, self.stack.models(peers))

    def _at_start(self, peers: NDArray[np.int64]) -> Measured:
        """Return the same of the first models."""
        x0 = self.stack.setup.x0
        return self._losses(peers, np.broadcast_to(x0, (len(peers), len(x0))))

    def _losses(self, peers: NDArray[np.int64], x: Array) -> Measured:
        setup = self.stack.setup
        X, y = setup.test
        accuracies = setup.model.accuracy(x, X, y)
        return peers, setup.model.loss(x, X, y), accuracies, setup.problem(peers).loss(x)
