"""Edges that shares travel on: each share counts once, whatever becomes of connections.

Shares are numbered, kept until the receiver says that it took them, and sent again over the next
connection. A share that nobody took goes back to its sender.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gossipml import wire
from gossipml.errors import RemoteProtocolError
from gossipml.peer.link import MOST_SPOILT
from gossipml.peer.mail import LooseLink, take_data
from gossipml.peer.session import LEAVING, SENT, TAKEN
from gossipml.peer.vectors import finite

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
        return wire.sealed(number, 0, body)


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
