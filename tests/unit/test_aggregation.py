"""The canonical weighted sum, bit for bit, and what it preserves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipml import aggregation, topology
from gossipml.aggregation import AGGREGATORS, Aggregator, Mean, pieces_of_sum, weighted_sum

CHUNK = aggregation.CHUNK
BORDERS = [0, 1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 3]


def plain_loop(weights, vectors):
    """One number at a time: each product and each sum rounded on its own."""
    kind = vectors[0].dtype.type
    out = np.empty_like(vectors[0])
    for k in range(out.size):
        acc = kind(0)
        for w, v in zip(weights, vectors, strict=True):
            acc = acc + kind(w) * v[k]
        out[k] = acc
    return out


def whole_arrays(weights, vectors):
    """Without chunks."""
    kind = vectors[0].dtype.type
    acc = np.zeros_like(vectors[0])
    for w, v in zip(weights, vectors, strict=True):
        acc = acc + kind(w) * v
    return acc


def bits(array):
    return array.dtype.str, array.shape, array.tobytes()


def draw(n, size, dtype, seed=0):
    rng = np.random.default_rng(seed)
    vectors = [
        (rng.normal(size=size) * 10.0 ** rng.integers(-6, 6)).astype(dtype) for _ in range(n)
    ]
    return rng.dirichlet(np.ones(n)).tolist(), vectors


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(n=st.integers(1, 8), size=st.integers(0, 40), seed=st.integers(0, 1000))
def test_bit_for_bit_a_plain_loop(dtype, n, size, seed):
    weights, vectors = draw(n, size, dtype, seed)
    assert bits(weighted_sum(weights, vectors)) == bits(plain_loop(weights, vectors))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", BORDERS)
def test_chunks_leave_no_trace(size, dtype):
    weights, vectors = draw(5, size, dtype)
    before = [v.copy() for v in vectors]
    expected = bits(whole_arrays(weights, vectors))
    assert bits(weighted_sum(weights, vectors)) == expected
    out, product = np.full(size, np.nan, dtype), np.full(CHUNK, np.nan, dtype)
    assert weighted_sum(weights, vectors, out=out) is out
    assert bits(out) == expected
    out[:] = np.nan
    pieces = list(pieces_of_sum(weights, vectors, out=out, product=product))
    assert bits(np.concatenate([np.empty(0, dtype), *pieces])) == bits(out) == expected
    assert all(np.shares_memory(piece, out) and piece.size <= CHUNK for piece in pieces)
    for v, was in zip(vectors, before, strict=True):
        np.testing.assert_array_equal(v, was)


def test_the_order_is_the_one_given():
    """1e8 swallows a 1 that comes after it, not two that come before together."""
    vectors = [np.float32([v]) for v in (1e8, 4, 4, -1e8)]
    assert weighted_sum([1, 1, 1, 1], vectors) == 0
    assert weighted_sum([1, 1, 1, 1], [vectors[k] for k in (1, 2, 0, 3)]) == 8


def test_products_are_rounded_before_they_are_added():
    """A fused multiply-add would give another number here."""
    w, v = np.float32(1 + 2**-12), np.float32(1 + 2**-12)
    found = weighted_sum([1.0, float(w)], [np.float32([-1]), v[None]])
    assert found[0] == np.float32(-1) + np.float32(w * v)
    assert found[0] != np.float32(-1 + np.float64(w) * np.float64(v))


def test_weights_are_rounded_to_the_vectors_first():
    found = weighted_sum([1 / 3], [np.float32([3])])
    assert found == np.float32(1 / 3) * np.float32(3)
    assert found.dtype == np.float32


def test_weights_of_any_type_give_the_same_bits():
    """A float64 weight that numpy met unrounded would make a float64 product."""
    weights, vectors = draw(5, 100, "float32")
    expected = bits(weighted_sum(weights, vectors))
    assert bits(weighted_sum(np.array(weights), vectors)) == expected
    assert bits(weighted_sum(np.float32(weights), vectors)) == expected


def test_negative_zero_starts_from_positive_zero():
    assert not np.signbit(weighted_sum([1.0], [np.array([-0.0])]))[0]


def test_a_weight_without_a_vector_is_an_error():
    with pytest.raises(ValueError, match="shorter|longer"):
        weighted_sum([0.5, 0.5], [np.ones(3)])


@pytest.mark.parametrize(("dtype", "close"), [("float64", 1e-12), ("float32", 1e-6)])
@pytest.mark.parametrize("name", ["ring", "star", "torus", "path", "complete"])
def test_doubly_stochastic_weights_preserve_the_mean(name, dtype, close):
    graph = topology.make_topology(name, 12)
    schedule = topology.Static(graph, topology.mixing(graph, "metropolis"))
    x = (5 + np.random.default_rng(1).normal(size=(12, 50))).astype(dtype)
    mean = x.mean(axis=0, dtype=np.float64)
    for t in range(20):
        rows = [schedule.row(i, t) for i in range(12)]
        x = np.stack([weighted_sum(r.weights.tolist(), [x[j] for j in r.peers]) for r in rows])
        np.testing.assert_allclose(x.mean(axis=0, dtype=np.float64), mean, rtol=close)


def test_the_mean_is_registered():
    rule = AGGREGATORS["mean"]()
    assert isinstance(rule, Mean)
    assert rule.linear
    vectors = [np.array([1.0, 2.0]), np.array([3.0, 6.0])]
    for own in (0, 1):
        np.testing.assert_array_equal(rule.combine(own, [0.25, 0.75], vectors), [2.5, 5.0])


@pytest.mark.parametrize("name", sorted(AGGREGATORS))
def test_every_rule(name):
    """It knows its name, leaves its inputs alone, keeps the dtype, and keeps what all agree on."""
    rule = AGGREGATORS[name]()
    assert isinstance(rule, Aggregator)
    assert rule.name == name
    for dtype in ("float32", "float64"):
        vectors = [np.full(6, 3, dtype) for _ in range(5)]
        found = rule.combine(2, [0.2] * 5, vectors)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, 3, rtol=1e-6)
        for v in vectors:
            np.testing.assert_array_equal(v, 3)
            assert not np.shares_memory(found, v)
