"""Who of a peer's neighbours is there, and how long it waits for those that are not yet.

No wait is without a deadline, and nobody that waits itself is blamed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from gossipml.errors import IsolatedError, RefusedError
from gossipml.peer.link import NEVER
from gossipml.wire import REACH

if TYPE_CHECKING:
    from gossipml.peer.link import Link, Turn
    from gossipml.peer.links import Links
    from gossipml.peer.setup import PeerSetup

SOON_S = 0.02  # a neighbour that takes longer costs a task switch more
YIELD_S = 1e-3  # a round that waits for nobody lets other tasks run so often
MOST_PASSES = 50  # rounds in a row in which a neighbour leaves out a message
_USUAL = 2.0  # a neighbour may take so many times longer than it did lately …
_FORGETTING = 0.95  # … where the longest counts, and so much less at each exchange


class Company:
    """The neighbours of one peer, and its patience with them.

    Parameters
    ----------
    setup : PeerSetup
    links : Links
        The edges to the neighbours.
    """

    def __init__(self, setup: PeerSetup, links: Links) -> None:
        self.setup, self.links = setup, links
        self.every = list(links.links.values())
        """The links to all neighbours, in ascending peer order."""
        # Who skips rounds has to hear from all at any time.
        self._reads = setup.small and setup.timing.skip_after_s is None
        self.stopping = False
        self._yielded = -YIELD_S  # when other tasks last had their turn
        self._patience = trio.CancelScope()
        self._before = trio.CancelScope()
        self._alone = 0
        self._passed_over = 0  # rounds in a row

    def hurry(self) -> None:
        """Wait for neighbours no longer than ``stop_grace_s`` from now on, and for nobody new."""
        self.stopping = True
        grace = trio.current_time() + self.setup.timing.stop_grace_s
        self._patience.deadline = min(self._patience.deadline, grace)
        self._before.cancel()

    def before(self) -> trio.CancelScope:
        """Return the scope of what may be left undone when the peer is told to stop."""
        self._before = trio.CancelScope()
        if self.stopping:
            self._before.cancel()
        return self._before

    def pause(self) -> None:
        """Let neighbours be heard while this peer does something else than play rounds."""
        for link in self.every:
            link.give_back()

    def passes_over(self, round: int) -> bool:
        """Whether a round is left out, because half of the neighbours or more are past it.

        So who is behind catches up, rather than play unheard while others wait for it or go on
        without (as in Luo, Lin, Zhuo, Qian 2019, Hop, arXiv:1902.01064); and those behind with
        it follow. It never leaves out so many that what both ends missed could not be said.
        """
        for link in self.every:
            if link.latest[0] > round or link.starts > round:
                break
        else:  # nearly always
            self._passed_over = 0
            return False
        requests = max(1, self.setup.algorithm.facts.requests)
        strict = self.setup.on_missing == "give up"
        if strict or round + 1 == self.setup.rounds or self._passed_over * requests >= REACH // 2:
            self._passed_over = 0
            return False
        there = [link for link in self.every if link.open]
        past = sum(link.is_past(round) for link in there)
        if not past or 2 * past < len(there):
            self._passed_over = 0
            return False
        self._passed_over += 1
        for link in there:
            for request in range(requests if round >= link.starts else 0):
                link.begin((round, request))
                link.unusable = (round, request)
                link.used((round, request))
        return True

    async def gather(self, turn: Turn) -> None:
        """Wait until every neighbour's message of this turn is here or will not come.

        Raises
        ------
        IsolatedError, RefusedError
            Nobody is there.
        """
        waiting = [
            link
            for link in self.every
            if not link.look(turn) and link.open and turn[0] >= link.starts
        ]
        if waiting and self._reads:
            until = trio.current_time() + YIELD_S
            waiting = [link for link in waiting if not link.look_soon(turn, until)]
        now = trio.current_time()
        if not waiting:
            if now >= self._yielded + YIELD_S:
                self._yielded = now
                await trio.lowlevel.checkpoint()
            await self._await_return()
        else:
            self._yielded = now
            self.links.waiting = True
            for link in waiting:
                link.reads = self._reads
            if self.setup.timing.skip_after_s is None:
                await self._await_all(waiting, turn)
            else:
                await self._await_a_while(waiting, turn)
            self.links.waiting = False
        for link in waiting:
            self._note(link, turn)
        self._check(turn)

    def _note(self, link: Link, turn: Turn) -> None:
        """Give a neighbour up of which a message was missed, where that is one too many."""
        request = turn[1]
        strict = self.setup.on_missing == "give up"
        if not link.passed(turn) or (turn < link.excused and not strict):
            link.passes[request] = 0
            return
        link.passes[request] = link.passes.get(request, 0) + 1
        if link.open and strict:
            name = self.setup.algorithm.name
            self.links.give_up(link, f"left out (round, request) {turn}; {name} needs all messages")
        elif link.open and link.passes[request] >= MOST_PASSES:
            self.links.give_up(
                link,
                f"left out request {request} in {MOST_PASSES} rounds: its algorithm differs",
            )

    async def await_accounts(self) -> None:
        """Wait until every neighbour has said which of our messages it used."""
        self.pause()
        deadline = trio.current_time() + self.setup.timing.reconnect_timeout_s
        self._patience = trio.CancelScope(deadline=deadline)
        with self._patience:
            for link in self.every:
                while link.account is None and link.open and link.starts != NEVER:
                    await link.changed.park()

    async def _await_all(self, waiting: list[Link], turn: Turn) -> None:
        """Wait for who is connected as long as it lives; give up who hangs."""
        limit = self.setup.timing.round_timeout_s
        deadline = self._deadline()
        if not await self._hear(waiting, turn, deadline) and not self.stopping:
            # Somebody hangs. Who itself waits is not to blame, and will soon give up who is.
            for link in self._missing(waiting, turn):
                if not link.waits:
                    self.links.give_up(link, f"no progress for {limit:g} s")
            if not await self._hear(waiting, turn, deadline + limit) and not self.stopping:
                for link in self._missing(waiting, turn):
                    self.links.give_up(link, f"waited with us for {limit:g} s")

    def _missing(self, waiting: list[Link], turn: Turn) -> list[Link]:
        """Return those that still owe their message: who was taken up again meanwhile does not."""
        return [link for link in waiting if not link.here(turn) and turn[0] >= link.starts]

    async def _await_a_while(self, waiting: list[Link], turn: Turn) -> None:
        """Wait for each neighbour a little longer than it usually takes, then go on without.

        One that is late has only as long as the others take, until it says something.
        """
        timing, begin = self.setup.timing, trio.current_time()
        assert timing.skip_after_s is not None
        for link in sorted(waiting, key=lambda link: link.late):
            limit = max(timing.skip_after_s, _USUAL * link.usual) * self.links.stretch
            if link.session is None and math.isfinite(link.deadline) and link.due <= (0, 0):
                limit = max(limit, link.deadline - begin)  # it has not begun
            if link.late and any(other.here(turn) for other in self.every):
                limit = 0.0
            if self.stopping:
                limit = min(limit, timing.stop_grace_s)
            link.late = not await self._hear([link], turn, begin + limit)
            if not link.late:
                waited = trio.current_time() - begin
                link.usual = max(waited, _FORGETTING * link.usual)
                link.heard_s = trio.current_time()
            elif trio.current_time() - max(link.heard_s, self.links.started) > (
                timing.round_timeout_s
            ):
                self.links.give_up(link, f"no progress for {timing.round_timeout_s:g} s")

    async def _await_return(self) -> None:
        """Rather than go on alone, wait until a neighbour that is back says from which round on.

        It has a moment of its own to meet its other neighbours before it asks.
        """
        returning = self._returning()
        if not returning or len(returning) < sum(link.open for link in self.every):
            return
        self.pause()
        limit = self.setup.timing.reconnect_timeout_s
        self._patience = trio.CancelScope(deadline=trio.current_time() + limit)
        with self._patience:
            while len(self._returning()) == len(returning):
                await self.links.met.park()
        if self._patience.cancelled_caught and not self.stopping:
            for link in self._returning():
                self.links.give_up(link, f"is back, but has not gone on for {limit:g} s")

    def _returning(self) -> list[Link]:
        return [link for link in self.every if link.starts == NEVER and link.open]

    async def _hear(self, waiting: list[Link], turn: Turn, deadline: float) -> bool:
        """Wait for messages until the deadline; return whether all are here, or will not come.

        One after the other, and who is waited for later may break off meanwhile: so before long
        all are read again as they come.
        """
        soon = trio.current_time() + SOON_S
        if self._reads and soon < deadline:
            if await self._listen(waiting, turn, soon):
                return True
            self.pause()
            if self.stopping:
                deadline = min(deadline, trio.current_time() + self.setup.timing.stop_grace_s)
        return await self._listen(waiting, turn, deadline)

    async def _listen(self, waiting: list[Link], turn: Turn, deadline: float) -> bool:
        self._patience = trio.CancelScope(deadline=deadline)
        with self._patience:
            for link in waiting:
                while not link.look(turn) and link.open and not link.passed(turn):
                    if turn[0] < link.starts:  # it was started again
                        break
                    await link.listen()
        return not self._patience.cancelled_caught

    def _deadline(self) -> float:
        """Return until when to wait: for who is connected, and for who may still connect."""
        timing, now = self.setup.timing, trio.current_time()
        if self.stopping:
            return now + timing.stop_grace_s
        expected = [link.deadline for link in self.every if math.isfinite(link.deadline)]
        return max([now, *expected]) + timing.round_timeout_s

    def _check(self, turn: Turn) -> None:
        """End a peer that nobody talks to, unless it was told that this is fine."""
        every = self.every
        for link in every:
            if link.here(turn):  # the first is, nearly always
                self._alone = 0
                return
        if not every or self.stopping:
            self._alone = 0
            return
        if any(link.open and turn[0] < link.starts for link in every):
            return  # soon
        if any(link.open for link in every):
            return  # it is late, or its message was lost, or it may still come back
        refusals = [why for link in every if (why := link.refusal or link.turned_away)]
        if refusals and turn == (0, 0):
            raise RefusedError(f"no neighbour accepts peer {self.setup.id!r}: {refusals[0]}")
        self._be_alone()

    def _be_alone(self) -> None:
        """Count a round without anybody, and end the peer after too many."""
        self._alone += 1
        limit = self.setup.timing.max_isolated_rounds
        if self._alone == 1:
            self.links.tell("alone", detail="no neighbour is left; training on alone")
        if self._alone >= limit and not self.setup.allow_isolation:
            raise IsolatedError(
                f"peer {self.setup.id!r} has mixed with nobody for {limit} rounds; "
                "give --allow-isolation to train on alone"
            )
