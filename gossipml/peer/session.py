"""One live connection of a link: read, write, watch, and say why it ended."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from gossipml import wire
from gossipml.errors import ProtocolError, RemoteProtocolError
from gossipml.peer.link import STATE, USED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gossipml.peer.link import Link
    from gossipml.peer.network import ByteStream
    from gossipml.peer.setup import Timing

# In the request of a heartbeat, what the sender does: it waits; it asks to be counted on from
# a round on; it says from which.
WAITING, JOIN, START = 1, 2, 3
# At the peers' own pace, of shares: the last that the sender took; the last that it sent; it
# takes no more. Of meetings: it averaged with the answer to its question; it did not, and will
# not; it waits for an answer; it has answered.
TAKEN, SENT, LEAVING, MET, UNMET, ASKED, ANSWERED = 16, 17, 18, 19, 20, 21, 22


MOST_WAITING = 1000  # frames that a neighbour may leave unread while it says more


class Session:
    """A connection after both sides have said hello.

    Parameters
    ----------
    link : Link
        The edge it serves: what it posts is written, its inbox filled.
    stream, connection
        The bytes and their meaning.
    incarnation : int
        Of the neighbour's process.
    dialled_by : int
        Index of the peer that opened the connection.
    timing : Timing
    here : callable
        Returns the heartbeat that says where this peer is.
    left : callable
        Told the reason when the neighbour leaves before it has finished.
    lagged : callable
        Told by how many seconds this peer woke too late; returns how many times longer that makes
        its patience with others.
    asked, told : callable
        Told the neighbour's round when it asks to be counted on; the round from which it counts
        on us.
    """

    def __init__(
        self,
        link: Link,
        stream: ByteStream,
        connection: wire.Connection,
        *,
        incarnation: int,
        dialled_by: int,
        timing: Timing,
        here: Callable[[], wire.Heartbeat],
        left: Callable[[str], None],
        lagged: Callable[[float], float],
        asked: Callable[[int], None],
        told: Callable[[int], None],
    ) -> None:
        self.link, self.stream, self.connection = link, stream, connection
        self.incarnation, self.dialled_by = incarnation, dialled_by
        self.timing, self.here, self.left, self.lagged = timing, here, left, lagged
        self.asked, self.told = asked, told
        # Of its own: a writer that was replaced but has not noticed must not take from the next.
        self.outbox: deque[wire.Event] = deque()
        self.far = 0  # the neighbour's round when we met
        self.now = trio.lowlevel.current_clock().current_time  # at half the cost of trio's own
        self.heard = self.spoke = self.now()  # when bytes last came in, went out
        self.paused = False  # not reading, because both slots hold messages not used yet
        self.written = False  # our goodbye is out, so nothing more will be sent
        self._scope = trio.CancelScope()
        self._writing = trio.CancelScope()
        self._speechless = False  # they broke the protocol: they hear why, and nothing else
        self._ended = False  # the neighbour's stream
        self._has_asked = False  # the neighbour, to be counted on
        self.writing: wire.Event | None = None  # what has gone out in part
        self._rest: Sequence[bytes | memoryview] = ()  # of a message begun by ``post``
        self.lent = False  # to whoever waits for its messages, who reads them itself
        self._awaited = False  # by them
        self._returned = trio.lowlevel.ParkingLot()
        self._failure: Exception | None = None  # met by who it was lent to

    async def run(self) -> str:
        """Serve the connection until it ends; return why it did."""
        why = "closed by the other side"
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    nursery.start_soon(self._watch)
                    await self._read()
                    await self._let_part()
                    nursery.cancel_scope.cancel()
        except* (OSError, ProtocolError) as group:  # whoever's fault: it costs one connection
            why = str(_first(group)) or why
        finally:
            self.close()
        return why

    def post(self, event: wire.Event) -> None:
        """Write a message at once if nothing is before it; what would have to wait is the writer's.

        So most messages leave without a switch to another task.
        """
        link = self.link
        first = not self.outbox and self.writing is None and not self._speechless
        if first and type(event) is wire.Data:
            try:
                buffers = self.connection.send(event)
                self._rest = self.stream.send_some(buffers)
            except (OSError, ProtocolError):
                self.outbox.append(event)  # the writer will meet it too, and say so
            else:
                payload = sum(map(len, buffers[1:]))
                link.bytes_sent += len(buffers[0]) + payload
                link.payload_bytes_sent += payload
                self.spoke = self.now()
                if not self._rest:
                    return
                self.writing = event
        else:
            self.outbox.append(event)
        link.written.unpark_all()

    def close(self) -> None:
        """Drop the connection; the tasks that serve it end."""
        self.stream.close()
        self._scope.cancel()

    async def _read(self) -> None:
        """Take in what comes; say why before a connection that broke the protocol is dropped."""
        try:
            await self._receive()
        except RemoteProtocolError as error:
            self._speechless = True
            self._writing.cancel()
            if self.writing is None and self.connection.sending is wire.State.OPEN:
                with trio.move_on_after(self.timing.hello_timeout_s):
                    await self.stream.send(self.connection.send(wire.Error.about(error)))
            raise

    # --- reading ---------------------------------------------------------------------

    # A message that its reader passes on costs a task switch more than one that is read by who
    # waits for it. So the round reads small ones itself, once this task has met it waiting.

    async def receive(self) -> None:
        """Take in what comes next, as whom this connection was lent to."""
        if not self.receive_now() and self.lent:
            self._awaited = True
            try:
                await self.stream.readable()
            except OSError as error:
                self._give_back(error)
            finally:
                self._awaited = False

    def receive_now(self) -> bool:
        """Take in what has come, as whom this connection was lent to; return whether any had."""
        try:
            buffer = self.connection.receive_buffer()
            count = self.stream.receive_now(buffer) if buffer else 0
            if count is None:
                return False
            if count:
                self._take_in(count)
                return True
            self._give_back(None)  # at the end, and when no slot is free
        except (OSError, ProtocolError) as error:
            self._give_back(error)
        return False

    def give_back(self) -> None:
        """Be lent no more: this task reads again."""
        if self.lent:
            self._give_back(None)

    def _give_back(self, error: Exception | None) -> None:
        self.lent, self._failure = False, error
        self._returned.unpark_all()

    def _take_in(self, count: int) -> None:
        self.heard = self.now()
        self.link.bytes_received += count
        for event in self.connection.bytes_received(count):
            self._handle(event)
        if len(self.outbox) > MOST_WAITING:  # each question may be answered
            raise RemoteProtocolError(f"{len(self.outbox)} frames wait: talks, does not read")

    async def _receive(self) -> None:
        connection, stream, link = self.connection, self.stream, self.link
        while not self._ended:
            buffer = connection.receive_buffer()
            if buffer:
                self._take_in(await stream.receive_into(buffer))
            elif (header := connection.waiting) is not None:
                link.hear_next(header)
                if self.timing.skip_after_s is not None:  # else nobody is so far ahead
                    link.make_room()
                if connection.waiting is None:
                    continue
                self.paused = True
                await link.room.park()
                self.paused = False
                self.heard = self.now()
                continue
            else:
                for event in connection.next_events():
                    self._handle(event)
            if link.reads and not self._ended:
                self.lent = True
                link.arrived.unpark_all()
                await self._returned.park()
                if self._failure is not None:
                    raise self._failure

    def _handle(self, event: wire.Event) -> None:
        link = self.link
        if type(event) is wire.Data and event.request != STATE:  # nearly all are
            link.waits, link.next = False, None
            link.deliver(event, self)
            return
        match event:
            case wire.Data():
                link.offer = event.round, bytes(event.body)
                self.connection.release(event)
                link.announce()
            case wire.Heartbeat() if event.request == JOIN:
                if self._has_asked:  # each question may be answered by a whole model
                    raise RemoteProtocolError("asks to be counted on twice over one connection")
                self._has_asked = True
                self.asked(event.round)
            case wire.Heartbeat() if event.request == START:
                self.told(event.round)
            case wire.Heartbeat() if event.request >= USED:
                link.hear_used(event)
            case wire.Heartbeat() if event.request >= TAKEN:
                link.hear(event, self)
            case wire.Heartbeat():
                link.waits = event.request == WAITING
            case wire.Bye():
                link.end("left")
                link.post(wire.Bye(reason=event.reason, round=self.here().round))
                if event.reason != "finished":
                    self.left(event.reason)
            case wire.Eof():
                self._ended = True
            case wire.Error():
                raise OSError(f"the neighbour gave up: {event.message}")
            case _:
                pass

    async def _let_part(self) -> None:
        """After the other side's goodbye, get ours out before the connection goes."""
        if self.link.state == "left":
            with trio.move_on_after(self.timing.hello_timeout_s):
                while not self.written:
                    await self.link.changed.park()

    async def _write(self) -> None:
        link = self.link
        with self._writing:
            while True:
                if self._rest:
                    await self.stream.send(self._rest)
                    self.writing, self._rest = None, ()
                    self.spoke = self.now()
                while self.outbox and not self._speechless:
                    event = self.outbox.popleft()
                    if isinstance(event, wire.Data) and link.has(event):
                        continue  # sent before, and its buffer may hold a later message by now
                    self.writing = event
                    await transmit(link, self.stream, self.connection, event)
                    self.writing = None
                    self.spoke = self.now()
                    if isinstance(event, wire.Bye):
                        await self.stream.end()
                        self.written = True
                        link.announce()
                        return
                await link.written.park()

    async def _watch(self) -> None:
        """Send heartbeats when nothing else goes out; end a connection that fell silent."""
        timing, link, stretch = self.timing, self.link, 1.0
        while True:
            now = trio.current_time()
            due, silent = now + timing.heartbeat_s, self.heard + timing.dead_after_s * stretch
            if now < silent:  # it is noticed then, not at the heartbeat after
                due = min(due, silent)
            await trio.sleep_until(due)
            now = trio.current_time()
            asleep = now - due
            stretch = self.lagged(asleep)
            while self.lent and not self._awaited and self.receive_now():
                pass  # whoever it was lent to is busy
            if asleep > timing.heartbeat_s:  # accuse nobody of our own silence
                least = now + timing.heartbeat_s - timing.dead_after_s  # until what came is read
                self.heard = max(self.heard + asleep, least)
            if not self.paused and now >= self.heard + timing.dead_after_s * stretch:
                raise OSError(f"silent for {now - self.heard:.2f} s")
            if self.outbox:
                continue
            if (doubt := link.doubt()) is not None:
                link.post(doubt)
            elif now - self.spoke >= timing.heartbeat_s:
                link.post(self.here())


async def transmit(
    link: Link, stream: ByteStream, connection: wire.Connection, event: wire.Event
) -> None:
    """Send one event and count its bytes."""
    buffers = connection.send(event)
    await stream.send(buffers)
    link.bytes_sent += sum(len(buffer) for buffer in buffers)
    if isinstance(event, wire.Data):
        link.payload_bytes_sent += memoryview(event.body).nbytes


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first plain exception of a group."""
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
