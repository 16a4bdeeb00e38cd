"""One edge of the graph as one of its ends sees it, across all its connections.

A link outlives connections: it keeps what came in and is not yet used, and the last two
messages that went out, which a new connection sends again. So a broken connection loses
nothing, as long as it comes back in time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import trio
from msgspec import structs

from gossipml import wire
from gossipml.errors import RemoteProtocolError
from gossipml.peer.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gossipml.peer.session import Session
    from gossipml.wire.frames import Header

Turn: TypeAlias = tuple[int, int]
"""A round and the index of the request in it: the clock of an edge."""

BEFORE: Turn = (-1, 0)
STATE = 2**32 - 1  # the request of a DATA frame that holds the sender's model
NEVER = 2**32  # a round, or request, beyond all that a header can hold
USED = 2**31  # and above, the request of a HEARTBEAT that says which messages were used
MOST_SPOILT = 3  # messages in a row of numbers that are not finite
KEPT = 2  # a neighbour is at most one turn behind, so it may still need these


@dataclass(eq=False)
class Link:
    """The edge to one neighbour."""

    neighbour: int
    id: str
    state: Literal["waiting", "up", "down", "lost", "left"] = "waiting"
    reached: Turn = BEFORE  # the last exchange that was used from this neighbour
    session: Session | None = None
    incarnation: int | None = None  # of the neighbour's process that we have mixed with
    refusal: str = ""  # why a neighbour that we dialled would not have us
    turned_away: str = ""  # why we would not have somebody in its name who dialled us
    deadline: float = float("inf")  # when to give up waiting for a connection
    farewell: wire.Bye | None = None  # our goodbye, once it is on its way
    waits: bool = False  # the neighbour said last that it waits for its own neighbours
    starts: int = 0  # before this round nothing is said or expected on an edge taken up again
    skips: int = 0  # what the neighbour says of earlier rounds is answered by tokens
    asking: wire.Heartbeat | None = None  # from which round it counts on us; it has not said
    ahead: bool = False  # the neighbour was in mid-run when we met, and we had not begun
    question: bool = False  # it asked from which round on we count on it, before we had one
    offer: tuple[int, bytes] | None = None  # round from which it counts on us, and its model
    strict: bool = True  # every message counts: nobody may go on without one
    ledger: Ledger = field(default_factory=Ledger)  # what both ends used of each other
    due: Turn = BEFORE  # the exchange that we are in
    said: wire.Heartbeat | None = None  # which of its messages we used: said to settle accounts
    account: wire.Heartbeat | None = None  # which of ours it used
    passes: dict[int, int] = field(default_factory=dict)  # by request: rounds that lacked it
    unusable: Turn = BEFORE  # the last exchange whose message was here, but wrong
    spoilt: int = 0  # messages in a row whose numbers were not finite
    excused: Turn = BEFORE  # before this, messages were dropped here or whole rounds never sent
    late: bool = False  # it was not there in time, and has said nothing since
    usual: float = 0.0  # seconds that we waited for it lately
    heard_s: float = float("-inf")  # when a message of it was last in time
    reads: bool = False  # itself, rather than have its session pass on what comes
    bytes_sent: int = 0
    bytes_received: int = 0
    payload_bytes_sent: int = 0
    latest: Turn = BEFORE  # the last message that came
    next: tuple[Turn, int] | None = None  # that waits for a slot, and which of ours it missed
    inbox: dict[Turn, tuple[wire.Data, Session]] = field(default_factory=dict)
    held: list[wire.Data] = field(default_factory=list)
    sent: deque[wire.Data] = field(default_factory=lambda: deque(maxlen=KEPT))
    arrived: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)
    changed: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)
    written: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)
    room: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    @property
    def open(self) -> bool:
        """Whether anything may still come from this neighbour."""
        return self.state not in ("lost", "left")

    def post(self, event: wire.Event) -> None:
        """Queue a message; without a connection, DATA waits for the next one.

        A goodbye is said once, and nothing after it. On an edge taken up again nothing is said
        of the rounds that count until the neighbour has come to them, or it would seem that the
        tokens before were left out.
        """
        if self.farewell is not None or self.state == "lost":
            return
        if isinstance(event, wire.Data):
            if self.skips and self._early(event):
                self.held = [*self.held[1 - KEPT :], event]  # older ones are of no use any more
                return
            if self.ledger.lacking and event.request != STATE and event.round >= self.starts:
                missed = self.ledger.missed((event.round, event.request))
                event = structs.replace(event, missed=missed, frame=None)
            self.sent.append(event)
        elif isinstance(event, wire.Bye):
            self.farewell = event
        if self.session is not None:
            self.session.post(event)

    def begin(self, turn: Turn) -> None:
        """Go on to an exchange: all before it are over, and what was said of them is heard."""
        self.due = turn
        while self.sent and self.has(self.sent[0]):
            self.sent.popleft()  # whose memory the next message may use
        for key in sorted(self.inbox) if self.inbox else ():  # one at most, nearly always
            if key <= turn:
                self.ledger.hear(key, self.inbox[key][0].missed)
            if key < turn:
                self._drop(key)

    def say_used(self) -> None:
        """Say which of the neighbour's messages we used, until accounts are settled."""
        if self.said is None:
            turn = self._next()
            missed = self.ledger.missed(turn)
            self.said = wire.Heartbeat(turn[0], USED + turn[1], missed)
            self.post(self.said)

    def hear_used(self, said: wire.Heartbeat) -> None:
        """Take note of which of our messages the neighbour used."""
        self.account = said
        if self.starts == NEVER:
            self.settle()
        self.changed.unpark_all()

    def settle(self) -> None:
        """Take back what the neighbour said that it has not used."""
        if self.account is not None:
            said, self.account = self.account, None
            self.ledger.hear((said.round, said.request - USED), said.missed, ended=True)

    def _next(self) -> Turn:
        """Return the exchange after all that this end is done with."""
        if self.reached < (0, 0):
            return (0, 0)
        round, request = self.reached
        return (round + 1, 0) if request == NEVER else self.ledger.after(self.reached)

    def _early(self, data: wire.Data) -> bool:
        come = self.reached >= (self.skips, 0) or any(key >= (self.skips, 0) for key in self.inbox)
        return self.skips <= data.round and data.request != STATE and not come

    def attach(self, session: Session) -> None:
        """Make a new connection the live one; the old one, if any, is dropped."""
        if self.session is not None:
            self.session.close()
        self.session, self.next = session, None
        self.incarnation = session.incarnation
        self.state = "up"
        self.deadline = float("inf")
        session.outbox.extend(self.sent)
        if self.said is not None:
            session.outbox.append(self.said)
        if self.asking is not None:  # the answer, or the question, was lost with a connection
            session.outbox.append(self.asking)
        if self.farewell is not None:
            session.outbox.append(self.farewell)
        self.announce()

    def detach(self, session: Session) -> bool:
        """Forget a connection that ended; False if another took its place already."""
        if self.session is not session:
            return False
        self.session = None
        if self.open:
            self.state = "down"
        self.announce()
        return True

    def end(self, state: Literal["lost", "left"], *, heard: bool = True) -> None:
        """Expect nothing more from this neighbour; ``heard``: who left has said so."""
        self.state = state
        if state == "lost":  # the account ends with this exchange: nothing later is used
            for key in [other for other in self.inbox if other > self.due]:
                self._drop(key)
        self.ledger.copy_out()
        self.announce()

    def start_again(self, *, restarted: bool = False) -> None:
        """Take the edge up again, from a round yet to be said.

        What the ends used of each other's messages is settled first, unless the neighbour is
        another process now and does not know.
        """
        self.state = "waiting" if self.session is None else "up"
        self.said = None
        if restarted:
            self.ledger.forget()
        elif self.ledger.keeps:
            self.ledger.copy_out()
            self.settle()
            self.say_used()
        self.late, self.usual = False, 0.0
        self.heard_s = trio.current_time()  # or it would be given up again at its next delay
        self.starts, self.skips = NEVER, 0
        self.farewell, self.refusal, self.turned_away, self.waits = None, "", "", False
        self.sent.clear()
        self.held.clear()
        self.asking = None
        for data, session in self.inbox.values():
            session.connection.release(data)
        self.inbox.clear()
        self.room.unpark_all()
        self.announce()

    def ask(self, question: wire.Heartbeat) -> None:
        """Ask from which round on the neighbour counts on us, until it says."""
        self.asking = question
        self.post(question)

    def start_from(self, round: int, *, skip: bool = False) -> None:
        """Say from which round on messages count, and whether earlier ones get tokens."""
        self.starts = round
        self.ledger.forget()  # both have said what they used, or nobody can
        self.said = self.account = None
        if skip:
            self.skips = round
        else:
            self.reached = (round - 1, NEVER)
        for data, session in [self.inbox.pop(key) for key in sorted(self.inbox)]:
            self.deliver(data, session)

    def deliver(self, data: wire.Data, session: Session) -> None:
        """Keep a message until its turn; drop it if that is past or it came before."""
        key = (data.round, data.request)
        self.late = False
        if key <= self.due:
            self.ledger.hear(key, data.missed)
        if self.skips and self.reached < key < (self.skips, 0):
            self.reached = key
            session.connection.release(data)
            self.post(wire.sealed(*key, b""))
            self.room.unpark_all()
            return
        # Before the neighbour says from which round on it counts on us, nothing counts; and what
        # nobody takes would keep it from saying so.
        if key <= self.reached or key in self.inbox or self.starts == NEVER:
            self._release(data, session)
            return
        if key[0] > self.latest[0] + 1:
            self.excused = max(self.excused, key)
        if key > self.latest:
            self.latest = key
        if len(self.inbox) >= KEPT and not self.strict:  # we are behind: what is old is missed
            self._drop(min(self.inbox))
            self.excused = max(self.excused, min([key, *self.inbox]))
        if len(self.inbox) >= KEPT:
            raise RemoteProtocolError(
                f"message {key} came while {KEPT} from before wait; a neighbour may be at most "
                "one exchange ahead"
            )
        self.inbox[key] = (data, session)
        if not session.lent:  # else who waits for it has read it
            self.arrived.unpark_all()
        if self.held:
            held, self.held = self.held, []
            for event in held:
                self.post(event)

    def here(self, key: Turn) -> bool:
        """Whether the message of a turn is here.

        Not before ``starts``: the neighbour hears nothing of us then, so we use nothing of it.
        """
        return key in self.inbox and key[0] >= self.starts

    def look(self, key: Turn) -> bool:
        """Read what has come, where this link reads itself; return whether a message is here."""
        while not self.here(key):
            session = self.session
            if session is None or not session.lent or not session.receive_now():
                return False
        return True

    def look_soon(self, key: Turn, until: float) -> bool:
        """Look, and wait a moment while no other task runs, where this link reads itself."""
        while not self.look(key):
            session = self.session
            if session is None or not session.lent or session.now() >= until:
                return False
            if not session.stream.readable_soon():
                return False
        return True

    async def listen(self) -> None:
        """Wait until something comes, or changes."""
        if self.session is not None and self.session.lent:
            await self.session.receive()
        else:
            await self.arrived.park()

    def give_back(self) -> None:
        """Let the session read again: nobody waits for a message now."""
        self.reads = False
        if self.session is not None:
            self.session.give_back()

    def take(self, key: Turn) -> memoryview | None:
        """Return the message of a turn if it is here; ``used`` gives its slot back."""
        return memoryview(self.inbox[key][0].body) if self.here(key) else None

    def has(self, data: wire.Data) -> bool:
        """Whether the neighbour has our message: it went on to a later turn, so it must."""
        return (data.round, data.request) < self.reached

    def passed(self, key: Turn) -> bool:
        """Whether the neighbour is beyond a turn without having sent its message.

        Messages of a link come in order, so then it never will.
        """
        return key not in self.inbox and self.beyond(key)

    def beyond(self, key: Turn) -> bool:
        """Whether the neighbour has said something of a later turn."""
        return any(other > key for other in self.inbox)

    def is_past(self, round: int) -> bool:
        """Whether the neighbour will use nothing of a round: it is beyond, or begins later."""
        later = self.starts if self.starts != NEVER else -1
        return later > round or any(other[0] > round for other in self.inbox)

    def hear_next(self, header: Header) -> None:
        """Take note of a message that waits for a slot: what it says may free one."""
        if header.request != STATE:
            self.next = (header.round, header.request), header.missed
            self._hear_next()

    def _hear_next(self) -> None:
        """Free the slot that a message waits for, if what it says allows it, or it is old.

        One that came before settles nothing, and what would is behind it.
        """
        assert self.next is not None
        self.ledger.hear(*self.next)
        if self.next[0] <= self.reached:
            self.ledger.copy_out()

    def make_room(self) -> None:
        """Need less of what came, as more does: hear what it says, and drop the oldest of two."""
        for key in sorted(self.inbox):
            self.ledger.hear(key, self.inbox[key][0].missed)
        if not self.strict and len(self.inbox) >= KEPT:
            self._drop(min(self.inbox))
            self.excused = max(self.excused, min(self.inbox))

    def used(self, key: Turn, undo: Callable[[], NDArray[Any]] | None = None) -> None:
        """Move past a turn and give the slot of its message back.

        ``undo`` is what to add if the neighbour misses ours: it looks at its message, whose slot
        is held until we know.
        """
        self.reached = key
        there = self.inbox.pop(key, None)
        if self.inbox:
            for past in [other for other in self.inbox if other < key]:
                self._drop(past)
        release = None if there is None else partial(self._release, *there)
        self.ledger.close(key, there is not None and key != self.unusable, undo, release)
        if self.next is not None:
            self._hear_next()

    def _drop(self, key: Turn) -> None:
        self._release(*self.inbox.pop(key))

    def _release(self, data: wire.Data, session: Session) -> None:
        session.connection.release(data)
        if session.paused:
            self.room.unpark_all()

    def hear(self, said: wire.Heartbeat, session: Session) -> None:
        """Take in what the neighbour says of edges at the peers' own pace."""

    def doubt(self) -> wire.Heartbeat | None:
        """Return what to say, now and then, of messages that should have come long since."""
        return None

    def announce(self) -> None:
        """Wake whoever waits for this link to change."""
        for waiting in (self.changed, self.arrived, self.written):
            waiting.unpark_all()
