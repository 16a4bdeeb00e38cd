"""Pictures of runs over rounds: how good the peers are, and how far they are from agreeing.

For single runs: the bands go from the worst peer to the best. ``figures`` draws groups of runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from gossipml.errors import ConfigError
from gossipml.observe import style
from gossipml.observe.bounds import bound
from gossipml.observe.history import Column, Curve, History
from gossipml.observe.style import COLOURS, DASHES, GREY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from gossipml.observe.reading import Run

Measure: TypeAlias = Literal["accuracy", "loss"]

_BASELINES = {"centralised": ("#000000", "--"), "isolated": ("#D55E00", "-.")}
_BOUND: dict[str, Any] = {"linestyle": (0, (5, 2.5)), "linewidth": 0.8}
_FONT_SIZE = 9.0
_LONGEST_LABEL = 22
_ROOM = 9  # labels that fit beside the lower panel
_FEW = 25  # points: so few get markers


@dataclass(frozen=True)
class _Line:
    """One line to draw: its name stands at its right end."""

    label: str
    colour: str
    dash: str
    rounds: list[int]
    mean: Column
    low: Column | None = None  # a band from low to high
    high: Column | None = None


def plot_run(
    run: Run | History, path: Path | str, title: str = "", *, shrink: float | None = None
) -> Path:
    """Draw one run: test accuracy against its baselines, and consensus distance, over rounds.

    Where the model has no accuracy, the test loss is drawn. The line is the mean of the peers,
    the band goes from the worst peer to the best.

    Parameters
    ----------
    run
        A run read from its folder, or a history.
    path
        File to write; its extension says what: .png, .svg or .pdf.
    title
        Above the picture.
    shrink
        What a round of mixing leaves of a disagreement at most, as
        :func:`gossipml.observe.bounds.shrink` finds it: draws the bound from the first distance
        on that is not zero.

    Raises
    ------
    ConfigError
        If there is nothing to draw, or the extension is another one.
    MissingExtraError
        If matplotlib is not installed.
    """
    history = _history(run)
    curve = history.curve()
    measure = _measure([curve])
    people = len(history.peers())
    lines = [_line("peers" if people > 1 else "peer", COLOURS[0], "-", curve, measure, band=True)]
    for k, (name, baseline) in enumerate(history.baselines.items()):
        colour, dash = _BASELINES.get(name, (COLOURS[2 + k % 5], ":"))
        lines.append(_line(name, colour, dash, baseline, measure))
    agreement = _Line("", COLOURS[0], "-", curve.rounds, history.consensus())
    who = f"mean of {people} peers, band from worst to best" if people > 1 else "one peer"
    limit = None if shrink is None else bound(curve.rounds, history.consensus(), shrink)
    return _draw(lines, [agreement], measure, Path(path), who=who, title=title, limit=limit)


def plot_runs(
    runs: Sequence[Run | History],
    path: Path | str,
    title: str = "",
    *,
    labels: Sequence[str] | None = None,
) -> Path:
    """Draw several runs over each other: the mean of the peers of each, as :func:`plot_run` does.

    Parameters
    ----------
    runs
        What to compare; accuracy is drawn where all of them have it, else loss.
    path
        File to write; its extension says what: .png, .svg or .pdf.
    title
        Above the picture.
    labels
        One for each run; by default the names of the folders.

    Raises
    ------
    ConfigError
        If there is nothing to draw, labels are too few or too many, or the extension is wrong.
    MissingExtraError
        If matplotlib is not installed.
    """
    if not runs:
        raise ConfigError("found no runs to draw; expected at least one")
    names = list(labels) if labels is not None else _names(runs)
    if len(names) != len(runs):
        raise ConfigError(f"found {len(names)} labels for {len(runs)} runs; expected one each")
    histories = [_history(run) for run in runs]
    curves = [h.curve() for h in histories]
    measure = _measure(curves)
    lines, agreements = [], []
    for k, (name, history, curve) in enumerate(zip(names, histories, curves, strict=True)):
        colour = COLOURS[k % len(COLOURS)]
        dash = DASHES[(k + 2 * (k // len(COLOURS))) % len(DASHES)]  # 28 differ
        lines.append(_line(name, colour, dash, curve, measure, band=len(runs) <= 3))
        agreements.append(_Line(name, colour, dash, curve.rounds, history.consensus()))
    who = "mean of the peers" + (", band from worst to best" if len(runs) <= 3 else "")
    return _draw(lines, agreements, measure, Path(path), who=who, title=title)


def _history(run: Run | History) -> History:
    history = run if isinstance(run, History) else run.history
    if not history.rounds():
        where = "the history" if isinstance(run, History) else str(run.path)
        raise ConfigError(f"found no evaluations in {where}; expected at least one to draw")
    return history


def _names(runs: Sequence[Run | History]) -> list[str]:
    return [
        f"run {k}" if isinstance(run, History) else run.name for k, run in enumerate(runs, start=1)
    ]


def _measure(curves: Iterable[Curve]) -> Measure:
    return "accuracy" if all(any(_known(c.accuracy_mean)) for c in curves) else "loss"


def _known(column: Column) -> Iterable[bool]:
    return (v is not None for v in column)


def _line(
    label: str, colour: str, dash: str, curve: Curve, measure: Measure, *, band: bool = False
) -> _Line:
    mean, low, high = (getattr(curve, f"{measure}_{what}") for what in ("mean", "min", "max"))
    if not band:
        low = high = None
    return _Line(label, colour, dash, curve.rounds, mean, low, high)


def _draw(
    lines: list[_Line],
    agreements: list[_Line],
    measure: Measure,
    path: Path,
    *,
    who: str,
    title: str,
    limit: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> Path:
    target = style.picture_path(path)
    taller = max(1.0, max(len(lines), len(agreements)) / _ROOM)
    figure = style.new_figure(7.0, 5.6 * taller)
    if title:
        figure.suptitle(title, fontsize=12, fontweight="bold", parse_math=False)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _draw_measure(above, lines, measure, who, gap=0.08 / taller)
    _draw_agreement(below, agreements, gap=0.115 / taller)
    if limit is not None and below.get_yscale() == "log":
        _draw_bound(below, *limit)
    return style.save(figure, target, dpi=200)


def _draw_measure(
    axes: Axes, lines: list[_Line], measure: Measure, who: str, *, gap: float
) -> None:
    scale = 100.0 if measure == "accuracy" else 1.0
    for line in lines:
        _draw_line(axes, line, scale)
    if measure == "loss" and _wide(lines):
        axes.set_yscale("log")
    _dress(axes, f"Test {measure}: {who}", "accuracy (%)" if scale > 1 else "loss")
    _label_ends(axes, lines, scale, gap)


def _draw_agreement(axes: Axes, lines: list[_Line], *, gap: float) -> None:
    positive = any(np.any(_finite(line.mean) > 0) for line in lines)
    for line in lines:
        _draw_line(axes, line, 1.0)
    if positive:
        axes.set_yscale("log", nonpositive="mask")
    _dress(axes, "Consensus distance: how far the peers are from agreeing", "distance (log scale)")
    axes.set_xlabel("round", fontsize=_FONT_SIZE)
    if positive and len(lines) > 1:
        _label_ends(axes, lines, 1.0, gap)
    if not positive:
        known = any(len(_finite(line.mean)) for line in lines)
        axes.set(ylabel="distance", yticks=[])
        said = "zero throughout" if known else "not recorded"
        axes.text(0.5, 0.5, said, transform=axes.transAxes, ha="center", color=GREY,
                  bbox={"facecolor": "white", "edgecolor": "none"})  # fmt: skip


def _draw_bound(axes: Axes, rounds: NDArray[np.float64], most: NDArray[np.float64]) -> None:
    """Draw what mixing alone would leave at most, as far as there are measured distances."""
    low, high = axes.get_ylim()
    axes.plot(rounds, most, color=COLOURS[0], **_BOUND)
    if low > 0:  # on an axis with logarithms it always is, but for what rounds to 0
        axes.set_ylim(low / 2, high)  # the bound goes on falling
    axes.plot([1.015, 1.06], [0.12, 0.12], transform=axes.transAxes, color=COLOURS[0],
              clip_on=False, **_BOUND)  # fmt: skip
    axes.text(1.07, 0.12, "bound\n(spectral gap)", transform=axes.transAxes, va="center",
              color=COLOURS[0], fontsize=_FONT_SIZE - 1)  # fmt: skip


def _draw_line(axes: Axes, line: _Line, scale: float) -> None:
    mean = _array(line.mean) * scale
    marker = "o" if len(mean) <= _FEW and line.dash == "-" else ""
    if len(mean) == 1:
        marker = "D" if line.dash != "-" else "o"
    axes.plot(line.rounds, mean, color=line.colour, linestyle=line.dash, linewidth=1.8,
              marker=marker, markersize=3.5)  # fmt: skip
    if line.low is not None and line.high is not None:
        low, high = _array(line.low) * scale, _array(line.high) * scale
        axes.fill_between(line.rounds, low, high, color=line.colour, alpha=0.18, linewidth=0)


def _dress(axes: Axes, heading: str, ylabel: str) -> None:
    axes.set_title(heading, loc="left", fontsize=_FONT_SIZE + 1)
    axes.set_ylabel(ylabel, fontsize=_FONT_SIZE)
    axes.tick_params(labelsize=_FONT_SIZE - 1, which="both")
    style.plain_axes(axes)
    axes.margins(x=0.01)
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)


def _label_ends(axes: Axes, lines: list[_Line], scale: float, gap: float) -> None:
    """Write each label at the right, as high as its line ends, moved apart where they meet."""
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # the labels' places depend on them
    drawn = [_finite(line.mean) * scale for line in lines]
    if axes.get_yscale() == "log":
        drawn = [v[v > 0] for v in drawn]
    labelled = [line for line, v in zip(lines, drawn, strict=True) if len(v)]
    to_axes = axes.transScale + axes.transLimits
    wanted = [float(to_axes.transform((0.0, v[-1]))[1]) for v in drawn if len(v)]
    for line, y in zip(labelled, _apart(wanted, gap), strict=True):
        axes.plot([1.015, 1.06], [y, y], transform=axes.transAxes, color=line.colour,
                  linestyle=line.dash, linewidth=1.8, clip_on=False)  # fmt: skip
        axes.text(1.07, y, _short(line.label), transform=axes.transAxes, va="center",
                  color=line.colour, fontsize=_FONT_SIZE, parse_math=False)  # fmt: skip


def _short(label: str) -> str:
    """Return the label without its middle where it is long: the end of a name tells runs apart."""
    half = (_LONGEST_LABEL - 1) // 2
    return label if len(label) <= _LONGEST_LABEL else f"{label[:half]}…{label[-half:]}"


def _apart(places: list[float], gap: float) -> list[float]:
    """Return the places moved as little as it takes to lie ``gap`` apart, within 0 to 1."""
    if not places:
        return []
    gap = min(gap, 1.0 / len(places))
    order = np.argsort(places, kind="stable")
    steps = gap * np.arange(len(places))
    # Moved apart means: ascending once the steps are taken off. Averaging neighbours that are
    # not (pool adjacent violators) gives the nearest such places.
    blocks: list[list[float]] = []
    for value in np.asarray(places)[order] - steps:
        blocks.append([float(value)])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1].extend(last)
    level = np.concatenate([np.full(len(b), np.mean(b)) for b in blocks])
    result = np.empty(len(places))
    result[order] = np.clip(level, 0.0, 1.0 - steps[-1]) + steps
    return [float(y) for y in result]


def _wide(lines: list[_Line]) -> bool:
    """Whether the values span so much that only a logarithmic axis shows them all."""
    v = np.concatenate([_finite(c) for line in lines for c in (line.mean, line.low or [])])
    return bool(v.size and v.min() > 0 and v.max() / 50 > v.min())


def _array(column: Column) -> NDArray[np.float64]:
    """Return a column with NaN, which leaves a gap, where a value is missing or infinite."""
    v: NDArray[Any] = np.array([np.nan if x is None else x for x in column], np.float64)
    v[~np.isfinite(v)] = np.nan
    return v


def _finite(column: Column) -> NDArray[np.float64]:
    v = _array(column)
    return v[np.isfinite(v)]
