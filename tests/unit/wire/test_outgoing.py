"""One frame of each kind, byte for byte, and that tensors are not copied."""

import sys
from array import array

import numpy as np
import pytest

from gossipml.errors import LocalProtocolError
from gossipml.testing import PeerPair
from gossipml.wire import Bye, Connection, Data, Eof, Error, Heartbeat, body_checksum, sealed
from gossipml.wire.outgoing import frame_of

GOLDEN = {
    "hello": (
        "475353500101010000000000000000009400000000000000c508398b834969808bac70726f746f63"
        "6f6c5f6d696e01ac70726f746f636f6c5f6d617801a372756ea86469676974732d37a470656572a1"
        "30a2746fa131a8746f706f6c6f6779a439663263aa706172616d6574657273cd028aa56474797065"
        "a7666c6f61743332a9616c676f726974686dad642d70736764206c723d302e31a5726f756e6400ab"
        "696e6361726e6174696f6ecf0123456789abcdef"
    ),
    "data": "475353500102010003000000010000000800000000000000fb4a3d03527b7d7a0000803f000000bf",
    "token": "47535350010200000300000001000000000000000000000000000000d8e9d2b4",
    "unchecked": "47535350010200000300000001000000080000000000000000000000269fdeb20000803f000000bf",
    "heartbeat": "475353500103000003000000010000000000000000000000000000000c03a12f",
    "bye": (
        "4753535001040100c800000000000000110000000000000041d6905a08f0cd4b81a6726561736f6e"
        "a866696e6973686564"
    ),
    "error": (
        "475353500105010000000000000000005200000000000000f68cd350c9619e8e84a56669656c64aa"
        "706172616d6574657273a46f757273a3363530a6746865697273a437383530a76d657373616765d9"
        "21706172616d65746572733a206f757273203635302c207468656972732037383530"
    ),
}


def frame(event, *, checksum=True):
    return b"".join(frame_of(event, max_body=64, checksum=checksum))


@pytest.mark.skipif(sys.byteorder != "little", reason="array() is in the machine's byte order")
def test_golden_bytes(make_hello):
    tensor = array("f", [1.0, -0.5])
    assert {
        "hello": frame(make_hello()).hex(),
        "data": frame(Data(3, 1, tensor)).hex(),
        "token": frame(Data(3, 1)).hex(),
        "unchecked": frame(Data(3, 1, tensor), checksum=False).hex(),
        "heartbeat": frame(Heartbeat(3, 1)).hex(),
        "bye": frame(Bye("finished", 200)).hex(),
        "error": frame(Error.of("parameters", "650", "7850")).hex(),
    } == GOLDEN


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 1, 6)])
def test_a_tensor_is_not_copied(dtype, shape):
    tensor = np.arange(6, dtype=dtype).reshape(shape)
    _, body = frame_of(Data(0, 0, tensor), max_body=64, checksum=True)
    assert isinstance(body, memoryview)
    assert np.shares_memory(np.frombuffer(body, np.uint8), tensor)
    assert body == tensor.tobytes()


@pytest.mark.parametrize("empty", [b"", np.zeros(0), np.zeros((3, 0)), array("f")])
def test_any_empty_body_is_a_token(empty):
    assert frame(Data(3, 1, empty)).hex() == GOLDEN["token"]


def test_a_known_checksum_is_used():
    assert frame(Data(3, 1, b"abc", crc=body_checksum(b"abc"))) == frame(Data(3, 1, b"abc"))
    assert frame(Data(3, 1, b"abc", crc=1)) != frame(Data(3, 1, b"abc"))
    unchecked = frame(Data(3, 1, b"abc"), checksum=False)
    assert frame(Data(3, 1, b"abc", crc=1), checksum=False) == unchecked


def test_a_sealed_tensor_has_one_frame_for_all_neighbours(make_hello):
    tensor = np.arange(4, dtype="f4")
    data = sealed(3, 1, tensor)
    assert frame(data) == frame(Data(3, 1, tensor))
    assert data == Data(3, 1, tensor.tobytes())
    assert frame(data, checksum=False) == frame(Data(3, 1, tensor), checksum=False)
    first, second, bare, small = (
        opened(make_hello, max_body=n, checksum=c) for n, c in ((64, 1), (64, 1), (64, 0), (8, 1))
    )
    assert first.send(data) is second.send(data)
    assert b"".join(bare.send(data)) == frame(Data(3, 1, tensor), checksum=False)
    with pytest.raises(LocalProtocolError, match="16 bytes: at most 8"):
        small.send(data)
    token = sealed(3, 1, b"")
    assert frame(token).hex() == b"".join(first.send(token)).hex() == GOLDEN["token"]
    with pytest.raises(LocalProtocolError, match="does not fit"):
        sealed(2**32, 0, tensor)


def opened(make_hello, *, max_body, checksum):
    pair = PeerPair(Connection(max_body, checksum=bool(checksum)), Connection(max_body))
    pair.handshake(make_hello(), make_hello())
    return pair.dialler


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (Data(0, 0, bytes(65)), "DATA body of 65 bytes: at most 64"),
        (Data(0, 0, np.zeros((4, 4))[:, 0]), "not a C-contiguous buffer"),
        (Data(0, 0, np.zeros(2, ">f4")), "format '.?f' are not little-endian"),
        (Data(0, 0, "text"), "not a C-contiguous buffer"),
        (Data(0, 0, None), "not a C-contiguous buffer"),
        (Data(2**32, 0), "DATA round 4294967296 request 0 does not fit"),
        (Data(0, -1), "does not fit"),
        (Data(0, 0, b"x", crc=2**32), "does not fit"),
        (Heartbeat(-1, 0), "HEARTBEAT round -1"),
        (Heartbeat("3", 0), "HEARTBEAT round '3'"),
        (Bye("x" * 129, 0), "BYE: .*length <= 128"),
        (Bye("two\nlines", 0), "BYE: reason .* has characters"),
        (Bye(None, 0), "BYE: .*Expected `str`"),
        (Bye("finished", 2**32), "BYE round"),
        (Error(field="x" * 33, message=""), "ERROR: "),
        (Eof(), r"Eof\(\) cannot be sent"),
        (None, "None cannot be sent"),
    ],
)
def test_what_no_receiver_could_accept_is_a_local_error(event, message):
    with pytest.raises(LocalProtocolError, match=message):
        frame(event)
