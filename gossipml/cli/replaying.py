"""``replay``: a real run's faults again, on the virtual engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gossipml.cli.options import Alone, Json, Out, Quiet, print_json, talk

if TYPE_CHECKING:
    from rich.table import Table

    from gossipml.replaying import Replay, Side


def replay(
    run: Annotated[Path, typer.Argument(help="Folder of a run over TCP.", metavar="RUN")],
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the faults as TOML, and play nothing.")
    ] = False,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
    allow_isolation: Alone = False,
) -> int:
    """Play what went wrong in a real run again, on the virtual engine."""
    from rich.console import Console

    from gossipml import replaying

    if plan:
        found = replaying.plan_of(run)
        if json:
            print_json({"faults": [incident.fault for incident in found]})
        else:
            print(replaying.to_toml(found), end="")
        return 0
    done = replaying.replay(run, out, allow_isolation=allow_isolation)
    if json:
        print_json(
            {
                "faults": [incident.fault for incident in done.incidents],
                "real": done.real,
                "replayed": done.replayed,
                "same_models": done.same_models,
                "run_dir": done.result.summary.run_dir,
            }
        )
    elif not quiet:
        for incident in done.incidents:
            talk(f"{incident.fault.kind} at round {incident.fault.at_round}: {incident.words}")
        if not done.incidents:
            talk("nothing went wrong in this run")
        console = Console(stderr=False)
        console.print(_beside(done))
        console.print(f"run folder: {done.result.summary.run_dir}", soft_wrap=True)
    return done.result.exit_code


def _beside(done: Replay) -> Table:
    """Return both runs side by side."""
    from rich import box
    from rich.table import Table

    table = Table(title=done.result.summary.name, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    columns = []
    for name, side in (("real", done.real), ("replayed", done.replayed)):
        table.add_column(name, justify="right")
        columns.append(_cells(side))
    names = ("peers lost", "rounds", "test accuracy", "test loss", "consensus distance", "seconds")
    for row in zip(names, *columns, strict=True):
        table.add_row(*row)
    table.add_row("same models", "", f"{done.same_models} of {len(done.real.model_sha256)}")
    return table


def _cells(side: Side) -> list[str]:
    from gossipml.observe.formats import percent

    accuracy, loss = side.test_accuracy, side.test_loss
    seconds = side.wall_s if side.virtual_s is None else side.virtual_s
    clock = "" if side.virtual_s is None else " virtual"
    return [
        ", ".join(side.lost_peers) or "none",
        str(side.rounds),
        percent(accuracy.mean if accuracy else None),
        "–" if loss is None else f"{loss.mean:.4g}",
        "–" if side.consensus_distance is None else f"{side.consensus_distance:.4g}",
        "–" if seconds is None else f"{seconds:.1f}{clock}",
    ]
