"""A round that reads small messages itself: what it must not lose by that."""

from __future__ import annotations

import contextlib
import socket

import pytest
import trio
import trio.testing

from gossipml import wire
from gossipml.engines.tcp import TcpStream, bind
from gossipml.engines.virtual.clock import VirtualClock
from gossipml.engines.virtual.links import Pipe, VirtualStream
from gossipml.peer.link import Link
from gossipml.peer.session import Session
from gossipml.peer.setup import Timing
from gossipml.testing import PeerPair

HELLO = {
    "run": "r", "topology": "t", "parameters": 2, "dtype": "float32", "algorithm": "a", "round": 0,
}  # fmt: skip
NEXT = (1, 0)


class Edge:
    """Our end of an edge over a real socket, and the neighbour's bytes."""

    def __init__(self, **timing):
        pair = PeerPair(wire.Connection(max_body=64), wire.Connection(max_body=64))
        pair.handshake(
            wire.Hello(peer="1", to="0", incarnation=8, **HELLO),
            wire.Hello(peer="0", to="1", incarnation=7, **HELLO),
        )
        self.theirs = pair.dialler
        ours, self.far = sockets()
        self.link, self.left = Link(1, "1"), []
        self.session = Session(
            self.link, TcpStream(ours), pair.acceptor, incarnation=8, dialled_by=1,
            timing=Timing(**timing), here=lambda: wire.Heartbeat(0, 0), left=self.left.append,
            lagged=lambda late_s: 1.0, asked=lambda round: None, told=lambda round: None,
        )  # fmt: skip
        self.link.attach(self.session)
        self.why = None

    def say(self, *events):
        for event in events:
            self.far.sendall(b"".join(self.theirs.send(event)))

    async def run(self):
        self.why = await self.session.run()
        self.link.detach(self.session)

    @contextlib.asynccontextmanager
    async def lent(self):
        """Serve the edge; its first message has come, and the round reads from there on."""
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.run)
                self.link.reads = True
                self.say(data(0))
                await until(lambda: self.session.lent)
                assert self.link.look((0, 0))
                self.link.used((0, 0))
                yield
                nursery.cancel_scope.cancel()
        self.far.close()


def sockets():
    with bind("127.0.0.1", 0) as listener:
        one = socket.create_connection(listener.getsockname())
        listener.setblocking(True)
        return one, listener.accept()[0]


async def until(condition):
    while not condition():  # noqa: ASYNC110 - of what has no event of its own
        await trio.sleep(0.001)


def data(round):
    return wire.Data(round, 0, bytes([round]) * 64)


async def test_a_message_that_has_come_is_read_without_a_switch():
    edge = Edge()
    async with edge.lent():
        assert not edge.link.look(NEXT)
        edge.say(data(1))
        assert edge.link.look(NEXT)
        assert bytes(edge.link.take(NEXT)) == b"\x01" * 64


async def test_one_that_comes_in_part_is_read_when_it_is_whole():
    edge = Edge()
    async with edge.lent():
        whole = b"".join(edge.theirs.send(data(1)))
        for k in range(len(whole)):
            edge.far.sendall(whole[k : k + 1])
            assert edge.link.look(NEXT) == (k == len(whole) - 1)


async def test_who_waits_is_woken_by_what_comes():
    edge = Edge()
    async with edge.lent():

        async def wait():
            while not edge.link.look(NEXT):
                await edge.link.listen()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            edge.say(wire.Heartbeat(0, 1), data(1))
        assert edge.session.lent
        assert edge.link.waits is False


async def test_a_reader_that_is_lent_wakes_who_waited_for_it():
    """Or it would wait for a reader that reads no more."""
    edge = Edge()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(edge.run)
        edge.link.reads = True

        async def wait():
            with trio.fail_after(10):
                while not edge.link.look((0, 0)):
                    await edge.link.listen()
            nursery.cancel_scope.cancel()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        edge.say(wire.Heartbeat(0, 1))  # the reader takes this, and is lent
        await trio.testing.wait_all_tasks_blocked()
        edge.say(data(0))
    assert edge.link.here((0, 0))
    edge.far.close()


@pytest.mark.parametrize("waits", [True, False])
async def test_an_end_is_the_readers_to_tell(waits):
    edge = Edge()
    async with edge.lent():
        edge.far.shutdown(socket.SHUT_WR)
        if waits:
            await edge.link.listen()
        assert not edge.link.look(NEXT)
        assert not edge.session.lent
        await until(lambda: edge.why)
    assert edge.why == "closed by the other side"


async def test_who_breaks_the_protocol_is_told_so():
    edge = Edge()
    async with edge.lent():
        edge.far.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 4)
        assert not edge.link.look(NEXT)
        await until(lambda: edge.why)
        assert "not a gossipml peer" in edge.why
        edge.far.settimeout(5)
        assert b"not a gossipml peer" in edge.far.recv(4096)


async def test_what_comes_while_nobody_waits_is_heard_within_a_heartbeat():
    edge = Edge(heartbeat_s=0.05)
    async with edge.lent():
        edge.say(wire.Bye("stopped", 1))
        await until(lambda: edge.link.state == "left")
    assert edge.left == ["stopped"]


async def test_a_neighbour_that_lives_is_not_silent_because_nobody_reads():
    edge = Edge(heartbeat_s=0.05, dead_after_s=0.15)
    async with edge.lent():
        for _ in range(10):
            edge.say(wire.Heartbeat(0, 0))
            await trio.sleep(0.05)
        assert edge.why is None


async def test_one_that_is_silent_is_noticed_while_it_is_waited_for():
    edge = Edge(heartbeat_s=0.05, dead_after_s=0.15)
    async with edge.lent():
        while edge.link.session is not None:
            edge.link.look(NEXT)
            await edge.link.listen()
        assert edge.why.startswith("silent for 0.")


async def test_given_back_it_reads_itself():
    edge = Edge()
    async with edge.lent():
        edge.link.give_back()
        edge.say(data(1))
        while not edge.link.here(NEXT):
            await edge.link.listen()
        assert not edge.session.lent


async def test_streams_in_memory_say_what_is_there():
    pipe, other = (Pipe(VirtualClock(), lambda nbytes: 0.0, 10**6) for _ in range(2))
    stream, room = VirtualStream(pipe, other), memoryview(bytearray(4))
    assert stream.receive_now(room) is None
    pipe._take(b"abcdef")
    assert (stream.receive_now(room), bytes(room)) == (4, b"abcd")
    pipe._take(None)
    assert (stream.receive_now(room), bytes(room[:2])) == (2, b"ef")
    assert stream.receive_now(room) == 0


async def test_who_is_alone_waits_a_moment_in_the_kernel():
    ours, far = sockets()
    alone, among = TcpStream(ours, alone=True), TcpStream(far)
    assert not alone.readable_soon()  # nothing comes, and the moment passes
    far.send(b"x")
    assert alone.readable_soon()
    ours.send(b"x")
    assert not among.readable_soon()  # others share its loop: it does not hold it up
    alone.close()
    among.close()


async def test_a_moment_is_enough_for_what_is_on_its_way():
    edge = Edge()
    async with edge.lent():
        edge.session.stream._poll = Brings(lambda: edge.say(wire.Heartbeat(1, 0), data(1)))
        assert edge.link.look_soon(NEXT, trio.current_time() + 60)
        edge.session.stream._poll = Brings(lambda: None)
        assert not edge.link.look_soon((2, 0), trio.current_time() + 60)  # in vain
        edge.session.stream._poll = None
        edge.say(wire.Heartbeat(2, 0))
        assert not edge.link.look_soon((2, 0), trio.current_time() - 1)  # not for ever


class Brings:
    """Stands for the kernel: something comes the first time that it is waited for."""

    def __init__(self, come):
        self.come = [come]

    def poll(self, milliseconds):
        assert milliseconds == 1
        return [self.come.pop()() or 1] if self.come else []
