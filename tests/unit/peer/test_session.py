"""One connection: what it sends when another takes its place, and when it is given up."""

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
