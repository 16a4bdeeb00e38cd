"""What a paper's row is: experiments to play, a figure to take of them, and what it should be.

Experiments are played by the library on the engine ``stacked``, from the TOML file beside each
paper's module. Nothing here knows a paper.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossipml import load_experiment, simulate
from gossipml.sweeping import split_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from gossipml import Result

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Expected:
    """What a figure has to be: in an interval, in the words of the page."""

    low: float
    high: float
    text: str

    def __contains__(self, value: object) -> bool:
        return isinstance(value, float | int) and self.low <= value <= self.high


def near(value: float, *, rel: float = 0.0, abs: float = 0.0) -> Expected:
    """Expect a value within a share of itself, or within a distance."""
    within = max(rel * value if value > 0 else -rel * value, abs)
    margin = f"{rel * 100:.2g} %" if rel else f"{abs:.2g}"
    return Expected(value - within, value + within, f"{number(value)} ± {margin}")


def exactly(value: float) -> Expected:
    """Expect this value, such as a count of rounds."""
    return Expected(value, value, number(value))


def below(value: float) -> Expected:
    """Expect at most this."""
    return Expected(float("-inf"), value, f"≤ {number(value)}")


def above(value: float) -> Expected:
    """Expect at least this."""
    return Expected(value, float("inf"), f"≥ {number(value)}")


def between(low: float, high: float) -> Expected:
    """Expect something from one value to the other."""
    return Expected(low, high, f"{number(low)} to {number(high)}")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One claim of a paper, and how it is reproduced.

    Attributes
    ----------
    claim : str
    theirs : Expected or callable
        What the paper, or theory, says; a callable works it out from the results, where it
        depends on the drawn problem.
    ours : callable
        Takes the figure from the results of the experiments.
    sets : tuple of str
        Changes to the paper's experiment as ``--set`` takes them; values with commas between
        make a grid.
    file : path, optional
        Another experiment than the paper's main one.
    """

    claim: str
    theirs: Expected | Callable[..., Expected]
    ours: Callable[..., float]
    sets: tuple[str, ...] = ()
    file: Path | None = None

    def check(self, file: Path) -> tuple[float, Expected]:
        """Play the row, of this file unless it has its own; return our figure and theirs."""
        results = play(self.file or file, *self.sets)
        theirs = self.theirs if isinstance(self.theirs, Expected) else self.theirs(*results)
        return float(self.ours(*results)), theirs


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper, its experiment file, its rows, a picture, and what to know of them.

    Attributes
    ----------
    key : str
        Names the module, the experiment file, the picture and the chapter of the page.
    title, arxiv : str
    setting : str
        What is played.
    comment : str
        What differs from the paper, and why.
    rows : tuple of Row
    draw : callable
        Draws the picture into an empty figure.
    """

    key: str
    title: str
    arxiv: str
    setting: str
    comment: str
    rows: tuple[Row, ...]
    draw: Callable[[Figure, Path], Any]

    @property
    def file(self) -> Path:
        """The experiment file."""
        return Path(__file__).with_name(f"{self.key}.toml")


def play(file: Path, *sets: str) -> list[Result]:
    """Play the grid of experiments that these settings span; each is played once a process."""
    keys, values = [], []
    for text in sets:
        key, _, choices = text.partition("=")
        keys.append(key)
        values.append(split_values(choices))
    grid = itertools.product(*values)
    return [
        _play(file, tuple(f"{key}={value}" for key, value in zip(keys, cell, strict=True)))
        for cell in grid
    ]


@cache
def _play(file: Path, overrides: tuple[str, ...]) -> Result:
    with contextlib.chdir(ROOT):  # methods in files are named from there
        return simulate(load_experiment(file, overrides=overrides), engine="stacked")


def number(value: float) -> str:
    """Return a figure with four digits, as people write it."""
    if math.isinf(value):
        return "never"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"
