"""Figures as a table and as JSON, and a bar while they are being measured."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self


class Bar:
    """A line on standard error that says how far it is; nothing where nobody looks."""

    def __init__(self, what: str, total: float) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True), disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self._task = self._progress.add_task(what, total=total, note="")

    def at(self, done: float, note: str = "") -> None:
        """Say how much is done."""
        self._progress.update(self._task, completed=done, note=note)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._progress.stop()


def show(name: str, found: dict[str, Any], out: Path | None) -> None:
    """Print the figures, and write them to ``out/name.json``."""
    table = Table("figure", "value", title=name, box=None)
    for key, value in found.items():
        table.add_row(key.replace("_", " "), _text(value))
    Console().print(table)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(found | {"machine": machine()}, indent=1)
        (out / f"{name}.json").write_text(text + "\n", "utf-8")


def machine() -> dict[str, Any]:
    """Return what the figures hold for: date, cores, memory, system, Python."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages * size / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
