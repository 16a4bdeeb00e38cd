"""``gossipml algorithms``: the methods by name, what they compute, and what theory says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from gossipml.errors import ConfigError, nearest

if TYPE_CHECKING:
    from gossipml.algorithms.describing import Description

app = typer.Typer(help="Methods by name: equations, papers, facts.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@app.command("list")
def list_algorithms(as_json: Json = False) -> None:
    """List the methods that have a name."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from gossipml.algorithms import ALGORITHMS
    from gossipml.algorithms.describing import describe

    found = [describe(method) for method in ALGORITHMS.values()]
    if as_json:
        _print_json({"algorithms": found})
        return
    table = Table("algorithm", "sends", "exact", "what it is", box=None, pad_edge=False)
    for one in found:
        exact = "yes" if one.facts["exact"] else "-"
        table.add_row(one.name, one.sends, exact, Text(one.equation))
    Console().print(table)


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME")], as_json: Json = False) -> None:
    """Show one method: its equation, papers, options, and what it needs and promises."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from gossipml.algorithms import ALGORITHMS
    from gossipml.algorithms.describing import describe

    if name not in ALGORITHMS:
        raise ConfigError(f"NAME: unknown algorithm {name!r}{nearest(name, ALGORITHMS)}")
    one = describe(ALGORITHMS[name])
    if as_json:
        _print_json(one)
        return
    console = Console()
    text = " ".join(one.text.split())
    console.print(Text(f"{one.equation}\n\n{text}\n" if text else f"{one.equation}\n"))
    table = Table(box=None, show_header=False, pad_edge=False)
    options = ", ".join(f"{key} = {_value(value)}" for key, value in one.options.items())
    for label, value in (
        ("options", options),
        ("needs", ", ".join(one.needs) or "nothing in particular"),
        ("sends", f"{one.sends} to each neighbour in a round"),
        ("exact", _promise(one)),
        ("papers", "\n".join(one.papers) or "-"),
    ):
        table.add_row(label, Text(value))
    console.print(table)


def _promise(one: Description) -> str:
    if one.facts["averages"]:
        return "takes no gradients: it averages the initial models"
    if one.facts["exact"]:
        return "yes: the optimum of all with a constant step, whatever the data"
    return "no: with a constant step it ends near the optimum of all"


def _value(value: Any) -> str:
    return "its own" if value is None else f"{value}"


def _print_json(record: Any) -> None:
    typer.echo(msgspec.json.encode(record).decode())
