"""The folder of a sweep: reading back which cells it has and how they ended.

``sweep.json`` says what was asked for, ``done.json`` how each cell ended, ``cells/<key>/`` is a
run folder each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

PLAN = "sweep.json"


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a sweep, as planned."""

    key: str  # of its folder
    settings: dict[str, Any]  # value of each axis
    seed: int
    overrides: list[str]  # as --set takes them


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep was asked for; equal for equal sweeps."""

    name: str
    engine: str
    axes: list[str]
    seeds: list[int]
    experiment: str  # resolved TOML without the axes
    cells: list[Cell]


@dataclass(frozen=True)
class CellRead:
    """One run of a sweep, as found: ``status`` is finished, failed or unfinished."""

    settings: dict[str, Any]
    seed: int
    path: Path
    status: str


@dataclass(frozen=True)
class SweepRead:
    """A sweep, as found."""

    path: Path
    name: str
    axes: tuple[str, ...]
    cells: tuple[CellRead, ...]


def read_plan(path: Path) -> Plan:
    """Read what a sweep was asked for.

    Raises
    ------
    ConfigError
        There is no ``sweep.json``, or it is damaged.
    """
    try:
        return msgspec.json.decode((path / PLAN).read_bytes(), type=Plan)
    except FileNotFoundError:
        raise ConfigError(f"no {PLAN} in {path}; expected the folder of a sweep") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{path / PLAN} is damaged: {error}") from None


def read_sweep(path: Path) -> SweepRead:
    """Read a sweep folder; see :func:`read_plan` for errors."""
    plan = read_plan(path)
    cells = []
    for cell in plan.cells:
        folder = path / "cells" / cell.key
        reason = failure_of(folder)
        status = "failed" if reason is not None else "unfinished"
        if (folder / "summary.json").is_file():
            status = "finished"
        cells.append(CellRead(cell.settings, cell.seed, folder, status))
    return SweepRead(path, plan.name, tuple(plan.axes), tuple(cells))


def failure_of(folder: Path) -> str | None:
    """Return why a cell failed; None if it did not."""
    try:
        return (folder / "failure.txt").read_text(encoding="utf-8")
    except OSError:
        return None


def is_whole(folder: Path) -> bool:
    """Return whether a cell has ended, one way or the other."""
    return (folder / "summary.json").is_file() or failure_of(folder) is not None
