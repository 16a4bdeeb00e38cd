"""Mixing without waiting, with the newest message of each neighbour."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from gossipml import wire
from gossipml.algorithms import Average, playing
from gossipml.errors import ConfigError
from gossipml.peer.link import STATE, Link
from gossipml.peer.neighbourhood import Neighbourhood
from gossipml.peer.vectors import joined, parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gossipml.algorithms import Request
    from gossipml.peer.link import Turn
    from gossipml.peer.session import Session

    Array = NDArray[Any]


@dataclass(eq=False)
class LooseLink(Link):
    """An edge whose ends do not keep step: a message is copied out, and its slot is free again."""

    met: int | None = None  # the neighbour's round when we first met

    def __post_init__(self) -> None:
        self.sent = deque(maxlen=0)

    def attach(self, session: Session) -> None:
        if self.met is None:
            self.met = session.far
        super().attach(session)

    def post(self, event: wire.Event) -> None:
        if isinstance(event, wire.Data) and event.request == STATE:  # who misses it asks again
            if self.session is not None:
                self.session.outbox.append(event)
                self.written.unpark_all()
            return
        super().post(event)

    def start_again(self, *, restarted: bool = False) -> None:
        """Take the edge up again; there is no round to agree on."""
        del restarted
        self.state = "waiting" if self.session is None else "up"
        self.farewell, self.refusal, self.turned_away, self.waits = None, "", "", False
        self.announce()

    def welcome(self, round: int, model: bytes) -> None:
        """Tell a neighbour that is new in which round of the run we are, and our model."""
        self.post(wire.sealed(round, STATE, model))

    def has(self, data: wire.Data) -> bool:
        return False

    def deliver(self, data: wire.Data, session: Session) -> None:
        body = bytes(data.body)
        session.connection.release(data)
        self.reached = max(self.reached, (data.round, 0))
        self.keep(data.round, data.request, body)
        self.arrived.unpark_all()

    def keep(self, round: int, request: int, body: bytes) -> None:
        """Take in what a message says."""
        raise NotImplementedError


@dataclass(eq=False)
class NewestLink(LooseLink):
    """Only the newest message counts, on both sides of the wire."""

    newest: bytes = b""
    newest_round: int = -1
    age: int = 0  # rounds of this peer since it came

    def __post_init__(self) -> None:
        self.sent = deque(maxlen=1)

    def keep(self, round: int, request: int, body: bytes) -> None:
        if round > self.newest_round:
            self.newest, self.newest_round, self.age = body, round, 0

    def attach(self, session: Session) -> None:
        if self.incarnation not in (None, session.incarnation):  # it counts from 0 again
            self.newest, self.newest_round = b"", -1
        super().attach(session)

    def post(self, event: wire.Event) -> None:
        if isinstance(event, wire.Data) and event.request != STATE and self.session is not None:
            take_data(self.session.outbox)  # not out yet, and out of date
        super().post(event)


class Loose(Neighbourhood):
    """A neighbourhood that a peer does not wait for."""

    @property
    def go_on(self) -> Callable[..., Request | None]:
        """A request is sent when its answer is asked for: nobody waits for it."""
        return playing.advance

    def begin(self, time: float) -> None:
        """Count the time of the run from then on."""

    async def sleep_until(self, time: float) -> None:
        """Wait for the next round of this peer."""
        with self.before():
            await trio.sleep_until(time)
        await trio.lowlevel.checkpoint()

    def check_company(self) -> None:
        """End a peer all of whose neighbours were lost, unless it was told that this is fine."""
        if self.every and all(link.state == "lost" for link in self.every):
            self._be_alone()

    def message(self, turn: Turn, arrays: tuple[Array, ...]) -> wire.Data:
        """Return the arrays as a message in memory of its own: nobody knows when it is sent."""
        return self.messages.pack(turn, arrays)


class Mail(Loose):
    """Averages with the newest message of each neighbour, as long as it is not too old."""

    async def resolve(self, turn: Turn, request: Request) -> tuple[Array, ...]:
        if not isinstance(request, Average):
            raise ConfigError(f'{self.messages.who}: only averages can be "async"')
        arrays, me = request.arrays, self.setup.index
        self.messages.check(arrays)
        self.check_company()
        data = self.message(turn, arrays)
        receivers = set(self.setup.schedule.receivers(me, turn[0]))
        received: dict[int, Array] = {}
        assert self.setup.pace is not None
        for link in self.every:
            assert isinstance(link, NewestLink)
            if link.neighbour in receivers:
                link.post(data)
            if link.newest and link.age < self.setup.pace.staleness:
                vector = self._decoded(link, link.newest, arrays)
                if vector is None:
                    link.newest = b""
                else:
                    received[link.neighbour] = vector
            link.age += 1
        own = joined(arrays)
        row = self.setup.schedule.row(me, turn[0])
        mixed, _ = await self.mixed(row, own, received)
        return parts(mixed, arrays)


def take_data(outbox: deque[wire.Event]) -> list[wire.Data]:
    """Remove and return the tensors that wait to be written."""
    found = [e for e in outbox if isinstance(e, wire.Data) and e.request != STATE]
    others = [e for e in outbox if not (isinstance(e, wire.Data) and e.request != STATE)]
    outbox.clear()
    outbox.extend(others)
    return found
