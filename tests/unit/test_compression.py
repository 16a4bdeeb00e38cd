"""Coding of vectors as bytes: exact, little-endian, no larger than promised."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gossipml
from gossipml import assembly, methods
from gossipml.compression import COMPRESSORS, Compressor, Identity, TopK
from gossipml.compression.coded import pack_bits
from gossipml.errors import AlgorithmError, ConfigError, GossipError
from gossipml.experiment import experiment_from
from gossipml.forecast import forecast
from gossipml.seeds import Draws

DTYPES = ["float32", "float64"]


def encoded(compressor, arrays, room=0):
    """Return the used part of a buffer that was full of something else before."""
    nbytes = compressor.max_nbytes([array.size for array in arrays], arrays[0].dtype)
    buffer = bytearray(b"\xaa" * (nbytes + room))
    used = compressor.encode(arrays, memoryview(buffer))
    assert used == nbytes
    assert buffer[len(buffer) - room :] == b"\xaa" * room
    return memoryview(buffer)[:used]


@pytest.mark.parametrize("name", sorted(COMPRESSORS))
@pytest.mark.parametrize("dtype", DTYPES)
@given(sizes=st.lists(st.integers(0, 20), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_decoding_returns_what_a_receiver_should_see(name, dtype, sizes, seed):
    compressor = COMPRESSORS[name]().bound(Draws(seed, "compress", 0, 0))
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
    assert 0 < compressor.consensus_step(40) <= 1
    stack = np.random.default_rng(0).normal(size=(3, 40)).astype(dtype)
    before = stack.copy()
    together = compressor.bound(Draws(1, "compress", np.arange(3), 5))(stack)
    assert together.shape == stack.shape
    assert together.dtype == dtype
    for i in range(3):
        alone = compressor.bound(Draws(1, "compress", i, 5))
        np.testing.assert_array_equal(alone(stack[i]), together[i])
    np.testing.assert_array_equal(stack, before)


def test_identity_is_plain_little_endian_numbers():
    first, second = np.array([1.0, -2.5]), np.array([np.pi])
    body = encoded(Identity(), [first, second])
    assert bytes(body) == np.array([1.0, -2.5, np.pi], "<f8").tobytes()
    assert Identity().nbytes(3, np.dtype("float32")) == 12
    assert Identity().max_nbytes([3, 1], np.dtype("float64")) == 32
    assert Identity().consensus_step(9) == 1


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


# --- top-k -----------------------------------------------------------------------------------

SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 2.0]  # ties, signs and what is no number


def vectors(*, special=False):
    """Vectors, or stacks of them, of one dtype."""
    numbers = st.sampled_from(SPECIAL) if special else st.floats(-1e6, 1e6, width=32)
    shapes = hnp.array_shapes(min_dims=1, max_dims=3, max_side=12)
    return st.sampled_from(DTYPES).flatmap(lambda d: hnp.arrays(d, shapes, elements=numbers))


ratios = st.floats(0, 1, exclude_min=True)


@given(v=vectors(), ratio=ratios)
def test_top_k_contracts(v, ratio):
    """||Q(v) - v||^2 <= (1 - k/P) ||v||^2: what CHOCO needs, and no more than k numbers."""
    q = TopK(ratio=ratio)
    k = q.kept(v.shape[-1])
    assert ratio * v.shape[-1] <= k * (1 + 1e-9)
    assert k - ratio * v.shape[-1] <= 1
    seen = q(v)
    lost = ((seen.astype(float) - v) ** 2).sum(axis=-1)
    whole = (v.astype(float) ** 2).sum(axis=-1)
    assert (lost <= (1 - k / v.shape[-1]) * whole * (1 + 1e-12)).all()
    np.testing.assert_array_equal((seen != 0).sum(-1), np.minimum(k, (v != 0).sum(-1)))


@given(v=st.one_of(vectors(), vectors(special=True)), ratio=ratios)
def test_top_k_is_that_of_a_plain_sort(v, ratio):
    """Row by row, by sorting: largest first, the first of equals first, a NaN as infinite."""
    seen = TopK(ratio=ratio)(v)
    assert (seen.shape, seen.dtype) == (v.shape, v.dtype)
    k = TopK(ratio=ratio).kept(v.shape[-1])
    for row, found in zip(v.reshape(-1, v.shape[-1]), seen.reshape(-1, v.shape[-1]), strict=True):
        size = [np.inf if np.isnan(number) else abs(number) for number in row.tolist()]
        kept = sorted(range(len(row)), key=lambda i: (-size[i], i))[:k]
        expected = np.zeros_like(row)
        expected[kept] = row[kept]
        np.testing.assert_array_equal(found, expected)
        assert TopK(ratio=ratio)(row).tobytes() == found.tobytes()


@given(v=st.one_of(vectors(), vectors(special=True)), ratio=ratios)
def test_top_k_comes_out_of_the_bytes_with_every_bit(v, ratio):
    q = TopK(ratio=ratio)
    sent = list(q(v).reshape(-1, v.shape[-1]))
    body = encoded(q, sent, room=5)
    k, bits = q.kept(v.shape[-1]), math.ceil(math.log2(v.shape[-1]))
    assert len(body) == len(sent) * (math.ceil(k * bits / 8) + k * v.itemsize)
    assert q.decode(body, sent).tobytes() == np.concatenate(sent).tobytes()


def test_top_k_keeps_exactly_k_of_equals():
    v = np.array([[3.0, -3.0, 3.0, 3.0], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, -2.0, 2.0]])
    expected = [[3, -3, 0, 0], [0, 0, 0, 0], [0, 2, -2, 0]]
    np.testing.assert_array_equal(TopK(ratio=0.5)(v), expected)


@pytest.mark.parametrize(
    ("ratio", "size", "kept"),
    [(0.01, 1, 1), (0.01, 100, 1), (0.01, 101, 2), (0.07, 100, 7), (0.29, 100, 29), (1, 5, 5),
     (1e-300, 7, 1), (0.5, 0, 0), (0.1, 10**8, 10**7)],
)  # fmt: skip
def test_k_is_the_share_rounded_up(ratio, size, kept):
    assert TopK(ratio=ratio).kept(size) == kept


@pytest.mark.parametrize(("ratio", "step"), [(0.01, 0.02), (0.5, 1), (0.7, 1), (1, 1)])
def test_the_consensus_step_is_twice_the_share(ratio, step):
    assert TopK(ratio=ratio).consensus_step(9) == step


def test_the_bytes_of_top_k_are_places_then_numbers():
    """Where fewer than k numbers differ from 0, zeros at the first free places fill it up."""
    q = TopK(ratio=0.6)
    body = encoded(q, [np.float32([0, 7, 0, 0, -8])])
    places, numbers = 0b100_001_000, np.array([0, 7, -8], "<f4")  # the first is lowest
    assert bytes(body) == places.to_bytes(2, "little") + numbers.tobytes()
    empty = encoded(q, [np.zeros(5)])
    assert bytes(empty) == 0b010_001_000.to_bytes(2, "little") + bytes(24)


@pytest.mark.parametrize(
    ("size", "ratio", "expected"),
    [(1, 1, 4), (2, 1, 1 + 8), (10**6, 0.01, 25_000 + 40_000), (2**20, 0.25, 655_360 + 2**20)],
)
def test_places_take_the_bits_that_they_need(size, ratio, expected):
    assert TopK(ratio=ratio).nbytes(size, np.dtype(np.float32)) == expected
    v = np.random.default_rng(1).standard_normal(size, np.float32)
    sent = TopK(ratio=ratio)(v)
    body = encoded(TopK(ratio=ratio), [sent])
    assert len(body) == expected
    np.testing.assert_array_equal(TopK(ratio=ratio).decode(body, [v]), sent)


def test_top_k_swaps_big_endian_numbers():
    q = TopK(ratio=0.5)
    v = np.array([0.0, 1.5, -2.0, 0.0], ">f8")
    body = encoded(q, [v])
    assert bytes(body[1:]) == np.array([1.5, -2.0], "<f8").tobytes()
    np.testing.assert_array_equal(q.decode(body, [v]), v)


def test_what_was_not_compressed_is_refused():
    with pytest.raises(AlgorithmError, match="sends 3 numbers other than 0 of 5, expected at mo"):
        encoded(TopK(ratio=0.4), [np.array([1.0, 0.0, 2.0, np.nan, 0.0])])


@pytest.mark.parametrize(
    ("places", "message"),
    [([0, 5], "places that do not ascend"), ([3, 3], "places that do not ascend"),
     ([3, 1], "places that do not ascend"), ([1, 7], "from 0 to at most 4"),
     ([], "0 bytes, expected 9"), ([1], "5 bytes, expected 9"), ([1, 2, 3], "14 bytes, exp")],
)  # fmt: skip
def test_a_malformed_top_k_body_is_refused(places, message):
    body = pack_bits(np.array(places), 3).tobytes() + np.ones(len(places), "<f4").tobytes()
    with pytest.raises(ValueError, match=message):
        TopK(ratio=0.4).decode(memoryview(body), [np.zeros(5, np.float32)])


@given(body=st.binary(max_size=40))
def test_no_bytes_break_the_decoder(body):
    like = [np.zeros(5, np.float32), np.zeros(1, np.float32)]
    with contextlib.suppress(ValueError):
        assert TopK(ratio=0.4).decode(memoryview(body), like).shape == (6,)


# --- in an experiment --------------------------------------------------------------------------


def experiment(compression, algorithm="choco-sgd"):
    return experiment_from(
        {
            "rounds": 3,
            "topology": {"graph": "ring", "peers": 3},
            "data": {"source": "iris"},
            "algorithm": {"name": algorithm},
            "compression": compression,
        }
    )


def test_a_method_that_compresses_gets_what_the_file_names():
    given = experiment({"name": "top-k", "ratio": 0.2})
    assert methods.build_algorithm(given).compress == TopK(ratio=0.2)
    for setup in assembly.build_parts(given).setups(given):
        assert setup.compressor is setup.algorithm.compress
        assert setup.max_body == 2 + 3 * 4  # 3 of 15 numbers, with places of 4 bits
    assert methods.build_algorithm(experiment({})).compress.name == "none"
    plain = experiment({"name": "none"}, "d-psgd")
    assert assembly.build_parts(plain).setups(plain)[0].compressor.name == "none"


@pytest.mark.parametrize(
    ("compression", "message"),
    [
        ({"name": "top-k", "ratio": 0}, "compression.ratio: found 0.0, expected a number above 0"),
        ({"name": "top-k", "ratio": 1.01}, "compression.ratio: found 1.01, expected a number abo"),
        ({"name": "top-k", "ratio": float("nan")}, "compression.ratio: found nan, expected a numb"),
        ({"name": "top-k", "ratio": "x"}, "compression.ratio: found 'x' (str), expected float"),
        ({"name": "top-k", "ration": 1}, "compression.ration: unknown key; did you mean 'ratio'?"),
        ({"name": "none", "ratio": 0.1}, "compression.ratio: unknown key"),
        ({"name": "top"}, "compression.name: unknown name 'top'; did you mean 'top-k'?"),
    ],
)
@pytest.mark.parametrize("algorithm", ["d-psgd", "choco-sgd"])
def test_a_wrong_compression_is_refused(compression, message, algorithm):
    with pytest.raises(ConfigError) as caught:
        forecast(experiment(compression, algorithm))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("algorithm", ["d-psgd", "gradient-tracking", "sgp", "isolated"])
def test_raw_compressed_gossip_is_refused_with_the_reason(algorithm):
    with pytest.raises(ConfigError, match="never converge; use algorithm.name = 'beer' or"):
        forecast(experiment({"name": "top-k"}, algorithm))


def test_the_forecast_counts_what_travels():
    given = experiment({"name": "top-k", "ratio": 0.2})
    payload = gossipml.simulate(given).summary.payload_bytes_sent
    assert payload == 3 * 6 * (2 + 3 * 4)
    assert forecast(given).bytes_total == payload + 3 * 6 * 32


def test_what_the_messages_say_is_one_line():
    with pytest.raises(GossipError) as caught:
        encoded(TopK(), [np.ones(3)])
    assert "\n" not in str(caught.value)
