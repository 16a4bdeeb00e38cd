"""A peer over TLS on real sockets: who it lets in, as whom, and what it says of the others."""

from __future__ import annotations

import dataclasses
import socket

import pytest
import trio

from gossipml import assembly, keys, wire
from gossipml.engines.tcp import TcpNetwork, TcpStream, bind
from gossipml.engines.tls import TlsNetwork, TlsStream, Trust
from gossipml.engines.virtual import Conditions, run_virtual, unwrapped
from gossipml.errors import RefusedError
from gossipml.experiment import experiment_from
from gossipml.peer.greeting import hello
from gossipml.peer.links import Links
from gossipml.peer.peer import Peer
from gossipml.peer.reports import Event, model_sha256
from gossipml.peer.setup import Timing
from gossipml.topology import make_topology

IDS = ("0", "1", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def pins(folder):
    return {peer: keys.make_key(peer, folder, peer)[1] for peer in (*IDS, "stranger")}


def setups_of(**timing):
    experiment = experiment_from(
        {
            "seed": 3,
            "rounds": 6,
            "topology": {"graph": "complete", "peers": 3},
            "data": {"source": "iris"},
            "algorithm": {"lr": 0.05, "batch_size": 8},
        }
    )
    setups = assembly.build_parts(experiment).setups(experiment)
    return [dataclasses.replace(setup, timing=Timing(**timing)) for setup in setups]


@pytest.fixture
def listeners():
    listeners = [bind("127.0.0.1", 0) for _ in IDS]
    yield listeners
    for sock in listeners:
        sock.close()


def peer_of(setup, listeners, trust, events, addresses=None):
    addresses = addresses or [sock.getsockname() for sock in listeners]
    return Peer(
        setup,
        TlsNetwork(listeners[setup.index], addresses, trust=trust, ids=IDS),
        incarnation=setup.index,
        report=lambda r: events.append(r) if isinstance(r, Event) else None,
    )


def trust_of(peer, folder, pins, key=None, **changed):
    others = {id: changed.get(f"of_{id}", pins[id]) for id in IDS if id != peer}
    return Trust(peer, key or folder / f"{peer}.key", others)


def test_peers_with_pinned_keys_end_with_the_bits_of_plain_ones(folder, pins, listeners):
    graph = make_topology("complete", 3)
    clean = run_virtual(setups_of(), graph, conditions=Conditions(), seed=3, report=lambda r: None)
    events, ends = [], {}

    async def run(setup):
        peer = peer_of(setup, listeners, trust_of(setup.id, folder, pins), events)
        ends[setup.index] = await peer.run()

    async def main():
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for setup in setups_of(connect_timeout_s=15.0):
                    nursery.start_soon(run, setup)

    trio.run(main)
    assert [model_sha256(ends[i].state.x) for i in range(3)] == [
        model_sha256(end.state.x) for end in clean.peers
    ]
    assert all(end.lost == () for end in ends.values())
    assert not [event for event in events if event.kind == "refused"]


async def hear(stream, connection):
    while True:
        count = await stream.receive_into(connection.receive_buffer())
        if events := connection.bytes_received(count):
            assert not isinstance(events[0], wire.Eof)
            return events[0]


@pytest.mark.parametrize("name", ["1", "2"])
async def test_a_hello_must_come_from_the_peer_of_the_certificate(name, folder, pins, listeners):
    """Peer 2's key opens the door for peer 2 only; what then comes has no checksums."""
    setups = setups_of(connect_timeout_s=1.0, dead_after_s=9.0)  # peer 1 never comes
    events = []
    peer = peer_of(setups[0], listeners, trust_of("0", folder, pins), events)
    sock = socket.create_connection(listeners[0].getsockname())
    stream = TlsStream(TcpStream(sock), trust_of("2", folder, pins), "0")
    links = Links(setups[int(name)], None, incarnation=9, report=lambda r: None)
    connection = wire.Connection(setups[0].max_body, checksum=False)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.run)
            assert await stream.identify() == "0"
            await stream.send(connection.send(hello(links, "0")))
            answer = await hear(stream, connection)
            if name == "1":
                assert isinstance(answer, wire.Error)
                assert answer.message == "peer: ours 2, theirs 1"
            else:
                assert isinstance(answer, wire.Hello)
                connection.accept()
                while not isinstance(event := await hear(stream, connection), wire.Data):
                    pass
                assert len(event.body) == setups[0].x0.nbytes
                assert event.crc is None
            nursery.cancel_scope.cancel()
    stream.close()
    refused = [(event.about, event.detail) for event in events if event.kind == "refused"]
    assert refused == ([(None, "peer: ours 2, theirs 1")] if name == "1" else [])


async def test_a_key_that_is_not_pinned_is_refused_and_both_ends_say_so(folder, pins, listeners):
    """The odd one has another key than the others know; it ends, and they go on without it."""
    events = {id: [] for id in IDS}
    ends = {}
    setups = setups_of(connect_timeout_s=3.0)
    trust = {id: trust_of(id, folder, pins, of_2=pins["stranger"]) for id in "01"}
    trust["2"] = trust_of("2", folder, pins)

    async def run(setup):
        peer = peer_of(setup, listeners, trust[setup.id], events[setup.id])
        try:
            ends[setup.id] = await peer.run()
        except BaseExceptionGroup as group:
            ends[setup.id] = unwrapped(group)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for setup in setups:
                nursery.start_soon(run, setup)
    assert isinstance(ends["2"], RefusedError)
    assert "refuses our certificate: unknown ca" in str(ends["2"])
    for id in "01":
        assert ends[id].lost == ("2",)
        why = {event.detail for event in events[id] if event.kind == "refused"}
        assert "its key is not pinned for a neighbour" in why


@pytest.mark.parametrize("plain", IDS)
async def test_a_peer_without_a_key_says_that_its_neighbours_speak_tls(
    plain, folder, pins, listeners
):
    """Whoever dials: the first in order dials first, and the others dial it as well."""
    events = {id: [] for id in IDS}
    ends = {}
    addresses = [sock.getsockname() for sock in listeners]

    async def run(setup):
        told = events[setup.id]
        if setup.id == plain:
            peer = Peer(
                setup, TcpNetwork(listeners[setup.index], addresses), incarnation=9,
                report=lambda r: told.append(r) if isinstance(r, Event) else None,
            )  # fmt: skip
        else:
            peer = peer_of(setup, listeners, trust_of(setup.id, folder, pins), told)
        try:
            ends[setup.id] = await peer.run()
        except BaseExceptionGroup as group:
            ends[setup.id] = unwrapped(group)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for setup in setups_of(connect_timeout_s=3.0):
                nursery.start_soon(run, setup)
    why = "it speaks TLS, and this peer was given no key (--key)"
    assert isinstance(ends[plain], RefusedError)
    assert str(ends[plain]) == f"no neighbour accepts peer {plain!r}: {why}"
    others = set(IDS) - {plain}
    told = {(event.about, event.detail) for event in events[plain] if event.kind == "refused"}
    assert told == {(about, why) for about in (None, *others)}
    for id in others:
        assert ends[id].lost == (plain,)
        told = {(event.about, event.detail) for event in events[id] if event.kind == "refused"}
        assert told == {(about, "it does not speak TLS") for about in (None, plain)}


class Three(list):
    """Of events; says when there are so many."""

    def __init__(self):
        super().__init__()
        self.enough = trio.Event()

    def append(self, event):
        super().append(event)
        if len(self) == 3:
            self.enough.set()


async def test_a_plain_caller_and_a_plain_server_are_refused(folder, pins, listeners):
    """But they are nobody whose word counts: the peer goes on looking for its neighbours."""
    setups = setups_of(connect_timeout_s=10.0)
    events = Three()

    async def answer_in_plain_text(sock):
        while True:
            await trio.lowlevel.wait_readable(sock)
            stream = TcpStream(sock.accept()[0])
            await stream.send([b"GSSP" + bytes(28)])
            stream.close()

    async def call_in_plain_text():
        stream = TcpStream(socket.create_connection(listeners[0].getsockname()))
        connection = wire.Connection(setups[0].max_body)
        links = Links(setups[1], None, incarnation=9, report=lambda r: None)
        await stream.send(connection.send(hello(links, "0")))
        room = memoryview(bytearray(99))
        assert bytes(room[: await stream.receive_into(room)])[:4] == b"\x15\x03\x03\0"
        stream.close()

    for sock in listeners[1:]:
        sock.setblocking(False)
    peer = peer_of(setups[0], listeners, trust_of("0", folder, pins), events)
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            for sock in listeners[1:]:
                nursery.start_soon(answer_in_plain_text, sock)
            nursery.start_soon(call_in_plain_text)
            nursery.start_soon(peer.run)
            await events.enough.wait()
            await trio.sleep(0.3)  # more tries say no more
            nursery.cancel_scope.cancel()
    told = {(event.kind, event.about, event.detail) for event in events}
    assert told == {("refused", about, "it does not speak TLS") for about in (None, "1", "2")}
    assert len(events) == 3


async def test_a_silent_caller_is_dropped_at_the_deadline(folder, pins, listeners):
    setups = setups_of(connect_timeout_s=5.0, hello_timeout_s=0.3)
    events = []
    peer = peer_of(setups[0], listeners, trust_of("0", folder, pins), events)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.run)
            stream = TcpStream(socket.create_connection(listeners[0].getsockname()))
            assert await stream.receive_into(memoryview(bytearray(1))) == 0
            nursery.cancel_scope.cancel()
    stream.close()
    assert not [event for event in events if event.kind == "refused"]
