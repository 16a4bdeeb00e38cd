"""Numbers over seeds: means with Student's intervals, curves on a common axis.

Pure numbers: no runs, no files, no drawing. Values that are not finite must be sorted out before.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEVEL = 0.95


class Estimate(msgspec.Struct, frozen=True):
    """A mean over ``n`` values and half the width of its 95 % interval.

    ``half`` is None where there is no interval: one value says nothing of the spread.
    """

    n: int
    mean: float | None = None
    half: float | None = None


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of independent values with its interval of Student's t.

    >>> round(estimate([1.0, 2.0, 3.0]).half, 9)  # 4.302652730 · 1 / √3
    2.484137712
    >>> estimate([5.0])
    Estimate(n=1, mean=5.0, half=None)
    """
    v = np.asarray(values, np.float64)
    if not v.size:
        return Estimate(0)
    if v.size == 1:
        return Estimate(1, float(v[0]))
    half = quantile(v.size - 1) * float(v.std(ddof=1)) / math.sqrt(v.size)
    return Estimate(int(v.size), float(v.mean()), half)


def difference(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """Return mean(a) - mean(b) with the interval of Welch's t, for unequal variances.

    Welch 1947, "The generalization of 'Student's' problem when several different population
    variances are involved". No interval where one of the two has less than two values.

    >>> difference([1.0, 2.0, 3.0], [4.0, 4.0]).mean
    -2.0
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if not (x.size and y.size):
        return Estimate(0)
    n, mean = int(x.size + y.size), float(x.mean() - y.mean())
    if x.size < 2 or y.size < 2:
        return Estimate(n, mean)
    s, t = float(x.var(ddof=1)) / x.size, float(y.var(ddof=1)) / y.size
    if s + t == 0:
        return Estimate(n, mean, 0.0)
    freedom = (s + t) ** 2 / (s**2 / (x.size - 1) + t**2 / (y.size - 1))
    return Estimate(n, mean, quantile(freedom) * math.sqrt(s + t))


def quantile(freedom: float) -> float:
    """Return what Student's t of so many degrees of freedom exceeds in 2.5 % of all cases."""
    from scipy.special import stdtrit  # late; scipy.stats has the same in a second more

    return float(stdtrit(freedom, (1 + LEVEL) / 2))


class Band(msgspec.Struct, frozen=True):
    """A curve over seeds: its mean and half the 95 % interval at each ``x``."""

    x: list[float]
    mean: list[float]
    half: list[float] | None = None  # None for one seed
    interpolated: bool = False  # the seeds were not measured at the same x


def band(xs: Sequence[NDArray[np.float64]], ys: Sequence[NDArray[np.float64]]) -> Band | None:
    """Return the mean curve of several curves; None without any point that all have.

    Curves on the same ``x`` are taken as they are. Others are interpolated linearly at the
    points of the first one, within the range that all of them cover.

    Parameters
    ----------
    xs, ys
        One array each for a curve; ``xs`` ascending.

    >>> band([np.array([0.0, 1.0]), np.array([0.0, 2.0])],
    ...      [np.array([0.0, 1.0]), np.array([0.0, 4.0])]).mean
    [0.0, 1.5]
    """
    if not xs or not all(x.size for x in xs):
        return None
    same = all(np.array_equal(x, xs[0]) for x in xs)
    grid = xs[0] if same else _shared(xs)
    if not grid.size:
        return None
    rows = list(ys) if same else [np.interp(grid, x, y) for x, y in zip(xs, ys, strict=True)]
    points = [estimate(column) for column in np.stack(rows, axis=1)]
    half = [p.half for p in points if p.half is not None]
    mean = [p.mean for p in points if p.mean is not None]
    return Band(grid.tolist(), mean, half if len(rows) > 1 else None, interpolated=not same)


def _shared(xs: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the first curve's points within the range of all, and the ends of that range."""
    low, high = max(x[0] for x in xs), min(x[-1] for x in xs)
    if low > high:
        return np.empty(0)
    inner = xs[0][(xs[0] > low) & (xs[0] < high)]
    return np.unique([low, *inner, high])


def first_reach(
    x: NDArray[np.float64], y: NDArray[np.float64], target: float, *, rising: bool
) -> float | None:
    """Return the first ``x`` at which ``y`` is as good as the target; None if it never is.

    >>> first_reach(np.array([0.0, 10.0, 20.0]), np.array([0.1, 0.8, 0.9]), 0.8, rising=True)
    10.0
    """
    reached = np.flatnonzero(y >= target if rising else y <= target)
    return float(x[reached[0]]) if reached.size else None
