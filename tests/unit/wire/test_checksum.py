"""The checksum is CRC-32, whichever library computes it."""

import importlib
import sys
import zlib

import pytest

from gossipml.wire import checksum

BODIES = [b"", b"\0", b"123456789", bytes(range(256)) * 1025]


@pytest.fixture(params=["as installed", "without isal"])
def crc32(request, monkeypatch):
    if request.param == "without isal":
        monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    yield importlib.reload(checksum).crc32
    monkeypatch.undo()
    importlib.reload(checksum)


def test_the_known_value(crc32):
    assert crc32(b"123456789") == 0xCBF43926


@pytest.mark.parametrize("body", BODIES, ids=len)
def test_of_a_whole_and_in_pieces(crc32, body):
    assert crc32(body) == zlib.crc32(body)
    value = 0
    for begin in range(0, len(body), 1000):
        value = crc32(memoryview(body)[begin : begin + 1000], value)
    assert value == zlib.crc32(body)
