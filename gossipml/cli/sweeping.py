"""``sweep``: a grid of runs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gossipml.cli.options import File, Json, Quiet, Seed, Set, print_json, talk

if TYPE_CHECKING:
    from gossipml.sweeping import Sweep


def sweep(
    file: File,
    set_: Set = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds of each setting.")] = 1,
    seed: Seed = None,
    engine: Annotated[
        Literal["virtual", "stacked"], typer.Option(help="As for simulate.")
    ] = "virtual",
    workers: Annotated[
        int | None, typer.Option(help="Processes; by default one a core, stacked: one.", min=1)
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster", "--engine-cluster",
            help="dask: start a local Dask cluster; tcp://HOST:PORT: join one.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder; one with the same sweep goes on.", metavar="DIR")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:  # fmt: skip
    """Run a grid of settings and seeds; --set KEY=A,B,C is an axis. Killed, it can go on."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from gossipml import sweeping

    grid, fixed = {}, []
    for text in set_ or ():
        key, equals, value = text.partition("=")
        values = sweeping.split_values(value)
        if equals and len(values) > 1:
            grid[key.strip()] = [v.strip() for v in values]
        else:
            fixed.append(text)
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("cells · {task.fields[failed]} failed ·"), TimeRemainingColumn(),
        console=console, redirect_stdout=False, disable=quiet or not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task(file.stem, total=None, failed=0)

        def show(ended: int, failed: int, cells: int) -> None:
            bar.update(task, completed=ended, total=cells, failed=failed)
            if not quiet and not console.is_terminal:
                talk(f"{ended} of {cells} cells, {failed} failed")

        result = sweeping.sweep(
            file, grid, overrides=fixed, seeds=seeds, seed=seed, engine=engine, workers=workers,
            cluster=cluster, out=out, progress=show,
        )  # fmt: skip
    _tell(result, json=json, quiet=quiet)
    return result.exit_code


def _tell(result: Sweep, *, json: bool, quiet: bool) -> None:
    plan, table = result.plan, result.folder / "table.csv"
    if not quiet:
        for row in result.table:
            if row["status"] == "failed":
                talk(f"cell {row['cell']} failed: {row['reason']}")
        if result.signal is not None:
            talk(f"stopped; the same command with --out {result.folder} goes on")
        if importlib.util.find_spec("pyarrow") is None:
            talk("no table.parquet: pyarrow is not installed; pip install 'gossipml[standard]'")
    if json:
        print_json(
            {
                "name": plan.name, "engine": plan.engine, "cells": len(plan.cells),
                "done": result.done, "skipped": result.skipped, "failed": result.failed,
                "axes": plan.axes, "seeds": plan.seeds, "folder": str(result.folder),
                "table": str(table), "wall_s": result.wall_s,
            }
        )  # fmt: skip
    elif not quiet:
        print(table)
