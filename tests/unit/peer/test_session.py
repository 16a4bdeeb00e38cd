"""One connection: what it writes, and in which order, and when it is given up."""

from __future__ import annotations

import numpy as np
import pytest
import trio

from gossipml import wire
from gossipml.peer.link import NEVER, Link
from gossipml.peer.session import MOST_WAITING, TAKEN, Session
from gossipml.peer.setup import Timing
from gossipml.wire.frames import Header

DATA = wire.Data(round=0, request=0, body=b"x" * 8)


class Meaning:
    """Stands for a connection: a message is an empty header and its body."""

    paused = False

    def send(self, event):
        return [b"", bytes(event.body)] if isinstance(event, wire.Data) else [b"-"]

    def receive_buffer(self):
        return memoryview(bytearray(1))


class Stream:
    """Keeps what is written; fails like a socket once it is closed."""

    def __init__(self, at_once=0):
        self.written = b""
        self.closed = False
        self.at_once = at_once  # bytes that go out without waiting

    def send_some(self, buffers):
        if self.closed:
            raise OSError("closed")
        whole = b"".join(buffers)
        count = min(len(whole), self.at_once)
        self.written += whole[:count]
        return [whole[count:]] if whole[count:] else []

    async def send(self, buffers):
        if self.closed:
            await trio.lowlevel.checkpoint()
            raise OSError("closed")
        self.written += b"".join(buffers)
        await trio.lowlevel.checkpoint()

    async def receive_into(self, buffer):
        await trio.sleep_forever()

    def close(self):
        self.closed = True


def session_of(link, stream):
    return Session(
        link, stream, Meaning(), incarnation=1, dialled_by=0, timing=Timing(),
        here=lambda: wire.Heartbeat(round=0, request=0), left=lambda reason: None,
        lagged=lambda late_s: 1.0, asked=lambda round: None, told=lambda round: None,
    )  # fmt: skip


def data(request, letter):
    return wire.Data(round=0, request=request, body=letter * 8)


async def test_a_message_leaves_at_once_if_nothing_is_before_it():
    link, stream = Link(0, "a"), Stream(at_once=8)
    link.attach(session_of(link, stream))
    link.post(data(0, b"x"))  # no task serves the connection yet
    assert stream.written == b"x" * 8
    assert link.bytes_sent == 8
    assert link.payload_bytes_sent == 8


@pytest.mark.parametrize("at_once", [0, 1, 7, 8])
async def test_messages_keep_their_order_where_the_first_goes_out_in_part(at_once):
    link, stream = Link(0, "a"), Stream(at_once)
    session = session_of(link, stream)
    link.attach(session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await trio.testing.wait_all_tasks_blocked()
        link.post(data(0, b"x"))
        assert stream.written == b"x" * at_once
        assert (session.writing is None) == (at_once == 8)
        link.post(wire.Heartbeat(round=0, request=0))
        link.post(data(1, b"y"))
        await trio.testing.wait_all_tasks_blocked()
        assert stream.written == b"x" * 8 + b"-" + b"y" * 8
        assert session.writing is None
        link.post(data(2, b"z"))
        await trio.testing.wait_all_tasks_blocked()
        assert stream.written.endswith(b"y" + b"z" * 8)
        nursery.cancel_scope.cancel()


async def test_a_stream_that_broke_ends_the_session_and_not_who_posts():
    link, stream = Link(0, "a"), Stream(at_once=8)
    session = session_of(link, stream)
    link.attach(session)
    ends = []

    async def serve():
        ends.append(await session.run())

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await trio.testing.wait_all_tasks_blocked()
            stream.closed = True
            link.post(data(0, b"x"))
    assert ends == ["closed"]
    assert list(link.sent) == [data(0, b"x")]  # for the next connection


@pytest.mark.parametrize("later", range(6))
@pytest.mark.parametrize("repeat", range(4))  # trio runs ready tasks in random order
async def test_the_connection_that_stays_sends_everything(later, repeat):
    link = Link(0, "a")
    link.post(DATA)
    streams = [Stream(), Stream()]

    async def serve(stream):
        session = session_of(link, stream)
        link.attach(session)
        await session.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, streams[0])
        for _ in range(later):
            await trio.lowlevel.checkpoint()
        nursery.start_soon(serve, streams[1])
        await trio.testing.wait_all_tasks_blocked()
        link.post(wire.Data(round=0, request=1, body=b"y" * 8))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    last = streams[0] if link.session.stream is streams[0] else streams[1]
    assert last.written == b"x" * 8 + b"y" * 8


class Clock(trio.abc.Clock):
    """Stands still, unless a test moves it or nothing can happen before the next deadline."""

    def __init__(self):
        self.now = 0.0

    def start_clock(self):
        pass

    def current_time(self):
        return self.now

    def deadline_to_sleep_time(self, deadline):
        self.now = max(self.now, deadline)
        return 0.0


def silent_after(move=None):
    """Return when a silent connection is given up, and why; ``move(clock)`` runs beside it."""
    clock = Clock()

    async def main():
        link = Link(0, "a")
        session = Session(
            link, Stream(), Meaning(), incarnation=1, dialled_by=0, timing=Timing(),
            here=lambda: wire.Heartbeat(round=0, request=0), left=lambda reason: None,
            lagged=lambda late: 1.0,            asked=lambda round: None, told=lambda round: None,
        )  # fmt: skip
        link.attach(session)
        async with trio.open_nursery() as nursery:
            if move is not None:
                nursery.start_soon(move, clock)
            why = await session.run()
            nursery.cancel_scope.cancel()
        return trio.current_time(), why

    return trio.run(main, clock=clock)


def test_silence_is_noticed_when_it_is_due():
    """Not only at the heartbeat after: that would add up to a quarter."""
    when, why = silent_after()
    assert when == Timing().dead_after_s
    assert why == "silent for 0.80 s"


def test_who_was_asleep_accuses_nobody_of_its_own_silence():
    async def sleep(clock):
        await trio.sleep(0.5)
        clock.now += 3.0  # the loop stood still

    when, why = silent_after(sleep)
    # It heard nothing for 0.5 s before, and nothing since: what lies between does not count.
    assert 3.6 < when <= 3.8 + 1e-9
    assert why.startswith("silent for 0.")


def test_who_was_asleep_hears_what_has_come_before_it_accuses():
    async def sleep(clock):
        await trio.sleep(0.79)
        clock.now += 0.5

    when, _ = silent_after(sleep)
    assert when >= 1.29 + 0.2 - 1e-9  # a heartbeat's time from when it woke


async def test_what_comes_while_an_edge_is_not_taken_up_is_not_mixed():
    """Its sender hears nothing of us in that round, so the mean would move."""
    link, session = Link(0, "a", strict=False), session_of(Link(0, "a"), Stream())
    session.connection.release = lambda data: None
    link.starts = NEVER
    link.deliver(wire.Data(round=3, request=0, body=b"x" * 8), session)
    assert link.take((3, 0)) is None
    link.start_from(5)
    link.deliver(wire.Data(round=5, request=0, body=b"y" * 8), session)
    assert link.take((3, 0)) is None
    assert bytes(link.take((5, 0))) == b"y" * 8


async def test_a_neighbour_that_asks_and_does_not_read_costs_no_more_memory(autojump_clock):
    class Asking(Meaning):
        sending = wire.State.CLOSED  # so nobody is told why

        def bytes_received(self, count):
            return [wire.Heartbeat(0, TAKEN)] * count

    class Deaf(Stream):
        async def send(self, buffers):
            await trio.sleep_forever()

        async def receive_into(self, buffer):
            await trio.lowlevel.checkpoint()
            return len(buffer)

    class Answering(Link):
        def hear(self, said, session):
            self.post(said)

    link = Answering(0, "a")
    session = session_of(link, Deaf())
    session.connection = Asking()
    link.attach(session)
    assert "talks, does not read" in await session.run()
    assert len(session.outbox) == MOST_WAITING + 1


def test_what_waits_for_a_neighbour_to_come_to_a_round_does_not_pile_up():
    link = Link(0, "a")
    link.start_from(5, skip=True)
    for round in range(5, 50):
        link.post(wire.Data(round, 0, b"x"))
    assert [data.round for data in link.held] == [48, 49]


def link_with(*rounds):
    """A link of a method that may miss messages; those of these rounds wait, with what is freed."""
    link, freed = Link(0, "a", strict=False), []
    link.ledger.keeps = True
    session = session_of(link, Stream())
    session.connection.release = lambda data: freed.append(data.round)
    link.attach(session)
    for round in rounds:
        link.deliver(wire.Data(round=round, request=0, body=b"x" * 8, missed=0), session)
    return link, freed


async def test_who_is_behind_makes_room_for_newer_messages():
    link, freed = link_with(3, 4)
    link.make_room()
    assert freed == [3]
    assert link.passed((3, 0))  # it never comes again: nobody waits for it
    assert link.excused > (3, 0)  # nor is the neighbour to blame
    link.make_room()  # one of two slots is free
    assert freed == [3]
    link.strict = True
    link.deliver(wire.Data(5, 0, b"x" * 8), link.session)
    link.make_room()
    assert freed == [3]


async def test_what_a_message_that_makes_room_says_of_earlier_ones_is_heard():
    link, _ = link_with()
    undone = []
    link.begin((2, 0))
    link.used((2, 0), lambda: undone.append(2) or np.ones(1))
    link.deliver(wire.Data(3, 0, b"x" * 8, missed=1), link.session)
    link.deliver(wire.Data(4, 0, b"x" * 8, missed=2), link.session)
    link.make_room()
    assert undone == [2]


class Stuffed(Meaning):
    """Has no room for a third message until one is released; then the stream ends."""

    def __init__(self, link):
        self.link = link

    @property
    def waiting(self):
        return Header(wire.Kind.DATA, 5, 0, 8, None) if len(self.link.inbox) >= 2 else None

    def receive_buffer(self):
        return memoryview(bytearray(self.waiting is None))

    def bytes_received(self, count):
        return [wire.Eof()]


class Overfull(Stuffed):
    """Has bytes of it already, that were read with the second."""

    def receive_buffer(self):
        return memoryview(b"")

    def next_events(self):
        return [wire.Eof()]


@pytest.mark.parametrize("connection", [Stuffed, Overfull])
@pytest.mark.parametrize("skip_after_s", [None, 1.0])
async def test_who_may_miss_messages_reads_on_when_it_is_behind(
    skip_after_s, connection, autojump_clock
):
    class Coming(Stream):
        async def receive_into(self, buffer):
            await trio.lowlevel.checkpoint()
            return len(buffer)

    link, _ = link_with(3, 4)
    session = session_of(link, Coming())
    session.timing = Timing(skip_after_s=skip_after_s)
    session.connection = connection(link)
    with trio.move_on_after(60) as scope:
        await session._receive()
    assert scope.cancelled_caught == (skip_after_s is None)  # else it waits for room


async def test_of_who_is_given_up_nothing_later_is_used():
    """Its account ends with the exchange that we are in, and says so: a sum moved."""
    link, freed = link_with()
    link.begin((3, 0))
    link.deliver(wire.Data(3, 0, b"x" * 8), link.session)
    link.deliver(wire.Data(4, 0, b"x" * 8), link.session)
    link.end("lost")
    assert freed == [4]
    assert link.take((3, 0)) is not None
    assert link.take((4, 0)) is None
