"""The table of a comparison: on the terminal and as a CSV file.

Words and numbers only; ``ranking`` made the rows.
"""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from gossipml.errors import ConfigError
from gossipml.observe.formats import human_bytes
from gossipml.observe.statistics import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gossipml.observe.comparison import Comparison
    from gossipml.observe.ranking import Row

_NAME = 24  # letters of a group's name that stay together where the terminal is narrow
_ESTIMATES = ("final", "worst_peer", "against_centralised", "consensus_distance",
              "bytes_per_peer", "behind_best")  # fmt: skip


def comparison_table(comparison: Comparison) -> Table:
    """Return the groups, best first, with 95 % intervals over their seeds."""
    percent = comparison.measure == "accuracy"
    unit = " %" if percent else ""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", justify="right", no_wrap=True)
    longest = max(len(row.short) for row in comparison.table)
    name = comparison.heading or "group"
    table.add_column(name, overflow="fold", min_width=min(longest, _NAME))
    table.add_column("seeds", justify="right")
    headings = [f"test {comparison.measure}{unit}", f"behind the best{unit}", f"worst peer{unit}"]
    against = any(row.against_centralised.n for row in comparison.table)
    if against:
        headings.append(f"to centralised{unit}")
    headings += ["consensus distance", "sent by a peer", f"rounds to {_target(comparison)}"]
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in comparison.table:
        cells = _cells(row, 100.0 if percent else 1.0, against=against)
        rank = "–" if row.rank is None else str(row.rank)
        table.add_row(rank, Text(row.short), _seeds(row), *cells)
    return table


def table_footer(comparison: Comparison) -> list[str]:
    """Return how to read the table, a line each, and what a reader must know besides."""
    lines = ["± is half the 95 % interval of Student's t over the seeds"]
    ranked = [row for row in comparison.table if row.within is not None]
    if ranked:
        paired = all(row.paired for row in ranked)
        how = "of differences by seed" if paired else "by seed where seeds are shared, else Welch's"
        lines.append(f"≈ not told apart from the best: the interval {how} has 0 in it")
    if comparison.target.value is not None:
        lines.append(f"target: {_target(comparison)}, {comparison.target.words}")
    return lines + [f"note: {note}" for note in comparison.notes]


def write_csv(comparison: Comparison, path: Path) -> Path:
    """Write one line for each group with all numbers in full; return the path.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    rows = [dict(_flat(row)) for row in comparison.table]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as e:
        raise ConfigError(f"cannot write {path}: {e.strerror or e}") from e
    return path


def plus_minus(found: Estimate, scale: float = 1.0) -> str:
    """Return a mean with half its interval, to two digits of the latter.

    >>> plus_minus(Estimate(5, 0.92145, 0.01574), 100.0), plus_minus(Estimate(1, 0.25))
    ('92.1 ± 1.6', '0.2500')
    """
    if found.mean is None:
        return "–"
    mean = scale * found.mean
    if found.half is None:
        return f"{mean:#.4g}"
    half = scale * found.half
    if half <= 0:
        return f"{mean:.4g} ± 0"
    digits = min(max(0, 1 - math.floor(math.log10(half))), 9)
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def _cells(row: Row, scale: float, *, against: bool) -> Iterator[str]:
    yield plus_minus(row.final, scale)
    yield plus_minus(row.behind_best, scale) + (" ≈" if row.within else "")
    yield plus_minus(row.worst_peer, scale)
    if against:
        yield plus_minus(row.against_centralised, scale)
    yield plus_minus(row.consensus_distance)
    sent = row.bytes_per_peer.mean
    yield "–" if sent is None else human_bytes(sent)
    yield _rounds(row)


def _rounds(row: Row) -> str:
    reached = row.to_target.get("rounds", Estimate(0))
    if reached.n == row.seeds > 0:
        return plus_minus(reached)
    if not row.seeds:
        return "–"
    return f"{reached.n} of {row.seeds} reach it" if reached.n else "not reached"


def _seeds(row: Row) -> str:
    bad = [run.status for run in row.runs if run.status != "finished"]
    if not bad:
        return str(row.seeds)
    what = ", ".join(f"{bad.count(status)} {status}" for status in dict.fromkeys(bad))
    return f"{row.seeds}, {what}"


def _target(comparison: Comparison) -> str:
    value = comparison.target.value
    if value is None:
        return "target"
    return f"{100 * value:.3g} %" if comparison.measure == "accuracy" else f"{value:.4g}"


def _flat(row: Row) -> Iterator[tuple[str, object]]:
    yield "rank", row.rank
    yield "group", row.label
    yield "seeds", row.seeds
    yield "runs", len(row.runs)
    for name in _ESTIMATES:
        found: Estimate = getattr(row, name)
        yield name, found.mean
        yield f"{name}_half", found.half
    yield "within", row.within
    for axis, reached in row.to_target.items():
        yield f"{axis}_to_target", reached.mean
        yield f"{axis}_to_target_half", reached.half
    yield "reached_target", max((reached.n for reached in row.to_target.values()), default=0)
