"""Draws as functions of their coordinates: uniform, independent, the same alone and in a stack."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipml import seeds

COORDINATES = st.integers(0, 2**32)


def test_the_numbers_stay_what_they_are():
    """A change here changes every run ever recorded."""
    start = seeds.stream(7, "batch", 3, 10, 0)
    assert int(start) == 428782603709552301
    assert seeds.integers(start, 5, 1000).tolist() == [395, 728, 256, 14, 693]
    assert seeds.uniforms(start, 2).tolist() == [0.39536999174606513, 0.7281874735788498]


def splitmix(state):
    """The reference algorithm in whole numbers: the output, and the next state."""
    state = (state + 0x9E3779B97F4A7C15) % 2**64
    z = state
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31), state


def test_the_reference_implementation_agrees():
    assert splitmix(0)[0] == 0xE220A8397B1DCDAF  # published first output for the state 0
    state = int(start := seeds.stream(3, "model", 1))
    for share in seeds.uniforms(start, 20).tolist():
        output, state = splitmix(state)
        assert share == (output >> 11) / 2**53


@given(st.integers(0, 2**64), st.lists(COORDINATES, max_size=4))
def test_equal_coordinates_give_equal_numbers(seed, coordinates):
    assert seeds.stream(seed, "a", *coordinates) == seeds.stream(seed, "a", *coordinates)
    first = seeds.generator(seed, "a", *coordinates).integers(2**60, size=3)
    again = seeds.generator(seed, "a", *coordinates).integers(2**60, size=3)
    np.testing.assert_array_equal(first, again)


@given(st.integers(0, 2**63), st.lists(COORDINATES, min_size=1, max_size=5), COORDINATES)
def test_a_lone_peer_equals_its_place_in_the_stack(seed, peers, round):
    stack = seeds.stream(seed, "batch", peers, round)
    high = np.arange(5, 5 + len(peers))  # peers hold different numbers of samples
    together = seeds.integers(stack, 7, high)
    shares = seeds.uniforms(stack, 7)
    assert together.shape == shares.shape == (len(peers), 7)
    for i, peer in enumerate(peers):
        alone = seeds.stream(seed, "batch", peer, round)
        np.testing.assert_array_equal(seeds.integers(alone, 7, 5 + i), together[i], strict=True)
        np.testing.assert_array_equal(seeds.uniforms(alone, 7), shares[i], strict=True)


def test_a_longer_draw_begins_like_a_short_one():
    start = seeds.stream(1, "batch", 2)
    np.testing.assert_array_equal(seeds.integers(start, 9, 50)[:4], seeds.integers(start, 4, 50))


@pytest.mark.parametrize("change", ["seed", "purpose", "coordinate", "order", "count"])
def test_another_purpose_seed_or_coordinate_gives_other_numbers(change):
    other = {
        "seed": (8, "batch", 3, 4),
        "purpose": (7, "network", 3, 4),
        "coordinate": (7, "batch", 3, 5),
        "order": (7, "batch", 4, 3),
        "count": (7, "batch", 3),
    }[change]
    base = (7, "batch", 3, 4)
    here, there = (seeds.uniforms(seeds.stream(*c), 1000) for c in (base, other))
    assert abs(np.corrcoef(here, there)[0, 1]) < 0.1
    assert not np.isin(here, there).any()
    assert seeds.generator(*base).random() != seeds.generator(*other).random()


@pytest.mark.parametrize("bins", [2, 7, 10, 256])
@pytest.mark.parametrize("across", ["draws", "peers", "rounds"])
def test_integers_are_uniform(across, bins):
    """Chi-squared with bins - 1 degrees of freedom, along each axis that a run draws over."""
    many = np.arange(200 * bins)
    match across:
        case "draws":
            drawn = seeds.integers(seeds.stream(0, "t"), len(many), bins)
        case "peers":
            drawn = seeds.integers(seeds.stream(0, "t", many, 5), 1, bins)
        case _:
            drawn = seeds.integers(seeds.stream(0, "t", 5, many), 1, bins)
    counts = np.bincount(drawn.ravel(), minlength=bins)
    chi2 = ((counts - 200) ** 2 / 200).sum()
    free = bins - 1
    assert abs(chi2 - free) < 4 * np.sqrt(2 * free) + 4


def test_uniforms_are_uniform():
    drawn = np.sort(seeds.uniforms(seeds.stream(0, "t", np.arange(100)), 200).ravel())
    steps = np.arange(1, drawn.size + 1) / drawn.size
    assert np.abs(drawn - steps).max() < 1.63 / np.sqrt(drawn.size)  # Kolmogorov-Smirnov, 1 %
    assert drawn.dtype == np.float64


def test_neighbouring_streams_are_independent():
    drawn = seeds.uniforms(seeds.stream(0, "t", np.arange(50)[:, None], np.arange(40)), 20)
    for axis in range(3):
        ahead, behind = np.delete(drawn, 0, axis), np.delete(drawn, -1, axis)
        assert abs(np.corrcoef(ahead.ravel(), behind.ravel())[0, 1]) < 0.02


@given(COORDINATES, st.integers(1, 2**32))
def test_bounds(coordinate, high):
    start = seeds.stream(0, "t", coordinate)
    drawn = seeds.integers(start, 20, high)
    assert drawn.dtype == np.int64
    assert drawn.min() >= 0
    assert drawn.max() < high
    shares = seeds.uniforms(start, 20)
    assert shares.min() >= 0
    assert shares.max() < 1


def test_the_ends_are_reached():
    drawn = seeds.integers(seeds.stream(0, "t"), 200, 3)
    assert set(drawn.tolist()) == {0, 1, 2}
    assert seeds.integers(seeds.stream(0, "t"), 5, 1).tolist() == [0] * 5
    assert seeds.integers(seeds.stream(0, "t"), 0, 5).shape == (0,)
