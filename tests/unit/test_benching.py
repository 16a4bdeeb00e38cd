"""Two ends that measure what is between them: what they say, and what is refused."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time

import msgspec
import pytest

from gossipml import benching
from gossipml.benching import peers, talk
from gossipml.cli.benching import bench
from gossipml.engines.tcp import bind
from gossipml.errors import BenchError, ConfigError, GossipError, RefusedError


@pytest.fixture
def listener():
    with bind("127.0.0.1", 0) as sock:
        yield sock


@pytest.fixture
def other(listener):
    """The end that obeys, in a thread; the lines that it says."""
    said = []
    thread = threading.Thread(
        target=benching.serve,
        args=(listener,),
        kwargs={"times": 2, "progress": said.append},
        daemon=True,
    )
    thread.start()
    yield said
    end = time.monotonic() + 30
    while thread.is_alive() and time.monotonic() < end:  # it ends, whatever the test did
        with socket.socket() as sock:  # which a peer that listens there still may take
            sock.connect_ex(listener.getsockname())
        thread.join(0.1)
    assert not thread.is_alive()


def connect(listener):
    return benching.connect(*listener.getsockname())


def test_what_is_measured(listener, other):
    told = []
    with connect(listener) as sock:
        measured = benching.measure(sock, (10, 40_000), seconds=0.02, progress=told.append)
    assert [row.parameters for row in measured.rows] == [10, 40_000]
    assert [row.nbytes for row in measured.rows] == [40, 160_000]
    assert measured.between == "here and 127.0.0.1"
    for row in measured.rows:
        assert row.share == pytest.approx(row.rounds_s / row.raw_rounds_s)
        assert row.mb_s == pytest.approx(row.rounds_s * row.nbytes / 1e6)
        assert 0 < row.rounds_s < row.raw_rounds_s
    assert measured.round_trip_us > 1
    assert measured.raw_mb_s > 1
    assert told[-1] == "models of 40,000 parameters"
    assert other[0].endswith(": measures")


def both(listener, parameters, rounds):
    """Play two peers, each in a thread; return what each returned or raised."""
    ends = [None, None]

    def be(i, address):
        with bind("127.0.0.1", 0) as own:
            try:
                ends[i] = peers.play(own if address else listener, address, parameters, rounds[i])
            except GossipError as error:
                ends[i] = error

    threads = [
        threading.Thread(target=be, args=end)
        for end in ((0, listener.getsockname()), (1, None))
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return ends


def test_the_peers_are_real(listener, monkeypatch):
    """They say hello, average to the mean, and refuse who differs."""
    ended = []
    run = peers.Peer.run

    async def kept(peer):
        outcome = await run(peer)
        ended.append(outcome.state.x)
        return outcome

    monkeypatch.setattr(peers.Peer, "run", kept)
    assert all(rate > 0 for rate in both(listener, 3, (6, 6)))
    assert [x.tolist() for x in ended] == [[0.5] * 3] * 2
    monkeypatch.setattr(peers, "TIMING", msgspec.structs.replace(peers.TIMING, connect_timeout_s=2))
    assert all(isinstance(end, RefusedError) for end in both(listener, 3, (6, 7)))


def test_nobody_there():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host, port = unused.getsockname()
        expected = rf"^{host}:{port}: Connection refused; expected gossipml bench --listen"
        with pytest.raises(BenchError, match=expected):
            benching.connect(host, port)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "found something else than gossipml bench"),
        (b"\x05\x00\x00\x00junk!", "found something else than gossipml bench"),
        (b"", "the connection ended: closed by the other end"),
    ],
)
def test_something_else_is_there(listener, answer, message):
    def be():
        sock, _ = listener.accept()
        with sock:
            sock.sendall(answer)
            sock.recv(4096)

    thread = threading.Thread(target=be)
    thread.start()
    with pytest.raises(BenchError, match=message):
        connect(listener)
    thread.join(10)


def test_another_version(listener, other):
    """Both ends say so, and the one that listens goes on."""
    ours = talk.Greeting(version="9.9")
    with socket.create_connection(listener.getsockname()) as sock:
        talk.say(sock, ours)
        assert talk.hear(sock, "it") == talk.Greeting()
        assert sock.recv(1) == b""
    assert other[0].endswith(f"runs gossipml 9.9, expected {talk.Greeting().version} as here")
    with connect(listener) as sock:
        benching.measure(sock, (10,), seconds=0.01)


def test_what_would_take_too_much_is_refused(listener, other):
    with connect(listener) as sock:
        with pytest.raises(BenchError, match="sizes: asks for too much"):
            benching.measure(sock, (10**9,))
        talk.say(sock, talk.Echo(2**40, 1))
        assert sock.recv(1) == b""
    assert "asks for too much: Echo(nbytes=1099511627776, times=1)" in other[-1]


def test_the_other_end_goes_away(listener):
    def be():
        sock, _ = listener.accept()
        with sock:
            talk.greet(sock, "it")
            talk.hear(sock, "it")
            talk.say(sock, talk.Ready())

    thread = threading.Thread(target=be)
    thread.start()
    with connect(listener) as sock, pytest.raises(BenchError, match="the connection ended"):
        benching.measure(sock, (10,))
    thread.join(10)


GOSSIPML = (sys.executable, "-m", "gossipml", "bench")


def test_one_command():
    ran = subprocess.run(
        [*GOSSIPML, "--sizes", "100,2_000", "--seconds", "0.02", "--json"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    measured = json.loads(ran.stdout)
    assert [row["parameters"] for row in measured["rows"]] == [100, 2000]
    assert measured["between"] == "two processes of 127.0.0.1"
    assert ran.stderr.splitlines()[0] == "round trip"


def test_two_commands():
    with subprocess.Popen(
        [*GOSSIPML, "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True
    ) as there:
        where = there.stderr.readline().split()[-1]
        ran = subprocess.run(
            [*GOSSIPML, "--connect", where, "--sizes", "100", "--seconds", "0.02", "-q"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        assert "parameters" in ran.stdout
        assert ran.stderr == ""
        there.send_signal(signal.SIGINT)
        _, rest = there.communicate(timeout=20)
    assert there.returncode == 130
    assert rest.splitlines()[-1].endswith(": has measured")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": "many"}, "--sizes: found 'many', expected numbers such as 1000,100000"),
        ({"seconds": 0}, "--seconds: found 0, expected more than 0 and at most 60"),
        ({"connect": "here"}, "--connect: found address 'here', expected host:port"),
        ({"listen": "127.0.0.1:0", "json": True}, "--listen: found beside --connect"),
    ],
)
def test_bad_words_are_one_line(arguments, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        bench(**arguments)
