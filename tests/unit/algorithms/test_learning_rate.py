"""Schedules against their formulas."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipml.algorithms import (
    DPSGD,
    LEARNING_RATES,
    Constant,
    Cosine,
    InverseSqrt,
    LearningRate,
    Step,
)
from gossipml.errors import ConfigError

ROUNDS = st.integers(0, 10_000)


def test_constant():
    assert [Constant()(t) for t in (0, 1, 10**6)] == [1, 1, 1]


@given(ROUNDS)
def test_cosine(t):
    expected = (1 + math.cos(math.pi * min(t, 200) / 200)) / 2
    assert Cosine(200)(t) == pytest.approx(expected, abs=1e-12)
    assert Cosine(200, floor=0.1)(t) == pytest.approx(0.1 + 0.9 * expected, abs=1e-12)


def test_cosine_by_hand():
    assert Cosine(4)(0) == 1
    assert Cosine(4)(2) == pytest.approx(0.5)
    assert Cosine(4)(4) == Cosine(4)(99) == 0
    assert Cosine(4, floor=0.2)(99) == pytest.approx(0.2)
    assert Cosine(0)(0) == 1
    assert Cosine(0)(1) == 0


def test_step_by_hand():
    found = [Step(every=3, factor=0.5)(t) for t in range(8)]
    assert found == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert Step(every=10)(10) == 0.1


@given(ROUNDS, st.floats(0.1, 1000))
def test_inverse_sqrt(t, scale):
    assert InverseSqrt(scale)(t) == pytest.approx((1 + t / scale) ** -0.5)


@pytest.mark.parametrize(
    ("schedule", "after"),
    [
        (Constant(warmup=4), Constant()),
        (Cosine(50, warmup=4), Cosine(50)),
        (Step(5, warmup=4), Step(5)),
        (InverseSqrt(3, warmup=4), InverseSqrt(3)),
    ],
)
def test_warm_up_rises_linearly_and_then_leaves_no_trace(schedule, after):
    for t in range(10):
        assert schedule(t) == pytest.approx(after(t) * min(1, (t + 1) / 5))


@pytest.mark.parametrize("name", sorted(LEARNING_RATES))
@given(t=ROUNDS)
def test_every_schedule_is_a_factor(name, t):
    needed = {"cosine": {"rounds": 100}, "step": {"every": 10}}
    schedule = LEARNING_RATES[name](**needed.get(name, {}))
    assert isinstance(schedule, LearningRate)
    assert schedule(0) == 1
    assert 0 <= schedule(t + 1) <= schedule(t) <= 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Step(0), "every: found 0, expected 1 or more"),
        (lambda: Step(5, factor=0), "factor: found 0, expected a positive number"),
        (lambda: InverseSqrt(0), "scale: found 0, expected a positive number"),
        (lambda: InverseSqrt(-1), "scale: found -1, expected a positive number"),
        (lambda: InverseSqrt(math.nan), "scale: found nan, expected a positive number"),
        (lambda: Cosine(-1), "rounds: found -1, expected 0 or more"),
        (lambda: Cosine(5, floor=-0.1), "floor: found -0.1, expected 0 or more"),
        (lambda: Constant(warmup=-1), "warmup: found -1, expected 0 or more"),
        (lambda: Cosine(5, warmup=-2), "warmup: found -2, expected 0 or more"),
        (lambda: Step(5, warmup=-2), "warmup: found -2, expected 0 or more"),
        (lambda: InverseSqrt(warmup=-2), "warmup: found -2, expected 0 or more"),
    ],
)
def test_values_that_would_divide_by_zero_or_climb_are_refused(make, message):
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == f"algorithm.lr_schedule.{message}"


def test_an_algorithm_at_a_round_has_that_rounds_rate():
    algorithm = DPSGD(lr=0.4, lr_schedule=Step(every=2, factor=0.5), local_steps=3)
    assert [algorithm.at(t).lr for t in range(5)] == [0.4, 0.4, 0.2, 0.2, 0.1]
    assert algorithm.lr == 0.4
    assert algorithm.at(4).local_steps == 3
