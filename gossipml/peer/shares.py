"""Pushing shares: each counts once, whatever becomes of messages and connections.

The total over all peers and all that is on its way never changes. Vaidya, Hadjicostis,
Domínguez-García 2012, arXiv:1109.6392, promise it by running sums, which would need ever more
digits; here shares are numbered, kept until the receiver says that it took them, and sent again
over the next connection. A share that nobody took goes back to its sender.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import trio

from gossipml import wire
from gossipml.algorithms import Push
from gossipml.errors import ConfigError, RemoteProtocolError
from gossipml.peer.link import MOST_SPOILT
from gossipml.peer.mail import Loose, LooseLink, take_data
from gossipml.peer.neighbourhood import NOT_FINITE
from gossipml.peer.session import LEAVING, SENT, TAKEN
from gossipml.peer.vectors import finite, joined, parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossipml.algorithms import Request, State
    from gossipml.peer.link import Turn
    from gossipml.peer.session import Session

    Array = NDArray[Any]

WINDOW = 4  # shares on their way to a neighbour; further ones are added up and wait


@dataclass(eq=False)
class ShareLink(LooseLink):
    """What came from a neighbour and is not used yet, as one sum; what is given to it.

    A share that was given must not be changed any more.
    """

    dtype: str = "float32"
    size: int = 0
    total: Array | None = None  # float64
    wanted: bool = False  # by a neighbour that has nothing yet
    back: bool = False  # a connection came up, and no share was given since
    untold: bool = False  # a share that was not finite; not told yet
    unsettled: float = 0.0  # norm of what may be missing, or count twice; not told yet

    @property
    def takes(self) -> bool:
        """Whether a share given now may still be taken."""
        return self.open

    @property
    def settled(self) -> bool:
        """Whether nothing is on its way to the neighbour."""
        return True

    def give(self, share: Array) -> None:
        """Send a flat share to the neighbour, sooner or later."""
        raise NotImplementedError

    def attach(self, session: Session) -> None:
        super().attach(session)
        self.back = True

    def close(self) -> None:
        """Take nothing more."""

    def welcome(self, round: int, model: bytes) -> None:
        super().welcome(round, model)
        self.wanted = True

    def take_total(self) -> Array | None:
        """Return the sum of the shares that came, and forget it."""
        total, self.total = self.total, None
        return total

    def _add_theirs(self, share: Array) -> None:
        """Add what came; a share that is not finite would spoil all, and counts as lost."""
        if finite(share):
            self.spoilt = 0
            self._add(share)
            return
        self.spoilt += 1
        self.untold = self.untold or self.spoilt == 1
        if self.spoilt >= MOST_SPOILT:
            raise RemoteProtocolError(f"shares that are not finite, {self.spoilt} in a row")

    def _add(self, share: Array) -> None:
        wide = share.astype(np.float64)
        self.total = wide if self.total is None else self.total + wide

    def _numbers(self, body: bytes | memoryview) -> Array:
        kind = np.dtype(self.dtype).newbyteorder("<")
        expected = self.size * kind.itemsize
        if len(body) != expected:
            raise RemoteProtocolError(f"DATA of {len(body)} bytes, expected {expected}")
        return np.frombuffer(body, kind)

    def _message(self, number: int, share: Array) -> wire.Data:
        kind = np.dtype(self.dtype).newbyteorder("<")
        body = memoryview(share.astype(kind, copy=False).data).cast("B")
        return wire.Data(number, 0, body, wire.body_checksum(body))


@dataclass(eq=False)
class NaiveShareLink(ShareLink):
    """Shares count when they come: one that is lost, or comes twice, changes the total."""

    waiting: wire.Data | None = None  # for a connection
    given: int = 0

    def give(self, share: Array) -> None:
        self.post(self._message(self.given, share))
        self.given += 1

    def keep(self, round: int, request: int, body: bytes) -> None:
        self._add_theirs(self._numbers(body))

    def post(self, event: wire.Event) -> None:
        if isinstance(event, wire.Data) and event.request == 0:
            pending = [self.waiting] if self.waiting is not None else []
            if self.session is not None:
                pending += take_data(self.session.outbox)
            event = self._merged([*pending, event])
            self.waiting = event if self.session is None else None
        super().post(event)

    def attach(self, session: Session) -> None:
        super().attach(session)
        if self.waiting is not None:
            event, self.waiting = self.waiting, None
            self.post(event)

    def detach(self, session: Session) -> bool:
        unsent = take_data(session.outbox)
        if not super().detach(session):
            return False
        if unsent:
            self.waiting = self._merged(unsent)
        return True

    def _merged(self, events: list[wire.Data]) -> wire.Data:
        if len(events) == 1:
            return events[0]
        shares = [self._numbers(memoryview(event.body)) for event in events]
        return self._message(events[-1].round, np.add.reduce(shares, dtype=np.float64))


@dataclass(eq=False)
class ExactShareLink(ShareLink):
    """Shares have numbers from 1 on, in the round of their header, and each is taken once.

    The receiver says the last number that it took, after each share and first on every new
    connection. A number that it has is dropped, and one that is missing costs the connection.
    """

    number: int = 0  # of the last share sent
    taken: int = 0  # of the last share taken
    acknowledged: int = 0  # of the last share that the neighbour took, as it says
    rest: Array | None = None  # what waits to be sent, float64
    pending: bool = False  # it is more than what rounding left
    agreed: bool = False  # the neighbour has said over this connection what it took
    closed: bool = False  # we take nothing more
    leaving: bool = False  # the neighbour takes nothing more

    def __post_init__(self) -> None:
        self.sent = deque()  # not acknowledged; at most WINDOW

    @property
    def takes(self) -> bool:
        return self.open and not self.leaving

    @property
    def settled(self) -> bool:
        return not self.sent and not self.pending

    # --- what is given ------------------------------------------------------------------

    def give(self, share: Array) -> None:
        if self.rest is None and self._room and share.dtype == self.dtype:
            self._send(share)
            return
        self.rest = share.astype(np.float64) if self.rest is None else self.rest + share
        self.pending = True
        self._flush()

    def post(self, event: wire.Event) -> None:
        if isinstance(event, wire.Bye) and not self.agreed:
            if self.farewell is None and self.state != "lost":
                self.farewell = event  # said after the shares, when it has said what it took
            return
        super().post(event)

    def has(self, data: wire.Data) -> bool:
        return data.request == 0 and data.round <= self.acknowledged

    def _flush(self) -> None:
        """Send what waits, if there is room; what rounding leaves waits for the next one."""
        if not self.pending or not self._room:
            return
        assert self.rest is not None
        share = self.rest.astype(self.dtype)
        left = self.rest - share
        self.rest, self.pending = left if left.any() else None, False
        self._send(share)

    @property
    def _room(self) -> bool:
        return self.agreed and len(self.sent) < WINDOW and self.farewell is None

    def _send(self, share: Array) -> None:
        self.number += 1
        self.post(self._message(self.number, share))

    def _take_back(self, *, unsent_only: bool = False) -> None:
        """What the neighbour will not take is this peer's own again."""
        if self.rest is not None:
            self._add(self.rest)
            self.rest, self.pending = None, False
        while self.sent and not unsent_only:
            self._add(self._numbers(memoryview(self.sent.popleft().body)))
        self.announce()

    # --- what comes ---------------------------------------------------------------------

    @property
    def _over(self) -> bool:
        """Whether nothing more is taken, so that it is the sender's own again."""
        return self.closed or self.farewell is not None

    def deliver(self, data: wire.Data, session: Session) -> None:
        if session is not self.session:  # it comes again over the next connection
            session.connection.release(data)
            return
        super().deliver(data, session)

    def keep(self, round: int, request: int, body: bytes) -> None:
        share = self._numbers(body)
        if self._over:
            return
        if round > self.taken + 1:
            raise RemoteProtocolError(f"share {round} came where {self.taken + 1} was due")
        if round == self.taken + 1:
            self.taken = round
            self._add_theirs(share)
        self.post(wire.Heartbeat(self.taken, TAKEN))

    def hear(self, said: wire.Heartbeat, session: Session) -> None:
        if session is not self.session:
            return
        if said.request == TAKEN:
            self._acknowledge(said.round, session)
        elif said.request == SENT and not self._over:
            if said.round > self.taken:
                raise RemoteProtocolError(f"share {self.taken + 1} did not come")
            self.post(wire.Heartbeat(self.taken, TAKEN))
        elif said.request == LEAVING:
            self.leaving = True
            self._take_back()

    def doubt(self) -> wire.Heartbeat | None:
        return wire.Heartbeat(self.number, SENT) if self.agreed and self.sent else None

    def _acknowledge(self, number: int, session: Session) -> None:
        if not self.acknowledged <= number <= self.number:
            raise RemoteProtocolError(
                f"took share {number}, expected {self.acknowledged} to {self.number}"
            )
        self.acknowledged = number
        while self.sent and self.sent[0].round <= number:
            self.sent.popleft()
        if not self.agreed:
            self.agreed = True
            session.outbox.extend(self.sent)
            if self.farewell is not None:
                session.outbox.append(self.farewell)
        self._flush()
        self.announce()

    # --- connections and ends -----------------------------------------------------------

    def attach(self, session: Session) -> None:
        if self.incarnation not in (None, session.incarnation):
            self._doubt_the_sent()  # what it took without saying so it may have passed on
            self._take_back()
            self.number = self.taken = self.acknowledged = 0
            self.leaving = False
        self.agreed = False
        super().attach(session)
        session.outbox.clear()  # shares and goodbye wait until it has said what it took
        session.outbox.append(wire.Heartbeat(self.taken, TAKEN))
        if self.closed:
            session.outbox.append(wire.Heartbeat(0, LEAVING))
        if self.asking is not None:
            session.outbox.append(self.asking)

    def end(self, state: Literal["lost", "left"], *, heard: bool = True) -> None:
        certain = state == "left" and heard  # before its goodbye it said what it took
        if not certain:  # if it is lost it may come back, and say so
            self._doubt_the_sent()
        self._take_back(unsent_only=not certain)
        super().end(state, heard=heard)

    def close(self) -> None:
        self.closed = True
        self.post(wire.Heartbeat(0, LEAVING))

    def _doubt_the_sent(self) -> None:
        bodies = [self._numbers(memoryview(data.body)) for data in self.sent]
        self.unsettled += float(sum(np.linalg.norm(body) for body in bodies))


class Shares(Loose):
    """Sends a share to each receiver, and adds up its own and all that came.

    While nothing comes a peer keeps what it has, or its weight would dwindle, and a step of
    u / w grow without bound; but it sends at least once in so many rounds as messages count for,
    so that no two wait for each other. When it begins, and when a neighbour is back, it sends too:
    whatever went to and fro before may have ended with a process or a connection.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._quiet = -1  # rounds since anything came or went; it has not begun
        self._bell = trio.lowlevel.ParkingLot()
        for link in self.every:
            link.arrived = self._bell  # one bell for whoever rings

    @property
    def _links(self) -> list[ShareLink]:
        return [link for link in self.every if isinstance(link, ShareLink)]

    async def resolve(self, turn: Turn, request: Request) -> tuple[Array, ...]:
        if not isinstance(request, Push):
            raise ConfigError(f'{self._who}: only pushes can be sent by "push"')
        await trio.lowlevel.checkpoint()  # from here on nothing comes in between
        arrays, me = request.arrays, self.setup.index
        self._check_arrays(arrays)
        self.check_company()
        self._tell_doubts()
        receivers = set(self.setup.schedule.receivers(me, turn[0]))
        assert self.setup.pace is not None
        arrived = self._arrived()
        back = any(link.back for link in self._links)
        self._quiet = 0 if arrived or back else self._quiet + 1
        quiet = self._quiet % self.setup.pace.staleness
        there = [
            link
            for link in self._links
            if link.takes and (link.wanted or (link.neighbour in receivers and not quiet))
        ]
        own = joined(arrays)
        share = own * own.dtype.type(1 / (1 + len(there)))  # who has left takes no share with it
        for link in there:
            link.give(share)
            link.wanted = link.back = False
        total = np.sum([own, -len(there) * share.astype(np.float64), *arrived], axis=0)
        return parts(total.astype(own.dtype), arrays)

    async def receive_first(self, state: State) -> None:
        """Begin with what the neighbours give; with the state's own if they give nothing."""
        limit = self.setup.timing.round_timeout_s
        with trio.move_on_after(limit), self.before():
            links = self._links
            while all(link.total is None for link in links) and any(link.takes for link in links):
                await self._bell.park()
        arrived = self._arrived()
        if arrived:
            self._store(state, np.sum(arrived, axis=0))

    async def leave(self, state: State) -> None:
        """Hand all that this peer has to a neighbour that goes on."""
        for link in self._links:
            link.close()
        with trio.move_on_after(self.setup.timing.stop_grace_s):
            while (heir := self._heir()) is not None:
                self.collect(state)
                mass = self._flat(state)
                if not mass.any():
                    break
                self._store(state, np.zeros_like(mass))
                heir.give(mass)
                for link in self._links:
                    while link.takes and not link.settled:
                        await link.changed.park()
        self.collect(state)

    def collect(self, state: State) -> None:
        """Add what came and was not used to what this peer has."""
        self._tell_doubts()
        arrived = self._arrived()
        if arrived and self._names:
            self._store(state, np.sum([self._flat(state), *arrived], axis=0))

    def _arrived(self) -> list[Array]:
        totals = [link.take_total() for link in self._links]
        return [total for total in totals if total is not None]

    def _heir(self) -> ShareLink | None:
        """Return a neighbour that is there and takes shares; rather one that always does."""
        there = [link for link in self._links if link.takes and link.session is not None]
        receivers = set(self.setup.schedule.receivers(self.setup.index, 0))
        return min(there, key=lambda link: link.neighbour not in receivers, default=None)

    @property
    def _names(self) -> tuple[str, ...]:
        return self.setup.algorithm.facts.mass

    def _flat(self, state: State) -> Array:
        """Return all that this peer has, as one vector of float64."""
        arrays = state.arrays()
        return np.concatenate([arrays[name].reshape(-1) for name in self._names], dtype=np.float64)

    def _store(self, state: State, mass: Array) -> None:
        like = tuple(state.arrays()[name] for name in self._names)
        for name, array in zip(self._names, parts(mass, like), strict=True):
            setattr(state, name, array.astype(self.setup.x0.dtype))

    def _tell_doubts(self) -> None:
        """Say how far the total may be off, as a neighbour is gone with what it was sent."""
        for link in self._links:
            if link.untold:
                link.untold = False
                self.links.tell("unusable", link, NOT_FINITE)
            if link.unsettled:
                norm, link.unsettled = link.unsettled, 0.0
                detail = f"shares of norm {norm:.3g} that it was sent may be lost, or count twice"
                self.links.tell("unsettled", link, detail)
