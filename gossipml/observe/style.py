"""How pictures look and how they are written: colours, dashes, sizes, fonts.

Draws on figures of its own, never through pyplot: no window, no state shared with the caller.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossipml.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")

# Okabe and Ito 2008, "Color Universal Design": told apart by colour-blind readers. Their yellow
# is left out, too light on paper. Dashes and markers tell the lines apart in black and white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#555555"
COLUMN, PAGE = 3.5, 7.16
"""Widths of one column and of two in most journals, in inches."""

_DPI = 300
_WRITING: Any = {  # matplotlib's stubs want each key spelled out
    "pdf.fonttype": 42,  # TrueType, embedded: journals refuse the default
    "svg.fonttype": "path",  # the reader needs no font
    "svg.hashsalt": "gossipml",  # the same picture gives the same file
}
_NO_DATE: dict[str, dict[str, Any]] = {
    ".svg": {"Date": None}, ".pdf": {"CreationDate": None},
}  # fmt: skip


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "standard") from None
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def picture_path(path: Path | str) -> Path:
    """Return the path of a picture; its extension must be one that can be drawn.

    Raises
    ------
    ConfigError
        If it is another one.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise ConfigError(f"cannot draw {target.name!r}; expected one of {', '.join(FORMATS)}")
    return target


def save(figure: Figure, path: Path, *, dpi: int = _DPI) -> Path:
    """Write the figure and return its path.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    from matplotlib import rc_context

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with rc_context(_WRITING):
            figure.savefig(path, dpi=dpi, metadata=_NO_DATE.get(path.suffix.lower()))
    except OSError as e:
        raise ConfigError(f"cannot write {path}: {e.strerror or e}") from e
    return path


def plain_axes(axes: Axes) -> None:
    """Leave a light grid and two spines."""
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
