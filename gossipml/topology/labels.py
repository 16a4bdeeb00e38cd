"""Names beside the points of a picture, placed so that they can be read.

Knows points and lines, no topology. Imports matplotlib only through the axes it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, hypot, pi, sin
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_SIZE = 8.0  # points
_DOT = 4.5  # radius of a dot, in points
_STEPS = (6.0, 11.0, 18.0, 26.0, 36.0)  # how far from its dot a name may stand, in points
_FAR = 12.0  # from here on a thin line leads to the dot
_ANGLES = 16
# What it costs to lie on another name, on a dot, on a line, outside the axes, a point away.
_ON_NAME, _ON_DOT, _ON_LINE, _OUTSIDE, _AWAY = 60.0, 30.0, 0.7, 40.0, 0.4


@dataclass(frozen=True)
class _Spot:
    """A place for a name: its offset from the dot in points and the pixels that it covers."""

    dx: float
    dy: float
    box: tuple[float, float, float, float]  # left, bottom, right, top
    ha: Literal["left", "center", "right"]
    va: Literal["bottom", "center", "top"]


def label_points(
    axes: Axes, places: NDArray[np.float64], names: Sequence[str], lines: NDArray[np.float64]
) -> None:
    """Write each name where it covers least, the most crowded dots first.

    Parameters
    ----------
    places
        Dots, shape (n, 2), in data coordinates.
    names
        One for each dot.
    lines
        Both ends of the lines that names should rather not lie on, shape (m, 2, 2).
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # only the layout tells how far dots are apart
    scale = figure.dpi / 72
    dots = axes.transData.transform(places)
    ends = axes.transData.transform(lines.reshape(-1, 2)).reshape(-1, 2, 2)
    shares = np.linspace(0, 1, 40)[:, None, None]
    inked = ((1 - shares) * ends[None, :, 0] + shares * ends[None, :, 1]).reshape(-1, 2)
    window = axes.get_window_extent()
    taken: list[_Spot] = []
    for i in _crowded_first(dots):
        written = axes.text(0, 0, names[i], fontsize=_SIZE)
        extent = written.get_window_extent()
        written.remove()
        spots = _spots(dots[i], extent.width + 2 * scale, extent.height, scale)
        edges = (window.x0, window.y0, window.x1, window.y1)
        others = np.delete(dots, i, 0)
        costs = [
            _cost(spot, taken, others, inked, edges, scale)
            + _crossings(spot, dots[i], taken, others, scale)
            for spot in spots
        ]
        best = spots[int(np.argmin(costs))]
        taken.append(best)
        far = hypot(best.dx, best.dy) >= _FAR
        axes.annotate(
            names[i], places[i], (best.dx, best.dy), textcoords="offset points",
            fontsize=_SIZE, ha=best.ha, va=best.va, zorder=4, parse_math=False,
            arrowprops={"arrowstyle": "-", "lw": 0.6, "color": "black", "shrinkA": 0, "shrinkB": 2}
            if far else None,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.3},
        )  # fmt: skip


def _crowded_first(dots: NDArray[np.float64]) -> list[int]:
    apart = np.hypot(*(dots[:, None] - dots[None]).transpose(2, 0, 1))
    near = np.sort(apart, axis=1)[:, :4].sum(axis=1)
    return [int(i) for i in np.argsort(near, kind="stable")]


def _spots(dot: NDArray[np.float64], width: float, height: float, scale: float) -> list[_Spot]:
    found = []
    for step in _STEPS:
        for k in range(_ANGLES):
            dx, dy = step * cos(2 * pi * k / _ANGLES), step * sin(2 * pi * k / _ANGLES)
            right, up = _sign(dx / step), _sign(dy / step)
            x, y = dot[0] + dx * scale, dot[1] + dy * scale
            left, bottom = x - (1 - right) / 2 * width, y - (1 - up) / 2 * height
            found.append(
                _Spot(
                    dx, dy, (left, bottom, left + width, bottom + height),
                    ("center", "left", "right")[right], ("center", "bottom", "top")[up],
                )
            )  # fmt: skip
    return found


def _sign(v: float) -> int:
    return 0 if abs(v) < 0.35 else (1 if v > 0 else -1)


def _cost(
    spot: _Spot,
    taken: Sequence[_Spot],
    dots: NDArray[np.float64],
    inked: NDArray[np.float64],
    window: tuple[float, float, float, float],
    scale: float,
) -> float:
    left, bottom, right, top = spot.box
    overlaps = sum(
        left < o.box[2] and o.box[0] < right and bottom < o.box[3] and o.box[1] < top for o in taken
    )
    radius = _DOT * scale
    on_dots = _inside(dots, (left - radius, bottom - radius, right + radius, top + radius))
    outside = left < window[0] or bottom < window[1] or right > window[2] or top > window[3]
    return (
        _ON_NAME * overlaps
        + _ON_DOT * on_dots
        + _ON_LINE * _inside(inked, spot.box)
        + _OUTSIDE * outside
        + _AWAY * hypot(spot.dx, spot.dy)
    )


def _crossings(
    spot: _Spot,
    dot: NDArray[np.float64],
    taken: Sequence[_Spot],
    dots: NDArray[np.float64],
    scale: float,
) -> float:
    """Return what it costs that the line to the dot runs over names and other dots."""
    if hypot(spot.dx, spot.dy) < _FAR:
        return 0.0
    way = dot + np.linspace(0.1, 1, 12)[:, None] * np.array([spot.dx, spot.dy]) * scale
    near = np.hypot(*(way[:, None] - dots[None]).transpose(2, 0, 1)) < _DOT * scale
    names = sum(_inside(way, other.box) > 0 for other in taken)
    return _ON_NAME * names + _ON_DOT * int(near.any(axis=0).sum())


def _inside(points: NDArray[np.float64], box: tuple[float, float, float, float]) -> int:
    low, high = np.array(box[:2]), np.array(box[2:])
    return int(((points > low) & (points < high)).all(axis=1).sum())
