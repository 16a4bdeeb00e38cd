"""docs/reference/wire.md says what the code does: its tables, and its example byte for byte."""

import re
import struct
from pathlib import Path
from zlib import crc32

import msgspec
import pytest

from gossipml.wire import (
    Bye,
    Connection,
    Data,
    Error,
    Heartbeat,
    Hello,
    Kind,
    State,
    check_hello,
    events,
    limits,
)
from gossipml.wire.states import TRANSITIONS

PAGE = Path(__file__).parents[3].joinpath("docs/reference/wire.md").read_text("utf-8")


def table(first_column):
    """Return the rows of the table whose first heading is this, as dicts."""
    lines = PAGE.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first_column} |"))
    heads, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines[start : lines.index("", start)]
    ]
    return [dict(zip(heads, row, strict=True)) for row in rows]


def section(title):
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def frames():
    blocks = re.findall(r"```hex\n(.*?)```", PAGE, re.DOTALL)
    return [bytes.fromhex(re.sub(r"#.*", "", block)) for block in blocks]


def test_state_table():
    documented = {
        State[row.pop("state")]: {Kind[k]: State[to] for k, to in row.items() if to != "–"}
        for row in table("state")
    }
    assert documented == TRANSITIONS


def test_kinds_and_their_limits():
    rows = table("number")
    assert [(int(row["number"]), row["kind"]) for row in rows] == [(k, k.name) for k in Kind]
    longest = {row["kind"]: row["longest body in bytes"] for row in rows}
    del longest["DATA"]
    assert longest == {
        "HELLO": str(limits.MAX_HELLO),
        "HEARTBEAT": "0",
        "BYE": str(limits.MAX_BYE),
        "ERROR": str(limits.MAX_ERROR),
    }


def test_longest_strings():
    documented = {row["key"]: int(row["longest"]) for row in table("key") if "longest" in row}
    known = {}
    for body in (Hello, Error, events.ByeBody):
        for field in msgspec.inspect.type_info(body).fields:
            if isinstance(field.type, msgspec.inspect.StrType):
                known[field.name] = field.type.max_length
    assert documented == known


def test_keys_of_hello():
    keys = re.findall(r"^\| (\w+) \| (?:int|str)", section("4. HELLO"), re.MULTILINE)
    assert keys == list(Hello.__struct_fields__)


def test_fields_of_the_header():
    rows = table("offset")
    offsets = [int(row["offset"]) for row in rows]
    sizes = [int(row["size"]) for row in rows]
    assert offsets == [sum(sizes[:i]) for i in range(len(sizes))]
    assert sum(sizes) == 32


def test_the_place_for_the_handshake_values_is_there_once():
    assert PAGE.count("<!-- handshake values -->") == 1


# --- the example ----------------------------------------------------------------------


def test_a_stranger_can_read_the_example():
    """With nothing of gossipml: the header layout of section 2, CRC-32, msgpack."""
    for frame in frames():
        head = struct.unpack("<4sBBHIIQII", frame[:32])
        magic, version, kind, flags, _, _, length, body_crc, header_crc = head
        assert (magic, version) == (b"GSSP", 1)
        assert header_crc == crc32(frame[:28])
        body = frame[32:]
        assert length == len(body)
        assert flags == (1 if body else 0)
        assert body_crc == crc32(body)
        if kind in (1, 4, 5):
            assert isinstance(msgspec.msgpack.decode(body), dict)


@pytest.fixture
def hellos():
    shared = {
        "run": "demo", "topology": "9f2c", "parameters": 2, "dtype": "float32",
        "algorithm": "a1", "round": 0,
    }  # fmt: skip
    return (
        Hello(peer="0", to="1", incarnation=1, **shared),
        Hello(peer="1", to="0", incarnation=2, **shared),
    )


def test_the_example_is_what_two_connections_say(hellos):
    first, second, data_0, data_1, token, heartbeat, bye, error = frames()
    dialler, acceptor = Connection(8), Connection(8)

    def say(sender, receiver, event):
        frame = b"".join(sender.send(event))
        (heard,) = receiver.receive_data(frame)
        assert heard == event
        return frame

    assert say(dialler, acceptor, hellos[0]) == first
    assert check_hello(hellos[1], hellos[0], "0") is None
    acceptor.accept()
    assert say(acceptor, dialler, hellos[1]) == second
    dialler.accept()
    assert say(dialler, acceptor, Data(0, 0, struct.pack("<2f", 1.0, -0.5))) == data_0
    assert say(acceptor, dialler, Data(0, 0, struct.pack("<2f", 3.0, 0.25))) == data_1
    assert say(dialler, acceptor, Data(0, 1)) == token
    assert say(dialler, acceptor, Heartbeat(1, 0)) == heartbeat
    assert say(dialler, acceptor, Bye("finished", 1)) == bye

    three = msgspec.structs.replace(hellos[0], parameters=3)
    refusal = check_hello(hellos[1], three, "0")
    assert b"".join(Connection(8).send(refusal)) == error


def test_the_example_mixes_to_what_it_says():
    assert struct.pack("<2f", 2.0, -0.125).hex(" ", 4) in PAGE
