"""``simulate --chaos``: seeded faults against the peers' own code, and what they broke."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gossipml.cli.options import print_json, talk

if TYPE_CHECKING:
    from gossipml.testing.chaos import Campaign


def play_chaos(
    count: int, *, first: int, json: bool, quiet: bool, verbose: bool, twice: bool = False
) -> int:
    """Play seeds with a bar of how many are done; print what came out; return the exit status."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from gossipml.testing.chaos import campaign, draw

    console = Console(stderr=True)
    if verbose:
        for seed in range(first, first + count):
            talk(msgspec.json.format(msgspec.json.encode(draw(seed))).decode())
    with Progress(
        TextColumn("chaos"), BarColumn(), MofNCompleteColumn(),
        TextColumn("seeds · {task.fields[failed]} failed ·"), TimeRemainingColumn(),
        console=console, redirect_stdout=False, disable=quiet or not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task("", total=count, failed=0)
        result = campaign(
            count, first=first, twice=twice,
            progress=lambda played, failed: bar.update(task, completed=played, failed=failed),
        )  # fmt: skip
    if json:
        print_json(result)
    if not quiet:
        _tell(result)
    return result.exit_code


def _tell(result: Campaign) -> None:
    """Say in lines what came out, on standard error."""
    frames, fired = sum(result.frames.values()), sum(result.fired.values())
    talk(
        f"{result.seeds} seeds, {result.virtual_s / 3600:.1f} virtual hours, {frames:,} frames, "
        f"{fired:,} faults, {result.wall_s:.0f} s"
    )
    talk("faults: " + _counts(result.fired))
    talk("promises tested: " + _counts(result.promised))
    for failure in result.failures:
        for violation in failure.violations:
            talk(f"seed {failure.seed}: {violation}")
        talk(f"replay: {failure.replay}")
    for what in result.lacking:
        talk(f"does not count: {what}")
    for seed in result.differing or ():
        talk(f"seed {seed}: played twice, with two different traces")
    if result.differing is not None:
        talk(f"{result.seeds - len(result.differing)} of {result.seeds} replays identical")
    if result.exit_code == 0:
        talk("no promise was broken")


def _counts(counts: dict[str, int]) -> str:
    return " · ".join(f"{name} {count:,}" for name, count in counts.items())
