"""``gossipml topology``: graphs by name or from a file, their facts and pictures."""

from __future__ import annotations

import os
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from gossipml.errors import ConfigError
from gossipml.topology import (
    GRAPHS,
    Topology,
    TopologyFacts,
    describe,
    load_topology,
    make_topology,
    mixing,
    save_topology,
)
from gossipml.topology.files import EXTENSIONS
from gossipml.topology.graphs import is_fixed, options_of
from gossipml.topology.weights import with_weights

KEEPS_ADDRESSES = (".json", ".graphml", ".gml")

app = typer.Typer(
    help="Graphs of peers by name or from a file: facts, pictures, files.",
    no_args_is_help=True,
)

Peers = Annotated[
    int | None, typer.Option("--peers", "-n", help="Number of peers (16) of a named graph.")
]
Weights = Annotated[str, typer.Option("--weights", help="Rule of the mixing weights.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="An option of the graph, such as degree=3.")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the random graphs.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Plot = Annotated[Path | None, typer.Option("--plot", help="Draw a picture into this file.")]


@app.command("list")
def list_graphs(as_json: Json = False) -> None:
    """List the graphs that have a name."""
    rows = [_listing(name) for name in GRAPHS]
    if as_json:
        _print_json({"graphs": rows})
        return
    table = Table("graph", "options", "what it is", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row["name"], " ".join(row["options"]), row["description"])
    _print(table)


@app.command()
def show(
    graph: Annotated[str, typer.Argument(metavar="NAME_OR_FILE")],
    peers: Peers = None,
    weights: Weights = "metropolis",
    options: Set = None,
    seed: Seed = 0,
    matrix: Annotated[bool, typer.Option("--matrix", help="Print the mixing matrix too.")] = False,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Show the facts of one graph: size, degrees, spectral gap, predicted rounds."""
    topology = _open(graph, peers, seed, _options(options))
    facts = describe(topology, weights, matrix=matrix)
    if plot is not None:
        from gossipml.topology.plot import plot_topology

        plot_topology(topology, mixing(topology, weights), plot)
    if as_json:
        _print_json(facts)
    else:
        _print_facts(facts)


@app.command()
def compare(
    graphs: Annotated[list[str], typer.Argument(metavar="NAME_OR_FILE...")],
    peers: Peers = None,
    weights: Weights = "metropolis",
    seed: Seed = 0,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Compare graphs side by side; --plot draws how fast each one agrees."""
    facts = [describe(_open(graph, peers, seed, {}), weights) for graph in graphs]
    if plot is not None:
        from gossipml.topology.plot import plot_decay

        plot_decay(facts, plot)
    if as_json:
        _print_json({"topologies": facts})
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("graph")
    for column in ("peers", "links", "degree", "diameter", "spectral gap", "rounds to 1e-3"):
        table.add_column(column, justify="right")
    for fact in facts:
        table.add_row(
            fact.name, str(fact.nodes), str(fact.edges), _degree(fact), _or_dash(fact.diameter),
            _gap(fact), _or_dash(fact.predicted_rounds),
        )  # fmt: skip
    _print(table)


@app.command()
def make(
    graph: Annotated[str, typer.Argument(metavar="NAME")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write; .json keeps all.")],
    peers: Peers = None,
    options: Set = None,
    seed: Seed = 0,
    addresses: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Address of the first peer; ports count up."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Write the weights of this rule to the links.")
    ] = None,
) -> None:
    """Write a graph to a topology file; with addresses it is a deployment."""
    topology = _open(graph, peers, seed, _options(options))
    if addresses is not None:
        if out.suffix not in KEEPS_ADDRESSES:
            raise ConfigError(
                f"--out: {out} cannot hold addresses, expected {' or '.join(KEEPS_ADDRESSES)}"
            )
        consecutive = _addresses(addresses, topology.n)
        topology = replace(topology, addresses=consecutive)
    if weights is not None:
        topology = with_weights(topology, mixing(topology, weights))
    save_topology(topology, out)
    typer.echo(f"{out}: {topology.n} peers, {len(topology.edges)} links", err=True)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    weights: Weights = "metropolis",
    as_json: Json = False,
) -> None:
    """Check that a topology file can be used with these weights; one line of success or error."""
    topology = load_topology(file)
    facts = describe(topology, weights)
    if as_json:
        _print_json(facts)
        return
    addressed = sum(address is not None for address in topology.addresses)
    typer.echo(
        f"{file}: ok: {facts.nodes} peers ({addressed} with an address), {facts.edges} links, "
        f"{weights} weights, spectral gap {_gap(facts)}, "
        f"{_or_dash(facts.predicted_rounds)} rounds to 1e-3"
    )


def _open(graph: str, peers: int | None, seed: int, options: dict[str, Any]) -> Topology:
    """Return the graph of a name, or of a file: what has an extension or a folder is a file."""
    path = Path(graph)
    if path.suffix.lower() in EXTENSIONS or os.sep in graph or path.is_file():
        topology = load_topology(path)
        if peers not in (None, topology.n):
            raise ConfigError(f"--peers: found {peers}, but {graph} has {topology.n}; leave it out")
        if options:
            raise ConfigError(f"--set: found {', '.join(options)}, but {graph} is a file")
        return topology
    if peers is None and not is_fixed(graph):
        peers = 16
    return make_topology(graph, peers, seed, **options)


def _options(settings: list[str] | None) -> dict[str, Any]:
    options = {}
    for setting in settings or ():
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set: found {setting!r}, expected key=value")
        options[key.strip().removeprefix("topology.")] = _value(value.strip())
    return options


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _addresses(first: str, count: int) -> tuple[str, ...]:
    host, _, port = first.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) <= 65536 - count):
        raise ConfigError(
            f"--addresses: found {first!r}, expected HOST:PORT with {count} ports up to 65535"
        )
    return tuple(f"{host}:{int(port) + i}" for i in range(count))


def _listing(name: str) -> dict[str, Any]:
    description = (GRAPHS[name].__doc__ or "").partition("\n")[0]
    options = [
        key if option.default is None else f"{key}={option.default}"
        for key, option in options_of(name).items()
    ]
    return {
        "name": name,
        "options": options,
        "description": description.removeprefix("Return ").rstrip("."),
    }


def _print_facts(facts: TopologyFacts) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    kind = "directed" if facts.directed else "undirected"
    for label, value in (
        ("graph", f"{facts.name} ({kind}, {'' if facts.connected else 'not '}connected)"),
        ("peers", str(facts.nodes)),
        ("links", str(facts.edges)),
        ("degree", f"{_degree(facts)}, mean {facts.degree.mean:.4g}"),
        ("diameter", _or_dash(facts.diameter)),
        ("weights", facts.weights),
        ("spectral gap", _gap(facts)),
        ("rounds to 1e-3", _or_dash(facts.predicted_rounds)),
    ):
        table.add_row(label, value)
    _print(table)
    if facts.W is not msgspec.UNSET:
        for row in facts.W:
            typer.echo(" ".join(f"{weight:8.5f}" if weight else "       ." for weight in row))


def _degree(facts: TopologyFacts) -> str:
    low, high = facts.degree.min, facts.degree.max
    return str(low) if low == high else f"{low} to {high}"


def _gap(facts: TopologyFacts) -> str:
    return f"{facts.spectral_gap:.4g}"


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def _print(table: Table) -> None:
    Console().print(table)


def _print_json(record: Any) -> None:
    typer.echo(msgspec.json.encode(record).decode())
