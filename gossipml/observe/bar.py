"""What a simulation of many peers shows in the terminal: rounds done, speed, time left, results.

Writes to stderr only, because stdout belongs to ``--json``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gossipml.observe.formats import percent
from gossipml.observe.progress import LINE_S
from gossipml.peer.reports import Evaluation, Report

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self


class RoundBar:
    """How far a simulation is; use it as a context manager.

    On a terminal, a bar with the time left; elsewhere, a line at most every two seconds and
    one at the end.

    Parameters
    ----------
    peers
        Their number, for the speed in rounds of peers.
    rounds
        How many rounds the run has.
    title
        Shown first, such as the name of the experiment.
    quiet
        Show nothing at all.
    console
        Where to write; stderr by default.
    clock
        Seconds, for the speed and the pauses between lines.
    """

    def __init__(
        self,
        peers: int,
        rounds: int,
        *,
        title: str = "",
        quiet: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._peers, self._rounds, self._title, self._quiet = peers, rounds, title, quiet
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._done = 0
        self._begin: tuple[float, int] | None = None  # when the first round ended, and which
        self._shown_at = float("-inf")
        self._round = -1  # of the newest evaluations
        self._losses: list[float] = []
        self._accuracies: list[float] = []
        self._bar: Progress | None = None
        if not quiet and self._console.is_terminal and not self._console.is_dumb_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TextColumn("rounds · {task.fields[speed]} node-rounds/s ·"), TimeRemainingColumn(),
                TextColumn("left · {task.fields[results]}"),
                console=self._console, redirect_stdout=False,
            )  # fmt: skip
            self._task = self._bar.add_task(title, total=rounds, speed="–", results="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._bar:
            self._refresh()
            self._bar.stop()
        elif self._done and not self._quiet:
            self._print_line()

    def advance(self, rounds: int) -> None:
        """Take in how many rounds are played."""
        self._done = rounds
        if self._begin is None:
            self._begin = self._clock(), rounds
        self._show()

    def update(self, report: Report) -> None:
        """Take in an evaluation; nothing else is shown."""
        if not isinstance(report, Evaluation):
            return
        if report.round != self._round:
            self._round, self._losses, self._accuracies = report.round, [], []
        self._losses.append(report.loss)
        if report.accuracy is not None:
            self._accuracies.append(report.accuracy)

    def _show(self) -> None:
        if self._bar:
            self._refresh()
        elif not self._quiet and self._clock() - self._shown_at >= LINE_S:
            self._print_line()

    def _refresh(self) -> None:
        assert self._bar is not None
        self._bar.update(
            self._task, completed=self._done, speed=self._speed(), results=self._results()
        )

    def _print_line(self) -> None:
        self._shown_at = self._clock()
        parts = [
            f"round {self._done} of {self._rounds}",
            f"{self._speed()} node-rounds/s",
            self._results(),
        ]
        text = " · ".join(part for part in [self._title, *parts] if part)
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _speed(self) -> str:
        if self._begin is None:
            return "–"
        begin, first = self._begin
        passed = self._clock() - begin
        if self._done == first or passed <= 0:
            return "–"
        return f"{(self._done - first) * self._peers / passed:,.0f}"

    def _results(self) -> str:
        if not self._losses:
            return ""
        loss = f"loss {sum(self._losses) / len(self._losses):.4g}"
        if not self._accuracies:
            return loss
        return f"{loss} accuracy {percent(sum(self._accuracies) / len(self._accuracies))}"
