"""Control bodies: what is accepted, what is refused, and that every legal one fits."""

import msgspec
import pytest

from gossipml.errors import ConfigError
from gossipml.wire import Error, Hello, limits
from gossipml.wire.events import ByeBody, clip, decode_body, encode_body

WIDE = "𝕏"  # 4 bytes in UTF-8, printable


def as_map(body):
    return msgspec.msgpack.decode(encode_body(body))


def test_hello_is_a_map_with_these_keys(make_hello):
    assert as_map(make_hello()) == {
        "protocol_min": 1,
        "protocol_max": 1,
        "run": "digits-7",
        "peer": "0",
        "to": "1",
        "topology": "9f2c",
        "parameters": 650,
        "dtype": "float32",
        "algorithm": "d-psgd lr=0.1",
        "round": 0,
        "incarnation": 0x0123456789ABCDEF,
    }


def test_unknown_keys_are_for_later_versions(make_hello):
    later = as_map(make_hello()) | {"compression": ["top-k"], "z": {"y": None}}
    assert decode_body(msgspec.msgpack.encode(later), Hello) == make_hello()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": "650"}, "Expected `int`"),
        ({"parameters": -1}, ">= 0"),
        ({"parameters": 650.0}, "Expected `int`"),
        ({"parameters": True}, "Expected `int`"),
        ({"round": 2**32}, "<= 4294967295"),
        ({"peer": None}, "Expected `str`"),
        ({"peer": b"0"}, "Expected `str`"),
        ({"run": "x" * 129}, "length <= 128"),
        ({"run": "two\nlines"}, "run .* has characters that cannot be printed"),
        ({"peer": "\x1b[2J"}, "peer .* has characters"),
        ({"peer": "\u202e0"}, "peer .* has characters"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name(make_hello, changes, message):
    with pytest.raises(ValueError, match=message):
        decode_body(msgspec.msgpack.encode(as_map(make_hello()) | changes), Hello)


REQUIRED = ["run", "peer", "to", "topology", "parameters", "dtype", "algorithm", "round"]


@pytest.mark.parametrize("key", [*REQUIRED, "incarnation"])
def test_a_missing_key_is_refused_with_its_name(make_hello, key):
    body = as_map(make_hello())
    del body[key]
    with pytest.raises(ValueError, match=f"missing required field `{key}`"):
        decode_body(msgspec.msgpack.encode(body), Hello)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\xdf\xff\xff\xff\xff",
        b"\x82\xa6reason\xa1\xff\xa1x\x01",
        b"\x91" * 4000,
        b"\x82\xa6reason\xa1x\xa1y" + b"\x91" * 4000,
        b"\x81\xa6reason\xdb\xff\xff\xff\xffx",
        b"\x81\xa6reason\xa1xjunk",
    ],
)
def test_malformed_msgpack_is_a_value_error(body):
    with pytest.raises(ValueError):  # noqa: PT011 -- the words are msgspec's
        decode_body(body, ByeBody)


def test_the_longest_legal_bodies_fit_their_limits():
    name = WIDE * limits.MAX_NAME
    hello = Hello(
        protocol_min=2**32 - 1,
        protocol_max=2**32 - 1,
        run=name,
        peer=name,
        to=name,
        topology=name,
        parameters=2**64 - 1,
        dtype=WIDE * limits.MAX_DTYPE,
        algorithm=WIDE * limits.MAX_ALGORITHM,
        round=2**32 - 1,
        incarnation=2**64 - 1,
    )
    assert len(encode_body(hello)) <= 3584 < limits.MAX_HELLO
    value = WIDE * limits.MAX_VALUE
    field, message = WIDE * limits.MAX_FIELD, WIDE * limits.MAX_MESSAGE
    error = Error(field=field, ours=value, theirs=value, message=message)
    assert len(encode_body(error)) <= limits.MAX_ERROR
    assert len(encode_body(ByeBody(reason=WIDE * limits.MAX_REASON))) <= limits.MAX_BYE


def test_what_a_receiver_would_refuse_is_not_encoded(make_hello):
    for changes in ({"incarnation": 2**64}, {"run": "x" * 129}, {"to": 5}):
        with pytest.raises(ValueError):  # noqa: PT011
            encode_body(make_hello(**changes))


def test_an_error_about_long_values_is_cut_to_what_fits():
    error = Error.of("algorithm", WIDE * 999, "b" * 256)
    assert encode_body(error)
    assert len(error.message) <= limits.MAX_MESSAGE
    assert error.message.startswith("algorithm: ours " + WIDE * 159 + "…, theirs bbb")
    assert clip("abc", 3) == "abc"
    assert clip("abcd", 3) == "ab…"
    assert clip("a\nb", 3) == "a b"


def test_unprintable_strings_are_refused_at_once(make_hello):
    with pytest.raises(ConfigError, match=r"peer '\\n' has characters"):
        make_hello(peer="\n")


def test_an_error_about_a_broken_protocol_is_one_printable_line():
    error = Error.about(ValueError("bad\nthing " + "x" * 999))
    assert error.field == "frame"
    assert error.message.startswith("bad thing xxx")
    assert encode_body(error)
    assert error.swapped() is error


def test_swapped_is_the_other_sides_view():
    error = Error.of("dtype", "float32", "float64")
    assert error.swapped() == Error.of("dtype", "float64", "float32")
    assert error.swapped().swapped() == error
