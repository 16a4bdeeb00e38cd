"""Coding of vectors as bytes: exact, little-endian, no larger than promised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipml.compression import COMPRESSORS, Compressor, Identity

DTYPES = ["float32", "float64"]


def encoded(compressor, arrays, room=0):
    """Return the used part of a buffer that was full of something else before."""
    size = sum(array.size for array in arrays)
    buffer = bytearray(b"\xaa" * (compressor.max_nbytes(size, arrays[0].dtype) + room))
    used = compressor.encode(arrays, memoryview(buffer))
    assert used <= len(buffer) - room
    assert buffer[len(buffer) - room :] == b"\xaa" * room
    return memoryview(buffer)[:used]


@pytest.mark.parametrize("name", sorted(COMPRESSORS))
@pytest.mark.parametrize("dtype", DTYPES)
@given(sizes=st.lists(st.integers(0, 20), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_decoding_returns_what_a_receiver_should_see(name, dtype, sizes, seed):
    compressor = COMPRESSORS[name]()
    rng = np.random.default_rng(seed)
    seen = [compressor(rng.normal(size=size).astype(dtype)) for size in sizes]
    body = encoded(compressor, seen, room=7)
    found = compressor.decode(body, seen)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.concatenate(seen))


@pytest.mark.parametrize("name", sorted(COMPRESSORS))
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_peer_sees_the_same_alone_and_in_a_stack(name, dtype):
    compressor = COMPRESSORS[name]()
    assert isinstance(compressor, Compressor)
    assert compressor.name == name
    stack = np.random.default_rng(0).normal(size=(3, 40)).astype(dtype)
    before = stack.copy()
    together = compressor(stack)
    assert together.shape == stack.shape
    assert together.dtype == dtype
    for i in range(3):
        np.testing.assert_array_equal(compressor(stack[i]), together[i])
    np.testing.assert_array_equal(stack, before)


def test_identity_is_plain_little_endian_numbers():
    first, second = np.array([1.0, -2.5]), np.array([np.pi])
    body = encoded(Identity(), [first, second])
    assert bytes(body) == np.array([1.0, -2.5, np.pi], "<f8").tobytes()
    assert Identity().max_nbytes(3, np.dtype("float32")) == 12
    assert Identity().max_nbytes(3, np.dtype("float64")) == 24


def test_identity_keeps_every_bit():
    odd = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 1.7e308])
    body = encoded(Identity(), [odd])
    assert Identity().decode(body, [odd]).tobytes() == odd.tobytes()
    assert Identity()(odd) is odd


def test_identity_swaps_big_endian_numbers():
    body = encoded(Identity(), [np.array([1.0, 2.0], ">f4")])
    assert bytes(body) == np.array([1.0, 2.0], "<f4").tobytes()


def test_identity_packs_what_is_not_contiguous_or_not_flat():
    table = np.arange(12.0).reshape(3, 4)
    body = encoded(Identity(), [table[:, 1], table.T])
    expected = np.concatenate([table[:, 1], table.T.ravel()])
    np.testing.assert_array_equal(Identity().decode(body, [table[:, 1], table.T]), expected)


@pytest.mark.parametrize("numbers", [0, 2, 4])
def test_a_body_of_another_length_is_refused(numbers):
    like = [np.zeros(1, np.float32), np.zeros(2, np.float32)]
    with pytest.raises(ValueError, match=f"{numbers} numbers, expected 3"):
        Identity().decode(memoryview(bytes(4 * numbers)), like)
    with pytest.raises(ValueError, match="multiple"):
        Identity().decode(memoryview(bytes(13)), like)
