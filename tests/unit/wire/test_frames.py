"""The header, byte for byte."""

import struct
from zlib import crc32

import pytest

from gossipml.errors import DamagedError, RemoteProtocolError
from gossipml.wire.frames import HEADER_SIZE, REACH, Header, Kind, pack_header, unpack_header


def raw(magic=b"GSSP", version=1, kind=2, flags=1, round_=3, request=4, length=5, crc=6):
    checked = struct.pack("<4sBBHIIQI", magic, version, kind, flags, round_, request, length, crc)
    return checked + struct.pack("<I", crc32(checked))


def test_every_field_is_where_the_reference_says():
    header = pack_header(Header(Kind.DATA, 0x01020304, 0x05060708, 0x1112131415161718, 0x21222324))
    assert header.hex() == "47535350010201000403020108070605181716151413121124232221" + (
        crc32(header[:28]).to_bytes(4, "little").hex()
    )
    assert len(header) == HEADER_SIZE == 32


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("crc", [None, 0, 0xFFFFFFFF])
def test_what_is_packed_is_unpacked(kind, crc):
    missed = REACH if kind in (Kind.DATA, Kind.HEARTBEAT) else 0
    for bits in {0, 2**missed - 1, 1 & missed}:
        header = Header(kind, 2**32 - 1, 7, 2**64 - 1, crc, bits)
        assert unpack_header(pack_header(header)) == header


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"magic": b"GET "}, r"not a gossipml peer: starts with b'GET '"),
        ({"version": 2}, "protocol version: ours 1, theirs 2"),
        ({"kind": 0}, "kind 0: version 1 has 1 to 5"),
        ({"kind": 6}, "kind 6"),
        ({"flags": 0x8001}, "flags 0x8001"),
        ({"kind": 1, "flags": 3}, "flags 0x0003: kind 1 knows only 0x0001"),
        ({"flags": 0, "crc": 6}, "body checksum without its flag"),
    ],
)
def test_a_header_of_another_protocol_is_refused_with_the_reason(changes, message):
    unpack_header(raw())
    with pytest.raises(RemoteProtocolError, match=message):
        unpack_header(raw(**changes))


def test_each_flipped_bit_of_a_header_is_damage_and_no_other_protocol():
    """Who speaks another protocol is refused for good; what was damaged is tried again."""
    good = raw()
    for bit in range(8 * HEADER_SIZE):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedError):
            unpack_header(bad)
