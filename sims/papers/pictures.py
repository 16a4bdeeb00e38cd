"""How the pictures of the papers look: the package's own colours, dashes and grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossipml.observe import style

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sims.papers.rows import Paper

LEGEND: dict[str, Any] = {"fontsize": 7.5, "frameon": False, "handlelength": 3.2}
THEORY: dict[str, Any] = {"color": style.GREY, "linewidth": 0.9, "linestyle": (0, (5, 2.5))}
"""A line that theory or a paper says."""


def line(index: int, *, marker: bool = False) -> dict[str, Any]:
    """Return the look of the k-th line of a panel: colour, dashes, and a marker for few points."""
    look: dict[str, Any] = {
        "color": style.COLOURS[index % 7],
        "linestyle": style.DASHES[(index + 2 * (index // 7)) % 4],
        "linewidth": 1.5,
    }
    if marker:
        look |= {"marker": style.MARKERS[index % 7], "markersize": 4}
    return look


def panel(
    figure: Figure, xlabel: str, ylabel: str, place: tuple[int, int, int] | None = None
) -> Axes:
    """Return an empty panel: the only one, or (rows, columns, number)."""
    axes = figure.add_subplot(*(place or (1, 1, 1)))
    axes.set_xlabel(xlabel, fontsize=8.5)
    axes.set_ylabel(ylabel, fontsize=8.5)
    axes.tick_params(labelsize=7.5, which="both")
    axes.margins(x=0.02)
    style.plain_axes(axes)
    return axes


def legend(axes: Axes, *, beside: bool = False) -> None:
    """Name the lines, in the panel or to its right."""
    place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)} if beside else {}
    axes.legend(**LEGEND, **place)


def legend_below(figure: Figure, axes: Axes) -> None:
    """Name the lines of a panel below all panels."""
    handles, labels = axes.get_legend_handles_labels()
    across = -(-len(handles) // (1 if len(handles) < 4 else 2))
    figure.legend(handles, labels, loc="outside lower center", ncols=across, **LEGEND)


def write(paper: Paper, path: Path) -> Path:
    """Draw a paper's picture and return its path."""
    figure = style.new_figure(style.PAGE, 3.0)
    paper.draw(figure, paper.file)
    return style.save(figure, path, dpi=150)
