"""Means and intervals over seeds, against calculation by hand and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from gossipml.observe.statistics import band, difference, estimate, first_reach, quantile


def test_three_seeds_by_hand():
    # mean 0.92; deviations -0.02, 0, 0.02, so s = 0.02; t(2) = 4.30265; 4.30265 · 0.02 / √3
    found = estimate([0.90, 0.92, 0.94])
    assert found.n == 3
    assert found.mean == pytest.approx(0.92)
    assert found.half == pytest.approx(0.0496828, abs=1e-7)


def test_two_seeds_have_a_very_wide_interval():
    # s = 0.1 / √2, t(1) = 12.7062: half = 12.7062 · 0.1 / 2
    assert estimate([0.4, 0.5]).half == pytest.approx(0.635310, abs=1e-6)


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_the_interval_is_that_of_scipy(n):
    values = np.random.default_rng(n).normal(3, 2, n)
    found = estimate(values)
    low, high = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert found.mean - found.half == pytest.approx(low)
    assert found.mean + found.half == pytest.approx(high)


def test_one_value_has_no_interval_and_none_no_mean():
    assert (estimate([0.5]).mean, estimate([0.5]).half) == (0.5, None)
    assert (estimate([]).n, estimate([]).mean) == (0, None)
    assert estimate([0.5, 0.5]).half == 0


def test_table_values_of_t():
    for freedom, value in ((1, 12.706), (4, 2.776), (10, 2.228), (1e9, 1.960)):
        assert quantile(freedom) == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 7), (5, 5)])
def test_the_difference_is_welch_of_scipy(n, m):
    rng = np.random.default_rng(n)
    a, b = rng.normal(1, 0.1, n), rng.normal(0.8, 0.4, m)
    interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    found = difference(a, b)
    assert found.mean - found.half == pytest.approx(interval.low)
    assert found.mean + found.half == pytest.approx(interval.high)


def test_differences_without_interval():
    assert difference([1.0], [2.0, 3.0]).half is None
    assert difference([], [2.0]).mean is None
    assert (difference([1.0, 1.0], [0.5, 0.5]).mean, difference([1.0, 1.0], [0.5] * 2).half) == (
        0.5,
        0.0,
    )


def arrays(*rows):
    return [np.array(row, float) for row in rows]


def test_curves_at_the_same_places_are_taken_as_they_are():
    found = band(arrays([0, 10], [0, 10], [0, 10]), arrays([0, 1], [0, 2], [0, 3]))
    assert found.x == [0, 10]
    assert found.mean == pytest.approx([0, 2])
    assert found.half == pytest.approx([0, 4.302652730 / math.sqrt(3)])
    assert not found.interpolated


def test_others_are_interpolated_where_all_are():
    # at 10, the second is halfway from 2 (at 5) to 6 (at 15); both end where the first to end does
    found = band(arrays([0, 10, 20], [5, 15]), arrays([0, 10, 20], [2, 6]))
    assert found.interpolated
    assert found.x == [5, 10, 15]
    assert found.mean == pytest.approx([(5 + 2) / 2, (10 + 4) / 2, (15 + 6) / 2])


def test_curves_that_have_nothing_in_common():
    assert band(arrays([0, 1], [2, 3]), arrays([0, 1], [0, 1])) is None
    assert band([], []) is None
    alone = band(arrays([0, 1]), arrays([5, 6]))
    assert (alone.mean, alone.half) == ([5, 6], None)


def test_the_first_time_that_a_target_is_reached():
    x, y = arrays([0, 10, 20, 30], [0.1, 0.9, 0.8, 0.95])
    assert first_reach(x, y, 0.9, rising=True) == 10
    assert first_reach(x, y, 0.99, rising=True) is None
    assert first_reach(x, 1 - y, 0.1 + 1e-12, rising=False) == 10
