"""What a run shows in the terminal while it goes on: a live table, or lines.

Writes to stderr only, because stdout belongs to ``--json``. Starts no thread and steers nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gossipml.observe.formats import human_bytes, number, percent
from gossipml.observe.history import Scatter
from gossipml.observe.summary import Spread
from gossipml.peer.reports import Evaluation, Event, Finished, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from rich.console import RenderableType

State: TypeAlias = Literal[
    "connecting", "running", "alone", "stopping", "stopped", "lost", "failed", "finished"
]

REDRAW_S = 0.25  # between two drawings of the table
LINE_S = 2.0  # between two lines where stderr is no terminal
MOST_ROWS = 20
_FRAME = 12  # lines around them: title, header, rules, five for the rest, caption, the cursor

_STYLES: dict[State, str] = {
    "connecting": "dim", "running": "", "alone": "yellow", "stopping": "yellow",
    "stopped": "yellow", "lost": "bold red", "failed": "bold red", "finished": "green",
}  # fmt: skip
_GONE: frozenset[State] = frozenset({"lost", "failed"})
_NEWS: frozenset[State] = frozenset({"lost", "failed", "alone"})  # shown before other rows


@dataclass
class _Row:
    state: State = "connecting"
    round: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    sketch: bytes = b""  # of its newest evaluated model
    apart: float | None = None  # its distance to the mean of the peers' newest models
    bytes_in: int = 0
    bytes_out: int = 0


class LiveTable:
    """The state of every peer, as reports come in; use it as a context manager.

    On a terminal, a table that is drawn again at most four times a second; elsewhere, a line
    at most every two seconds and one at the end. The last state is always shown.

    Parameters
    ----------
    peers
        The ids, in the order of the rows.
    rounds
        How many rounds the run has.
    title
        Shown above the table, such as the name of the experiment.
    quiet
        Show nothing at all.
    console
        Where to write; stderr by default.
    clock
        Seconds, for the pauses between drawings.
    """

    def __init__(
        self,
        peers: Sequence[str],
        rounds: int,
        *,
        title: str = "",
        quiet: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows = {peer: _Row() for peer in peers}
        self._rounds = rounds
        self._title = title
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._scatters: dict[int, Scatter] = {}
        self._agreement: tuple[int, float] | None = None  # round, consensus distance
        self._shown_at = float("-inf")
        self._quiet = quiet
        self._heard = False
        self._live: Live | None = None
        if not quiet and self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                console=self._console, auto_refresh=False, redirect_stdout=False,
                get_renderable=self.render,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        if not self._heard:
            return  # what failed before it began has nothing to show
        if self._live:
            self._live.stop()  # draws once more
        elif not self._quiet:
            self._print_line()

    def update(self, report: Report) -> None:
        """Take in one report, and show it if enough time has passed."""
        if not self._heard:
            self._heard = True
            if self._live:
                self._live.start()
        if not report.peer:  # a fault of links
            return
        row = self._rows.setdefault(report.peer, _Row())
        match report:
            case Evaluation():
                self._evaluated(row, report)
            case Event():
                self._happened(row, report)
            case Finished():
                row.state = "stopped" if report.stopped else "finished"
                row.round = report.rounds
                row.bytes_in, row.bytes_out = report.bytes_received, report.bytes_sent
        self._show()

    def render(self) -> RenderableType:
        """Return the table as it is now."""
        table = Table(
            title=Text(self._headline(), style="bold"), caption=Text(self._caption()),
            box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False,
        )  # fmt: skip
        table.add_column("peer", max_width=24, no_wrap=True)
        for name in ("round", "loss", "accuracy", "distance", "bytes in", "bytes out"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("state", no_wrap=True)
        self._measure_distances()
        shown, rest = self._split()
        for peer in shown:
            table.add_row(Text(peer), *self._cells(self._rows[peer]))
        if rest:
            table.add_section()
            for cells in _rows_of_many(rest):
                table.add_row(*cells)
        return table

    def _evaluated(self, row: _Row, report: Evaluation) -> None:
        if row.state != "stopping":
            row.state = "running"
        row.round, row.loss, row.accuracy = report.round, report.loss, report.accuracy
        row.bytes_in, row.bytes_out = report.bytes_received, report.bytes_sent
        row.sketch = report.sketch
        self._scatters.setdefault(report.round, Scatter()).add(report.peer, report.sketch)

    def _measure_distances(self) -> None:
        """Set each peer's distance to the mean of all that are there."""
        rows = [row for row in self._rows.values() if row.sketch and row.state not in _GONE]
        if not rows:
            return
        models = np.stack([np.frombuffer(row.sketch, "<f4") for row in rows]).astype(np.float64)
        with np.errstate(all="ignore"):  # a diverged run has a distance of NaN
            apart = np.linalg.norm(models - models.mean(axis=0), axis=1)
        for row, distance in zip(rows, apart.tolist(), strict=True):
            row.apart = distance

    def _happened(self, row: _Row, event: Event) -> None:
        match event.kind:
            case "stopping" | "alone" | "failed" | "finished":
                row.state = event.kind
            case "restarted":
                row.state = "connecting"
            case "lost" if event.about is not None:
                neighbour = self._rows.setdefault(event.about, _Row())
                if neighbour.state not in {"finished", "stopped", "failed"}:
                    neighbour.state = "lost"

    def _show(self) -> None:
        now = self._clock()
        if self._quiet or now - self._shown_at < (REDRAW_S if self._live else LINE_S):
            return
        self._shown_at = now
        if self._live:
            self._live.refresh()
        else:
            self._print_line()

    def _print_line(self) -> None:
        rows = list(self._rows.values())
        parts = [
            self._headline(),
            f"loss {_range(r.loss for r in rows)}",
            f"accuracy {_range((r.accuracy for r in rows), percent)}",
            f"sent {human_bytes(sum(r.bytes_out for r in rows))}",
            self._caption(),
        ]
        parts = [p for p in parts if p and not p.endswith(" –")]
        self._console.print(" · ".join(parts), markup=False, highlight=False, soft_wrap=True)

    def _headline(self) -> str:
        reached = [r.round for r in self._rows.values() if r.round is not None]
        text = f"round {max(reached, default=0)} of {self._rounds}"
        return f"{self._title} · {text}" if self._title else text

    def _caption(self) -> str:
        parts = [_count_states(self._rows.values()), self._agreement_text()]
        return " · ".join(p for p in parts if p)

    def _agreement_text(self) -> str:
        """Return the consensus distance of the newest round that every living peer reported."""
        living = sum(r.state not in _GONE for r in self._rows.values())
        whole = [k for k, s in self._scatters.items() if len(s.peers) >= max(living, 1)]
        if whole:
            newest = max(whole)
            distance = self._scatters[newest].distance()
            if distance is not None and (self._agreement is None or newest > self._agreement[0]):
                self._agreement = newest, distance
            self._scatters = {k: s for k, s in self._scatters.items() if k > newest}
        if self._agreement is None:
            return ""
        return f"consensus distance {self._agreement[1]:.3g} at round {self._agreement[0]}"

    def _split(self) -> tuple[list[str], list[_Row]]:
        """Return the peers with a row of their own, those with bad news first among them."""
        room = max(1, min(MOST_ROWS, self._console.height - _FRAME))
        if len(self._rows) <= room:
            return list(self._rows), []
        chosen = set(sorted(self._rows, key=lambda p: self._rows[p].state not in _NEWS)[:room])
        shown = [p for p in self._rows if p in chosen]
        return shown, [row for p, row in self._rows.items() if p not in chosen]

    def _cells(self, row: _Row) -> list[Text]:
        return [
            Text("–" if row.round is None else f"{row.round}/{self._rounds}"),
            Text(number(row.loss)),
            Text(percent(row.accuracy)),
            Text(number(row.apart)),
            Text(human_bytes(row.bytes_in)),
            Text(human_bytes(row.bytes_out)),
            Text(row.state, style=_STYLES[row.state]),
        ]


def _range(values: Iterable[float | None], show: Callable[[float], str] = number) -> str:
    """Return ``mean (least to greatest)`` of the values that are there."""
    spread = _spread(values)
    if spread is None:
        return "–"
    return f"{show(spread.mean)} ({show(spread.min)} to {show(spread.max)})"


def _spread(values: Iterable[float | None]) -> Spread | None:
    known = [v for v in values if v is not None]
    return Spread.of(known) if known else None


def _count_states(rows: Iterable[_Row]) -> str:
    return ", ".join(f"{n} {state}" for state, n in Counter(r.state for r in rows).items())


def _rows_of_many(rows: list[_Row]) -> list[list[str]]:
    """Return the mean, least and greatest of the peers without a row of their own."""
    columns = [
        _spread_cells((r.round for r in rows), lambda v: f"{v:.0f}"),
        _spread_cells((r.loss for r in rows), number),
        _spread_cells((r.accuracy for r in rows), percent),
        _spread_cells((r.apart for r in rows), number),
        _spread_cells((r.bytes_in for r in rows), human_bytes),
        _spread_cells((r.bytes_out for r in rows), human_bytes),
    ]
    spreads = zip(("  mean", "  least", "  greatest"), zip(*columns, strict=True), strict=True)
    return [[f"… and {len(rows)} more"], *([label, *cells] for label, cells in spreads)]


def _spread_cells(values: Iterable[float | None], show: Callable[[float], str]) -> list[str]:
    spread = _spread(values)
    return [show(v) for v in (spread.mean, spread.min, spread.max)] if spread else ["–"] * 3
