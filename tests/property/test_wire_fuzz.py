"""Whatever comes in ends in events or in RemoteProtocolError, within bounded memory."""

import random
import tracemalloc
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossipml.errors import RemoteProtocolError
from gossipml.testing import PeerPair
from gossipml.wire import (
    Bye,
    Connection,
    Data,
    Eof,
    Error,
    Event,
    Heartbeat,
    Hello,
    Kind,
    body_checksum,
)
from gossipml.wire.frames import HEADER_SIZE, Header, pack_header

MAX_BODY = 48
SLOTS = 2
SHARED = {
    "run": "r", "topology": "9f2c", "parameters": 12, "dtype": "float32", "algorithm": "d-psgd",
    "round": 0,
}  # fmt: skip
OURS = Hello(peer="1", to="0", incarnation=2, **SHARED)
THEIRS = Hello(peer="0", to="1", incarnation=1, **SHARED)
TENSOR = array("f", range(12)).tobytes()
SESSION = [
    Data(0, 0, TENSOR), Data(0, 1), Heartbeat(0, 1), Data(1, 0, TENSOR[::-1]), Data(1, 1, b"\0"),
    Error.of("run", "r", "s"),
]  # fmt: skip


def sender():
    """Return a connection that may say anything a peer says in the middle of a run."""
    connection = Connection(MAX_BODY)
    connection.receive_data(b"".join(Connection(0).send(OURS)))
    connection.accept()
    return connection


def session():
    """Return the frames of a whole run, as a peer may send them, each on its own."""
    connection = sender()
    return [b"".join(connection.send(event)) for event in (THEIRS, *SESSION)]


FRAMES = session()
ENDING = Connection(0)
ENDING.send(THEIRS)
BYE = b"".join(ENDING.send(Bye("finished", 2)))


class Victim:
    """A connection that counts what it allocates and keeps what it is told."""

    def __init__(self):
        self.allocated = 0
        self.events = []
        self.connection = Connection(MAX_BODY, slots=SLOTS, allocate=self.allocate)
        self.connection.send(OURS)

    def allocate(self, nbytes):
        self.allocated += nbytes
        return bytearray(nbytes)

    def hear(self, chunk):
        """Take a chunk; return False once the connection has failed."""
        try:
            events = self.connection.receive_data(chunk)
            while events:
                for event in events:
                    self.take(event)
                events = self.connection.next_events() if chunk else []
        except RemoteProtocolError:
            return False
        finally:
            assert self.allocated <= SLOTS * MAX_BODY
        return True

    def take(self, event):
        assert isinstance(event, Event)
        if isinstance(event, Hello):
            self.connection.accept()
        if isinstance(event, Data):
            self.events.append(Data(event.round, event.request, bytes(event.body)))
            self.connection.release(event)
        else:
            self.events.append(event)


def is_start(events, whole):
    return events == whole[: len(events)]


# --- one flipped bit ------------------------------------------------------------------


def test_each_flipped_bit_of_a_session_is_noticed():
    good = b"".join(FRAMES)
    whole = [THEIRS, *SESSION]
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        victim = Victim()
        assert not (victim.hear(bad) and victim.hear(b"")), f"bit {bit} went unnoticed"
        assert is_start(victim.events, whole)
        assert len(victim.events) < len(whole)


def test_the_unharmed_session_is_heard():
    victim = Victim()
    assert victim.hear(b"".join(FRAMES))
    assert victim.hear(b"")
    assert victim.events == [THEIRS, *SESSION, Eof()]
    assert victim.allocated == SLOTS * MAX_BODY


# --- many mutations -------------------------------------------------------------------


def flip(rng, data):
    for _ in range(rng.randint(1, 4)):
        bit = rng.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8


def truncate(rng, data):
    del data[rng.randrange(len(data)) :]


def cut_out(rng, data):
    start = rng.randrange(len(data))
    del data[start : start + rng.randint(1, 8)]


def insert(rng, data):
    start = rng.randrange(len(data) + 1)
    data[start:start] = rng.randbytes(rng.randint(1, 40))


def garbage(rng, data):
    data[:] = rng.randbytes(rng.randint(1, 80))


def lie(rng, data):
    """A whole new header in front of what is left, with a right checksum."""
    length = rng.choice([0, 1, 47, 48, 49, 1024, 1025, 4096, 4097, 2**31, 2**63, 2**64 - 1])
    crc = rng.choice([None, 0, rng.getrandbits(32)])
    numbers = [rng.choice([0, 1, 2**32 - 1]) for _ in range(2)]
    data[:HEADER_SIZE] = pack_header(Header(rng.choice(list(Kind)), *numbers, length, crc))


MUTATIONS = [flip, truncate, cut_out, insert, garbage, lie]


def mutated(rng, greeted):
    """Return a few frames, one of them damaged in one or two ways."""
    frames = FRAMES[1:] if greeted else FRAMES
    damaged = bytearray(rng.choice(frames))
    for mutate in rng.choices(MUTATIONS, k=rng.choice([1, 1, 2])):
        if damaged:
            mutate(rng, damaged)
    before = b"" if greeted or rng.random() < 0.5 else FRAMES[0]
    return before + damaged + rng.choice([b"", *FRAMES, BYE])


def chunks(rng, data):
    """Whole, in two, or byte by byte; rarely the last, which is slow."""
    style = rng.random()
    if style < 0.04:
        return [data[i : i + 1] for i in range(len(data))]
    if style < 0.4 and len(data) > 1:
        cut = rng.randrange(1, len(data))
        return [data[:cut], data[cut:]]
    return [data] if data else []


GENUINE = {TENSOR, TENSOR[::-1], b"\0", b""}


def attack(rng):
    victim = Victim()
    greeted = rng.random() < 0.6
    if greeted:
        assert victim.hear(FRAMES[0])
    ended = [b""] if rng.random() < 0.5 else []
    for chunk in chunks(rng, mutated(rng, greeted)) + ended:
        if not victim.hear(chunk):
            break
    bodies = [bytes(event.body) for event in victim.events if isinstance(event, Data)]
    assert GENUINE.issuperset(bodies)


def test_200_000_mutated_frames():
    rng = random.Random(20_240_601)
    for _ in range(200_000):
        attack(rng)


# --- hypothesis -----------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=8))
def test_any_bytes(data):
    victim = Victim()
    for chunk in data:
        if not victim.hear(chunk):
            break
    assert {type(event) for event in victim.events} <= {Eof}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([Kind.HELLO, Kind.BYE, Kind.ERROR]))
def test_any_control_body(body, kind):
    victim = Victim()
    if kind is not Kind.HELLO:
        victim.hear(FRAMES[0])
    header = Header(kind, 0, 0, len(body), body_checksum(body))
    victim.hear(pack_header(header) + body)


u32 = st.integers(0, 2**32 - 1)
said = st.one_of(
    st.builds(Data, u32, u32, st.binary(max_size=MAX_BODY)), st.builds(Heartbeat, u32, u32)
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(said, max_size=6),
    st.one_of(st.none(), st.integers(1, 100)),
    st.booleans(),
    st.booleans(),
)
def test_what_is_sent_arrives_however_it_is_cut(events, chunk_nbytes, in_place, checksum):
    options = {"checksum": checksum, "slots": 1}
    pair = PeerPair(
        Connection(MAX_BODY, **options),
        Connection(MAX_BODY, **options),
        chunk_nbytes=chunk_nbytes,
        in_place=in_place,
    )
    pair.handshake(THEIRS, OURS)
    assert pair.send(pair.dialler, *events, Bye("finished", 0), Eof()) == [
        *events,
        Bye("finished", 0),
        Eof(),
    ]


# --- memory ---------------------------------------------------------------------------


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**31, MAX_BODY + 1])
@pytest.mark.parametrize("greeted", [False, True])
def test_a_length_that_lies_allocates_nothing(length, greeted):
    victim = Victim()
    if greeted:
        victim.hear(FRAMES[0])
    header = pack_header(Header(Kind.DATA, 0, 0, length, 0))
    tracemalloc.start()
    heard = victim.hear(header)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not heard
    assert victim.allocated == 0
    assert peak < 65_536


def test_a_stranger_makes_us_hold_one_page():
    tracemalloc.start()
    connections = [Connection(10**9) for _ in range(100)]
    before_accept = pack_header(Header(Kind.HELLO, 0, 0, 4096, 0)) + bytes(4095)
    for connection in connections:
        assert connection.receive_data(before_accept) == []
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / len(connections) < HEADER_SIZE + 4096 + 4096
