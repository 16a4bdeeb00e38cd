"""Gossip by token accounts: who receives a model plays a round, and sends when it can afford to.

Danner, Jelasity 2018, "Token account algorithms: the best of the proactive and reactive worlds"
(ICDCS), for gossip learning (Ormándi, Hegedűs, Jelasity 2013, arXiv:1109.1396). A peer earns a
token each time it wakes, and a message costs one. So bursts of news travel as fast as messages
do, and nobody sends more than one message for each waking, and as many as it has saved.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import trio

from gossipml import seeds, wire
from gossipml.algorithms import Average
from gossipml.errors import ConfigError
from gossipml.peer.link import STATE
from gossipml.peer.mail import Loose, LooseLink, take_data
from gossipml.peer.vectors import joined, parts
from gossipml.topology import Row

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.algorithms import Request
    from gossipml.peer.link import Turn

    Array = NDArray[Any]

KEPT = 4  # messages of a neighbour that may wait; of more, the oldest are dropped


@dataclass(eq=False)
class LetterLink(LooseLink):
    """The newest messages of a neighbour, each with the rounds that it had played."""

    letters: deque[tuple[int, bytes]] = field(default_factory=lambda: deque(maxlen=KEPT))

    def keep(self, round: int, request: int, body: bytes) -> None:
        self.letters.append((round, body))

    def post(self, event: wire.Event) -> None:
        said = isinstance(event, wire.Data) and event.request != STATE and self.farewell is None
        if said and self.session is not None:
            outbox = self.session.outbox
            outbox.extend(take_data(outbox)[1 - KEPT :])  # the receiver would drop the others
        super().post(event)


class Tokens(Loose):
    """Averages with whoever's message comes, and sends to a neighbour at random."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assert self.setup.pace is not None
        self._account = self.setup.pace.account
        self._moments = self.setup.pace.moments(self.setup.seed, self.setup.index)
        self._bell = trio.lowlevel.ParkingLot()
        for link in self.every:
            link.arrived = self._bell  # one bell for whoever rings
        self.balance = 0
        self._owed = 0  # messages that the last one received was worth
        self._draws = 0

    def begin(self, time: float) -> None:
        self._begin = time
        self._moments.skip(trio.current_time() - time)

    async def resolve(self, turn: Turn, request: Request) -> tuple[Array, ...]:
        """Offer these arrays, until something to average them with comes."""
        if not isinstance(request, Average):
            raise ConfigError(f'{self.messages.who}: only averages can be sent by "tokens"')
        arrays = request.arrays
        self.messages.check(arrays)
        while self._owed:
            self._owed -= 1
            self._send(turn, arrays)
        while True:
            sender = self._heard()
            if sender is None:
                await self._wait(turn, arrays)
                continue
            played, body = sender.letters.popleft()
            theirs = self._decoded(sender, body, arrays)
            if theirs is None:
                continue
            self._owed = self._account.reactive(self.balance, played >= turn[0], self._draw())
            self._owed = min(self._owed, self.balance)
            self.balance -= self._owed
            me, other = self.setup.index, sender.neighbour
            row = Row((min(me, other), max(me, other)), np.array([0.5, 0.5]))
            own = joined(arrays)
            mixed, _ = await self.mixed(row, own, {other: theirs})
            return parts(mixed, arrays)

    async def _wait(self, turn: Turn, arrays: tuple[Array, ...]) -> None:
        """Wait for a message; on waking, send or save."""
        due = self._begin + self._moments.due
        with trio.move_on_at(due):
            await self._bell.park()
        if trio.current_time() < due - 1e-9:  # the clock rounds
            return
        self._moments.advance()
        self.check_company()
        if self._draw() < self._account.proactive(self.balance):
            self._send(turn, arrays)
        else:
            self.balance = min(self._account.capacity, self.balance + 1)

    def _send(self, turn: Turn, arrays: tuple[Array, ...]) -> None:
        """Send to one neighbour, each with the same chance."""
        receivers = self.setup.schedule.receivers(self.setup.index, turn[0])
        there = [
            link
            for link in self.every
            if link.neighbour in receivers and link.open and link.session is not None
        ]
        if there:
            there[int(self._draw() * len(there))].post(self.message(turn, arrays))

    def _heard(self) -> LetterLink | None:
        """Return the first neighbour whose message waits."""
        for link in self.every:
            assert isinstance(link, LetterLink)
            if link.letters:
                return link
        return None

    def _draw(self) -> float:
        start = seeds.stream(self.setup.seed, "token", self.setup.index, self._draws)
        self._draws += 1
        return float(seeds.uniforms(start, 1)[0])
