"""Sockets as streams: whole tensors both ways at once, ends, closes, addresses."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest
import trio

from gossipml.engines.tcp import TcpNetwork, TcpStream, bind, parse_address
from gossipml.errors import ConfigError


def pair() -> tuple[TcpStream, TcpStream]:
    listener = bind("127.0.0.1", 0)
    one = socket.create_connection(listener.getsockname())
    listener.setblocking(True)
    other, _ = listener.accept()
    listener.close()
    return TcpStream(one), TcpStream(other)


async def receive_exactly(stream: TcpStream, size: int) -> bytes:
    room = memoryview(bytearray(size))
    got = 0
    while got < size:
        count = await stream.receive_into(room[got:])
        assert count
        got += count
    return bytes(room)


async def test_big_tensors_cross_both_ways_at_once():
    one, other = pair()
    rng = np.random.default_rng(0)
    there, back = rng.bytes(9_000_001), rng.bytes(7_000_003)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.send, [there[:32], memoryview(there)[32:]])
            nursery.start_soon(other.send, [b"", back])
            assert await receive_exactly(other, len(there)) == there
            assert await receive_exactly(one, len(back)) == back
    one.close()
    other.close()


async def test_what_goes_without_waiting_and_what_is_left():
    one, other = pair()
    header, body = b"h" * 32, np.random.default_rng(0).bytes(40_000_000)
    assert not one.send_some([header, memoryview(body)[:1000]])
    rest = one.send_some([header, memoryview(body)])  # more than any buffer on the way holds
    left = sum(len(buffer) for buffer in rest)
    assert 0 < left < len(body)
    with trio.fail_after(20):
        assert await receive_exactly(other, 1032) == header + body[:1000]
        sent = len(header) + len(body) - left
        assert await receive_exactly(other, sent) == (header + body)[:sent]
    one.close()
    other.close()
    with pytest.raises(OSError, match="descriptor"):
        one.send_some([b"x"])


async def test_a_half_close_delivers_what_was_sent():
    one, other = pair()
    with trio.fail_after(5):
        await one.send([b"bye"])
        await one.end()
        assert await receive_exactly(other, 3) == b"bye"
        assert await other.receive_into(memoryview(bytearray(1))) == 0
        await other.send([b"ok"])
        assert await receive_exactly(one, 2) == b"ok"
    one.close()
    other.close()


async def test_closing_wakes_a_waiting_reader_and_is_safe_twice():
    one, other = pair()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:

            async def wait():
                with pytest.raises(OSError, match="closed|descriptor"):
                    await one.receive_into(memoryview(bytearray(1)))

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            one.close()
    one.close()
    other.close()


async def test_a_reader_with_endless_input_lets_others_run():
    one, other = pair()
    steps = 0

    async def flood():
        block = bytes(1 << 16)
        while True:
            await one.send([block])

    async def drain():
        room = memoryview(bytearray(64))
        while True:
            await other.receive_into(room)

    with trio.move_on_after(0.3):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            nursery.start_soon(drain)
            while True:
                await trio.lowlevel.checkpoint()
                steps += 1
    assert steps > 5
    one.close()
    other.close()


async def test_dial_and_listen_find_each_other():
    listeners = [bind("127.0.0.1", 0), bind("127.0.0.1", 0)]
    addresses = [sock.getsockname() for sock in listeners]
    networks = [TcpNetwork(sock, addresses) for sock in listeners]
    heard = []

    async def handle(stream):
        heard.append(await receive_exactly(stream, 5))
        stream.close()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(networks[1].listen, handle)
            stream = await networks[0].dial(1)
            await stream.send([b"hello"])
            assert await stream.receive_into(memoryview(bytearray(1))) == 0
            stream.close()
            nursery.cancel_scope.cancel()
    assert heard == [b"hello"]
    for sock in listeners:
        sock.close()


async def test_nobody_there_is_an_oserror():
    with bind("127.0.0.1", 0) as sock:
        address = sock.getsockname()
        network = TcpNetwork(sock, [None, address])
    with pytest.raises(OSError, match="refused|connect"):
        await network.dial(1)
    with pytest.raises(OSError, match="no address"):
        await network.dial(0)


async def test_long_work_moves_to_a_thread_and_short_work_stays(monkeypatch):
    now = used = 0.0

    class Clock:
        perf_counter = staticmethod(lambda: now)
        thread_time = staticmethod(lambda: used)

    monkeypatch.setattr("gossipml.engines.tcp.time", Clock)  # how busy the machine is decides not

    with bind("127.0.0.1", 0) as sock:
        network = TcpNetwork(sock, [])

    def nap(seconds, waited=0.0):
        nonlocal now, used
        now += seconds + waited
        used += seconds
        return threading.get_ident()

    here = threading.get_ident()
    assert await network.compute(nap, 0.0) != here  # the first time, nobody knows
    for _ in range(20):
        assert await network.compute(nap, 0.0) == here
    assert await network.compute(nap, 0.004) == here
    for _ in range(20):  # once: another process may have had the core
        assert await network.compute(nap, 0.0) == here
    for _ in range(2):
        assert await network.compute(nap, 0.004) == here
    for _ in range(5):  # a short piece after a long one does not make the next look short
        assert await network.compute(nap, 0.0) != here
        assert await network.compute(nap, 0.004) != here
    for _ in range(40):
        last = await network.compute(nap, 0.0)
    assert last == here
    assert await network.compute(nap, 0.1) == here
    assert await network.compute(nap, 0.0) != here  # so long that there is no doubt

    def new(seconds):
        return nap(seconds)

    for _ in range(3):  # what is long at first is taken for long
        assert await network.compute(new, 0.004) != here

    def late(seconds, waited):
        return nap(seconds, waited)

    # What only waits for a core, or for the interpreter, need not wait in a thread.
    assert await network.compute(late, 0.0, 0.004) != here
    assert await network.compute(late, 0.0, 0.004) == here

    def elsewhere(seconds, waited):
        return nap(seconds, waited)

    for _ in range(3):  # what waits longer, for a device it may be, would keep links waiting
        assert await network.compute(elsewhere, 0.0, 0.02) != here


async def test_work_in_pieces_lets_links_live(monkeypatch):
    now, others = 0.0, []

    class Clock:
        perf_counter = staticmethod(lambda: now)

    monkeypatch.setattr("gossipml.engines.tcp.time", Clock)

    def work(pieces):
        nonlocal now
        for _ in range(pieces):
            now += 0.0004
            yield
        return threading.get_ident()

    async def live():
        while True:
            await trio.lowlevel.checkpoint()
            others.append(now)

    with bind("127.0.0.1", 0) as sock:
        network = TcpNetwork(sock, [])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live)
        await trio.lowlevel.checkpoint()
        before = len(others)
        assert await network.compute_in_pieces(work, 2) == threading.get_ident()
        assert len(others) == before  # it was short
        await network.compute_in_pieces(work, 30)
        assert len(others) >= before + 9  # after every millisecond
        nursery.cancel_scope.cancel()


def test_a_taken_port_is_named():
    with bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}: Address"):
            bind("127.0.0.1", port)


def test_another_machines_address_is_named():
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1:0"):
        bind("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:80", ("localhost", 80)),
        ("[::1]:9", ("::1", 9)),
        ("10.0.0.1:65535", ("10.0.0.1", 65535)),
    ],
)
def test_addresses(text, address):
    assert parse_address(text, "x") == address


@pytest.mark.parametrize("text", ["", "host", ":80", "host:", "host:x", "host:65536", "host:-1"])
def test_bad_addresses_are_named(text):
    with pytest.raises(ConfigError, match="--listen: found address"):
        parse_address(text, "--listen")
