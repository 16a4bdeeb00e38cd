"""What a connection writes, and in which order; one that is replaced takes no messages along."""

from __future__ import annotations

import pytest
import trio

from gossipml import wire
from gossipml.peer.link import Link
from gossipml.peer.session import Session
from gossipml.peer.setup import Timing

DATA = wire.Data(round=0, request=0, body=b"x" * 8)


class Meaning:
    """Stands for a connection: a message is its body."""

    def send(self, event):
        return [bytes(event.body)] if isinstance(event, wire.Data) else [b"-"]

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
    assert link.bytes_sent == wire.HEADER_SIZE + 8
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
