"""Figures of a comparison, in the sizes and with the fonts that a paper needs.

The line of a group is the mean over its seeds of the mean over the peers, its band the 95 %
interval of Student's t.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gossipml.errors import ConfigError
from gossipml.observe import style
from gossipml.observe.bounds import bound
from gossipml.observe.statistics import Band
from gossipml.observe.style import COLOURS, DASHES, MARKERS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gossipml.observe.axes import Axis
    from gossipml.observe.comparison import Comparison
    from gossipml.observe.grouping import Group
    from gossipml.observe.ranking import Row

_SIZE, _SMALL = 8.0, 7.0  # points, in print
_MOST = 14  # groups with a look of their own; more are grey
_SHADED = 8  # groups up to which bands do not bury the lines
_DECADES = 20.0  # from this ratio on, only a logarithmic axis shows all
_HANDLE, _LETTER = 0.57, 0.053  # inches in the legend: a line with its gaps, a letter
_ROUNDS = "rounds"
_BOUND = "bound (spectral gap)"
_BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))


@dataclass(frozen=True)
class _Look:
    colour: str
    dash: str
    marker: str
    label: str
    ended: bool  # a run of it came to its end

    def line(self, k: int) -> dict[str, Any]:
        """Return what to hand to ``plot``; markers of line k stand apart from the others'."""
        return {
            "color": self.colour, "linestyle": self.dash, "marker": self.marker,
            "markersize": 3.2, "markevery": (0.05 + 0.018 * (k % 7), 0.16),
            "linewidth": 1.2 if self.marker else 0.7, "zorder": 2.5 if self.marker else 2,
        }  # fmt: skip


def draw_measure(comparison: Comparison, path: Path | str, axes: Sequence[Axis]) -> Path:
    """Draw accuracy or loss, one panel for each axis.

    Raises
    ------
    ConfigError
        If a run has no such axis, or the file cannot be written.
    MissingExtraError
        If matplotlib is not installed.
    """
    target = style.picture_path(path)
    for axis in axes:
        comparison.require(axis)
    if not axes:
        raise ConfigError("found no axis that all runs have; expected at least rounds")
    looks = _looks(comparison)
    figure, panels = _panels(comparison, looks, len(axes))
    for k, (panel, axis) in enumerate(zip(panels, axes, strict=True)):
        _measure(panel, comparison, looks, axis)
        if k % (2 if len(axes) == 4 else len(axes)):
            panel.set_ylabel("")
    return style.save(figure, target)


def draw_consensus(comparison: Comparison, path: Path | str) -> Path:
    """Draw the consensus distance over rounds, with the bound of the spectral gap.

    The bound is the most that mixing alone would leave of the first distance that is not zero.
    It is no bound of a run in training, where gradients push the peers apart in every round.
    """
    target = style.picture_path(path)
    looks = _looks(comparison)
    looks = [_never_apart(look, row) for look, row in zip(looks, comparison.table, strict=True)]
    figure, (panel,) = _panels(comparison, looks, 1, bounds=_has_bounds(comparison))
    _consensus(panel, comparison, looks)
    return style.save(figure, target)


def draw_overview(comparison: Comparison, path: Path | str, axis: Axis) -> Path:
    """Draw both side by side: accuracy or loss over an axis, consensus distance over rounds."""
    target = style.picture_path(path)
    comparison.require(axis)
    looks = _looks(comparison)
    looks = [_never_apart(look, row) for look, row in zip(looks, comparison.table, strict=True)]
    figure, panels = _panels(comparison, looks, 2, bounds=_has_bounds(comparison))
    _measure(panels[0], comparison, looks, axis)
    _consensus(panels[1], comparison, looks)
    return style.save(figure, target)


def _has_bounds(comparison: Comparison) -> bool:
    return any(shrink is not None for shrink in comparison.shrinks[:_MOST])


def _never_apart(look: _Look, row: Row) -> _Look:
    """Say of a group that a logarithmic axis cannot show why it is not there."""
    if not look.ended or row.consensus is None or max(row.consensus.mean) > 0:
        return look
    return replace(look, label=f"{look.label} (distance 0)")


def _looks(comparison: Comparison) -> list[_Look]:
    plain = _crossed(comparison.groups) or [
        # 28 differ: the second time round the colours, the dashes are others
        (COLOURS[k % 7], DASHES[(k + 2 * (k // 7)) % 4], MARKERS[k % 7])
        for k in range(len(comparison.groups))
    ]
    looks = []
    for k, (row, one) in enumerate(zip(comparison.table, comparison.groups, strict=True)):
        colour, dash, marker = plain[k] if k < _MOST else ("#AAAAAA", "-", "")
        looks.append(_Look(colour, dash, marker, _label(row, one), bool(row.seeds)))
    return looks


def _crossed(groups: Sequence[Group]) -> list[tuple[str, str, str]] | None:
    """Where two settings are crossed, show one as colour and the other as dashes."""
    keys = list(dict.fromkeys(key for one in groups for key in one.varied))
    if len(keys) != 2 or len(groups) <= 4:
        return None
    values = [list(dict.fromkeys(one.varied.get(key, "") for one in groups)) for key in keys]
    if len(values[0]) < len(values[1]):
        keys, values = keys[::-1], values[::-1]
    if len(values[0]) > len(COLOURS) or not 1 < len(values[1]) <= len(DASHES):
        return None
    found = []
    for one in groups:
        i, j = (v.index(one.varied.get(key, "")) for key, v in zip(keys, values, strict=True))
        found.append((COLOURS[i], DASHES[j], MARKERS[i]))
    return found


def _label(row: Row, one: Group) -> str:
    if row.seeds == len(one.trials):
        return row.short
    if row.seeds:
        return f"{row.short} ({row.seeds} of {len(one.trials)} seeds)"
    return f"{row.short} ({', '.join(dict.fromkeys(trial.status for trial in one.trials))})"


def _panels(
    comparison: Comparison, looks: list[_Look], count: int, *, bounds: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels and a legend below them."""
    width = style.COLUMN if count == 1 and len(looks) <= _SHADED else style.PAGE
    rows, columns = (2, 2) if count == 4 else (1, count)
    height = 2.3 if rows == 1 else 4.4
    fits = int((width - _HANDLE) / (1.12 * _LETTER))  # some letters are wider than most
    handles = _handles(
        [replace(look, label=_cut(look.label, fits)) for look in looks], bounds=bounds
    )
    longest = max(len(handle.get_label()) for handle in handles)
    across = max(1, min(len(handles), int(width / (_HANDLE + _LETTER * longest))))
    down = -(-len(handles) // across)
    across = -(-len(handles) // down)  # even rows
    figure = style.new_figure(width, height + 0.2 + 0.14 * down)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=False).ravel().tolist()
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=across, fontsize=_SMALL,
        title=_title(comparison), title_fontsize=_SMALL, frameon=False, handlelength=3.6,
        columnspacing=1.4, labelspacing=0.3, borderaxespad=0.1,
    )  # fmt: skip
    for text in (*legend.get_texts(), legend.get_title()):
        text.set_parse_math(False)
    return figure, panels


def _cut(label: str, most: int) -> str:
    """Return the label without its middle where it is too long: its end tells groups apart."""
    if len(label) > most:
        half = (most - 1) // 2
        label = f"{label[:half]}…{label[-half:]}"
    return f" {label}" if label.startswith("_") else label  # matplotlib hides those


def _handles(looks: list[_Look], *, bounds: bool) -> list[Any]:
    from matplotlib.lines import Line2D

    shown, more = looks[:_MOST], looks[_MOST:]
    handles = [
        Line2D([], [], label=look.label, **{**look.line(0), "markevery": None}) for look in shown
    ]
    if more:
        handles.append(Line2D([], [], color="#AAAAAA", linewidth=0.7, label=f"{len(more)} more"))
    if bounds:
        handles.append(Line2D([], [], color=style.GREY, label=_BOUND, **_BOUND_LINE))
    return handles


_BOUND_LINE: dict[str, Any] = {"linestyle": (0, (5, 2.5)), "linewidth": 0.7}


def _title(comparison: Comparison) -> str:
    seeds = [row.seeds for row in comparison.table if row.seeds]
    if not seeds:
        how = "no run finished"
    elif max(seeds) == 1:
        how = "one seed"
    else:
        few = f"{min(seeds)} to {max(seeds)}" if min(seeds) < max(seeds) else f"{max(seeds)}"
        bands = "band: 95 % interval" if len(comparison.table) <= _SHADED else "no intervals drawn"
        how = f"mean of {few} seeds, {bands}"
    return f"{comparison.heading}   ({how})" if comparison.heading else how


def _measure(panel: Axes, comparison: Comparison, looks: list[_Look], axis: Axis) -> None:
    percent = comparison.measure == "accuracy"
    bands = [row.curves.get(axis) for row in comparison.table]
    unit, name = _unit(_counted(bands, looks), axis)
    scaled = [_scaled(found, 1 / unit, 100.0 if percent else 1.0) for found in bands]
    _dress(panel, name, "test accuracy (%)" if percent else "test loss")
    counted = _counted(scaled, looks)
    ends = [found.x[-1] for found in counted if found.x[-1] > 0]
    if axis != "rounds" and ends and max(ends) > _DECADES * min(ends):
        panel.set_xscale("log", nonpositive="mask")
    values = [y for found in counted for y in found.mean]
    wide = not percent and bool(values) and 0 < min(values) < max(values) / _DECADES
    _draw_all(panel, scaled, looks, log=wide)
    if percent:
        panel.set_ylim(max(panel.get_ylim()[0], 0.0), min(panel.get_ylim()[1], 101.0))


def _consensus(panel: Axes, comparison: Comparison, looks: list[_Look]) -> None:
    _dress(panel, _ROUNDS, "consensus distance")
    bands = [_positive(row.consensus) for row in comparison.table]
    counted = _counted(bands, looks)
    if not counted:
        panel.set_yticks([])
        panel.text(0.5, 0.5, "zero, or not recorded", transform=panel.transAxes, ha="center",
                   color=style.GREY, fontsize=_SMALL)  # fmt: skip
        return
    for k, (found, shrink) in enumerate(zip(bands, comparison.shrinks, strict=True)):
        if found is not None and shrink is not None and k < _MOST:
            x, y = bound(found.x, list(found.mean), shrink)
            panel.plot(x, y, color=looks[k].colour, zorder=2.2, **_BOUND_LINE)
    low = min(min(found.mean) for found in counted)
    high = max(max(_top(found) if _shaded(looks) else found.mean) for found in counted)
    # Bounds go on falling far below what was measured.
    _draw_all(panel, bands, looks, log=True, limits=(low / 2, high * 1.3))
    panel.set_xlim(left=0)


def _draw_all(
    panel: Axes,
    bands: list[Band | None],
    looks: list[_Look],
    *,
    log: bool,
    limits: tuple[float, float] | None = None,
) -> None:
    """Draw the groups, the best above the others; what diverged does not stretch the axes."""
    if log:
        panel.set_yscale("log", nonpositive="mask")
    known = [(k, b, look) for k, (b, look) in enumerate(zip(bands, looks, strict=True)) if b]
    ended = any(look.ended for _, _, look in known)
    for k, found, look in reversed(known):
        if look.ended or not ended:
            _draw(panel, found, look, k, shade=_shaded(looks), log=log)
    low, high = limits or panel.get_ylim()
    for k, found, look in known:
        if not look.ended:
            _draw_lost(panel, found, look, k, (low, high))
    panel.set_ylim(low, high)


def _draw_lost(panel: Axes, found: Band, look: _Look, k: int, limits: tuple[float, float]) -> None:
    """Draw a group of which no run finished up to where it ends, or leaves the picture."""
    x, y = np.array(found.x), np.array(found.mean)
    out = np.flatnonzero((y < limits[0]) | (y > limits[1]))
    last = int(out[0]) if out.size else len(y) - 1
    y = np.clip(y, *limits)
    panel.plot(x[: last + 1], y[: last + 1], **look.line(k))
    panel.plot(x[last], y[last], color=look.colour, marker="x", markersize=6,
               markeredgewidth=1.6, linestyle="", clip_on=False)  # fmt: skip


def _shaded(looks: Sequence[_Look]) -> bool:
    return len(looks) <= _SHADED


def _draw(panel: Axes, found: Band, look: _Look, k: int, *, shade: bool, log: bool) -> None:
    panel.plot(found.x, found.mean, **look.line(k))
    if found.half is None or not shade:
        return
    mean, half = np.array(found.mean), np.array(found.half)
    low = np.maximum(mean - half, mean / 1e3) if log else mean - half
    panel.fill_between(found.x, low, mean + half, color=look.colour, linewidth=0, alpha=0.16)


def _counted(bands: Sequence[Band | None], looks: Sequence[_Look]) -> list[Band]:
    """Return the curves of the groups that came to their end; if none did, all there are."""
    known = [(b, look.ended) for b, look in zip(bands, looks, strict=True) if b is not None]
    return [b for b, ended in known if ended] or [b for b, _ in known]


def _scaled(found: Band | None, across: float, up: float) -> Band | None:
    if found is None:
        return None
    half = None if found.half is None else [up * v for v in found.half]
    return Band([across * v for v in found.x], [up * v for v in found.mean], half)


def _positive(found: Band | None) -> Band | None:
    """Return the points above zero: a logarithmic axis has no other place for them."""
    keep = [i for i, v in enumerate(found.mean) if v > 0] if found is not None else []
    if found is None or not keep:
        return None
    half = None if found.half is None else [found.half[i] for i in keep]
    return Band([found.x[i] for i in keep], [found.mean[i] for i in keep], half)


def _top(found: Band) -> list[float]:
    half = found.half or [0.0] * len(found.mean)
    return [m + h for m, h in zip(found.mean, half, strict=True)]


def _unit(bands: Sequence[Band], axis: Axis) -> tuple[float, str]:
    """Return what to divide by, and the name of the axis with its unit."""
    longest = max((found.x[-1] for found in bands), default=1.0)
    if axis == "bytes":
        size, unit = next((s, u) for s, u in _BYTES if longest >= s or s == 1)
        return size, f"sent by a peer ({unit})"
    if axis == "seconds":
        return (1.0, "virtual time (s)") if longest >= 1 else (1e-3, "virtual time (ms)")
    return 1.0, {"rounds": _ROUNDS, "gradients": "gradients computed by a peer"}[axis]


def _dress(panel: Axes, xlabel: str, ylabel: str) -> None:
    panel.set_xlabel(xlabel, fontsize=_SIZE)
    panel.set_ylabel(ylabel, fontsize=_SIZE)
    panel.tick_params(labelsize=_SMALL, which="both")
    panel.margins(x=0.02)
    if xlabel == _ROUNDS:
        panel.locator_params(axis="x", integer=True)
    style.plain_axes(panel)
