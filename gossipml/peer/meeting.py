"""Meetings: two neighbours average with each other, and nobody else is in it.

Lian, Zhang, Zhang, Liu 2018 (AD-PSGD), arXiv:1710.06952. A peer that wakes plays its round, asks
one neighbour, and that one plays a round and answers. Who waits for an answer turns others
away, so no circle of waiting peers can form; two that ask each other have met. Who asked says
whether it averaged with the answer, and who answered takes its own half back if it did not.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import trio

from gossipml import seeds, wire
from gossipml.algorithms import Average
from gossipml.errors import ConfigError, RemoteProtocolError
from gossipml.peer.mail import Loose, LooseLink
from gossipml.peer.network import run_through
from gossipml.peer.session import ANSWERED, ASKED, MET, UNMET
from gossipml.peer.vectors import joined, parts
from gossipml.topology import Row

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.algorithms import Request
    from gossipml.peer.link import Turn
    from gossipml.peer.session import Session

    Array = NDArray[Any]

ASK, ANSWER = 0, 1
MOST = 4  # asks of one neighbour that may wait; it sends one and waits


@dataclass(eq=False)
class MeetingLink(LooseLink):
    """What a neighbour asks, and what it answered."""

    asks: deque[tuple[int, bytes]] = field(default_factory=deque)
    answer: tuple[int, bytes] | None = None
    asked: int | None = None  # our question that has no answer yet
    heard: int = -1  # the last question that came
    decided: dict[int, int] = field(default_factory=dict)  # the last question of MET and UNMET
    answering: tuple[int, Array] | None = None  # a question, and our change by it
    undo: Array | None = None  # changes that the neighbour has not made

    def keep(self, round: int, request: int, body: bytes) -> None:
        if request == ANSWER:
            self.answer = round, body
        elif round <= self.heard:
            return
        elif len(self.asks) >= MOST:
            raise RemoteProtocolError(f"{MOST} asks wait; a peer asks and waits for the answer")
        else:
            self.asks.append((round, body))
            self.heard = round

    def hear(self, said: wire.Heartbeat, session: Session) -> None:
        number = said.round
        mine = self.answering is not None and self.answering[0] == number
        over = self.answering is not None and self.answering[0] <= number
        if said.request == UNMET:
            self.asks = deque(ask for ask in self.asks if ask[0] > number)
            if over:
                assert self.answering is not None
                change = self.answering[1]
                self.undo = change if self.undo is None else self.undo + change
        if said.request in (MET, UNMET) and over:
            self.answering = None
        elif said.request == ASKED and number > self.heard:
            raise RemoteProtocolError(f"question {number} did not come")
        elif said.request == ASKED and not mine and all(ask[0] != number for ask in self.asks):
            self.post(wire.Data(number, ANSWER, b""))  # it was turned away, and has not heard it
        elif said.request == ANSWERED and number == self.asked and not self.answered(number):
            raise RemoteProtocolError(f"the answer to question {number} did not come")

    def answered(self, number: int) -> bool:
        """Whether the answer to a question is here."""
        return self.answer is not None and self.answer[0] == number

    def doubt(self) -> wire.Heartbeat | None:
        if self.asked is not None:
            return wire.Heartbeat(self.asked, ASKED)
        return None if self.answering is None else wire.Heartbeat(self.answering[0], ANSWERED)

    def decide(self, number: int, used: bool) -> None:
        """Tell the neighbour whether we averaged with its answer."""
        said = MET if used else UNMET
        self.decided[said] = number
        self.post(wire.Heartbeat(number, said))

    def take_undo(self) -> Array | None:
        """Return what is to be taken away from this peer's arrays, and forget it."""
        undo, self.undo = self.undo, None
        return undo

    def attach(self, session: Session) -> None:
        self.asks.clear()  # who asked over the connection before has gone on without an answer
        if self.incarnation not in (None, session.incarnation):
            self.heard, self.decided, self.answering = -1, {}, None
        super().attach(session)
        for said in sorted(self.decided, key=self.decided.__getitem__, reverse=True):
            session.outbox.appendleft(wire.Heartbeat(self.decided[said], said))

    def detach(self, session: Session) -> bool:
        if self.session is session:
            self.asks.clear()
        return super().detach(session)


class Meetings(Loose):
    """Averages with one neighbour at a time: weights 1/2 and 1/2."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._bell = trio.lowlevel.ParkingLot()
        for link in self.every:
            link.arrived = self._bell  # one bell for whoever rings
        self._settles = self.setup.missed == "settle"

    async def sleep_until(self, time: float) -> None:
        """Wait for the next round of this peer, or until somebody asks for one."""
        with self.before() as scope:
            scope.deadline = time
            while self._asked() is None:
                await self._bell.park()
        await trio.lowlevel.checkpoint()

    async def resolve(self, turn: Turn, request: Request) -> tuple[Array, ...]:
        if not isinstance(request, Average):
            raise ConfigError(f'{self.messages.who}: only averages can be "pairwise"')
        self.messages.check(request.arrays)
        self.check_company()
        arrays = self._undone(request.arrays)
        partner = self._asked()
        if partner is not None:
            number, body = partner.asks.popleft()
            mixed = self._averaged(partner, number, body, arrays)
            said = (number, ANSWER)  # what cannot be averaged with is answered by no
            no = mixed is arrays
            partner.post(wire.Data(*said, b"") if no else self.message(said, arrays))
            return mixed
        partner = self._choose(turn[0])
        if partner is None:
            await trio.lowlevel.checkpoint()
            return arrays
        if partner.answering is not None:  # or our question would seem to cross the other's
            partner.post(wire.Heartbeat(partner.answering[0], ANSWERED))
        partner.post(self.message((turn[0], ASK), arrays))
        partner.asked = turn[0]
        theirs, body = await self._answer_of(partner, turn[0])
        partner.asked = None
        mixed = self._averaged(partner, theirs, body, arrays)
        if self._settles:
            partner.decide(turn[0], mixed is not arrays)
        return mixed

    def _undone(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        """Take back what was averaged with neighbours that did not average with us."""
        undo = [link.take_undo() for link in self.every if isinstance(link, MeetingLink)]
        changes = [change for change in undo if change is not None]
        if not changes:
            return arrays
        own = joined(arrays)
        return parts(np.asarray(own - np.sum(changes, axis=0), own.dtype), arrays)

    def _asked(self) -> MeetingLink | None:
        for link in self.every:
            assert isinstance(link, MeetingLink)
            if link.asks and link.open and link.session is not None:
                return link
        return None

    def _choose(self, count: int) -> MeetingLink | None:
        """Return a neighbour to ask, each with the same chance."""
        there = [link for link in self.every if link.open and link.session is not None]
        if not there:
            return None
        start = seeds.stream(self.setup.seed, "meeting", self.setup.index, count)
        link = there[int(seeds.integers(start, 1, len(there))[0])]
        assert isinstance(link, MeetingLink)
        return link

    async def _answer_of(self, partner: MeetingLink, number: int) -> tuple[int | None, bytes]:
        """Return what the neighbour that was asked has; nothing if it is busy or gone.

        If that is a question of its own, with its number.
        """
        session = partner.session
        timing = self.setup.timing
        limit = timing.stop_grace_s if self.stopping else timing.round_timeout_s
        self._patience = trio.CancelScope(deadline=trio.current_time() + limit)
        with self._patience:
            while True:
                if partner.answer is not None and partner.answered(number):
                    return None, partner.answer[1]
                if partner.session is not session or not partner.open:  # what it asks is new
                    return None, b""
                if partner.asks:  # it asked us before it heard of our ask: we have met
                    return partner.asks.popleft()
                for link in self.every:
                    assert isinstance(link, MeetingLink)
                    while link is not partner and link.asks:
                        link.post(wire.Data(link.asks.popleft()[0], ANSWER, b""))
                await self._bell.park()
        return None, b""

    def _averaged(
        self, partner: MeetingLink, number: int | None, body: bytes, arrays: tuple[Array, ...]
    ) -> tuple[Array, ...]:
        """Return half of ours and half of theirs; of a question, remember what that changed."""
        theirs = self._decoded(partner, body, arrays) if body else None
        if theirs is None:
            return arrays
        me, other = self.setup.index, partner.neighbour
        row = Row((min(me, other), max(me, other)), np.array([0.5, 0.5]))
        own = joined(arrays)
        mixed, _ = run_through(self.mix(row, own, {other: theirs}))
        if number is not None and self._settles:
            partner.answering = number, mixed - own
        return parts(mixed, arrays)
