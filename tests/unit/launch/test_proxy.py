"""Connections by way of the proxy: what a cut holds, what a reset does, whole frames."""

from __future__ import annotations

import contextlib
import zlib

import pytest
import trio

from gossipml.engines.tcp import bind
from gossipml.faults import Fate
from gossipml.launch import proxy as proxies
from gossipml.launch.proxy import Proxy
from gossipml.wire import Kind
from gossipml.wire.frames import Header, pack_header

BOTH = {(0, 1), (1, 0)}


class Weather:
    """What a course says of links: which ways are cut, and what happens to tensors."""

    def __init__(self):
        self.cut = set()
        self.fates = iter(())

    def withholds(self, sender, receiver):
        return (sender, receiver) in self.cut

    def fate(self, sender, receiver, kind, size):
        return next(self.fates, Fate()) if kind is Kind.DATA else Fate()


@contextlib.asynccontextmanager
async def joined():
    """Two peers' sockets, the first of which dials the other by way of a proxy."""
    weather = Weather()
    with bind("127.0.0.1", 0) as sock:
        there = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        proxy = Proxy([(0, 1), (1, 0)], [("127.0.0.1", 9), sock.getsockname()])
        host, _, port = proxy.addresses_for(0)[1].partition(":")
        assert port != proxy.addresses_for(1)[0].partition(":")[2]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proxy.run, weather)
            near = await trio.open_tcp_stream(host, int(port))
            far = await there.accept()
            await until(lambda: proxy._connections)
            async with near, far, there:
                yield near, far, proxy, weather
                nursery.cancel_scope.cancel()


async def until(condition):
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - nothing wakes us, it is in the proxy
            await trio.sleep(0.01)


async def all_of(stream, count):
    data = b""
    with trio.fail_after(10):
        while len(data) < count:
            data += await stream.receive_some()
    return data


async def silent(stream):
    with trio.move_on_after(0.1) as scope:
        await stream.receive_some(1)
    return scope.cancelled_caught


def frame(body, round=3):
    return pack_header(Header(Kind.DATA, round, 0, len(body), zlib.crc32(body))) + body


async def test_bytes_pass_both_ways_and_so_does_the_end():
    async with joined() as (near, far, _, _):
        await near.send_all(b"GET / HTTP/1.1\r\n" * 3)  # no frames: they pass as they are
        assert await all_of(far, 48) == b"GET / HTTP/1.1\r\n" * 3
        message = frame(b"\x07" * 300_000)
        await far.send_all(message)
        assert await all_of(near, len(message)) == message
        await near.send_eof()
        with trio.fail_after(10):
            assert await far.receive_some() == b""
        await far.send_all(frame(b"late"))
        assert (await all_of(near, 36))[32:] == b"late"


async def test_a_cut_holds_all_and_loses_nothing():
    async with joined() as (near, far, proxy, weather):
        weather.cut = {(0, 1)}
        await near.send_all(frame(b"held"))
        await near.send_eof()
        assert await silent(far)
        await far.send_all(frame(b"other way"))  # which is open
        assert (await all_of(near, 41))[32:] == b"other way"
        weather.cut = set()
        proxy.mend()
        assert (await all_of(far, 36))[32:] == b"held"
        with trio.fail_after(10):
            assert await far.receive_some() == b""


async def test_a_connection_across_a_cut_hangs_until_it_is_over():
    async with joined() as (near, _, proxy, weather):
        weather.cut = BOTH
        host, port = near.socket.getpeername()
        another = await trio.open_tcp_stream(host, port)
        async with another:
            await another.send_all(b"?")
            assert await silent(another)
            assert len(proxy._connections) == 1
            weather.cut = set()
            proxy.mend()
            await until(lambda: len(proxy._connections) == 2)


async def test_what_is_held_is_bounded(monkeypatch):
    """A sender that nobody hears is slowed down, as by a receiver that does not read."""
    monkeypatch.setattr(proxies, "HELD", 2**18)
    message = frame(bytes(2**16))
    async with joined() as (near, far, proxy, weather):
        weather.cut = BOTH
        (connection,) = proxy._connections
        sent = 0
        with trio.move_on_after(1):
            while True:
                await near.send_all(message)
                sent += len(message)
        there = connection.flows[0]
        assert 2**18 <= there._held <= 2**18 + 2 * len(message)
        weather.cut = set()
        proxy.mend()
        assert (await all_of(far, sent))[:sent] == message * (sent // len(message))


async def test_a_reset_is_one():
    async with joined() as (near, far, proxy, _):
        await near.send_all(frame(b"before"))
        await all_of(far, 38)
        assert proxy.reset(lambda i, j: (i, j) == (1, 0)) == 1
        for stream in (near, far):
            with trio.fail_after(10), pytest.raises(trio.BrokenResourceError) as error:
                await stream.receive_some()
            assert isinstance(error.value.__cause__, ConnectionResetError)


async def test_whole_frames_are_lost_repeated_damaged_and_late():
    async with joined() as (near, far, _, weather):
        weather.fates = iter([
            Fate(copies=0), Fate(copies=2), Fate(bits=(8 * 33 + 2,)), Fate(delay_s=0.2), Fate(),
        ])  # fmt: skip
        begin = trio.current_time()
        for body in (b"zero", b"one!", b"two!", b"late", b"last"):
            await near.send_all(frame(body))
        got = await all_of(far, 5 * 36)
        assert trio.current_time() - begin >= 0.2
        bodies = [got[k + 32 : k + 36] for k in range(0, len(got), 36)]
        assert bodies == [b"one!", b"one!", b"ts" + b"o!", b"late", b"last"]
