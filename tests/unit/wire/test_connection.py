"""Two connections, in every way the bytes may be cut."""

import numpy as np
import pytest

from gossipml.errors import ConfigError, LocalProtocolError, RemoteProtocolError
from gossipml.testing import PeerPair
from gossipml.wire import (
    Bye,
    Connection,
    Data,
    Eof,
    Error,
    Heartbeat,
    State,
    body_checksum,
    check_hello,
)
from gossipml.wire.frames import HEADER_SIZE, Header, Kind, pack_header

CUTS = [
    {"chunk_nbytes": chunk, "in_place": in_place}
    for chunk in (None, 1, 2, 7, 32, 33, 4096)
    for in_place in (False, True)
]


def wire(connection, *events):
    return b"".join(b"".join(connection.send(event)) for event in events)


# --- what goes well -----------------------------------------------------------------


@pytest.mark.parametrize("cut", CUTS)
def test_events_arrive_as_they_were_sent(opened, cut):
    pair = opened(**cut)
    said = [
        Data(0, 0, np.arange(16, dtype="f4").tobytes()),
        Data(0, 1),
        Heartbeat(1, 0),
        Data(1, 0, b"x"),
        Data(1, 1, bytes(64)),
        Bye("finished", 2),
        Eof(),
    ]
    assert pair.send(pair.dialler, *said) == said
    assert pair.send(pair.acceptor, *said) == said


@pytest.mark.parametrize("cut", CUTS)
def test_hello_is_heard_before_anything_is_accepted(make_hello, cut):
    dialler, acceptor = Connection(64), Connection(64)
    pair = PeerPair(dialler, acceptor, **cut)
    assert (dialler.sending, acceptor.receiving) == (State.IDLE, State.IDLE)
    assert pair.send(dialler, make_hello()) == [make_hello()]
    assert (dialler.sending, acceptor.receiving) == (State.OPEN, State.OPEN)
    assert acceptor.accepted
    assert not dialler.accepted


@pytest.mark.parametrize("cut", CUTS)
def test_an_answer_and_tensors_may_come_in_one_chunk(make_hello, cut):
    dialler, acceptor = Connection(64), Connection(64)
    pair = PeerPair(dialler, acceptor, **cut)
    pair.send(dialler, make_hello())
    answer = [make_hello(peer="1", to="0"), Data(0, 0, b"abcd"), Data(0, 1, b"efgh")]
    assert pair.send(acceptor, *answer) == answer


@pytest.mark.parametrize("cut", CUTS)
def test_a_different_experiment_is_refused_and_both_ends_know(make_hello, cut):
    dialler, acceptor = Connection(64), Connection(64)
    pair = PeerPair(dialler, acceptor, **cut)
    (theirs,) = pair.send(dialler, make_hello(parameters=7850))
    error = check_hello(make_hello(peer="1", to="0"), theirs, "0")
    (heard,) = pair.send(acceptor, error)
    assert heard.message == "parameters: ours 650, theirs 7850"
    assert heard.swapped().message == "parameters: ours 7850, theirs 650"
    assert acceptor.sending is dialler.receiving is State.CLOSED
    assert pair.send(acceptor, Eof()) == [Eof()]


def test_either_side_may_leave_first_and_still_listen(opened):
    pair = opened()
    assert pair.send(pair.dialler, Bye("stopped", 5)) == [Bye("stopped", 5)]
    assert pair.send(pair.acceptor, Data(4, 0, b"late")) == [Data(4, 0, b"late")]
    assert pair.send(pair.acceptor, Bye("duplicate", 5), Eof()) == [Bye("duplicate", 5), Eof()]


def test_end_of_stream_between_frames_is_an_event_in_any_state(opened):
    assert Connection(0).receive_data(b"") == [Eof()]
    connection = Connection(0)
    assert connection.bytes_received(0) == [Eof()]
    assert connection.receiving is State.CLOSED
    pair = opened()
    assert pair.send(pair.dialler, Eof()) == [Eof()]


def test_a_model_of_no_parameters_sends_tokens(opened):
    pair = opened(max_body=0)
    assert pair.send(pair.dialler, Data(0, 0, b"")) == [Data(0, 0)]


def test_without_checksums_tensors_have_none_and_both_kinds_are_taken(opened):
    pair = opened(checksum=False)
    pair.send(pair.dialler, Data(0, 0, b"abcd"))
    checked = pack_header(Header(Kind.DATA, 0, 1, 4, body_checksum(b"abcd"))) + b"abcd"
    (data,) = pair.push(pair.dialler, checked)
    assert data == Data(0, 1, b"abcd")
    wrong = pack_header(Header(Kind.DATA, 0, 1, 4, 1)) + b"abcd"
    with pytest.raises(RemoteProtocolError, match="DATA body checksum"):
        pair.push(pair.dialler, wrong)


# --- slots --------------------------------------------------------------------------


def fill(connection, data):
    """Receive in place until nothing is left or the connection pauses."""
    events = []
    while data and (room := connection.receive_buffer()):
        size = min(len(room), len(data))
        room[:size] = data[:size]
        data = data[size:]
        events += connection.bytes_received(size)
    return events, data


def test_a_tensor_lands_in_its_slot_and_the_slot_is_reused(opened):
    made = []

    def allocate(nbytes):
        made.append(np.empty(nbytes, np.uint8))
        return made[-1]

    pair = opened(slots=2, allocate=allocate)
    assert made == []
    for round_ in range(9):
        data = wire(pair.dialler, Data(round_, 0, np.full(8, round_, "f4")))
        ((event,), rest) = fill(pair.acceptor, data)
        assert not rest
        tensor = np.frombuffer(event.body, "f4")
        assert np.array_equal(tensor, np.full(8, round_))
        assert any(np.shares_memory(tensor, slot) for slot in made)
        assert not tensor.flags.writeable
        pair.acceptor.release(event)
    assert [slot.nbytes for slot in made] == [HEADER_SIZE + 64]


def test_reading_pauses_when_all_slots_are_in_use_but_control_frames_pass(opened):
    pair = opened(slots=2)
    receiver = pair.acceptor
    frames = [Data(0, 0, b"a"), Data(0, 1, b"b"), Heartbeat(0, 1), Data(0, 2), Data(1, 0, b"c")]
    events, rest = fill(receiver, wire(pair.dialler, *frames))
    assert events == frames[:4]
    assert rest == b"c"
    assert receiver.paused
    assert len(receiver.receive_buffer()) == 0
    receiver.release(events[1])
    assert not receiver.paused
    assert fill(receiver, rest) == ([frames[4]], b"")
    assert events[0].body == b"a"


def test_a_pause_keeps_the_rest_of_a_chunk_for_later(opened):
    pair = opened(slots=1)
    frames = [Data(0, 0, b"a"), Data(0, 1, b"b"), Heartbeat(0, 1)]
    (first,) = pair.acceptor.receive_data(bytearray(wire(pair.dialler, *frames)))
    assert pair.acceptor.next_events() == []
    pair.acceptor.release(first)
    assert pair.acceptor.next_events() == frames[1:]
    assert pair.acceptor.next_events() == []


def test_the_kept_rest_is_a_copy(opened):
    pair = opened(slots=1)
    chunk = bytearray(wire(pair.dialler, Data(0, 0, b"a"), Data(0, 1, b"b")))
    (first,) = pair.acceptor.receive_data(chunk)
    chunk[:] = bytes(len(chunk))
    pair.acceptor.release(first)
    assert pair.acceptor.next_events() == [Data(0, 1, b"b")]


def test_a_token_needs_no_slot_and_releasing_it_does_nothing(opened):
    pair = opened(slots=1)
    events = pair.acceptor.receive_data(wire(pair.dialler, Data(0, 0, b"a"), Data(0, 1)))
    pair.acceptor.release(events[1])
    pair.acceptor.release(events[1])
    pair.acceptor.release(events[0])


def test_a_slot_is_released_once_and_by_its_own_event(opened):
    pair = opened()
    (event,) = pair.acceptor.receive_data(wire(pair.dialler, Data(0, 0, b"a")))
    with pytest.raises(LocalProtocolError, match="round 0 request 0 holds no slot"):
        pair.acceptor.release(Data(0, 0, b"a"))
    pair.acceptor.release(event)
    with pytest.raises(LocalProtocolError, match="released before"):
        pair.acceptor.release(event)


def test_nothing_is_allocated_before_both_sides_agree(make_hello):
    made = []
    connection = Connection(10**6, allocate=lambda nbytes: made.append(nbytes) or bytearray(nbytes))
    connection.receive_data(wire(Connection(8), make_hello(peer="1", to="0")))
    connection.accept()
    connection.send(make_hello())
    assert made == []
    connection.receive_data(pack_header(Header(Kind.DATA, 0, 0, 4, 0)))
    assert made == [HEADER_SIZE + 10**6]


@pytest.mark.parametrize(
    "allocate",
    [bytes, lambda nbytes: bytearray(nbytes - 1), lambda nbytes: None, lambda nbytes: 1 / 0],
)
def test_a_bad_allocator_is_a_local_error(opened, allocate):
    pair = opened(allocate=allocate)
    with pytest.raises(LocalProtocolError, match=r"allocate\(96\)"):
        pair.send(pair.dialler, Data(0, 0, b"a"))
    with pytest.raises(LocalProtocolError, match=r"allocate\(96\)"):
        pair.acceptor.receive_buffer()


# --- what the other side may not do ---------------------------------------------------


def control(kind, body, **changes):
    fields = {"round": 0, "request": 0, "length": len(body), "crc": body_checksum(body)}
    return pack_header(Header(kind=kind, **fields | changes)) + body


REASON = b"\x81\xa6reason\xa8finished"
REFUSED = {
    "http": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "not a gossipml peer"),
    "second hello": (control(Kind.HELLO, b"\x80"), "a second HELLO"),
    "huge": (pack_header(Header(Kind.DATA, 0, 0, 2**63, 0)), "at most 64"),
    "one byte more": (pack_header(Header(Kind.DATA, 0, 0, 65, 0)), "DATA body of 65 bytes"),
    "heartbeat with body": (control(Kind.HEARTBEAT, b"x"), "HEARTBEAT body of 1 bytes: at most 0"),
    "long bye": (pack_header(Header(Kind.BYE, 0, 0, 1025, 0)), "BYE body of 1025 bytes"),
    "long error": (pack_header(Header(Kind.ERROR, 0, 0, 4097, 0)), "ERROR body of 4097 bytes"),
    "empty bye": (pack_header(Header(Kind.BYE, 0, 0, 0, None)), "BYE: .*truncated"),
    "no checksum": (control(Kind.DATA, b"abcd", crc=None), "DATA body without a checksum"),
    "bye without checksum": (control(Kind.BYE, REASON, crc=None), "BYE body without"),
    "wrong checksum": (control(Kind.DATA, b"abcd", crc=1), "DATA body checksum does not match"),
    "bye with request": (control(Kind.BYE, REASON, request=1), "BYE with request 1"),
    "error with round": (control(Kind.ERROR, b"\x80", round=1), "ERROR with round 1"),
    "not a bye": (control(Kind.BYE, b"\x80"), "BYE: .*missing required field `reason`"),
    "after bye": (control(Kind.BYE, REASON) + b"\0", "bytes after the end"),
    "cut header": (control(Kind.BYE, REASON)[:31], "31 of 32 bytes of its header"),
    "cut body": (control(Kind.DATA, b"abcd")[:-1], "3 of 4 bytes of its body of a DATA"),
    "no body": (control(Kind.DATA, b"abcd")[:32], "0 of 4 bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("cut", CUTS)
def test_broken_protocol_is_a_remote_error_and_final(opened, name, cut):
    data, message = REFUSED[name]
    pair = opened(**cut)
    with pytest.raises(RemoteProtocolError, match=message):
        _ = pair.push(pair.dialler, data), pair.push(pair.dialler, b"")
    acceptor = pair.acceptor
    assert acceptor.receiving is State.FAILED
    for again in (acceptor.receive_buffer, acceptor.next_events, acceptor.accept):
        with pytest.raises(RemoteProtocolError, match=message):
            again()
    with pytest.raises(RemoteProtocolError, match=message):
        acceptor.receive_data(b"anything")
    with pytest.raises(RemoteProtocolError, match=message):
        acceptor.send(Heartbeat(0, 0))


def test_the_other_side_may_be_told_why_once(opened):
    pair = opened()
    with pytest.raises(RemoteProtocolError) as caught:
        pair.push(pair.dialler, bytes(32))
    (heard,) = pair.send(pair.acceptor, Error.about(caught.value))
    assert heard.field == "frame"
    assert "not a gossipml peer" in heard.message
    with pytest.raises(LocalProtocolError, match="ERROR on a connection that is CLOSED"):
        pair.acceptor.send(Error.about(caught.value))


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        (Kind.DATA, b"", "DATA before HELLO"),
        (Kind.HEARTBEAT, b"", "HEARTBEAT before HELLO"),
        (Kind.BYE, REASON, "BYE before HELLO"),
        (Kind.HELLO, b"\x80", "HELLO: .*missing required field"),
        (Kind.HELLO, b"", "HELLO: .*truncated"),
    ],
)
def test_hello_must_come_first(kind, body, message):
    with pytest.raises(RemoteProtocolError, match=message):
        Connection(64).receive_data(control(kind, body))


def test_a_hello_is_at_most_one_page():
    with pytest.raises(RemoteProtocolError, match="HELLO body of 4097 bytes: at most 4096"):
        Connection(10**9).receive_data(pack_header(Header(Kind.HELLO, 0, 0, 4097, 0)))


@pytest.mark.parametrize("kind", [Kind.DATA, Kind.HEARTBEAT])
def test_tensors_wait_for_both_hellos(make_hello, kind):
    hello = wire(Connection(64), make_hello(peer="1", to="0"))
    early = pack_header(Header(kind, 0, 0, 0, None))

    not_accepted = Connection(64)
    not_accepted.send(make_hello())
    not_accepted.receive_data(hello)
    with pytest.raises(RemoteProtocolError, match="before both sides"):
        not_accepted.receive_data(early)

    not_answered = Connection(64)
    not_answered.receive_data(hello)
    not_answered.accept()
    with pytest.raises(RemoteProtocolError, match="before both sides"):
        not_answered.receive_data(early)


def test_events_before_the_error_are_not_lost(opened):
    pair = opened()
    good = wire(pair.dialler, Heartbeat(0, 0), Heartbeat(1, 0))
    assert pair.acceptor.receive_data(good + bytes(40)) == [Heartbeat(0, 0), Heartbeat(1, 0)]
    assert pair.acceptor.receiving is State.FAILED
    with pytest.raises(RemoteProtocolError, match="not a gossipml peer"):
        pair.acceptor.next_events()


def test_held_events_survive_a_dead_connection(opened):
    pair = opened()
    (event,) = pair.acceptor.receive_data(wire(pair.dialler, Data(0, 0, b"good")))
    with pytest.raises(RemoteProtocolError):
        pair.acceptor.receive_data(bytes(32))
    assert event.body == b"good"
    pair.acceptor.release(event)


# --- what this side may not do --------------------------------------------------------


def test_nothing_but_hello_or_error_may_be_sent_first(make_hello):
    for event in (Data(0, 0), Heartbeat(0, 0), Bye("leaving", 0), Eof()):
        connection = Connection(64)
        with pytest.raises(LocalProtocolError):
            connection.send(event)
        assert connection.sending is State.FAILED
        with pytest.raises(LocalProtocolError):
            connection.send(make_hello())
    assert Connection(64).send(Error.of("peer", "1", "2"))


@pytest.mark.parametrize("event", [Data(0, 0, b"a"), Heartbeat(0, 0)])
def test_tensors_are_not_sent_before_the_answer(make_hello, event):
    connection = Connection(64)
    connection.send(make_hello())
    with pytest.raises(LocalProtocolError, match="before both sides"):
        connection.send(event)


def test_hello_is_sent_once_and_nothing_after_bye(opened, make_hello):
    with pytest.raises(LocalProtocolError, match="cannot send a second HELLO"):
        opened().dialler.send(make_hello())
    dialler = opened().dialler
    dialler.send(Bye("finished", 1))
    with pytest.raises(LocalProtocolError, match="HEARTBEAT on a connection that is CLOSED"):
        dialler.send(Heartbeat(1, 0))


def test_a_local_error_ends_the_connection_both_ways(opened):
    pair = opened()
    with pytest.raises(LocalProtocolError, match="DATA body of 65 bytes: at most 64"):
        pair.dialler.send(Data(0, 0, bytes(65)))
    assert pair.dialler.sending is pair.dialler.receiving is State.FAILED
    with pytest.raises(LocalProtocolError, match="DATA body of 65 bytes"):
        pair.dialler.receive_data(b"x")
    with pytest.raises(LocalProtocolError, match="DATA body of 65 bytes"):
        pair.dialler.send(Error.of("a", "b", "c"))


def test_accept_needs_a_hello():
    with pytest.raises(LocalProtocolError, match="nothing to accept: they are IDLE"):
        Connection(0).accept()


@pytest.mark.parametrize("nbytes", [-1, 33])
def test_more_bytes_than_room_is_a_local_error(nbytes):
    with pytest.raises(LocalProtocolError, match="into a buffer of 32"):
        Connection(0).bytes_received(nbytes)


def test_a_read_into_no_room_is_not_taken_for_the_end(opened):
    pair = opened(slots=1)
    fill(pair.acceptor, wire(pair.dialler, Data(0, 0, b"a"), Data(0, 1, b"b")))
    with pytest.raises(LocalProtocolError, match="0 bytes received into a buffer of no bytes"):
        pair.acceptor.bytes_received(0)


def test_a_chunk_before_the_last_one_is_used_up_is_a_local_error(opened):
    pair = opened(slots=1)
    pair.acceptor.receive_data(wire(pair.dialler, Data(0, 0, b"a"), Data(0, 1, b"b")))
    with pytest.raises(LocalProtocolError, match="1 bytes of the last chunk wait"):
        pair.acceptor.receive_data(b"x")


@pytest.mark.parametrize("wrong", [{"max_body": -1}, {"max_body": 1, "slots": 0}])
def test_impossible_limits_are_refused(wrong):
    with pytest.raises(ConfigError, match="max_body"):
        Connection(**wrong)


# --- guessing ---------------------------------------------------------------------------


def test_a_tensor_like_the_last_two_is_read_with_its_header(opened):
    pair = opened()
    data = [wire(pair.dialler, Data(t, 0, bytes([t]) * 8)) for t in range(4)]
    sizes = []
    for chunk in data:
        while chunk:
            room = pair.acceptor.receive_buffer()
            size = min(len(room), len(chunk))
            room[:size], chunk = chunk[:size], chunk[size:]
            events = pair.acceptor.bytes_received(size)
            sizes.append(size)
        (event,) = events
        assert event == Data(event.round, 0, bytes([event.round]) * 8)
        pair.acceptor.release(event)
    assert sizes == [32, 8, 32, 8, 40, 40]


@pytest.mark.parametrize("pieces", [1, 7, 31, 32, 33, 48, 10**3])
@pytest.mark.parametrize("slots", [1, 2])
def test_what_was_guessed_wrong_is_heard_all_the_same(opened, pieces, slots):
    """Shorter and longer tensors, and other frames, where two of one length came before."""
    pair = opened(slots=slots)
    frames = [
        *(Data(t, 0, b"abcdefgh" * 6) for t in range(3)), Heartbeat(3, 1), Data(3, 0, b"short"),
        Data(4, 0, b"abcdefgh" * 6), Data(5, 0, b"abcdefgh" * 6), Data(6, 0), Heartbeat(6, 0),
        Heartbeat(7, 0), Data(7, 0, b"x"), Data(8, 0, b"y"), Data(9, 0, b"z" * 60),
        *(Data(t, 0, b"abcdefgh") for t in range(10, 13)), Bye("finished", 13),
    ]  # fmt: skip
    rest, heard = wire(pair.dialler, *frames), []
    receiver = pair.acceptor

    def hear(events):
        for event in events:
            heard.append(event)
            if isinstance(event, Data):
                heard[-1] = Data(event.round, event.request, bytes(event.body))
                receiver.release(event)

    while rest:
        room = receiver.receive_buffer()
        if not room:
            hear(receiver.next_events())
            continue
        size = min(len(room), len(rest), pieces)
        room[:size], rest = rest[:size], rest[size:]
        hear(receiver.bytes_received(size))
    hear(receiver.next_events())
    assert heard == frames


def test_a_chunk_after_a_guess_is_heard(opened):
    pair = opened()
    for t in range(2):
        pair.send(pair.dialler, Data(t, 0, b"abcd"))
    data = wire(pair.dialler, Data(2, 0, b"efgh"), Heartbeat(3, 0))
    pair.acceptor.receive_buffer()[:10] = data[:10]
    assert pair.acceptor.bytes_received(10) == []
    assert pair.acceptor.receive_data(data[10:]) == [Data(2, 0, b"efgh"), Heartbeat(3, 0)]


def test_the_end_within_a_guessed_header_is_a_broken_frame(opened):
    pair = opened()
    for t in range(2):
        pair.send(pair.dialler, Data(t, 0, b"abcd"))
    pair.acceptor.receive_buffer()[:10] = wire(pair.dialler, Data(2, 0, b"efgh"))[:10]
    pair.acceptor.bytes_received(10)
    with pytest.raises(RemoteProtocolError, match="10 of 32 bytes of its header"):
        pair.acceptor.bytes_received(0)


def guessed(pair, data):
    """Read a whole frame in place where two tensors of 4 bytes came before."""
    for t in range(2):
        pair.send(pair.dialler, Data(t, 0, b"abcd"))
    room = pair.acceptor.receive_buffer()
    assert len(room) == len(data) == HEADER_SIZE + 4
    room[:] = data
    return pair.acceptor.bytes_received(len(data))


@pytest.mark.parametrize("bit", range(8 * (HEADER_SIZE + 4)))
def test_each_flipped_bit_of_a_guessed_tensor_is_noticed(opened, bit):
    pair = opened()
    data = bytearray(pack_header(Header(Kind.DATA, 2, 0, 4, body_checksum(b"efgh"))) + b"efgh")
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RemoteProtocolError):
        guessed(pair, data)


def test_a_guessed_tensor_without_a_checksum_is_refused(opened):
    data = pack_header(Header(Kind.DATA, 2, 0, 4, None)) + b"efgh"
    with pytest.raises(RemoteProtocolError, match="DATA body without a checksum"):
        guessed(opened(), data)
    assert guessed(opened(checksum=False), data) == [Data(2, 0, b"efgh")]
