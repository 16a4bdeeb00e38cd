"""One peer: play the rounds of its algorithm and mix with its neighbours until done.

There is no global barrier and no server: a peer waits for its own neighbours only, each
of which may be at most one turn ahead, and goes on without those that are gone, putting
their weight back on itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import trio

from gossipml import wire
from gossipml.algorithms import State, playing
from gossipml.errors import GossipError
from gossipml.peer.checkpoint import Checkpoint, Traffic, generations
from gossipml.peer.joining import join
from gossipml.peer.kinds import kind_of
from gossipml.peer.links import Links
from gossipml.peer.mail import Loose
from gossipml.peer.measuring import Measure
from gossipml.peer.pace import idle
from gossipml.peer.rejoining import ask_in_turn, take_up
from gossipml.peer.reports import Evaluation, Finished, model_sha256, sketch
from gossipml.peer.setup import Outcome
from gossipml.peer.shares import Shares
from gossipml.peer.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gossipml.peer.neighbourhood import Neighbourhood
    from gossipml.peer.network import Network
    from gossipml.peer.reports import Report
    from gossipml.peer.setup import PeerSetup

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
    keep : callable, optional
        Called with a :class:`Checkpoint` and how many to keep, every ``checkpoint_every`` rounds;
        it may raise ``GossipError``, which is reported and costs no more than the checkpoint.
    began : callable, optional
        Called with the number of each round as it begins.
    """

    def __init__(
        self,
        setup: PeerSetup,
        network: Network,
        *,
        incarnation: int,
        report: Callable[[Report], None],
        keep: Callable[[Checkpoint, int], object] | None = None,
        began: Callable[[int], object] = lambda round: None,
    ) -> None:
        self.setup, self.network, self.report, self.keep = setup, network, report, keep
        self.began = began
        self.incarnation = incarnation
        self.stopping = False
        self.links: Links | None = None
        self._before = Traffic()  # what was done before this process began
        self.state: State = setup.algorithm.start(
            setup.x0, len(setup.schedule.neighbours(setup.index))
        )
        if setup.begin is not None:
            self.state = State(**setup.begin.state)
            self._before = setup.begin.done
            setup.problem.gradients = self._before.gradients
        self._neighbourhood: Neighbourhood | None = None
        self._measure = Measure(setup, network)

    async def run(self) -> Outcome:
        """Play all rounds; return the final state.

        Raises
        ------
        RefusedError
            Every neighbour turned this peer away for running another experiment, or has another
            process in its place.
        IsolatedError
            All neighbours were lost for ``max_isolated_rounds`` rounds in a row.
        DivergedError
            The model is no longer finite, or far worse than the first one.
        """
        neighbourhood_of, make_link = kind_of(self.setup)
        self.links = links = Links(
            self.setup, self.network, incarnation=self.incarnation, report=self.report,
            make_link=make_link,
        )  # fmt: skip
        links.model = lambda: np.ascontiguousarray(self.state.x, little(self.state.x)).tobytes()
        if self.setup.begin is not None:
            links.round = self.setup.begin.round
        neighbourhood = neighbourhood_of(self.setup, links, self.network)
        self._neighbourhood = neighbourhood
        async with trio.open_nursery() as nursery:
            nursery.start_soon(links.run)
            if isinstance(neighbourhood, Tokens):
                rounds = await self._play_on_receipt(links, neighbourhood)
            elif isinstance(neighbourhood, Loose):
                rounds = await self._play_at_own_pace(links, neighbourhood)
            else:
                rounds = await self._play(links, neighbourhood)
            if isinstance(neighbourhood, Shares) and self.stopping and self.setup.takes_anew:
                await neighbourhood.leave(self.state)
            neighbourhood.pause()
            await self._part(links)
            nursery.cancel_scope.cancel()
        if isinstance(neighbourhood, Shares):
            neighbourhood.collect(self.state)
        return self._outcome(links, rounds)

    def stop(self) -> None:
        """Finish the current round, say goodbye and end."""
        self.stopping = True
        if self._neighbourhood is not None:
            self._neighbourhood.hurry()

    # --- rounds ------------------------------------------------------------------------

    async def _play(self, links: Links, neighbourhood: Neighbourhood) -> int:
        setup = self.setup
        begin = setup.begin.round if setup.begin else 0
        if not begin:
            x = setup.x0
            with neighbourhood.before():
                begin, x = await take_up(links, setup.x0)
            if begin:
                self.state = setup.algorithm.start(x, len(links.links))
                neighbourhood.missed = True
            if begin == setup.rounds:  # the others have come to the end
                await self._evaluate(links, begin)
        if not begin:
            await self._evaluate(links, 0)
        for t in range(begin, setup.rounds):
            if self.stopping:
                links.tell("stopping", detail=f"after {t} rounds")
                await self._keep(links, t, clean=not neighbourhood.missed)
                return t
            links.round = t
            if t == 1:
                ask_in_turn(links)
            if neighbourhood.passes_over(t):
                self.began(t)
                neighbourhood.missed = True
                await trio.lowlevel.checkpoint()
            elif not await self._round(neighbourhood, t):
                await trio.lowlevel.checkpoint()  # a round that asks for nothing lets links live
            if (t + 1) % setup.evaluate_every == 0 or t + 1 == setup.rounds:
                neighbourhood.pause()
                await self._evaluate(links, t + 1)
            if setup.checkpoint_every and (t + 1) % setup.checkpoint_every == 0:
                neighbourhood.pause()
                await self._keep(links, t + 1, clean=not neighbourhood.missed)
        links.round = setup.rounds
        links.tell("finished", detail=f"after {setup.rounds} rounds")
        return setup.rounds

    async def _play_at_own_pace(self, links: Links, neighbourhood: Loose) -> int:
        """Play whenever this peer's clock says, until the run's time is over.

        A round of the run lasts as long as the mean time between two rounds of a peer; without
        any such time, a peer plays as fast as it can, and counts its own.
        """
        setup, pace = self.setup, self.setup.pace
        assert pace is not None
        now = measured = await self._join(links, neighbourhood)
        interval = pace.wakeups.interval_s
        begin = trio.current_time() - now * interval
        moments = pace.moments(setup.seed, setup.index)
        # A peer that meets others plays as often again when they ask.
        often = 2 if pace.kind == "pairwise" else 1
        played = often * moments.skip(now * interval) if interval else now
        while now < setup.rounds:
            end = setup.rounds * interval
            await neighbourhood.sleep_until(begin + min(moments.due, end))
            elapsed = trio.current_time() - begin
            # The sum of many floats may fall just short of the end that it is meant to reach.
            now = played if not interval else int(elapsed / interval * (1 + 1e-12))
            links.round = min(now, setup.rounds)
            for due in range(measured + 1, links.round + 1):
                if due % setup.evaluate_every == 0 or due == setup.rounds:
                    await self._evaluate(links, due)
            measured = links.round
            if self.stopping:
                links.tell("stopping", detail=f"after {links.round} rounds")
                return links.round
            if now < setup.rounds:
                if elapsed >= moments.due - 1e-9:  # the clock rounds
                    moments.advance()
                setup.problem.speed[:] = (played + 1) / (now + 1)
                await self._round(neighbourhood, played, at=now)
                played += 1
        links.tell("finished", detail=f"played {played} rounds in the time of {setup.rounds}")
        return setup.rounds

    async def _play_on_receipt(self, links: Links, neighbourhood: Tokens) -> int:
        """Play whenever a message comes, until the run's time is over."""
        played = await self._join(links, neighbourhood)

        async def play() -> None:
            nonlocal played
            while True:
                self.setup.problem.speed[:] = (played + 1) / (links.round + 1)
                if not await self._round(neighbourhood, played, at=links.round):
                    raise idle(self.setup.algorithm)  # or it would never end
                played += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(play)
            rounds = await self._measure_in_time(links, neighbourhood, played)
            nursery.cancel_scope.cancel()
        links.tell(
            "stopping" if self.stopping else "finished",
            detail=f"played {played} rounds in the time of {rounds}",
        )
        return rounds

    async def _measure_in_time(self, links: Links, neighbourhood: Loose, first: int) -> int:
        """Evaluate as the rounds of the run pass by; return how many did."""
        setup = self.setup
        assert setup.pace is not None
        interval = setup.pace.wakeups.interval_s
        begin = trio.current_time() - first * interval
        neighbourhood.begin(begin)
        for due in range(first + 1, setup.rounds + 1):
            await neighbourhood.sleep_until(begin + due * interval)
            if self.stopping:
                return due - 1
            links.round = due
            if due % setup.evaluate_every == 0 or due == setup.rounds:
                await self._evaluate(links, due)
        return setup.rounds

    async def _join(self, links: Links, neighbourhood: Loose) -> int:
        """Wait for the neighbours; return the round of the run that they have come to."""
        round, x = 0, self.setup.x0
        with neighbourhood.before():
            round, x = await join(links, x)
        if round:
            self.state = self.setup.algorithm.start(x, len(links.links))
            if isinstance(neighbourhood, Shares):
                await neighbourhood.receive_first(self.state)
        await self._evaluate(links, round)
        return round

    async def _round(self, neighbourhood: Neighbourhood, t: int, *, at: int | None = None) -> int:
        """Play a round; return how many requests it made."""
        self.began(t if at is None else at)
        self.setup.problem.begin(t)
        algorithm = playing.bound(
            self.setup.algorithm.at(t if at is None else at), self.setup.problem
        )
        if algorithm.facts.compresses:  # it knows the codes of what it made in this round
            neighbourhood.messages.compressor = getattr(algorithm, "compress")  # noqa: B009
        steps = playing.start(algorithm, self.state, self.setup.problem)
        answer: Any = None
        index = 0
        while True:
            try:
                request = await self.network.compute(neighbourhood.go_on, steps, answer)
            except Exception as error:
                raise playing.blame(self.setup.algorithm, error, t) from error
            if neighbourhood.begun is not None:
                playing.check_begun(neighbourhood.begun, request)
            if request is None:
                playing.check_model(self.setup.algorithm, self.state, self.setup.x0, t)
                return index
            answer = await neighbourhood.ask((t, index), request)
            index += answer is not request  # else it has only begun

    # --- measuring and ending ------------------------------------------------------------

    async def _evaluate(self, links: Links, round: int) -> None:
        loss, accuracy, train_loss = await self._measure(self.state.x, round)
        sketched = await self.network.compute(sketch, self.state.x)  # may take a while
        done = self._done(links)
        self.report(
            Evaluation(
                peer=self.setup.id,
                round=round,
                t_s=done.elapsed_s,
                loss=loss,
                accuracy=accuracy,
                train_loss=train_loss,
                bytes_sent=done.bytes_sent,
                bytes_received=done.bytes_received,
                payload_bytes_sent=done.payload_bytes_sent,
                gradients=done.gradients,
                sketch=sketched,
            )
        )

    async def _keep(self, links: Links, round: int, *, clean: bool) -> None:
        """Have a checkpoint written; training goes on where the disk is full."""
        if self.keep is None:
            return
        setup = self.setup
        most = generations(setup.schedule, setup.index, setup.checkpoint_every)
        checkpoint = Checkpoint(
            peer=setup.id,
            round=round,
            clean=clean,
            state=self.state.arrays(),
            done=self._done(links),
        )
        try:
            await self.network.compute(self.keep, checkpoint, most)
        except GossipError as error:
            links.tell("unkept", detail=str(error))

    def _done(self, links: Links) -> Traffic:
        """Return what was done so far, by this process and those before it."""
        before, every = self._before, links.links.values()
        return Traffic(
            elapsed_s=before.elapsed_s + trio.current_time() - links.started,
            gradients=self.setup.problem.gradients,
            bytes_sent=before.bytes_sent + sum(link.bytes_sent for link in every),
            bytes_received=before.bytes_received + sum(link.bytes_received for link in every),
            payload_bytes_sent=before.payload_bytes_sent
            + sum(link.payload_bytes_sent for link in every),
        )

    async def _part(self, links: Links) -> None:
        """Say goodbye, and stay until every neighbour has heard all and said so."""
        bye = wire.Bye(reason="stopped" if self.stopping else "finished", round=links.round)
        for link in links.links.values():
            link.post(bye)
        linger = self.setup.timing.stop_grace_s if self.stopping else self.setup.timing.linger_s
        with trio.move_on_after(linger):
            for link in links.links.values():
                while link.open or link.session is not None:
                    await link.changed.park()
        for link in links.links.values():
            link.ledger.forget()
            links.tell_unsettled(link)

    def _outcome(self, links: Links, rounds: int) -> Outcome:
        lost = tuple(link.id for link in links.links.values() if link.state == "lost")
        done = self._done(links)
        self.report(
            Finished(
                peer=self.setup.id,
                rounds=rounds,
                t_s=done.elapsed_s,
                bytes_sent=done.bytes_sent,
                bytes_received=done.bytes_received,
                payload_bytes_sent=done.payload_bytes_sent,
                lost=lost,
                stopped=rounds < self.setup.rounds,
                model_sha256=model_sha256(self.state.x),
            )
        )
        return Outcome(
            state=self.state, rounds=rounds, lost=lost, stopped=rounds < self.setup.rounds
        )


def little(x: Array) -> np.dtype[Any]:
    """Return the type of an array's numbers with the bytes in the order of the wire."""
    return x.dtype.newbyteorder("<")
