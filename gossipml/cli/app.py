"""All commands of ``gossipml`` in one place."""

from __future__ import annotations

from typing import Annotated

import typer

import gossipml
from gossipml.cli import (
    algorithms,
    benching,
    comparing,
    inspecting,
    keys,
    replaying,
    sweeping,
    topology,
    training,
)

app = typer.Typer(
    name="gossipml",
    help="Machine learning with no server: peers train on their own data and average with "
    "their graph neighbours.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"gossipml {gossipml.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    del version


app.command()(training.run)
app.command()(training.simulate)
app.command()(training.peer)
app.command()(replaying.replay)
app.command()(sweeping.sweep)
app.command()(inspecting.check)
app.command()(inspecting.recommend)
app.command()(comparing.plot)
app.command()(comparing.compare)
app.command()(inspecting.partition)
app.command()(benching.bench)
app.add_typer(topology.app, name="topology")
app.add_typer(algorithms.app, name="algorithms")
app.add_typer(keys.app, name="keys")
