"""One peer: play the rounds of its algorithm and mix with its neighbours until done.

There is no global barrier and no server: a peer waits for its own neighbours only, each
of which may be at most one turn ahead, and goes on without those that are gone, putting
their weight back on itself.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import trio

from gossipml import wire
from gossipml.algorithms import Average, Exchange, Push
from gossipml.errors import ConfigError, DivergedError, IsolatedError, RefusedError
from gossipml.peer.links import Links
from gossipml.peer.reports import Evaluation, Finished, sketch
from gossipml.peer.setup import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from numpy.typing import NDArray

    from gossipml.algorithms import Request, State
    from gossipml.peer.link import Turn
    from gossipml.peer.network import Network
    from gossipml.peer.reports import Report
    from gossipml.peer.setup import PeerSetup
    from gossipml.topology import Row

    Array = NDArray[Any]


class Peer:
    """One participant, from its first round to its goodbye.

    Parameters
    ----------
    setup : PeerSetup
        Its part of the experiment.
    network : Network
        How it reaches its neighbours, and where it computes.
    incarnation : int
        A number that no other start of this peer had.
    report : callable
        Called with :class:`Evaluation`, :class:`Event` and :class:`Finished` records.
    """

    def __init__(
        self,
        setup: PeerSetup,
        network: Network,
        *,
        incarnation: int,
        report: Callable[[Report], None],
    ) -> None:
        self.setup, self.network, self.report = setup, network, report
        self.incarnation = incarnation
        self.stopping = False
        self.state: State = setup.algorithm.init(setup.x0)
        self._links: Links | None = None
        self._patience = trio.CancelScope()
        self._alone = 0
        self._bodies = [bytearray(setup.max_body) for _ in range(2)]
        self._turns = 0

    async def run(self) -> Outcome:
        """Play all rounds; return the final state.

        Raises
        ------
        RefusedError
            Every neighbour turned this peer away for running another experiment.
        IsolatedError
            All neighbours were lost for ``max_isolated_rounds`` rounds in a row.
        DivergedError
            The parameters are no longer finite.
        """
        self._links = links = Links(
            self.setup, self.network, incarnation=self.incarnation, report=self.report
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(links.run)
            rounds = await self._play(links)
            await self._part(links)
            nursery.cancel_scope.cancel()
        return self._outcome(links, rounds)

    def stop(self) -> None:
        """Finish the current round, say goodbye and end."""
        if not self.stopping:
            self.stopping = True
            self._patience.deadline = min(
                self._patience.deadline, trio.current_time() + self.setup.timing.stop_grace_s
            )

    # --- rounds ------------------------------------------------------------------------

    async def _play(self, links: Links) -> int:
        setup = self.setup
        await self._evaluate(links, 0)
        for t in range(setup.rounds):
            if self.stopping:
                links.tell("stopping", detail=f"after {t} rounds")
                return t
            links.round = t
            await trio.lowlevel.checkpoint()  # a round that never waits still lets links live
            await self._round(links, t)
            if (t + 1) % setup.evaluate_every == 0 or t + 1 == setup.rounds:
                await self._evaluate(links, t + 1)
        links.round = setup.rounds
        links.tell("finished", detail=f"after {setup.rounds} rounds")
        return setup.rounds

    async def _round(self, links: Links, t: int) -> None:
        self.setup.problem.begin(t)
        steps = self.setup.algorithm.at(t).round(self.state, self.setup.problem)
        answer: Any = None
        index = 0
        while True:
            request = await self.network.compute(_advance, steps, answer)
            if request is None:
                return
            answer = await self._resolve(links, (t, index), request)
            index += 1

    async def _resolve(self, links: Links, turn: Turn, request: Request) -> Any:
        """Send what a request asks to send, wait for the neighbours, combine."""
        setup, me = self.setup, self.setup.index
        match request:
            case Average(arrays):
                row = setup.schedule.row(me, turn[0])
                aggregator = setup.aggregator.combine
            case Push(arrays):
                row = setup.schedule.push_row(me, turn[0])
                aggregator = setup.aggregator.combine
            case Exchange(outgoing):
                return await self._exchange(links, turn, outgoing)
            case _:
                raise ConfigError(
                    f"algorithm {setup.algorithm.name!r} yielded {type(request).__name__}, "
                    "expected average(…), push(…) or exchange(…)"
                )
        body = self._encode(arrays)
        receivers = set(setup.schedule.receivers(me, turn[0]))
        data = _message(turn, body)
        token = _message(turn, b"")
        for link in links.links.values():
            link.post(data if link.neighbour in receivers else token)
        await self._gather(links, turn)
        own = np.concatenate([array.reshape(-1) for array in arrays])
        mixed = await self.network.compute(self._mix, links, turn, row, own, arrays, aggregator)
        self._settle(links, turn)
        return _split(mixed, arrays)

    async def _exchange(self, links: Links, turn: Turn, outgoing: Any) -> dict[int, Array]:
        """Send each neighbour its own array; return what came from each."""
        like = next(iter(outgoing.values()), self.setup.x0)
        for j, link in links.links.items():
            sent = np.ascontiguousarray(outgoing[j]).tobytes() if j in outgoing else b""
            link.post(_message(turn, sent))
        await self._gather(links, turn)
        received = {}
        for j, link in links.links.items():
            body = link.take(turn)
            if body is not None and len(body):
                received[j] = self.setup.compressor.decode(body, [like]).copy().reshape(like.shape)
        self._settle(links, turn)
        return received

    def _encode(self, arrays: tuple[Array, ...]) -> memoryview:
        """Pack arrays into one of two send buffers, so that a round may change its own."""
        body = memoryview(self._bodies[self._turns % 2])
        self._turns += 1
        numbers = sum(array.size for array in arrays)
        room = self.setup.compressor.max_nbytes(numbers, arrays[0].dtype)
        if room > len(body):
            raise ConfigError(
                f"algorithm {self.setup.algorithm.name!r} sends {numbers} numbers in a request, "
                f"its facts declare {self.setup.algorithm.facts.vectors} vectors of "
                f"{self.setup.x0.size}"
            )
        return body[: self.setup.compressor.encode(arrays, body)]

    async def _gather(self, links: Links, turn: Turn) -> None:
        """Wait until every neighbour's message of this turn is here or will not come."""
        timing = self.setup.timing
        waiting = [link for link in links.links.values() if link.take(turn) is None and link.open]
        if not waiting:
            await trio.lowlevel.checkpoint()
        else:
            self._patience = trio.CancelScope(deadline=self._deadline(links))
            with self._patience:
                for link in waiting:
                    while link.take(turn) is None and link.open:
                        await link.arrived.park()
            if self._patience.cancelled_caught and not self.stopping:
                for link in waiting:
                    if link.take(turn) is None:
                        links.give_up(link, f"no progress for {timing.round_timeout_s:g} s")
        self._check_company(links, turn)

    def _deadline(self, links: Links) -> float:
        timing = self.setup.timing
        now = trio.current_time()
        if self.stopping:
            return now + timing.stop_grace_s
        connecting = [link.deadline for link in links.links.values() if link.session is None]
        finite = [deadline for deadline in connecting if math.isfinite(deadline)]
        return max([now, *finite]) + timing.round_timeout_s

    def _check_company(self, links: Links, turn: Turn) -> None:
        """End a peer that nobody talks to, unless it was told that this is fine."""
        if not links.links or any(link.take(turn) is not None for link in links.links.values()):
            self._alone = 0
            return
        if self.stopping:
            return
        every = links.links.values()
        refusals = [why for link in every if (why := link.refusal or link.turned_away)]
        if refusals and turn == (0, 0):
            raise RefusedError(f"no neighbour accepts peer {self.setup.id!r}: {refusals[0]}")
        self._alone += 1
        limit = self.setup.timing.max_isolated_rounds
        if self._alone == 1:
            links.tell("alone", detail="no neighbour is left; training on alone")
        if self._alone >= limit and not self.setup.allow_isolation:
            raise IsolatedError(
                f"peer {self.setup.id!r} has mixed with nobody for {limit} rounds; "
                "give --allow-isolation to train on alone"
            )

    def _mix(
        self,
        links: Links,
        turn: Turn,
        row: Row,
        own: Array,
        arrays: tuple[Array, ...],
        combine: Callable[..., Array],
    ) -> Array:
        """Combine in ascending peer order; a missing neighbour's weight returns to this peer."""
        me = self.setup.index
        vectors: dict[int, tuple[float, Array]] = {}
        returned = 0.0
        for j, weight in zip(row.peers, row.weights.tolist(), strict=True):
            if j == me:
                vectors[j] = (weight, own)
                continue
            body = links.links[j].take(turn)
            if body is None or not len(body):
                returned += weight
            else:
                vectors[j] = (weight, self.setup.compressor.decode(body, arrays))
        if returned:
            vectors[me] = (vectors[me][0] + returned, own)
        weights = [weight for weight, _ in vectors.values()]
        return combine(list(vectors).index(me), weights, [vector for _, vector in vectors.values()])

    def _settle(self, links: Links, turn: Turn) -> None:
        for link in links.links.values():
            link.used(turn)

    # --- measuring and ending ------------------------------------------------------------

    async def _evaluate(self, links: Links, round: int) -> None:
        x = self.state.x
        if not np.isfinite(x).all():
            raise DivergedError(
                f"peer {self.setup.id!r} diverged by round {round}: its parameters are not finite; "
                f"lower algorithm.lr (now {self.setup.algorithm.lr:g})"
            )
        loss, accuracy, train_loss = await self.network.compute(self._measure, x)
        sent, received, payload = _traffic(links)
        self.report(
            Evaluation(
                peer=self.setup.id,
                round=round,
                t_s=trio.current_time() - links.started,
                loss=loss,
                accuracy=accuracy,
                train_loss=train_loss,
                bytes_sent=sent,
                bytes_received=received,
                payload_bytes_sent=payload,
                sketch=sketch(x),
            )
        )

    def _measure(self, x: Array) -> tuple[float, float | None, float]:
        X, y = self.setup.test
        problem = self.setup.problem
        accuracy = problem.model.accuracy(x, X, y)
        return (
            float(problem.model.loss(x, X, y)),
            None if accuracy is None else float(accuracy),
            problem.loss(x),
        )

    async def _part(self, links: Links) -> None:
        """Say goodbye, and stay until every neighbour has heard all and said so."""
        bye = wire.Bye(reason="stopped" if self.stopping else "finished", round=links.round)
        for link in links.links.values():
            link.post(bye)
        linger = self.setup.timing.stop_grace_s if self.stopping else self.setup.timing.linger_s
        with trio.move_on_after(linger):
            for link in links.links.values():
                while link.session is not None:
                    await link.changed.park()

    def _outcome(self, links: Links, rounds: int) -> Outcome:
        lost = tuple(link.id for link in links.links.values() if link.state == "lost")
        sent, received, payload = _traffic(links)
        self.report(
            Finished(
                peer=self.setup.id,
                rounds=rounds,
                t_s=trio.current_time() - links.started,
                bytes_sent=sent,
                bytes_received=received,
                payload_bytes_sent=payload,
                lost=lost,
                stopped=rounds < self.setup.rounds,
                model_sha256=model_sha256(self.state.x),
            )
        )
        return Outcome(
            state=self.state, rounds=rounds, lost=lost, stopped=rounds < self.setup.rounds
        )


def model_sha256(x: Array) -> str:
    """Return the hex SHA-256 of parameters ``(P,)`` as little-endian float32 bytes."""
    return hashlib.sha256(np.ascontiguousarray(x, "<f4").tobytes()).hexdigest()


def _advance(steps: Generator[Request, Any, None], answer: Any) -> Request | None:
    """Run a round up to its next request; None when it is over."""
    try:
        return steps.send(answer)
    except StopIteration:
        return None


def _message(turn: Turn, body: bytes | memoryview) -> wire.Data:
    return wire.Data(round=turn[0], request=turn[1], body=body, crc=wire.body_checksum(body))


def _split(vector: Array, like: tuple[Array, ...]) -> tuple[Array, ...]:
    ends = np.cumsum([array.size for array in like])[:-1]
    return tuple(
        part.reshape(array.shape) for part, array in zip(np.split(vector, ends), like, strict=True)
    )


def _traffic(links: Links) -> tuple[int, int, int]:
    """Return bytes sent, bytes received and model bytes sent over all links."""
    every = links.links.values()
    return (
        sum(link.bytes_sent for link in every),
        sum(link.bytes_received for link in every),
        sum(link.payload_bytes_sent for link in every),
    )
