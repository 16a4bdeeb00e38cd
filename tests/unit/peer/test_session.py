"""A connection that is replaced must not take messages from the one that comes after it."""

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

    def __init__(self):
        self.written = b""
        self.closed = False

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


@pytest.mark.parametrize("later", range(6))
@pytest.mark.parametrize("repeat", range(4))  # trio runs ready tasks in random order
async def test_the_connection_that_stays_sends_everything(later, repeat):
    link = Link(0, "a")
    link.post(DATA)
    streams = [Stream(), Stream()]

    async def serve(stream):
        session = Session(
            link, stream, Meaning(), incarnation=1, dialled_by=0, timing=Timing(),
            here=lambda: wire.Heartbeat(round=0, request=0), left=lambda reason: None,
            lagged=lambda late_s: 1.0,            asked=lambda round: None, told=lambda round: None,
        )  # fmt: skip
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
