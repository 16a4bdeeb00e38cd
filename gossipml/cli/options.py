"""Options that several commands share, and how they print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

if TYPE_CHECKING:
    from gossipml.result import Result

File = Annotated[Path, typer.Argument(help="Experiment file (TOML).", metavar="FILE")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a key, such as algorithm.lr=0.1.", metavar="KEY=VALUE"),
]
Seed = Annotated[int | None, typer.Option(help="Override the seed.", min=0)]
Out = Annotated[
    Path | None, typer.Option(help="Run folder; by default a new one in runs/.", metavar="DIR")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show every event.")]
Alone = Annotated[
    bool, typer.Option("--allow-isolation", help="Let a peer train on with no neighbour left.")
]


def print_json(value: Any) -> None:
    """Write one JSON object to standard output."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def talk(line: str) -> None:
    """Write a line for people to standard error, where no ``--json`` reader is."""
    print(line, file=sys.stderr)


def finish(result: Result, *, json: bool, quiet: bool, plot: bool) -> int:
    """Print the end of a run and draw it into its folder; return the exit status."""
    from rich.console import Console

    from gossipml.errors import MissingExtraError
    from gossipml.observe.ending import summary_table

    drawn = None
    if plot and result.summary.run_dir is not None:
        path = Path(result.summary.run_dir) / "plots" / "run.png"
        try:
            path.parent.mkdir(exist_ok=True)
            drawn = result.plot(path)
        except MissingExtraError as error:
            talk(f"no plot: {error}")
    if json:
        print_json(result.summary)
    if not json and not quiet:
        console = Console(stderr=False)
        console.print(summary_table(result.summary))
        if drawn is not None:
            console.print(f"plot: {drawn}", soft_wrap=True)
    if not quiet:
        for event in result.history.events:
            if event.kind == "failed":
                talk(f"peer {event.peer} failed: {event.detail}")
    return result.exit_code
