"""Meetings: two neighbours average with each other, and nobody else is in it.

Lian, Zhang, Zhang, Liu 2018 (AD-PSGD), arXiv:1710.06952. A peer that wakes plays its round, asks
one neighbour, and that one plays a round and answers. Who waits for an answer turns others
away, so no circle of waiting peers can form; two that ask each other have met.
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

    def keep(self, round: int, request: int, body: bytes) -> None:
        if request == ANSWER:
            self.answer = round, body
        elif len(self.asks) >= MOST:
            raise RemoteProtocolError(f"{MOST} asks wait; a peer asks and waits for the answer")
        else:
            self.asks.append((round, body))

    def attach(self, session: Session) -> None:
        self.asks.clear()  # who asked over the connection before has gone on without an answer
        super().attach(session)

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

    async def sleep_until(self, time: float) -> None:
        """Wait for the next round of this peer, or until somebody asks for one."""
        with self.before() as scope:
            scope.deadline = time
            while self._asked() is None:
                await self._bell.park()
        await trio.lowlevel.checkpoint()

    async def resolve(self, turn: Turn, request: Request) -> tuple[Array, ...]:
        if not isinstance(request, Average):
            raise ConfigError(f'{self._who}: only averages can be "pairwise"')
        arrays = request.arrays
        self._check_arrays(arrays)
        self.check_company()
        partner = self._asked()
        if partner is not None:
            number, body = partner.asks.popleft()
            partner.post(self.message((number, ANSWER), arrays))
            return self._averaged(partner, body, arrays)
        partner = self._choose(turn[0])
        if partner is None:
            await trio.lowlevel.checkpoint()
            return arrays
        partner.post(self.message((turn[0], ASK), arrays))
        return self._averaged(partner, await self._answer_of(partner, turn[0]), arrays)

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

    async def _answer_of(self, partner: MeetingLink, number: int) -> bytes:
        """Return what the neighbour that was asked has; nothing if it is busy or gone."""
        session = partner.session
        timing = self.setup.timing
        limit = timing.stop_grace_s if self.stopping else timing.round_timeout_s
        self._patience = trio.CancelScope(deadline=trio.current_time() + limit)
        with self._patience:
            while True:
                if partner.answer is not None and partner.answer[0] == number:
                    return partner.answer[1]
                if partner.asks:  # it asked us before it heard of our ask: we have met
                    return partner.asks.popleft()[1]
                for link in self.every:
                    assert isinstance(link, MeetingLink)
                    while link is not partner and link.asks:
                        link.post(wire.Data(link.asks.popleft()[0], ANSWER, b""))
                if partner.session is not session or not partner.open:
                    return b""
                await self._bell.park()
        return b""

    def _averaged(
        self, partner: MeetingLink, body: bytes, arrays: tuple[Array, ...]
    ) -> tuple[Array, ...]:
        theirs = self._decoded(partner, body, arrays) if body else None
        if theirs is None:
            return arrays
        me, other = self.setup.index, partner.neighbour
        row = Row((min(me, other), max(me, other)), np.array([0.5, 0.5]))
        own = joined(arrays)
        mixed = self._mix(row, own, {other: theirs})
        return parts(mixed, arrays)
