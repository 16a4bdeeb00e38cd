"""Coded compressors: what theory promises of them, their bytes, and what breaks them."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipml.compression import (
    BF16,
    COMPRESSORS,
    FP16,
    QSGD,
    Int8,
    LowRank,
    MaxNorm,
    RandomK,
    Sign,
)
from gossipml.compression.coded import Coded, pack_bits, unpack_bits
from gossipml.errors import AlgorithmError, ConfigError
from gossipml.seeds import Draws, choice, stream

CODED = {name: made for name, made in COMPRESSORS.items() if issubclass(made, Coded)}


def bound(compressor, seed=0, peer=0):
    return compressor.bound(Draws(seed, "compress", peer, 0))


def distortion(compressor, v, times=400):
    """Return the mean of Q(v) and of ||Q(v) - v||^2 / ||v||^2 over many rounds, stacked."""
    seen = bound(compressor, peer=np.arange(times))(np.broadcast_to(v, (times, len(v))).copy())
    lost = np.square(seen - v).sum(axis=1) / np.square(v).sum()
    return seen.mean(axis=0), lost.mean()


@pytest.mark.parametrize("levels", [1, 2, 4, 15, 255])
def test_qsgd_contracts_as_its_paper_says(levels):
    v = np.random.default_rng(0).normal(size=2000)
    q = QSGD(levels=levels)
    tau = 1 + min(2000 / levels**2, math.sqrt(2000) / levels)
    mean, lost = distortion(q, v)
    assert q.expansion(2000) == pytest.approx(tau)
    assert lost <= 1 - 1 / tau
    # tau Q is unbiased: the mean over 400 rounds is off by no more than chance allows
    spread = np.sqrt(np.square(v).sum()) / levels / math.sqrt(400) / 2
    assert np.abs(mean * tau - v).max() < 6 * spread


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_max_norm_is_unbiased(bits):
    v = np.random.default_rng(1).normal(size=700)
    mean, _ = distortion(MaxNorm(bits=bits, block=256), v, times=1000)
    spread = np.abs(v).max() / 2 ** (bits - 1) / 2 / math.sqrt(1000)
    assert np.abs(mean - v).max() < 6 * spread


def test_sign_contracts_by_two_over_pi_of_a_gaussian():
    v = np.random.default_rng(2).normal(size=200_000)
    _, lost = distortion(Sign(), v, times=1)
    assert lost == pytest.approx(1 - 2 / math.pi, abs=2e-3)
    np.testing.assert_array_equal(Sign()(np.array([3.0, -1.0, 0.0, -0.0])), [1, -1, 1, 1])


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.5])
def test_random_k_loses_the_share_that_it_leaves_out(ratio):
    v = np.random.default_rng(3).normal(size=500)
    _, lost = distortion(RandomK(ratio=ratio), v, times=2000)
    assert lost == pytest.approx(1 - ratio, abs=0.02)


def test_choice_is_uniform_without_repetition():
    drawn = choice(stream(5, "x", np.arange(6000)), 3, 7)
    assert (np.diff(drawn, axis=1) > 0).all()
    share = np.bincount(drawn.ravel(), minlength=7) / 6000
    np.testing.assert_allclose(share, 3 / 7, atol=0.03)


def test_low_rank_finds_a_matrix_of_that_rank():
    rng = np.random.default_rng(4)
    M = rng.normal(size=(12, 2)) @ rng.normal(size=(2, 9))
    seen = bound(LowRank(rank=2, rows=12))(M.ravel())
    np.testing.assert_allclose(seen, M.ravel(), rtol=1e-9, atol=1e-9)
    v = rng.normal(size=100)
    for rank in (1, 3, 10):
        lost = np.square(bound(LowRank(rank=rank))(v) - v).sum() / np.square(v).sum()
        assert lost < 1
    assert lost < 1e-20  # ten columns of ten: nothing is left out


@pytest.mark.parametrize(
    ("compressor", "relative"), [(FP16(), 2**-11), (BF16(), 2**-8), (Int8(), 0.5 / 127)]
)
def test_casts_round_to_nearest(compressor, relative):
    v = np.random.default_rng(5).normal(size=1000)
    error = np.abs(compressor(v) - v)
    unit = np.abs(v).max() if isinstance(compressor, Int8) else np.abs(v)
    assert (error <= unit * relative * (1 + 1e-9) + 2**-25).all()


def test_bf16_is_the_upper_half_of_a_float():
    found = BF16()(np.float32([1.0, 1.00390625, 1.01171875, -2.5, np.inf]))
    np.testing.assert_array_equal(found, np.float32([1.0, 1.0, 1.015625, -2.5, np.inf]))
    assert np.isnan(BF16()(np.float32([np.nan]))).all()
    assert FP16()(np.array([1e9]))[0] == 65504


@pytest.mark.parametrize("name", sorted(CODED))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_zero_stays_zero(name, dtype):
    for size in (1, 7, 33):
        seen = bound(CODED[name]())(np.zeros(size, dtype))
        assert seen.dtype == dtype
        np.testing.assert_array_equal(seen, 0)


@pytest.mark.parametrize(
    ("compressor", "nbytes"),
    [
        (QSGD(levels=255), 4 + 2000 * 9 / 8), (QSGD(levels=1), 4 + 2000 / 4),
        (MaxNorm(), 4 * 4 + 2000 * 3 / 8), (Sign(), 4 + 2000 / 8), (Int8(), 4 + 2000),
        (FP16(), 4000), (BF16(), 4000), (RandomK(ratio=0.01), 8 + 20 * 4),
        (LowRank(rank=2), 2 * 4 * (45 + 45)), (LowRank(rank=2, rows=100), 2 * 4 * 120),
    ],
)  # fmt: skip
def test_bytes_on_the_wire(compressor, nbytes):
    assert compressor.nbytes(2000, np.dtype("float32")) == nbytes


@pytest.mark.parametrize("name", sorted(CODED))
def test_bytes_come_back_with_every_bit(name):
    compressor = bound(CODED[name](), seed=9)
    rng = np.random.default_rng(6)
    sent = [
        compressor((rng.normal(size=size) * 10.0 ** (size / 10)).astype("f4"))
        for size in (1, 5, 30)
    ]
    body = memoryview(bytearray(compressor.max_nbytes([1, 5, 30], np.dtype("f4"))))
    assert compressor.encode(sent, body) == len(body)
    found = CODED[name]().decode(body, sent)  # a receiver knows nothing but the bytes
    assert found.tobytes() == np.concatenate(sent).tobytes()


@pytest.mark.parametrize("name", sorted(CODED))
def test_what_was_not_compressed_in_this_round_is_refused(name):
    compressor = bound(CODED[name]())
    q = compressor(np.ones(5))
    body = memoryview(bytearray(compressor.nbytes(5, np.dtype("f8"))))
    with pytest.raises(AlgorithmError, match="was not compressed in this round"):
        compressor.encode([2 * q], body)


@pytest.mark.parametrize("name", sorted(CODED))
@given(body=st.binary(max_size=60))
def test_no_bytes_break_a_decoder(name, body):
    like = [np.zeros(5, np.float32), np.zeros(1, np.float32)]
    with contextlib.suppress(ValueError), np.errstate(all="ignore"):
        assert CODED[name]().decode(memoryview(body), like).shape == (6,)


@pytest.mark.parametrize("name", sorted(CODED))
@given(filling=st.binary(min_size=200, max_size=200))
def test_no_body_of_the_right_length_breaks_a_decoder(name, filling):
    like = [np.zeros(20, np.float32)]
    body = memoryview(filling)[: CODED[name]().nbytes(20, np.dtype("f4"))]
    with contextlib.suppress(ValueError), np.errstate(all="ignore"):
        assert CODED[name]().decode(body, like).shape == (20,)


@given(bits=st.integers(1, 16), data=st.data())
def test_bits_are_packed_without_gaps(bits, data):
    levels = data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=30))
    body = pack_bits(np.array(levels, np.int64), bits)
    assert len(body) == -(-len(levels) * bits // 8)
    assert unpack_bits(memoryview(body), bits, len(levels)).tolist() == levels


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: QSGD(levels=0), "compression.levels: found 0"),
        (lambda: MaxNorm(bits=0), "compression.bits: found 0"),
        (lambda: MaxNorm(block=0), "compression.block: found 0"),
        (lambda: RandomK(ratio=2), "compression.ratio: found 2"),
        (lambda: LowRank(rank=0), "compression.rank: found 0"),
        (lambda: LowRank(rows=-1), "compression.rows: found -1"),
    ],
)
def test_wrong_options_are_refused(made, message):
    with pytest.raises(ConfigError, match=message):
        made()
