"""Whatever comes in ends in events or in RemoteProtocolError, within bounded memory."""

import json
import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossipml.errors import RemoteProtocolError
from gossipml.testing import PeerPair
from gossipml.testing.damage import (
    BYE,
    DAMAGE,
    FRAMES,
    MAX_BODY,
    OURS,
    SESSION,
    THEIRS,
    Draws,
    damaged,
    forge,
    moves,
)
from gossipml.testing.fuzz import SLOTS, Victim, fuzz, main
from gossipml.wire import Bye, Connection, Data, Eof, Heartbeat, Kind, body_checksum
from gossipml.wire.frames import HEADER_SIZE, Header, pack_header


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
    assert victim.allocated == SLOTS * (HEADER_SIZE + MAX_BODY)


# --- many mutations -------------------------------------------------------------------


def test_60_000_damaged_frames():
    """`python -m gossipml.testing.fuzz` does as many as one likes."""
    found = fuzz(60_000, seed=20_240_601)
    assert found["frames"] >= 60_000
    assert found["growth_mib"] is None or found["growth_mib"] < 16.0


def test_the_command_says_what_it_found(capsys):
    assert main(["--frames", "2000", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["frames"] >= 2000
    assert found["other_exceptions"] == 0


def test_a_bug_is_found_and_its_seed_said(monkeypatch):
    """A connection that raises another error for one damaged frame in so many."""
    take = Connection._take

    def clumsy(self, room, nbytes):
        try:
            return take(self, room, nbytes)
        except RemoteProtocolError as error:
            if "checksum" in str(error):
                raise struct.error("unpack requires a buffer") from error
            raise

    monkeypatch.setattr(Connection, "_take", clumsy)
    with pytest.raises(struct.error) as caught:
        fuzz(1000, seed=1)
    assert caught.value.__notes__[0].startswith("seed 1, turn ")


def test_a_victim_that_was_not_greeted_is_as_one_that_was():
    """All that a connection knows after both HELLOs, but for whom its memory is from."""
    said, spared = Victim(), Victim(greeted=True)
    assert said.hear(FRAMES[0])
    told, kept = vars(said.connection), vars(spared.connection)
    rooms = {"_slots", "_header_room", "_control_room", "_room"}  # compared by what they hold
    assert {name: told[name] for name in told.keys() - rooms} == {
        name: kept[name] for name in kept.keys() - rooms
    }
    for victim in (said, spared):
        assert all(victim.hear(frame) for frame in FRAMES[1:])
    assert said.events[1:] == spared.events == list(SESSION)


def test_a_slow_victim_hears_all_and_nothing_is_written_over():
    quick, slow = (Victim(greeted=True, slow=slow) for slow in (False, True))
    said = b"".join(FRAMES[1:-1]) * 4
    assert quick.hear(said)
    assert slow.hear(said)
    assert slow.events == quick.events
    assert len(slow.events) == 4 * len(FRAMES[1:-1])


def test_every_kind_of_damage_and_of_cutting_comes():
    draws = Draws(3)
    streams = [damaged(draws, greeted=k % 2 == 0) for k in range(2000)]
    assert {len(stream.chunks) > 1 for stream in streams} == {False, True}
    assert any(all(len(chunk) < 2 for chunk in stream.chunks) for stream in streams)
    assert {stream.chunks[-1] == b"" for stream in streams if stream.chunks} == {False, True}
    assert {stream.forged for stream in streams} == {False, True}
    for damage in DAMAGE:
        changed = {bytes(data) for data in map(bytearray, FRAMES) if damage(draws, data) is None}
        assert not changed <= set(FRAMES), damage
    assert any(BYE in b"".join(moves(draws).chunks) for _ in range(50))


def test_forged_checksums_are_right():
    """So that damage reaches what is behind them."""
    draws, reasons = Draws(4), set()
    for _ in range(500):
        data = bytearray(FRAMES[0])
        forge(draws, data)
        try:
            Connection(MAX_BODY).receive_data(data)
        except RemoteProtocolError as error:
            reasons.add(str(error).split(":")[0])
    assert {"HELLO", "protocol version"} <= reasons
    assert len(reasons) > 4


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
    st.tuples(u32, u32, st.binary(max_size=MAX_BODY)).map(lambda fields: Data(*fields)),
    st.builds(Heartbeat, u32, u32),
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
